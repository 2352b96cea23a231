"""The winner as a study file of its own: what trains it once more, with the seed that it had."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tuner.space import BadInput
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial

NAME = "best.toml"
_LONGEST = 64 - len("-123456789")  # of a study's name, with a trial's number behind it
_BARE = re.compile(r"[A-Za-z0-9_-]+")


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
    """A table as TOML, which has no null: what is None is left out, and so is an empty table.

    Its values are strings, numbers, true and false, lists and tables, as a study has them.
    """
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    points = {key: table[key] for key in table if _is_points(table[key])}
    rest = {key: table[key] for key in table if key not in tables and key not in points}
    parts = [_pairs(rest)]
    parts += [f"[[{_key(key)}]]\n{_pairs(point)}" for key in points for point in points[key]]
    parts += [f"[{_key(key)}]\n{_pairs(value)}" for key, value in tables.items() if value]
    return "\n".join(parts)


def _pairs(table: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in table.items() if value is not None}
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in kept.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if item is not None}
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in kept.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """As JSON has it, which TOML reads, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_points(value: Any) -> bool:
    if not value or not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(item, Mapping) for item in value)


def _one_line(text: str) -> str:
    """For a comment, which a line break would leave."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)
