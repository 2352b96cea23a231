"""A run's folder for a program that only reads it."""

from pathlib import Path

from jobs import trust
from tuner.space import BadInput
from tuner.store import Store


def opened(run: str | Path) -> Store:
    """The run of a folder, a colleague's too where one may read it; changes nothing.

    Raises BadInput, which names the folder, and Untrusted where others could have written in it.
    """
    try:
        return Store(Path(run).absolute(), trust.check_reader)
    except BadInput as error:
        raise BadInput(str(run), error.problem, error.remedy) from None
