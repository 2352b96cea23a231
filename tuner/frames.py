"""A run as pandas DataFrames: `tuner.load` and `tuner.load_curves`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from jobs.contract import State
from tuner.opened import opened
from tuner.results import parameter, searched
from tuner.space import BadInput
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial

What = Literal["search", "all"]


def load(run: str | Path, what: What = "search") -> pd.DataFrame:
    """The trials of a run as a table, one row each by number; at any time, packed or not.

    The first columns have the names of Optuna's `study.trials_dataframe()`:

    | column | dtype | what it is |
    |---|---|---|
    | `number` | int64 | the trial's number; numbers may be missing: see `what` |
    | `state` | category | WAITING, RUNNING, COMPLETE, PRUNED or FAIL |
    | `value` | float64 | in the study's direction; of a pruned trial its best; else NaN |
    | `params_<name>` | float64, Int64, boolean; words: category | missing where it has no say |
    | `datetime_start` | datetime64[ns, UTC] | when its last attempt began; NaT before |
    | `datetime_complete` | datetime64[ns, UTC] | when it ended; NaT before |
    | `duration` | timedelta64[ns] | of its last attempt; in a CSV seconds |
    | `part` | str | "search"; "confirm:<k>" with a fresh seed; "test", "leave:<group>" |
    | `of` | Int64 | the trial whose point a part trains again, or whose model it tests |
    | `origin` | str | the sampler, "enqueue", "by hand", or the part |
    | `seed` | int64 | of its training |
    | `reason` | str | why FAIL or PRUNED, else empty |
    | `epochs` | int64 | that it reported: the rows of its curve; 0 until it has ended |
    | `attempts` | int64 | trainings that began |
    | `lost_seconds` | float64 | what the attempts before the last took, in seconds |
    | `host`, `device`, `job` | str | where it was trained; `job` is Slurm's id, or the process |
    | `metrics_<name>` | float64 | `what="all"`: scores on the test part, in real units |

    `what="all"` adds the trainings that followed the search: with fresh seeds, and tests. They have
    numbers like the search's, so one that went on after them has gaps in its own.
    Raises BadInput where `run` is no run's folder, Untrusted where others can write it.
    """
    store = opened(run)
    return table(store.study, _wanted(store, what))


def load_curves(run: str | Path, what: What = "search") -> pd.DataFrame:
    """The learning curves of a run's finished trials, one row an epoch.

    Columns: `number` (int64) of the trial, `step` (int64, an epoch from 0), `datetime`
    (datetime64[ns, UTC]) of the report, and float64 for every metric that was reported under its
    own name: NaN where a trial did not report it, or where it was infinite. Errors and `what` as
    `load` has them.
    """
    rows = [(t.number, record) for t in _wanted(opened(run), what) for record in t.curve]
    columns: dict[str, Any] = {
        "number": pd.Series([number for number, _ in rows], dtype="int64"),
        "step": pd.Series([record["step"] for _, record in rows], dtype="int64"),
        "datetime": _moments([record.get("time") for _, record in rows]),
    }
    names = dict.fromkeys(name for _, record in rows for name in record)
    for name in names:
        if name not in ("step", "time"):
            free = f"metrics_{name}" if name in columns else name
            values = [record.get(name) for _, record in rows]
            columns[free] = pd.Series(values, dtype="float64")
    return pd.DataFrame(columns)


def table(study: Study, trials: Sequence[Trial]) -> pd.DataFrame:
    """The columns that `load` describes, of some trials."""

    def column(name: str, dtype: Any) -> "pd.Series[Any]":
        found: pd.Series[Any] = pd.Series([getattr(t, name) for t in trials], dtype=dtype)
        return found

    states = [str(t.state) for t in trials]
    start = _moments([t.started for t in trials])
    ended = [t.seconds if t.state.finished else None for t in trials]
    spans = pd.to_timedelta(pd.Series(ended, dtype="float64"), unit="s")
    lasted: pd.Series[Any] = spans.astype("timedelta64[ns]")
    metrics = dict.fromkeys(name for t in trials for name in t.metrics)
    return pd.DataFrame(
        {
            "number": column("number", "int64"),
            "state": pd.Series(pd.Categorical(states, categories=[str(s) for s in State])),
            "value": column("value", "float64"),
            **{f"params_{name}": parameter(study, name, trials) for name in study.space.parameters},
            "datetime_start": start,
            "datetime_complete": start + lasted,
            "duration": lasted,
            "part": column("part", "str"),
            "of": column("of", "Int64"),
            "origin": column("origin", "str"),
            "seed": column("seed", "int64"),
            "reason": column("reason", "str"),
            "epochs": pd.Series([len(t.curve) for t in trials], dtype="int64"),
            "attempts": column("attempts", "int64"),
            "lost_seconds": column("lost_seconds", "float64"),
            **{name: column(name, "str") for name in ("host", "device", "job")},
            **{
                f"metrics_{name}": pd.Series([t.metrics.get(name) for t in trials], dtype="float64")
                for name in metrics
            },
        }
    )


def _wanted(store: Store, what: What) -> Sequence[Trial]:
    if what not in ("search", "all"):
        raise BadInput("what", f"{what!r} is unknown", 'write "search" or "all"')
    trials = store.trials()
    return trials if what == "all" else searched(trials)


def _moments(seconds: Sequence[float | None]) -> "pd.Series[Any]":
    """Moments of seconds since 1970."""
    clock: pd.Series[Any] = pd.to_datetime(
        pd.Series([*seconds], dtype="float64"), unit="s", utc=True
    )
    return clock.astype("datetime64[ns, UTC]")
