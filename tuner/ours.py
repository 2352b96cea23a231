"""What our own training says to a study, asked before a job is spent; a function of one's own is
asked by its first trials."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models.defaults import OURS, ParamError, checked
from tuner.parameters import Categorical
from tuner.space import BadInput, Space
from tuner.study import Study

if TYPE_CHECKING:  # it brings numpy, which most commands do without
    from models.split import Dataset


def check(study: Study, data: "Dataset | None") -> None:
    """Raise BadInput where our training would refuse what is fixed, or an end of the space."""
    if study.train != OURS or data is None:
        return
    for params in _ends(study.space):
        try:
            checked({**study.fixed, **params}, data.task)
        except ParamError as error:
            table = "space" if error.key in study.space.parameters else "fixed"
            remedy = "README, 'A study file', says what may be there"
            raise BadInput(f"{table}.{error.key}", error.problem, remedy) from None


def check_data(study: Study) -> None:
    """Raise BadInput where our training would have nothing to learn from."""
    if study.train == OURS and not study.data:
        raise BadInput("data", "is missing", 'name some, as in [data] source = "beijing_pm25"')


def _ends(space: Space) -> Iterator[dict[str, Any]]:
    """The middle of the space, and each parameter's ends or choices with all others there."""
    middle = space.filled({})
    yield space.only_active(middle)
    for name, parameter in space.parameters.items():
        at = parameter.choices if isinstance(parameter, Categorical) else (
            parameter.low, parameter.high,
        )  # fmt: skip
        for value in at:
            yield space.only_active({**middle, name: value})
