"""Who may look into a run: its owner alone, or the members of a group; who may write is trust.py's.

The run's own folder is the door. It says what umask its processes have, and so what they write.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o077  # the umask of our processes, but for those of a run that a group may read


def umask(run: Path) -> int:
    """The umask with which to write into a run's folder: its group reads along where it may."""
    try:
        mode = os.stat(run).st_mode
    except OSError:
        return PRIVATE
    return 0o027 if mode & stat.S_ISGID and mode & stat.S_IRGRP else PRIVATE


@contextmanager
def masked(run: Path) -> Iterator[None]:
    """Let what this process writes meanwhile be its owner's alone to read, or a run's group's."""
    before = os.umask(umask(run))
    try:
        yield
    finally:
        os.umask(before)


def close(folder: Path) -> None:
    """Let nobody else into a folder that somebody made with another umask."""
    os.chmod(folder, 0o700)


def open_to(folder: Path, group: int) -> None:
    """Let a group read a folder and all that is or will be in it; raises OSError.

    The bit of the group makes what comes later the group's as well, so once is enough.
    """
    if _is_open_to(folder, group):
        return
    for where, _, held in os.walk(folder, topdown=False):  # the door is opened last
        with suppress(FileNotFoundError):  # it lives: what has ended is tidied meanwhile
            for name in held:
                _give(os.path.join(where, name), group, 0o640)
            _give(where, group, 0o2750)


def let_pass(folder: Path) -> None:
    """Let others through a folder of this user's that was closed to all; they cannot list it."""
    info = os.stat(folder)
    if info.st_uid == os.geteuid() and not info.st_mode & 0o077:
        os.chmod(folder, 0o711)


def _is_open_to(folder: Path, group: int) -> bool:
    info = os.stat(folder)
    return info.st_gid == group and stat.S_IMODE(info.st_mode) == 0o2750


def _give(path: str, group: int, mode: int) -> None:
    with suppress(FileNotFoundError):
        os.chown(path, -1, group, follow_symlinks=False)
        os.chmod(path, mode)
