"""Files that look like a project's: many small ones, some large, as compressible as such trees are.

Nothing here is random: the same files with the same content are made on every machine.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
import random
import sys

FILES = 20_000
BYTES = 450_000_000

_TIME = 1_704_067_200  # of every file: 2024-01-01 00:00:00 UTC
_POOL_BYTES = 16_000_000
_WORDS = 8_000
_LONGEST_CUT = 48_000
_FILES_PER_DIRECTORY = 12


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a share of the files holds."""

    suffix: str
    share: float


# Source code; object files and databases; pictures, archives and the like. gzip -6 makes 42 % of it.
KINDS = (Kind(".src", 0.62), Kind(".bin", 0.32), Kind(".zip", 0.06))


class Pools:
    """Content to cut files from. Large, so that one file seldom has what another one has."""

    def __init__(self, scale=1.0, seed=1):
        self._scale = scale
        size = int(_POOL_BYTES * min(1, max(scale, 0.02)))
        source = random.Random(seed)
        self._pools = {
            ".src": _text(source, size),
            ".bin": _half_random(source, size),
            ".zip": source.randbytes(size),
        }

    def project(self, files=FILES, size=BYTES, seed=2):
        """Path and content of each file of a tree."""
        files, size = max(1, int(files * self._scale)), int(size * self._scale)
        source = random.Random(seed)
        kinds = source.choices(KINDS, weights=[kind.share for kind in KINDS], k=files)
        # Half of the files are below 5 kilobytes, and almost half of all bytes are in the largest 500.
        sizes = [source.lognormvariate(8.2, 1.75) for _ in range(files)]
        unit = size / sum(sizes)
        for number, (kind, part) in enumerate(zip(kinds, sizes)):
            group = number // _FILES_PER_DIRECTORY
            path = f"part-{group % 9}/module-{group % 97}/unit-{group}/file-{number}{kind.suffix}"
            yield path, self._cut(source, kind.suffix, max(1, int(part * unit)))

    def _cut(self, source, suffix, size):
        """`size` bytes for a file of that kind."""
        pool = self._pools[suffix]
        parts = []
        while size > 0:
            length = min(size, _LONGEST_CUT)
            start = source.randrange(len(pool) - length)
            parts.append(pool[start : start + length])
            size -= length
        return b"".join(parts)


def _text(source, size):
    """Lines of words, common words more often and some lines again and again, indented as code is."""
    letters = "etaoinshrdlucmfwypvbgkqjxz_"
    words = ["".join(source.choices(letters, k=source.randint(2, 11))) for _ in range(_WORDS)]
    frequencies = list(itertools.accumulate(1 / (rank + 3) for rank in range(_WORDS)))
    marks = [" ", " ", " ", ".", "(", ") ", ", ", " = ", "::", "->"]
    ends = [";\n    ", ";\n        ", ",\n        ", "\n\n", "{\n    "]
    chosen = itertools.cycle(source.choices(words, cum_weights=frequencies, k=400_000))
    between = itertools.cycle(source.choices(marks, k=399_989))

    def line():
        length = source.randint(2, 7)
        middle = itertools.chain.from_iterable(zip(itertools.islice(chosen, length), between))
        return "".join(middle) + source.choice(ends)

    usual = [line() for _ in range(500)]
    text = []
    length = 0
    while length < size:
        part = source.choice(usual) if source.random() < 0.45 else line()
        text.append(part)
        length += len(part)
    return "".join(text).encode()[:size]


def _half_random(source, size):
    """Repeated records whose fields differ, as in object files and databases."""
    records = [source.randbytes(source.randint(4, 32)) for _ in range(1_000)]
    parts = []
    length = 0
    while length < size:
        for record in source.choices(records, k=20_000):
            parts.append(record)
            parts.append(source.randbytes(1))
            length += len(record) + 1
    return b"".join(parts)[:size]


def write(directory, files):
    """Writes `files` (pairs of path and content) with one time for all."""
    made = set()
    for path, content in files:
        file = directory / path
        if file.parent not in made:
            file.parent.mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(file, (_TIME, _TIME))


@contextlib.contextmanager
def changed(file):
    """One line more at the end of a file while the context lasts."""
    before = file.read_bytes()
    file.write_bytes(before + b"one more line\n")
    try:
        yield
    finally:
        file.write_bytes(before)
        os.utime(file, (_TIME, _TIME))


if __name__ == "__main__":
    # `python3 -m bench.trees DIRECTORY`: the tree, for other measurements.
    write(pathlib.Path(sys.argv[1]), Pools().project())
