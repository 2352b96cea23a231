"""`python -m tuner.steer RUN …`: pause a run, try a point, give one up, or look at one.

Each is one file that the controller and the workers find at their next look: it does not matter
whether they run, on which host, or who comes first.
"""
# PYTHON_ARGCOMPLETE_OK

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import logs
from jobs.contract import BY_HAND, SEARCH, Claim, Proposal, State
from jobs.reasons import CANCELLED
from tuner import cli
from tuner.drive import PAUSED, resume_line
from tuner.space import BadInput
from tuner.store import Store, change
from tuner.study import overlaid, value_of
from tuner.trial import Trial

_EXAMPLES = (
    "runs/pm25 pause",
    "runs/pm25 try learning_rate=1e-3 batch_size=64 …",
    "runs/pm25 again 37",
    "runs/pm25 cancel 37",
    "runs/pm25 show 37",
    "runs/pm25 set n_trials=80 gpu_hours=300",
)
_WHILE_AT_WORK = ("n_trials", "gpu_hours", "jobs.n_workers", "confirm.top", "confirm.seeds")


def pause(run: Store) -> str:
    """Let nobody claim any more: what is trained now goes to its end, and jobs end after it."""
    run.stop(PAUSED)
    return f"paused; to go on: {resume_line(run)}"


def try_(run: Store, params: Mapping[str, Any]) -> str:
    """Propose a point beside those of the study, complete and in its space."""
    run.study.space.check(params)
    while True:  # the controller may be faster: a number is taken once
        view = run.view()
        seed = run.study.seed_of(view.size)
        pending = tuple(sorted(view.proposed - view.finished))
        proposal = Proposal(view.size, params, seed, BY_HAND, pending=pending, time=time.time())
        if run.folder.propose(proposal):
            return f"trial {view.size} waits{_if_ended(run)}"


def again(run: Store, number: int) -> str:
    """Propose a trial's point once more; its seed is another one."""
    return try_(run, _trial(run, number).params)


def cancel(run: Store, number: int) -> str:
    """End a trial as FAIL; its worker stops at its next look, half a minute later at most."""
    trial = _trial(run, number)
    if not trial.state.finished:
        running = trial.state is State.RUNNING
        claim = run.newest_claim(number, run.view()) if running else Claim(number, 0, job="")
        run.fail(claim, CANCELLED)
        trial = _trial(run, number)
    if trial.reason != CANCELLED:
        raise BadInput("", f"has a result for trial {number} already", "nothing is to be done")
    return f"trial {number} is cancelled"


def set_(run: Store, settings: Sequence[str]) -> str:
    """Give the study other limits; a controller at work takes them up at its next look."""
    for key in (setting.partition("=")[0].strip() for setting in settings):
        if key not in _WHILE_AT_WORK:
            remedy = f"only these may: {', '.join(_WHILE_AT_WORK)}; for others start it again"
            raise BadInput("", f"{key!r} cannot be changed here", remedy)
    wanted = overlaid(run.study, settings)
    change(run.path, wanted)
    hours = "" if wanted.gpu_hours is None else f", {wanted.gpu_hours:g} hours"
    workers = f"{wanted.jobs.n_workers} workers"
    return f"the run has {wanted.n_trials} trials{hours}, {workers} now{_if_ended(run)}"


def show(run: Store, number: int) -> str:
    """A trial's point, how it ended, the end of its log, and how to train it again."""
    trial = _trial(run, number)
    result = run.folder.result(number) if trial.state.finished else None
    claim = None if result else _claim(run, trial)
    log = result.log if result else logs.tail(run.folder, claim) if claim else ""
    value = "" if trial.value is None else f" with {trial.value:.6g}"
    why = f": {trial.reason}" if trial.reason else ""
    width = max(map(len, trial.params), default=0)
    return "\n".join(
        [
            f"trial {number} is {trial.state}{value}{why}",
            *(f"  {name:<{width}}  {value}" for name, value in trial.params.items()),
            f"  {len(trial.curve)} epochs, attempt {max(1, trial.attempts)}, seed {trial.seed}",
            *(f"  an attempt ended before: {reason}" for reason in trial.lost),
            *(["", *log.rstrip().splitlines()] if log.strip() else []),
            f"to train it again: python -m tuner.steer {run.path} again {number}",
        ]
    )


def _claim(run: Store, trial: Trial) -> Claim | None:
    running = trial.state is State.RUNNING
    return run.newest_claim(trial.number, run.view()) if running else None


def _trial(run: Store, number: int) -> Trial:
    trials = run.trials()
    if not 0 <= number < len(trials):
        known = f"it has 0 … {len(trials) - 1}" if trials else "it has none yet"
        raise BadInput("", f"has no trial {number}", known)
    if trials[number].part != SEARCH:
        of = trials[number].of
        raise BadInput("", f"trained trial {number} for the report", f"its point is trial {of}'s")
    return trials[number]


def _if_ended(run: Store) -> str:
    return f"; to go on: {resume_line(run)}" if run.folder.stopping() else ""


def _point(words: Sequence[str]) -> dict[str, Any]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals:
            raise BadInput("", f"{name!r} has no =", "write learning_rate=1e-3")
    return {name: value_of(text) for name, _, text in pairs}


def main() -> None:
    """Pause a run, try a point, give a trial up, raise a limit, or show one, at work or not."""
    parser = cli.parser("steer", main.__doc__, *_EXAMPLES)
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/pm25")
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    what.add_parser("pause", help="let the running trials end, and start none")
    words = what.add_parser("try", help="train this point too")
    words.add_argument("point", nargs="+", metavar="NAME=VALUE", help="every parameter of [space]")
    limits = what.add_parser("set", help=f"other limits: {', '.join(_WHILE_AT_WORK)}")
    limits.add_argument("settings", nargs="+", metavar="KEY=VALUE")
    for name, help_ in (
        ("again", "train a trial's point once more"),
        ("cancel", "give a trial up"),
        ("show", "a trial's point, its end, and its log's"),
    ):
        what.add_parser(name, help=help_).add_argument("number", type=int, metavar="TRIAL")
    given = cli.parse(parser)
    with cli.guarded(given.run):
        run = Store(given.run.absolute())
        if given.what == "pause":
            print(pause(run))
        elif given.what == "try":
            print(try_(run, _point(given.point)))
        elif given.what == "set":
            print(set_(run, given.settings))
        else:
            print({"again": again, "cancel": cancel, "show": show}[given.what](run, given.number))


if __name__ == "__main__":
    main()
