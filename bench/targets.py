"""What Archway promises of a row, and whether a run kept it."""

import dataclasses

from .cases import STARTS, VERSIONS

PEERS = ("buildkit", "buildah", "crane", "buildx")
_TITLES = {"buildkit": "BuildKit", "buildah": "buildah"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A target next to what was measured. `met` is None where nothing could be compared."""

    target: str
    measured: str
    met: bool | None


@dataclasses.dataclass(frozen=True)
class Faster:
    """`times` as fast as BuildKit, or as the fastest peer."""

    times: float
    than: str = "buildkit"

    def check(self, row, results):
        peers = PEERS if self.than == "best" else (self.than,)
        title = "the fastest peer" if self.than == "best" else _TITLES[self.than]
        target = f"no slower than {title}" if self.times == 1 else f"≥ {self.times:g}x {title}"
        theirs = [median for peer in peers if (median := results.median(row, peer)) is not None]
        ours = results.median(row, "archway")
        if ours is None or not theirs:
            return Verdict(target, "-", None)
        ratio = min(theirs) / ours
        return Verdict(target, f"{ratio:.1f}x", ratio >= self.times)


@dataclasses.dataclass(frozen=True)
class Seconds:
    """At most so many seconds, for one of `parts` equal parts."""

    most: float
    parts: int = 1

    def check(self, row, results):
        target = f"≤ {self.most * 1000:g} ms"
        ours = results.median(row, "archway")
        if ours is None:
            return Verdict(target, "-", None)
        part = ours / self.parts
        return Verdict(target, f"{part * 1000:.1f} ms", part <= self.most)


@dataclasses.dataclass(frozen=True)
class Times:
    """At most so many times the seconds of another row."""

    most: float
    other: str

    def check(self, row, results):
        target = f"≤ {self.most:g}x {self.other}"
        ours, other = results.median(row, "archway"), results.median(self.other, "archway")
        if ours is None or other is None:
            return Verdict(target, "-", None)
        return Verdict(target, f"{ours / other:.2f}x", ours / other <= self.most)


@dataclasses.dataclass(frozen=True)
class Memory:
    """At most so many bytes."""

    most: int

    def check(self, row, results):
        target = f"memory ≤ {self.most / 1e6:g} MB"
        peak = results.peak(row, "archway")
        if peak is None:
            return Verdict(target, "-", None)
        return Verdict(target, f"{peak / 1e6:.0f} MB", peak <= self.most)


TARGETS = {
    "runs": (Faster(4),),
    "ctx": (Faster(6), Memory(150_000_000)),
    "ctx-nochange": (Faster(10),),
    "ctx-onefile": (Faster(12),),
    "copy-8": (Times(1.2, "copy-1"),),
    "cross": (Faster(1.3),),
    "emu": (Faster(1.5),),
    "base": (Faster(1.5, than="best"),),
    "warm-small": (Seconds(0.030),),
    "first-step": (Seconds(0.015),),
    "index-create": (Faster(1, than="best"),),
    "start": (Seconds(0.003, parts=STARTS),),
    "version": (Seconds(0.005, parts=VERSIONS),),
}


def check(results):
    """A pair of row and `Verdict` for each target whose row was measured."""
    return [
        (row, target.check(row, results))
        for row in results.rows()
        for target in TARGETS.get(row, ())
    ]
