"""The only module that writes to the shared disk: whole files or none, never a changed one.

A reader may be late (NFS shows a directory up to a minute old) but never wrong: what it can open
and parse is what was written, anything else counts as not there yet.
"""

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

T = TypeVar("T")

DRAFT = ".draft-"
_STALE_DRAFT = 3600.0  # seconds
_STALE_FOLDER = 86400.0  # seconds: 4 GB take a minute, terabytes on a slow disk hours
_PASSING = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.EAGAIN,
    errno.ETIMEDOUT, errno.EINTR, errno.EBUSY, errno.ENOLCK,
}  # fmt: skip


def make_folder(path: Path) -> None:
    """Make a folder (and those above it) that others can never write.

    Whether a run's group may look in is said by the run's own folder, and so by `umask`.
    """
    os.makedirs(path, mode=0o750, exist_ok=True)


def write_once(path: Path, record: Mapping[str, Any]) -> bool:
    """Publish a JSON record under a name that can be taken once; True if it is ours.

    The draft is complete on disk before `link` gives it its name, so a reader finds all or
    nothing. `link` may report an error although it happened (a lost NFS reply): then the file
    holds our nonce.

    Raises OSError where the disk refuses, ENOTSUP or EPERM where it has no hard links.
    """
    nonce = secrets.token_hex(8)
    draft = path.with_name(DRAFT + nonce)
    try:
        _write(draft, [json.dumps({**record, "nonce": nonce}, allow_nan=False).encode()])
        won = _link(draft, path, nonce)
        # Tried again from the start it would lose to itself: from here on it only waits.
        patiently(lambda: _sync_folder(path.parent))
    finally:
        with suppress(OSError):
            _unlink(draft)
    return won


def replace(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write a file that has one writer and may change: readers see the old or the new whole."""
    draft = path.with_name(DRAFT + secrets.token_hex(8))
    try:
        _write(draft, [data] if isinstance(data, bytes) else data)
        _rename(draft, path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            _unlink(draft)


def fill(folder: Path, pieces: Iterable[tuple[str, bytes]]) -> None:
    """Make a folder of files, whole or not at all; somebody else's of that name stays.

    `pieces` are names and what comes next in that file. Raises OSError where the disk refuses.
    """
    draft = folder.with_name(DRAFT + secrets.token_hex(8))
    os.mkdir(draft, 0o700)
    with ExitStack() as stack:
        stack.callback(remove_folder, draft)  # once it has its name there is none
        handles: dict[str, int] = {}
        for name, piece in pieces:
            if name not in handles:
                handles[name] = _open_to_append(draft / name)
                stack.callback(os.close, handles[name])
            _write_all(handles[name], piece)
        for handle in handles.values():
            os.fsync(handle)
        with suppress(FileExistsError):
            _rename(draft, folder)
        _sync_folder(folder.parent)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is inside with this file, where the disk knows locks.

    A lock saves work only: it ends with its process, and some file systems have none.
    """
    handle = _open_to_append(path)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def share(source: Path, target: Path) -> None:
    """Give a file a second name, replacing what had it; costs no copy."""
    draft = target.with_name(DRAFT + secrets.token_hex(8))
    try:
        with suppress(FileExistsError):  # a lost reply: nobody else has this name
            os.link(source, draft, follow_symlinks=False)
        _rename(draft, target)
    finally:
        with suppress(OSError):
            _unlink(draft)


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line to a file that only this process appends to.

    The line break comes first: a line torn by a crash then spoils no other.
    """
    append_lines(path, [json.dumps(record, allow_nan=False).encode()])


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines in one write."""
    handle = _open_to_append(path)
    try:
        _write_all(handle, b"".join(b"\n" + line for line in lines))
    finally:
        os.close(handle)


def read(path: Path) -> dict[str, Any] | None:
    """The JSON record at `path`, or None while it is missing, torn or stale."""
    data = read_bytes(path)
    return None if data is None else _parse(data)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole JSON records of an appended file; torn lines are left out."""
    lines = (read_bytes(path) or b"").split(b"\n")
    return [record for line in lines if (record := _parse(line)) is not None]


def read_bytes(path: Path, last: int | None = None) -> bytes | None:
    """The bytes at `path`, or its last ones; None where there is no such file."""
    file = _opened(path)
    if file is None:
        return None
    with file:
        if last is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last))
        return file.read()


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file one after the other; none where there is no such file."""
    file = _opened(path)
    if file is not None:
        with file:
            yield from file


def names(folder: Path) -> list[str]:
    """What is in a folder, drafts left out; listing is the only way to learn that a file exists.

    Probing a missing name would make NFS remember for up to a minute that it is missing.
    """
    try:
        return [name for name in os.listdir(folder) if not name.startswith(DRAFT)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def modified(path: Path) -> float | None:
    """When the file server last saw `path` written, in seconds; None where it is missing."""
    try:
        return os.lstat(path).st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None


def server_now(folder: Path) -> float:
    """The file server's clock, in seconds: the time it gives to a file written now."""
    draft = folder / (DRAFT + secrets.token_hex(8))
    try:
        _write(draft, [])
        return os.lstat(draft).st_mtime
    finally:
        with suppress(OSError):
            _unlink(draft)


def remove(paths: Iterable[Path]) -> None:
    """Remove files that are no longer looked at; one that is gone already is fine."""
    for path in paths:
        _unlink(path)


def remove_folder(path: Path) -> None:
    """Remove a folder of files that are no longer looked at; what cannot go stays."""
    shutil.rmtree(path, ignore_errors=True)


def open_log(path: Path) -> BinaryIO:
    """A log file for a process's output."""
    return os.fdopen(_open_to_append(path), "ab")


def open_folder(path: Path) -> int:
    """A handle of a folder, for its entries to be reached whatever becomes of its name."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def sweep_drafts(folder: Path) -> None:
    """Remove drafts whose writer died more than an hour ago by the file server's clock."""
    drafts = [name for name in os.listdir(folder) if name.startswith(DRAFT)]
    if not drafts:
        return
    now = server_now(folder)
    ages = ((folder / name, modified(folder / name)) for name in drafts)
    remove(path for path, time_ in ages if time_ is not None and now - time_ > _STALE_DRAFT)


def sweep_folders(folder: Path) -> None:
    """Remove folders left half filled, begun more than a day ago by the file server's clock."""
    drafts = [folder / name for name in os.listdir(folder) if name.startswith(DRAFT)]
    if not drafts:
        return
    now = server_now(folder)
    for draft in drafts:
        if (began := modified(draft)) is not None and now - began > _STALE_FOLDER:
            remove_folder(draft)


def patiently(action: Callable[[], T], give_up: Callable[[], bool] = lambda: False) -> T:
    """Do a file operation, waiting while the disk is full, read-only or away.

    A full disk on a Saturday must not turn a trained trial into a failed one. `give_up` ends the
    wait with the error itself. Raises other errors at once.
    """
    pause = 0.5
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno not in _PASSING or give_up():
                raise
            time.sleep(pause)
            pause = min(2 * pause, 30.0)


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _opened(path: Path) -> BinaryIO | None:
    """A file to read, or None where there is none; a symlink is not followed."""
    for _ in range(3):  # ESTALE: the file was replaced on the server while we opened it
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.ESTALE:
                continue
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                return None
            raise
        return os.fdopen(handle, "rb")
    return None


def _write(path: Path, parts: Iterable[bytes]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
    try:
        for part in parts:
            _write_all(handle, part)
        os.fsync(handle)  # a full disk may show only here
    finally:
        os.close(handle)


def _open_to_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _link(draft: Path, path: Path, nonce: str) -> bool:
    try:
        os.link(draft, path)
    except OSError as error:
        # Only the reply was lost where the nonce is ours; a count of links is a backup's to change.
        ours = patiently(lambda: (read(path) or {}).get("nonce") == nonce)
        if not ours and not isinstance(error, FileExistsError):  # it may be swept since
            raise
        return ours
    return True


def _rename(draft: Path, path: Path) -> None:
    try:
        os.replace(draft, path)
    except OSError:
        if modified(draft) is not None:  # else the reply was lost, not the new name
            raise


def _sync_folder(folder: Path) -> None:
    handle = open_folder(folder)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(data)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
