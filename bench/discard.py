"""Puts away what a round has left.

Removing it at once would slow down whoever comes next: ext4 looks for inodes that were not freed in the last minutes, and
after tens of thousands were, that took a third of all processor time of a build.
"""

import itertools
import shutil
import subprocess

_ROOM_BYTES = 20_000_000_000
_NUMBERS = itertools.count()


def discard(directory):
    """Moves `directory` out of the way; it is removed at the end, or when the disk has little room left."""
    rubbish = directory.parent / "discarded"
    rubbish.mkdir(exist_ok=True)
    directory.rename(rubbish / f"{directory.name}-{next(_NUMBERS)}")
    if shutil.disk_usage(rubbish).free < _ROOM_BYTES:
        subprocess.run(["rm", "-rf", rubbish], check=True)
