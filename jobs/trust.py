"""Who else could have written a file: asked before it counts, since a study and a run name code.

On a shared machine a colleague's group, a forgotten umask or a name in /tmp that somebody else
took first must not decide what runs as this user.
"""

import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import final

from jobs import files

_DEEP = ("done", "jobs")  # folders of a run whose entries are folders again
_LINKS = 40  # one after the other that the kernel follows
_OWN = "log in as its owner, or choose a folder of your own"


@final
class Untrusted(Exception):  # noqa: N818 - the input is at fault, not the program
    """Somebody else can change a file; the message names the file and the remedy."""

    def __init__(self, path: Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}; {remedy}")


def check_file(path: Path) -> None:
    """Raise Untrusted where others can change a file, or put another one in its place.

    Root and the owner of this very code are no others. A missing file is left to its reader.
    """
    _check_way(path, f"use a copy in a folder of your own: cp {shlex.quote(str(path))} ~/")


def check_run(path: Path) -> None:
    """Raise Untrusted unless a run's folder and what is in it are this user's alone to write.

    Symlinks in it are refused; a folder that is not there yet has only to be safe to make.
    """
    _check_way(path, _OWN)
    if not os.path.isdir(path):  # noqa: PTH112 - a folder that cannot be entered is no error here
        return
    _check_own(path, path.stat())
    for name in files.names(path):
        with suppress(FileNotFoundError):  # lists are old: a worker may have removed it
            _check_own(path / name, (path / name).lstat())
        _refuse_link(path / name)
    for folder in (path / name for name in _DEEP):
        for name in files.names(folder):
            _refuse_link(folder / name)


def check_reader(path: Path) -> None:
    """Raise Untrusted unless a run may be looked at: one's own, or one that is shared with a group.

    A reader runs and unpickles nothing of it, so what a colleague wrote there can do no harm.
    """
    if not os.path.isdir(path) or is_own(path):  # noqa: PTH112 - as above
        check_run(path)
        return
    info = path.stat()
    if not (info.st_mode & stat.S_IRGRP and info.st_gid in {os.getegid(), *os.getgroups()}):
        owner = _name(info.st_uid)
        remedy = f'ask {owner} to write group = "…" into the study file, and to start it again'
        raise Untrusted(path, f"is {owner}'s alone", remedy)


def group_id(name: str) -> int | None:
    """The number of a group that this user is in; None where there is none."""
    try:
        found = grp.getgrnam(name).gr_gid
    except KeyError:
        return None
    return found if found in {os.getegid(), *os.getgroups()} else None


def is_own(path: Path) -> bool:
    """Whether a folder is this user's."""
    return path.stat().st_uid == os.geteuid()


def open_own(path: Path) -> int:
    """A handle of a folder that only this user can have filled; raises Untrusted, OSError.

    Paths through the handle stay in that folder whatever is renamed above it.
    """
    handle = files.open_folder(path)
    _check_own(path, os.fstat(handle))
    for name in os.listdir(handle):  # noqa: PTH208
        with suppress(FileNotFoundError):  # submitit renames its pickles when sbatch has answered
            _check_own(path / name, os.stat(name, dir_fd=handle, follow_symlinks=False))
    return handle


def _check_way(path: Path, remedy: str) -> None:
    friends = {os.geteuid(), 0, _root(), Path(__file__).stat().st_uid}
    for step in _ways(path):
        info = step.lstat()
        if info.st_uid not in friends:
            raise Untrusted(step, f"belongs to {_name(info.st_uid)}", remedy)
        kept = stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_ISVTX  # as in /tmp
        if _others_write(info) and not kept:
            raise Untrusted(step, "others can write it", f"chmod go-w {shlex.quote(str(step))}")


def _check_own(path: Path, info: os.stat_result) -> None:
    if info.st_uid != os.geteuid():
        raise Untrusted(path, f"belongs to {_name(info.st_uid)}", _OWN)
    if _others_write(info):
        raise Untrusted(path, "others can write it", f"chmod go-w {shlex.quote(str(path))}")


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise Untrusted(path, "is a symlink", "remove it: a run holds none")


def _ways(path: Path, links: int = _LINKS) -> Iterator[Path]:
    """Every folder, link and file on the way to what `path` names, as far as it is there."""
    for step in (*reversed(path.absolute().parents), path.absolute()):
        if not os.path.lexists(step):
            return
        yield step
        if links and step.is_symlink():
            yield from _ways(step.parent / step.readlink(), links - 1)


def _others_write(info: os.stat_result) -> bool:
    if stat.S_ISLNK(info.st_mode):
        return False
    group = info.st_mode & stat.S_IWGRP and not _private(info.st_gid)
    return bool(info.st_mode & stat.S_IWOTH or group)


def _private(group: int) -> bool:
    """Whether a group is this user's alone, which by convention has the user's name.

    Asking who else has it as their first group is no way: many sites list only local users.
    """
    try:
        me, found = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == me and {*found.gr_mem} <= {me}


def _root() -> int:
    """How root's files look here: a container of an ordinary user shows them as nobody's."""
    return Path("/dev").stat().st_uid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
