"""`python -m tuner.status RUN`: how a run is doing, from its files alone; writes nothing."""
# PYTHON_ARGCOMPLETE_OK

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs import files, trust
from jobs.contract import SEARCH, SIGN, State, at_work
from jobs.submissions import black_holes
from tuner import cli, detail, live
from tuner.budget import LOST, Past, held_lines, spent, spent_lines
from tuner.confirm import confirmed, progress, winner
from tuner.known import known
from tuner.page.words import visible
from tuner.store import Store, resume_line
from tuner.units import amount, duration

_EXAMPLES = ("runs/pm25 --watch", "runs/pm25 37")
_WATCH_EVERY = 5.0  # seconds: a screen asks for one listing and the files of running trials
_CLEAR = "\x1b[H\x1b[J"  # cursor home, and all behind it away


def status(store: Store) -> dict[str, Any]:
    """What is known of a run, as JSON: its state, its best trial, and what failed and why."""
    trials, now, study = store.trials(), time.time(), store.study
    search = [trial for trial in trials if trial.part == SEARCH]
    won, again = winner(study, trials), confirmed(study, trials)
    open_ = [trial for trial in trials if not trial.state.finished]
    sign = store.last_sign()
    return {
        "study": study.name,
        "state": condition(store, sign),
        "n_trials": study.n_trials,
        "trials": {state.value: sum(t.state is state for t in search) for state in State},
        "seconds_left": live.seconds_left(study, trials),
        "gpu_hours": study.gpu_hours,
        # Asks Slurm nothing: without a budget nobody has, and the trials' own clocks must do.
        "spent": sign.get("spent") or spent(study, trials, None, now, Past()).table(),
        "held": len([t for t in open_ if t.number in store.folder.held()]),
        "best": won and {"number": won.number, "value": won.value, "params": won.params},
        "confirmed": again
        and {
            "mean": again.mean,
            "standard_error": _known(again.error),
            "values": again.values,
        },
        "confirming": progress(trials),
        "running": [asdict(trial) for trial in live.running(store, trials, now)],
        "busy": live.busy(study, trials, sign.get("end") or now),
        "slots": study.jobs.n_workers,
        "jobs": None if sign.get("end") else sign.get("jobs"),
        "failed": Counter(t.reason for t in search if t.state is State.FAIL),
        "lost": Counter(why for trial in trials for why in trial.lost),
        "left_out": black_holes(store.folder),
        "known": (shares := known(study, trials)) and asdict(shares),
        "controller": sign,
        "to_go_on": resume_line(store) if trust.is_own(store.path) else None,
    }


def text(found: Mapping[str, Any]) -> str:
    """The same in words, one screen."""
    lines = [
        f"{found['study']}: {found['state']}",
        _progress(found),
        *_best(found["best"]),
        *_again(found),
        *_slots(found),
        *_spent(found["spent"], found["gpu_hours"]),
        *held_lines(found["held"]),
        *(_running(trial) for trial in found["running"]),
        *(f"failed: {n} × {why}" for why, n in found["failed"].items()),
        *(f"lost, and tried again: {n} × {why}" for why, n in found["lost"].items()),
        *(f"node {host} is left out: {why}" for host, why in found["left_out"].items()),
    ]
    if found["to_go_on"] and not found["state"].startswith(("running", "finished")):
        lines.append(f"to go on: {found['to_go_on']}")
    return "\n".join(lines)


def watch(look: Callable[[], str], pause: float = _WATCH_EVERY) -> None:
    """Show a screen again and again in the same place, until Ctrl-C."""
    try:
        while True:
            print(f"{_CLEAR if sys.stdout.isatty() else ''}{look()}", flush=True)
            time.sleep(pause)
    except KeyboardInterrupt:
        print()


def _progress(found: Mapping[str, Any]) -> str:
    counts = found["trials"]
    done = sum(counts[state.value] for state in State if state.finished)
    words = ", ".join(f"{n} {state.lower()}" for state, n in counts.items() if n)
    left = found["seconds_left"]
    ahead = f"; {duration(left)} left" if left is not None else ""
    return f"{done} of {found['n_trials']} trials are done ({words or 'none yet'}){ahead}"


def _best(best: Mapping[str, Any] | None) -> list[str]:
    if not best:
        return ["best: none yet"]
    width = max(map(len, best["params"]), default=0)
    params = (
        f"  {name:<{width}}  {value:.6g}" if isinstance(value, float)
        else f"  {name:<{width}}  {value}"
        for name, value in best["params"].items()
    )  # fmt: skip
    return [f"best: {best['value']:.6g} (trial {best['number']})", *params]


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


def _slots(found: Mapping[str, Any]) -> list[str]:
    if found["busy"] is None:
        return [found["jobs"]] if found["jobs"] else []
    jobs = f"; {found['jobs']}" if found["jobs"] else ""
    return [f"busy: {found['busy']:.0%} of {found['slots']} slots over the last hour{jobs}"]


def _spent(table: Mapping[str, Any], budget: float | None) -> list[str]:
    lost = table["on"].get(LOST)
    of_it = f", {amount(lost)} of them in lost attempts" if lost else ""
    return [line + of_it for line in spent_lines(table, budget)[:1]]


def _running(trial: Mapping[str, Any]) -> str:
    of = f" of {trial['of']}" if trial["of"] else ""
    value = f" {trial['curve'][-1]:.5g}" if trial["curve"] else ""
    curve = f"  {live.bars(trial['curve'])}{value}" if value else ""
    head = f"trial {trial['number']} on {trial['host'] or '?'}, {duration(trial['seconds'])}"
    return f"  {head}, {trial['epochs']}{of} epochs{curve}"


def condition(store: Store, sign: Mapping[str, Any]) -> str:
    """How the run as a whole is doing, in words; `sign` is its controller's last one."""
    if sign.get("end"):
        return "finished"
    if why := store.folder.stopping():
        return f"stopped: {why}"
    seen = files.modified(store.path / SIGN)
    if seen is None:
        return "no controller has begun"
    age = time.time() - seen
    return "running" if at_work(sign, age) else f"no controller for {duration(max(0.0, age))}"


def main() -> None:
    """Show how a run, or one trial of it, is doing, at any time and from any host."""
    parser = cli.parser("status", main.__doc__, *_EXAMPLES)
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/pm25")
    parser.add_argument("trial", type=int, nargs="?", help="only this one, with its log's end")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    arguments = cli.parse(parser)
    with cli.guarded(arguments.run):
        store = Store(arguments.run.absolute(), trust.check_reader)

        def look() -> str:
            one = arguments.trial is not None
            found = detail.detail(store, arguments.trial) if one else status(store)
            if arguments.json:
                return json.dumps(found, indent=2, allow_nan=False)
            words = detail.text(found) if one else text(found)
            return str(visible(words))  # an error's text may hold a terminal's commands

        watch(look) if arguments.watch else print(look())


if __name__ == "__main__":
    main()
