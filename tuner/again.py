"""The winner as a study file of its own: what trains it once more, with the seed that it had."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tomli_w

from tuner.space import BadInput
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial

NAME = "best.toml"
_LONGEST = 64 - len("-123456789")  # of a study's name, with a trial's number behind it


def lines(store: Store, won: Trial) -> tuple[str, ...]:
    """The commands that train the winner again, as a job and on this machine.

    None where an outer program asked for a point that the study's space has not.
    """
    try:
        store.study.space.check(won.params)
    except BadInput:
        return ()
    path = shlex.quote(str(store.folder.report / NAME))
    return f"sbatch slurm/controller.sh {path}", f"python -m tuner.run {path}"


def study_file(store: Store, won: Trial) -> bytes:
    """The study of one trial, the winner's point with its seed, as TOML.

    Its name has the trial's number: another winner is another run. The space stays, so that the
    search can go on from here with more trials.
    """
    job, here = lines(store, won)
    of = f"Trial {won.number} of {store.path}, once more with its seed, and its test:"
    head = "".join(f"# {_one_line(line)}\n" for line in (of, f"  {job}", f"  {here}"))
    return (head + toml(_alone(store.study, won))).encode()


def _alone(study: Study, won: Trial) -> dict[str, Any]:
    only = replace(
        study, name=f"{study.name[:_LONGEST]}-{won.number}", n_trials=1, sampler="random",
        enqueue=(dict(won.params),), seeds=(won.seed,), confirm=None, pruner={}, gpu_hours=None,
        jobs=replace(study.jobs, n_workers=1),
    ).to_table()  # fmt: skip
    return {key: value for key, value in only.items() if key != "warm_start"}


def toml(table: Mapping[str, Any]) -> str:
    """A table as TOML, which has no null: what is None is left out, and so is an empty table."""
    return tomli_w.dumps({key: value for key, value in _said(table).items() if value != {}})


def _said(value: Any) -> Any:
    """The same without what is None."""
    if isinstance(value, Mapping):
        return {key: _said(item) for key, item in value.items() if item is not None}
    return [_said(item) for item in value] if isinstance(value, (list, tuple)) else value


def _one_line(text: str) -> str:
    """For a comment, which a line break would leave."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)
