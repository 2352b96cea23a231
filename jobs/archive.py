"""Many results in one file: the digest beside done/, and the pack of a finished run.

One line a result. Each proves itself: one that is torn, or another run's, counts as not there.

    {"check":"9a3f0011","number":12,"result":⇥{…}⇥,"curve":⇥[…]⇥}

JSON text has no raw tabs, so a curve is cut out unread: as objects those of 100,000 trials would
fill a memory.
"""

import itertools
import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, final

from jobs import files

_BATCH = 1000  # records that are decoded at once
_FEW = 50  # results that are read one by one though there is a digest
_PACK = re.compile(r"(\d{6,})\.packed\.jsonl")
_CHECK = b'{"check":"%08x",'
_BODY = b'"number":%d,"result":\t%s\t,"curve":\t%s\t}'
_CHECK_LENGTH = len(_CHECK % 0)
_NUMBER = slice(len('"number":'), -len(',"result":'))


@final
class Curve(Sequence[Mapping[str, Any]]):
    """The records of a trial's epochs, kept as their JSON text until somebody reads them."""

    __slots__ = ("_text",)

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __len__(self) -> int:
        return len(self._records())

    def __getitem__(self, index: Any) -> Any:
        return self._records()[index]

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return iter(self._records())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._records() == list(other)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return repr(self._records())

    def _records(self) -> list[Mapping[str, Any]]:
        records: list[Mapping[str, Any]] = json.loads(self._text)
        return records


class Entry(NamedTuple):
    """A whole line, of which only the number is read yet."""

    number: int
    line: bytes
    result: bytes
    curve: bytes


@final
class Archives:
    """A run's files that hold many results: the digest, a mere cache, and the pack.

    The pack of a finished run guards the numbers below its own, by its name alone: whatever else
    is there of them no longer counts.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.digest = run / "digest.jsonl"
        self._packed: int | None = None

    @property
    def packed(self) -> int:
        """One more than the highest number in the pack, by the last listing; 0 without one."""
        if self._packed is None:
            self.seen(files.names(self.run / "done"))
        return self._packed or 0

    def seen(self, listed: Iterable[str]) -> set[int]:
        """The numbers in the pack, from the names in done/."""
        found = (int(match[1]) for name in listed if (match := _PACK.fullmatch(name)))
        self._packed = max(found, default=0)
        return set(range(self._packed))

    def pack(self, size: int) -> Path:
        """Where a pack of the first `size` trials stands."""
        return self.run / "done" / f"{size:06d}.packed.jsonl"

    def key(self) -> str:
        """What the digest's lines are written with: another run's are not ours."""
        return str((files.read(self.run / "run.json") or {}).get("id", ""))

    def entries(self, wanted: Collection[int]) -> Iterator[Entry]:
        """What the pack holds if any of it is wanted, then the digest if many others are."""
        if min(wanted, default=self.packed) < self.packed:
            yield from read(self.pack(self.packed), "")
        if len(wanted) > _FEW:
            with suppress(OSError):  # what the cache lacks is read from done/
                yield from read(self.digest, self.key())


def tables(entries: Iterable[Entry]) -> Iterator[dict[str, Any]]:
    """The records as they were published, their curves still unread.

    Many are decoded at once: that takes half as long as one by one.
    """
    source = iter(entries)
    while batch := list(itertools.islice(source, _BATCH)):
        records = json.loads(b"[%s]" % b",".join([entry.result for entry in batch]))
        for entry, table in zip(batch, records, strict=True):
            table["curve"] = Curve(entry.curve)
            yield table


def curve(records: Any) -> Curve:
    """A curve of records that are read already."""
    return Curve(_text(records))


def line(table: Mapping[str, Any], key: str) -> bytes:
    """A published record as a line for the readers who know the key."""
    result = {name: value for name, value in table.items() if name != "curve"}
    body = _BODY % (table["number"], _text(result), _text(table.get("curve", ())))
    return _CHECK % zlib.crc32(body, _seed(key)) + body


def read(path: Path, key: str) -> Iterator[Entry]:
    """The whole lines of a file that were written with the key."""
    seed = _seed(key)
    for text in files.lines(path):
        whole = text.rstrip(b"\n")
        body = whole[_CHECK_LENGTH:]
        if whole.startswith(_CHECK % zlib.crc32(body, seed)):
            number, result, _, records, _ = body.split(b"\t")
            yield Entry(int(number[_NUMBER]), whole, result, records)


def _seed(key: str) -> int:
    return zlib.crc32(key.encode())


def _text(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
