"""`python -m tuner.pack RUN`: make a finished run a few files, which every command reads as before.

The results move into one file, whose name guards their numbers. The last result stays beside it:
who does not see the new name yet (NFS, for a minute) then finds a hole, and waits. Nothing is
removed before what replaces it is on disk and was read back, so a kill at any moment loses nothing,
and a second call ends what it began. A packed run can go on with more trials, and be packed again.
"""
# PYTHON_ARGCOMPLETE_OK

import tarfile
from collections.abc import Iterator
from pathlib import Path

from jobs import archive, files
from jobs.contract import trains_the_search
from jobs.folder import RunFolder
from tuner import cli, drive
from tuner.confirm import TEST
from tuner.space import BadInput
from tuner.store import Store, resume_line

_EXAMPLE = "runs/pm25"
_BUNDLE = "packed.tar"  # logs, and weights that no command reads


def pack(store: Store) -> None:
    """Pack a run; raises BadInput where it is not finished or cannot be read whole."""
    with drive.alone(store) as only:
        if not only:
            raise BadInput("", "has a controller at work", "wait until it ends")
        size = _finished(store)
        _pack_results(store.folder, size)
        _remove_packed(store.folder, size)
        _bundle(store)
        files.remove([store.folder.archives.digest])
        for folder in (store.path, store.folder.done):  # of an earlier call that was killed
            files.sweep_drafts(folder)


def _finished(store: Store) -> int:
    """How many trials there are, all of them finished."""
    view = store.view()
    if open_ := len(view.proposed - view.finished):
        remedy = f"finish it first: {resume_line(store)}"
        raise BadInput("", f"has {open_} unfinished trials", remedy)
    if not view.finished:
        raise BadInput("", "has no trial", "pack a run that has")
    if "fmin" in files.names(store.path):
        raise BadInput("", "holds points of hyperopt's fmin", "leave it as it is")
    slots = drive.executor_for(store).slots()
    if slots is None or slots.workers:
        who = "workers that may still write" if slots else "a Slurm that does not answer"
        raise BadInput("", f"has {who}", "try again in some minutes")
    store.sweep(view)
    return view.size


def _pack_results(folder: RunFolder, size: int) -> None:
    path, new = folder.archives.pack(size), folder.archives.packed < size
    if new:
        files.replace(path, (b"\n" + line for line in _lines(folder, size)))
    if {entry.number for entry in archive.read(path, "")} != set(range(size)):
        if new:  # what it was made of is still there
            files.remove([path])
        raise BadInput("", f"{path.name} came back from the disk with holes", "see to that disk")


def _lines(folder: RunFolder, size: int) -> Iterator[bytes]:
    packed = folder.archives.packed
    for entry in archive.read(folder.archives.pack(packed), ""):
        yield entry.line
    for number in range(packed, size):
        path = folder.result_path(number)
        table = files.read(path)
        if table is None:
            raise BadInput("", f"{path} cannot be read", "restore it")
        yield archive.line(table, "")


def _remove_packed(folder: RunFolder, size: int) -> None:
    """Remove what the pack replaces, but for the last result: see above."""
    last = folder.result_path(size - 1)
    for name in sorted(files.names(folder.done)):
        path = folder.done / name
        if path == last.parent:
            files.remove(path / result for result in files.names(path) if result < last.name)
        elif name.isdigit() and int(name) < int(last.parent.name):
            files.remove_folder(path)
        elif name.endswith(".packed.jsonl") and path != folder.archives.pack(size):
            files.remove([path])


def _bundle(store: Store) -> None:
    """Put the logs, and the weights of models that only tested the search, into one archive."""
    folder, target = store.folder, store.path / _BUNDLE
    logs = [path for path in folder.jobs.rglob("*") if path.is_file() and not path.is_symlink()]
    parts = {t.number for t in store.trials() if not (trains_the_search(t.part) or t.part == TEST)}
    weights = [folder.weights / name for name in files.names(folder.weights)]
    paths = [*logs, *(path for path in weights if int(path.name.split(".")[0]) in parts)]
    if paths:
        files.replace(target, _tar(store.path, paths, target))
    for name in files.names(folder.jobs):
        files.remove_folder(folder.jobs / name)
    files.remove(path for path in paths if path.parent == folder.weights)


def _tar(run: Path, paths: list[Path], old: Path) -> Iterator[bytes]:
    """A tar of files, and of what an older one holds beside them."""
    names = {str(path.relative_to(run)): path for path in sorted(paths)}
    for name, path in names.items():
        yield from _member(name, files.modified(path) or 0.0, files.read_bytes(path) or b"")
    if old.name in files.names(run):
        with tarfile.open(old, "r") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if member.name not in names and content is not None:
                    yield from _member(member.name, member.mtime, content.read())
    yield b"\0" * 2 * tarfile.BLOCKSIZE


def _member(name: str, modified: float, content: bytes) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(content), int(modified), 0o600
    yield info.tobuf()
    yield content
    yield b"\0" * (-len(content) % tarfile.BLOCKSIZE)


def main() -> None:
    """Make a finished run a few files, which every command reads as before."""
    parser = cli.parser("pack", main.__doc__, _EXAMPLE)
    parser.add_argument("run", type=Path, help="the run's folder")
    run = cli.parse(parser).run
    with cli.guarded(run):
        pack(Store(run.absolute()))
    print(f"packed: {run}")


if __name__ == "__main__":
    main()
