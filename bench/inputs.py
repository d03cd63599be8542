"""The contexts that are built and the images they are built from, made once for a run."""

import dataclasses
import pathlib
import random
import subprocess

from . import trees
from .measure import run
from .registry import ADDRESS, Registry
from .registry_client import LAYER, Repository, layer_of, platform_fields

# Of the `copies` base. Nothing runs in it, so machines that no emulator knows would do as well.
EIGHT = (
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/386",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
)

# The base images of each context; a case without a context of its own is here, too. Those that the testkit
# makes are made from Debian packages, the others here.
BASES = {
    "runs": ("busybox",),
    "start": ("busybox",),
    "ctx": ("busybox",),
    "copies": ("copies",),
    "cross": ("golang", "busybox"),
    "base": ("large",),
    "warm-small": ("busybox",),
    "emu": ("debian",),
    "index-create": ("busybox",),
    "version": (),
}
_OURS = {"copies": (), "large": ("debian",)}
_TESTKIT_PLATFORMS = "linux/amd64,linux/arm64"

_LARGE_LAYERS = 4
_LARGE_BYTES = 62_000_000  # of each of them, before compression
PACKAGES = 16


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Directories with contexts, and one with a registry's storage that has the bases."""

    contexts: pathlib.Path
    template: pathlib.Path
    large_base_bytes: int

    def context(self, name):
        return self.contexts / name


def testkit_arguments(names):
    """What the testkit is to be asked for, so that these contexts can be built."""
    wanted = {base for name in names for base in BASES[name]}
    wanted |= {below for base in wanted & set(_OURS) for below in _OURS[base]}
    return ["--platform", _TESTKIT_PLATFORMS, *sorted(wanted - set(_OURS))]


def make(directory, testkit, native, names, scale=1.0):
    """Makes the contexts `names` and their bases below `directory`; `native` is this machine's platform.

    With a `scale` below 1 the trees are smaller, to try the bench itself.
    """
    contexts = directory / "contexts"
    pools = trees.Pools(scale)
    for name, write in _CONTEXTS.items():
        if name in names:
            write(contexts / name, pools)
    template = directory / "template"
    registry = Registry(template)
    try:
        if any(set(BASES[name]) - {"copies"} for name in names):
            run([testkit, "bases", "--to", ADDRESS, *testkit_arguments(names)])
        large = _push_large_base(pools, native) if "base" in names else 0
        if "copies" in names:
            _push_eight_platforms()
    finally:
        registry.stop()
    return Inputs(contexts, template, large)


def _push_large_base(pools, native):
    """Debian with more layers on it; returns how many compressed bytes it has."""
    debian, large = Repository("debian"), Repository("large")
    manifest = debian.manifest(debian.platforms()[native]["digest"])
    config = debian.config(manifest)
    layers = manifest["layers"]
    for layer in layers:
        large.mount(layer["digest"], debian.name)
    for number in range(_LARGE_LAYERS):
        files = pools.project(files=1_500, size=_LARGE_BYTES, seed=100 + number)
        content, diff_id = layer_of((f"opt/part-{number}/{path}", data) for path, data in files)
        layers.append(large.put_blob(LAYER, content))
        config["rootfs"]["diff_ids"].append(diff_id)
        config["history"].append({"created_by": f"part {number}"})
    image = large.put_image(config, layers)
    large.put_index([{**image, "platform": platform_fields(native)}])
    return sum(layer["size"] for layer in layers)


def _push_eight_platforms():
    """An image that has a layer of its own for each of eight platforms."""
    repository = Repository("copies")
    manifests = []
    for name in EIGHT:
        content, diff_id = layer_of([("etc/platform", name.encode())])
        config = {
            **platform_fields(name),
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created_by": "platform"}],
        }
        image = repository.put_image(config, [repository.put_blob(LAYER, content)])
        manifests.append({**image, "platform": platform_fields(name)})
    repository.put_index(manifests)


def _dockerfile(directory, text):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "Dockerfile").write_text(text.replace("BASES", ADDRESS))


def _runs(directory, _):
    steps = "".join(f"RUN echo {number} > /file-{number}\n" for number in range(30))
    _dockerfile(directory, f"FROM BASES/busybox\n{steps}")


def _start(directory, _):
    _dockerfile(directory, "FROM BASES/busybox\n" + 'RUN ["/bin/true"]\n' * 200)


def _ctx(directory, pools):
    _dockerfile(directory, "FROM BASES/busybox\nCOPY project /project\nRUN ls /project > /parts\n")
    trees.write(directory / "project", pools.project())


def _copies(directory, pools):
    """The tree of `ctx`, copied only."""
    _dockerfile(directory, "FROM BASES/copies\nCOPY project /project\n")
    trees.write(directory / "project", pools.project())


_GO_MAIN = """\
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
)

func main() {
	counts := map[string]int{}
	for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
		counts[scanner.Text()]++
	}
	var lines []string
	for line := range counts {
		lines = append(lines, line)
	}
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(counts[line], line)
	}
}
"""


def _cross(directory, _):
    _dockerfile(
        directory,
        "ARG BUILDPLATFORM\n"  # which Buildah does not know otherwise
        "FROM --platform=$BUILDPLATFORM BASES/golang AS build\n"
        "WORKDIR /src\n"
        "COPY go.mod main.go ./\n"
        "ARG TARGETOS\nARG TARGETARCH\n"
        "RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -o /out/program .\n"
        "FROM BASES/busybox\n"
        "COPY --from=build /out/program /usr/local/bin/program\n",
    )
    trees.write(directory, [("go.mod", "module bench\n\ngo 1.19\n"), ("main.go", _GO_MAIN)])


def _base(directory, _):
    _dockerfile(directory, "FROM BASES/large\nRUN true\n")


def _warm_small(directory, pools):
    _dockerfile(
        directory,
        "FROM BASES/busybox\nWORKDIR /app\nCOPY src src\nRUN cat src/*/*/*/* > all\nCOPY Dockerfile .\n",
    )
    trees.write(directory / "src", pools.project(files=20, size=200_000))


def _emu(directory, pools):
    _dockerfile(
        directory,
        "FROM BASES/debian\n"
        "COPY packages /packages\n"
        "RUN echo 'deb [trusted=yes] file:/packages ./' > /etc/apt/sources.list && apt-get update && "
        "apt-get install --yes --no-install-recommends bench-all && rm -rf /var/lib/apt/lists/*\n"
        "RUN perl -e 'my %n; for (glob \"/opt/*/*/*/*\") { $n{substr $_, -3} += -s } "
        'print map { "$_ $n{$_}\\n" } sort keys %n\' > /sizes\n',
    )
    _write_packages(directory / "packages", pools)


_POSTINST = """\
#!/bin/sh
set -e
for word in one two three four five six seven eight; do
    echo "$word" | sed 's/e/E/g' >> /var/lib/NAME.list
done
perl -e 'my $sum = 0; $sum += $_ * $_ % 7 for 1 .. 100000; print "$sum\\n"' > /var/lib/NAME.sum
"""


def _write_packages(repository, pools):
    """Debian packages for every architecture, with scripts, and the index that apt wants."""
    repository.mkdir(parents=True)
    names = [f"bench-{number}" for number in range(PACKAGES)]
    paragraphs = []
    for number, name in enumerate([*names, "bench-all"]):
        is_last = name == "bench-all"
        control = (
            f"Package: {name}\nVersion: 1.{number}\nArchitecture: all\nMaintainer: bench <bench@localhost>\n"
            f"Description: part of a benchmark\n"
        )
        # Chains of dependencies, which apt has to put into an order.
        needs = names if is_last else [names[number - 1]] if number % 4 else []
        if needs:
            control += f"Depends: {', '.join(needs)}\n"
        tree = repository / f".{name}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(control)
        if not is_last:
            script = tree / "DEBIAN/postinst"
            script.write_text(_POSTINST.replace("NAME", name))
            script.chmod(0o755)
            files = pools.project(files=40, size=400_000, seed=1_000 + number)
            trees.write(tree / "opt" / name, files)
        package = repository / f"{name}.deb"
        run(["dpkg-deb", "--root-owner-group", "-Zxz", "-z1", "--build", tree, package])
        subprocess.run(["rm", "-rf", tree], check=True)
        digest = run(["sha256sum", package]).split()[0]
        size = package.stat().st_size
        paragraphs.append(f"{control}Filename: ./{package.name}\nSize: {size}\nSHA256: {digest}\n")
    random.Random(3).shuffle(paragraphs)
    (repository / "Packages").write_text("\n".join(paragraphs))


_CONTEXTS = {
    "runs": _runs,
    "start": _start,
    "ctx": _ctx,
    "copies": _copies,
    "cross": _cross,
    "base": _base,
    "warm-small": _warm_small,
    "emu": _emu,
}
