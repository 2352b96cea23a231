"""hyperopt's trial documents as plain data: made, numbered, and brought into JSON's terms."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

Document = dict[str, Any]


@final
class Documents(list[Document]):
    """Documents that `after` is called with right when a loop has dealt with them.

    hyperopt evaluates all waiting documents in one loop before it refreshes; a process that is
    killed in there shall lose the one in work only.
    """

    def __init__(self, after: Callable[[Document], None]) -> None:
        super().__init__()
        self._after = after

    def __iter__(self) -> Iterator[Document]:
        for document in super().__iter__():
            yield document
            self._after(document)


def document(number: int, state: int, values: Mapping[str, Any]) -> Document:
    """A point without a result; the value of an inactive label is None."""
    vals = {label: [] if value is None else [value] for label, value in values.items()}
    idxs = {label: [number] if val else [] for label, val in vals.items()}
    misc = {"tid": number, "cmd": None, "workdir": None, "idxs": idxs, "vals": vals}
    nothing = dict.fromkeys(("spec", "exp_key", "owner", "book_time", "refresh_time"))
    new = {"state": state, "tid": number, "misc": misc, "result": {"status": "new"}, "version": 0}
    return {**nothing, **new}


def renumber(document: Document, number: int) -> None:
    """Give a document another number, wherever hyperopt has it."""
    misc = document["misc"]
    idxs = {label: [number] if ids else [] for label, ids in misc["idxs"].items()}
    document |= {"tid": number, "misc": {**misc, "tid": number, "idxs": idxs}}


def plain(value: Any) -> Any:
    """The same as JSON would bring it back: arrays as lists, NaN as a word, the rest as text."""
    text = json.dumps(
        value, skipkeys=True, default=lambda x: x.tolist() if hasattr(x, "tolist") else str(x)
    )
    return json.loads(text, parse_constant=str)
