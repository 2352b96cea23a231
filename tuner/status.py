"""`python -m tuner.status RUN`: how a run is doing, from its files alone; writes nothing."""

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs import files
from jobs.contract import SEARCH, State
from jobs.submissions import black_holes
from tuner.budget import Past, held_lines, spent, spent_lines
from tuner.cli import guarded
from tuner.confirm import confirmed, progress, winner
from tuner.drive import ALIVE_WITHIN, resume_line
from tuner.known import known
from tuner.store import Store

_EXAMPLE = "example: python -m tuner.status runs/pm25 --json"


def status(store: Store) -> dict[str, Any]:
    """What is known of a run, as JSON: its state, its best trial, and what failed and why."""
    trials = store.trials()
    search = [trial for trial in trials if trial.part == SEARCH]
    won, again = winner(store.study, trials), confirmed(store.study, trials)
    open_ = [trial for trial in trials if not trial.state.finished]
    lost = [why for trial in open_ for why in store.folder.losses(trial.number, trial.attempts)]
    return {
        "study": store.study.name,
        "state": condition(store),
        "n_trials": store.study.n_trials,
        "trials": {state.value: sum(t.state is state for t in search) for state in State},
        "gpu_hours": store.study.gpu_hours,
        # Asks Slurm nothing: without a budget nobody has, and the trials' own clocks must do.
        "spent": store.last_sign().get("spent")
        or spent(store.study, trials, None, time.time(), Past()).table(),
        "held": len([t for t in open_ if t.number in store.folder.held()]),
        "best": won and {"number": won.number, "value": won.value, "params": won.params},
        "confirmed": again
        and {
            "mean": again.mean,
            "standard_error": _known(again.error),
            "values": again.values,
        },
        "confirming": progress(trials),
        "failed": Counter(t.reason for t in search if t.state is State.FAIL),
        "lost": Counter([*lost, *(why for trial in trials for why in trial.lost)]),
        "left_out": black_holes(store.folder),
        "known": (shares := known(store.study, trials)) and asdict(shares),
        "controller": store.last_sign(),
        "to_go_on": resume_line(store),
    }


def text(found: Mapping[str, Any]) -> str:
    """The same in words."""
    counts = found["trials"]
    done = sum(counts[state.value] for state in State if state.finished)
    words = ", ".join(f"{n} {state.lower()}" for state, n in counts.items() if n)
    best = found["best"]
    lines = [
        f"{found['study']}: {found['state']}",
        f"{done} of {found['n_trials']} trials are done ({words or 'none yet'})",
        f"best: {best['value']:.6g} (trial {best['number']})" if best else "best: none yet",
        *_again(found),
        *spent_lines(found["spent"], found["gpu_hours"])[:1],
        *held_lines(found["held"]),
        *(f"failed: {n} × {why}" for why, n in found["failed"].items()),
        *(f"lost, and tried again: {n} × {why}" for why, n in found["lost"].items()),
        *(f"node {host} is left out: {why}" for host, why in found["left_out"].items()),
    ]
    if not found["state"].startswith(("running", "finished")):
        lines.append(f"to go on: {found['to_go_on']}")
    return "\n".join(lines)


def _again(found: Mapping[str, Any]) -> list[str]:
    """The best one's fresh seeds, or how far they are."""
    again = found["confirmed"]
    if again is None:
        return [found["confirming"]] if found["confirming"] else []
    error = again["standard_error"]
    spread = "" if error is None else f" ± {error:.2g}"
    return [f"confirmed: {again['mean']:.6g}{spread} over {len(again['values'])} fresh seeds"]


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None


def condition(store: Store) -> str:
    """How the run as a whole is doing, in words."""
    sign = store.last_sign()
    if sign.get("end"):
        return "finished"
    if why := store.folder.stopping():
        return f"stopped: {why}"
    seen = files.modified(store.path / "controller.json")
    if seen is None:
        return "no controller has begun"
    age = time.time() - seen
    return "running" if age < ALIVE_WITHIN else f"no controller for {age / 60:.0f} min"


def main() -> None:
    """Show how a run is doing, at any time and from any host."""
    parser = argparse.ArgumentParser(
        "python -m tuner.status", description=main.__doc__, epilog=_EXAMPLE
    )
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/pm25")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    with guarded(arguments.run):
        found = status(Store(arguments.run.absolute()))
        print(json.dumps(found, indent=2, allow_nan=False) if arguments.json else text(found))


if __name__ == "__main__":
    main()
