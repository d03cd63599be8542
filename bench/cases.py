"""What is measured.

A case is a function of a `Session`: one tool whose caches are empty and a registry that has the base images
and nothing else. It measures one or more rows of the result table.
"""

import dataclasses
from collections.abc import Callable

from . import trees
from .inputs import EIGHT, PACKAGES
from .registry_client import Repository
from .tools import Build

BUILDERS = ("archway", "buildkit", "buildah")
INDEX_MAKERS = ("archway", "crane", "buildx")

TWO = ("linux/amd64", "linux/arm64")
STARTS = 200
VERSIONS = 20


@dataclasses.dataclass(frozen=True)
class Case:
    """What a `Session` has to do, for the rows it measures."""

    name: str
    run: Callable
    rows: tuple[str, ...]
    # Of `inputs`.
    context: str
    tools: tuple[str, ...] = BUILDERS


def _runs(session):
    session.measure("runs", session.build("runs", TWO))


def _ctx(session):
    build = session.build("ctx", TWO)
    session.measure("ctx", build)
    session.measure("ctx-nochange", build)
    with trees.changed(_middle_file(build.context / "project")):
        session.measure("ctx-onefile", build)


def _middle_file(directory):
    """A source file in the middle of the tree, of ordinary size."""
    files = sorted(file for file in directory.rglob("*.src") if 4_000 < file.stat().st_size < 8_000)
    return files[len(files) // 2]


def _copy_8(session):
    session.measure("copy-1", session.build("copies", EIGHT[:1]))
    session.restart()
    session.measure("copy-8", session.build("copies", EIGHT))


def _cross(session):
    session.measure("cross", session.build("cross", TWO))


def _emu(session):
    session.measure("emu", session.build("emu", TWO))


def _base(session):
    session.measure("base", session.build("base", (session.native,), push=False))


def _warm_small(session):
    build = session.build("warm-small", TWO)
    session.measure("cold-small", build)
    for _ in range(5):
        session.measure("warm-small", build)
    for _ in range(5):
        session.measure_first_step("first-step", build)


def _start(session):
    session.measure("start", session.build("start", (session.native,), push=False))


def _version(session):
    session.measure_version("version", VERSIONS)


def _index_create(session):
    """The last job of a matrix: each platform was pushed by digest, now they become one image."""
    repository = Repository("busybox")
    sources = [repository.reference(entry["digest"]) for entry in repository.platforms().values()]
    for number in range(5):
        session.measure_index("index-create", sources, repository.reference(f"index-{number}"))


CASES = (
    Case("runs", _runs, ("runs",), "runs"),
    Case("ctx", _ctx, ("ctx", "ctx-nochange", "ctx-onefile"), "ctx"),
    Case("copy-8", _copy_8, ("copy-1", "copy-8"), "copies"),
    Case("cross", _cross, ("cross",), "cross"),
    Case("emu", _emu, ("emu",), "emu"),
    Case("base", _base, ("base",), "base"),
    Case("warm-small", _warm_small, ("cold-small", "warm-small", "first-step"), "warm-small"),
    Case("index-create", _index_create, ("index-create",), "index-create", INDEX_MAKERS),
    Case("start", _start, ("start",), "start"),
    Case("version", _version, ("version",), "version"),
)

DESCRIPTIONS = {
    "runs": "30 `RUN echo N > /file-N` on busybox, amd64 and emulated arm64",
    "ctx": "20,000 files, 450 MB: `COPY` and a `RUN`, two platforms",
    "ctx-nochange": "the same again",
    "ctx-onefile": "the same after a line was added to one file",
    "copy-1": "`COPY` of that tree onto a base, one platform",
    "copy-8": "the same for eight platforms, each with a base of its own",
    "cross": "a Go program, compiled for two platforms by `$BUILDPLATFORM`",
    "emu": f"`apt-get install` of {PACKAGES} packages and Perl on Debian, amd64 and emulated arm64",
    "base": "`RUN true` on a base of {large_base} MB compressed that has to be fetched; nothing is pushed",
    "cold-small": "20 files: `COPY`, `RUN`, `COPY`, two platforms",
    "warm-small": "the same again",
    "first-step": "its start to the first line about a step that the cache has",
    "index-create": "an index of six platforms' images that the registry has",
    "version": "start and end of the program: `--version`",
    "start": "one of 200 `RUN [\"/bin/true\"]`; nothing is pushed",
}


class Session:
    """One tool with empty caches, in one round of a case."""

    def __init__(self, workplace, tool_name, on_sample):
        self.native = workplace.native
        self._workplace = workplace
        self._tool_name = tool_name
        self._on_sample = on_sample
        self._registry = self._tool = None

    def __enter__(self):
        self._start()
        return self

    def __exit__(self, *_):
        self._stop()

    def restart(self):
        """Empties the tool's caches and the registry again."""
        self._stop()
        self._start()

    def build(self, context, platforms, push=True):
        """A build of one of the contexts; pushed, if at all, to a repository that does not exist yet."""
        directory = self._workplace.inputs.context(context)
        return Build(directory, platforms, f"{context}/result:latest" if push else None)

    def measure(self, row, build):
        self._tool.forget(build)
        self._record(row, self._tool.build(build))

    def measure_first_step(self, row, build):
        self._tool.forget(build)
        # What follows the first command publishes.
        self._record(row, self._tool.build(build)[:1], until=self._tool.CACHED)

    def measure_index(self, row, sources, target):
        self._record(row, [self._tool.create_index(sources, target)])

    def measure_version(self, row, times):
        self._record(row, [self._tool.show_version()] * times)

    def _record(self, row, commands, until=None):
        tool = self._tool
        sample = self._workplace.measure(commands, tool.environment, self._registry, tool.daemon, until)
        self._on_sample(row, sample)

    def _start(self):
        self._registry = self._workplace.start_registry()
        try:
            self._tool = self._workplace.start_tool(self._tool_name)
        except BaseException:
            self._registry.remove()
            self._registry = None
            raise

    def _stop(self):
        if self._tool:
            self._tool.remove()
            self._tool = None
        if self._registry:
            self._registry.remove()
            self._registry = None
