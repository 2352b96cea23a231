"""digest.jsonl: what done/ holds in one file, so that a start does not open every result.

A cache. Readers take whole lines of listed numbers from it and read the rest from done/, so it may
be deleted, torn or old at any time. Only controllers write it; of two at once some lines are double
or garbled, which costs a reader time and nothing else.
"""

from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import final

from jobs import archive, files
from jobs.folder import RunFolder

_BATCH = (
    1000  # results a tick: a controller that starts without a digest does its work all the same
)


@final
class Digest:
    """Keeps the digest of a run that this process controls."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._held: set[int] | None = None  # numbers in the digest, once it was read

    def extend(self, finished: AbstractSet[int]) -> None:
        """Append results that the digest lacks; a disk that refuses is asked again next time."""
        with suppress(OSError):
            if self._held is None:
                self._held = self._check(finished)
            due = sorted(finished - self._held)[:_BATCH]
            if due:
                self._append(due)
                self._held.update(due)

    def _check(self, finished: AbstractSet[int]) -> set[int]:
        """The numbers that need no line any more.

        A digest that knows results which done/ has not is newer than it, as after a restored
        backup: such a number may get another result, so the digest goes.
        """
        archives = self.folder.archives
        held = {entry.number for entry in archive.read(archives.digest, archives.key())}
        if not held <= finished:
            files.remove([archives.digest])
            held = set()
        return held | set(range(archives.packed))

    def _append(self, numbers: list[int]) -> None:
        archives = self.folder.archives
        tables = (files.read(self.folder.result_path(number)) for number in numbers)
        key = archives.key()
        lines = [archive.line(table, key) for table in tables if table is not None]
        files.append_lines(archives.digest, lines)
