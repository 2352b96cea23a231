"""One trial of a run, from its files alone: its point, how it ended, and the end of its log."""

import time
from collections.abc import Mapping
from typing import Any

from jobs import logs
from jobs.contract import SEARCH
from tuner.live import running
from tuner.page.words import count
from tuner.space import BadInput
from tuner.store import Store
from tuner.trial import Trial


def numbered(store: Store, number: int) -> Trial:
    """A trial by its number; raises BadInput where the run has none."""
    trials = store.trials()
    if not 0 <= number < len(trials):
        known = f"it has 0 … {len(trials) - 1}" if trials else "it has none yet"
        raise BadInput("", f"has no trial {number}", known)
    return trials[number]


def detail(store: Store, number: int) -> dict[str, Any]:
    """What is known of a trial, as JSON; raises BadInput where the run has none."""
    trial = numbered(store, number)
    result = store.folder.result(number) if trial.state.finished else None
    now = running(store, [trial], time.time())
    claim = store.newest_claim(number, store.view()) if now else None
    again = number if trial.part == SEARCH else trial.of
    return {
        "number": number,
        "part": trial.part,
        "state": trial.state.value,
        "value": trial.value,
        "reason": trial.reason,
        "params": dict(trial.params),
        "epochs": now[0].epochs if now else len(trial.curve),
        "attempt": max(1, trial.attempts),
        "seed": trial.seed,
        "host": trial.host,
        "lost": list(trial.lost),
        "log": result.log if result else logs.tail(store.folder, claim) if claim else "",
        "again": f"python -m tuner.steer {store.path} again {again}",
    }


def text(found: Mapping[str, Any]) -> str:
    """The same in words."""
    value = "" if found["value"] is None else f" with {found['value']:.6g}"
    why = f": {found['reason']}" if found["reason"] else ""
    width = max(map(len, found["params"]), default=0)
    done = f"{count(found['epochs'], 'epoch')}, attempt {found['attempt']}, seed {found['seed']}"
    place = f", on {found['host']}" if found["host"] else ""
    return "\n".join(
        [
            f"trial {found['number']} ({found['part']}) is {found['state']}{value}{why}",
            *(f"  {name:<{width}}  {value}" for name, value in found["params"].items()),
            f"  {done}{place}",
            *(f"  an attempt ended before: {reason}" for reason in found["lost"]),
            *(["", *found["log"].rstrip().splitlines()] if found["log"].strip() else []),
            f"to train it again: {found['again']}",
        ]
    )
