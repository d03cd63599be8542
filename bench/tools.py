"""How each program is told what to do, and how it comes to have empty caches.

A tool lives in a directory of its own that holds all it ever stores; a new directory means empty caches.
Each is told to work the way that is fastest for it.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import time

from .measure import ToolFailed, run
from .registry import ADDRESS


@dataclasses.dataclass(frozen=True)
class Build:
    """One image build."""

    context: pathlib.Path
    platforms: tuple[str, ...]
    # Where it is pushed to, below the registry; if not, the result stays in the tool's cache.
    push: str | None = None

    @property
    def reference(self):
        return f"{ADDRESS}/{self.push}"


@dataclasses.dataclass(frozen=True)
class Programs:
    """Our own programs; those of others are in $PATH."""

    archway: pathlib.Path
    testkit: pathlib.Path

    def path(self, name):
        return {"archway": self.archway, "testkit": self.testkit}.get(name, pathlib.Path(name))


class Tool:
    """What all tools have."""

    name: str
    title: str
    # The id of a process that works without being a child of ours.
    daemon = None
    # What a line of a build's output has if it is about a step that was found in the cache.
    CACHED: bytes

    def __init__(self, directory, programs):
        self.directory = directory
        self.programs = programs
        directory.mkdir()
        # No credentials of whoever runs this.
        (directory / "config.json").write_text("{}")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "DOCKER_CONFIG": str(directory),
            "TMPDIR": str(directory),
        }

    @classmethod
    def missing(cls, programs):
        """Why the tool cannot take part on this machine, or None."""
        program = programs.path(cls.name)
        return None if shutil.which(program) else f"{program} is not installed"

    @classmethod
    def version(cls, programs):
        return run([programs.path(cls.name), "--version"]).strip()

    def forget(self, build):
        """Makes the same build again possible, without emptying caches."""

    def build(self, build):
        """The commands that make `build`."""
        raise NotImplementedError

    def show_version(self):
        """The command that does nothing but that."""
        return [self.programs.path(self.name), "--version"]

    def create_index(self, sources, target):
        """The command that makes the index `target` of the images `sources`."""
        raise NotImplementedError

    def stop(self):
        """Ends what was started."""

    def remove(self):
        """Ends it and removes its directory, without what a program that was killed had mounted there."""
        self.stop()
        mounts = pathlib.Path("/proc/self/mounts").read_text().splitlines()
        below = [mount.split()[1] for mount in mounts if mount.split()[1].startswith(f"{self.directory}/")]
        for mount in reversed(below):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.directory)


class Archway(Tool):
    name = title = "archway"
    CACHED = b"] cached"

    def __init__(self, directory, programs):
        super().__init__(directory, programs)
        self.environment["ARCHWAY_ROOT"] = str(directory / "store")

    def build(self, build):
        result = ["--push", "-t", build.reference] if build.push else ["--output=type=cacheonly"]
        platforms = ",".join(build.platforms)
        return [[self.programs.archway, "build", "--platform", platforms, *result, build.context]]

    def create_index(self, sources, target):
        return [self.programs.archway, "index", "create", "-t", target, *sources]


class BuildKit(Tool):
    """buildkitd with its worker of runc and overlayfs; its start is not counted."""

    name, title = "buildkit", "BuildKit"
    CACHED = b" CACHED"

    _CONFIGURATION = """\
root = "{own}/root"
insecure-entitlements = ["network.host"]
[grpc]
address = ["unix://{own}/socket"]
[cdi]
disabled = true
[worker.containerd]
enabled = false
[worker.oci]
enabled = true
snapshotter = "overlayfs"
gc = false
networkMode = "host"
[registry."{address}"]
http = true
"""
    _START_LIMIT_SECONDS = 60

    def __init__(self, directory, programs):
        super().__init__(directory, programs)
        configuration = directory / "buildkitd.toml"
        configuration.write_text(self._CONFIGURATION.format(own=directory, address=ADDRESS))
        self._log = directory / "log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [programs.path("buildkitd"), "--config", configuration],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        self.daemon = self._process.pid
        self._wait_until_ready()

    @classmethod
    def missing(cls, programs):
        names = [programs.path(name) for name in ("buildkitd", "buildctl", "runc")]
        missing = [str(name) for name in names if not shutil.which(name)]
        return f"{', '.join(missing)} not installed" if missing else None

    @classmethod
    def version(cls, programs):
        return _version_of_peer("buildkitd") + ", " + run(["runc", "--version"]).partition("\n")[0]

    def _buildctl(self, *words):
        return [self.programs.path("buildctl"), "--addr", f"unix://{self.directory}/socket", *words]

    def _wait_until_ready(self):
        ends = time.monotonic() + self._START_LIMIT_SECONDS
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                run(self._buildctl("debug", "workers"), self.environment)
                return
            except ToolFailed:
                time.sleep(0.1)
        reason = self._log.read_text()[-2000:]
        self.remove()
        raise ToolFailed(f"buildkitd does not start\n{reason}")

    def build(self, build):
        result = ["--output", f"type=image,name={build.reference},push=true"] if build.push else []
        return [
            self._buildctl(
                "build",
                "--progress=plain",
                "--frontend=dockerfile.v0",
                f"--local=context={build.context}",
                f"--local=dockerfile={build.context}",
                f"--opt=platform={','.join(build.platforms)}",
                *result,
            )
        ]

    def show_version(self):
        return [self.programs.path("buildctl"), "--version"]

    def stop(self):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        remove_control_groups("buildkit")


class Buildah(Tool):
    """buildah with runc, as Debian's crun refuses machines that have both versions of control groups."""

    name = title = "buildah"
    CACHED = b"Using cache"

    def __init__(self, directory, programs):
        super().__init__(directory, programs)
        self.environment["XDG_RUNTIME_DIR"] = str(directory)
        policy = directory / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self._policy = f"--signature-policy={policy}"

    def _buildah(self, *words):
        store = [f"--root={self.directory}/root", f"--runroot={self.directory}/run", "--storage-driver=overlay"]
        return [self.programs.path("buildah"), *store, *words]

    def build(self, build):
        name = "localhost/bench"
        commands = [
            self._buildah(
                "build",
                self._policy,
                "--layers",
                "--runtime=runc",
                "--network=host",
                "--tls-verify=false",
                f"--jobs={os.cpu_count()}",
                f"--platform={','.join(build.platforms)}",
                f"--manifest={name}",
                str(build.context),
            )
        ]
        if build.push:
            reference = f"docker://{build.reference}"
            commands.append(
                self._buildah("manifest", "push", self._policy, "--all", "--tls-verify=false", name, reference)
            )
        return commands

    def forget(self, build):
        """A second build would add its images to the manifest list of the first."""
        lists = run(self._buildah("images", "--quiet", "--filter=reference=localhost/bench"), self.environment)
        if lists.strip():
            run(self._buildah("manifest", "rm", "localhost/bench"), self.environment)


class Crane(Tool):
    name = title = "crane"

    @classmethod
    def version(cls, programs):
        return _version_of_peer("crane")

    def create_index(self, sources, target):
        manifests = [word for source in sources for word in ("--manifest", source)]
        return [self.programs.path("crane"), "index", "append", "--insecure", *manifests, "--tag", target]


class Buildx(Tool):
    name = title = "buildx"

    @classmethod
    def version(cls, programs):
        return _version_of_peer("buildx")

    def create_index(self, sources, target):
        return [self.programs.path("buildx"), "imagetools", "create", "--tag", target, *sources]


TOOLS = {tool.name: tool for tool in (Archway, BuildKit, Buildah, Crane, Buildx)}


def _version_of_peer(program):
    """What `scripts/peers` calls its directory: programs that are built from a module do not know."""
    return pathlib.Path(shutil.which(program)).parent.name.replace("-", " ", 1)


def remove_control_groups(name):
    """runc makes a group for buildkitd's steps, in each hierarchy where there are several, and leaves it."""
    root = pathlib.Path("/sys/fs/cgroup")
    for hierarchy in [root, *(entry for entry in root.iterdir() if entry.is_dir())]:
        try:
            (hierarchy / name).rmdir()
        except OSError:
            pass  # not there, or another daemon uses it
