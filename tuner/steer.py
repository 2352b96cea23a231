"""`python -m tuner.steer RUN …`: pause a run, try a point, give one up, or raise a limit.

Each is one file that the controller and the workers find at their next look: it does not matter
whether they run, on which host, or who comes first.
"""
# PYTHON_ARGCOMPLETE_OK

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import files
from jobs.contract import BY_HAND, SEARCH, Claim, Proposal, State
from jobs.reasons import CANCELLED
from tuner import cli
from tuner.detail import numbered
from tuner.drive import PAUSED
from tuner.space import BadInput
from tuner.store import Store, change, resume_line
from tuner.study import overlaid, value_of
from tuner.trial import Trial

_EXAMPLES = (
    "runs/pm25 pause",
    "runs/pm25 try learning_rate=1e-3 batch_size=64 …",
    "runs/pm25 again 37",
    "runs/pm25 cancel 37",
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
    with files.alone(run.path / "settings.lock"):  # two hands at once lose neither's
        wanted = overlaid(Store(run.path).study, settings)
        change(run.path, wanted)
    now = ", ".join(settings)
    return f"the run has {now}; the study file still says what it said{_if_ended(run)}"


def _trial(run: Store, number: int) -> Trial:
    trial = numbered(run, number)
    if trial.part != SEARCH:
        problem = f"trained trial {number} for the report"
        raise BadInput("", problem, f"its point is trial {trial.of}'s")
    return trial


def _if_ended(run: Store) -> str:
    return f"; to go on: {resume_line(run)}" if run.folder.stopping() else ""


def _point(words: Sequence[str]) -> dict[str, Any]:
    pairs = [word.partition("=") for word in words]
    for name, equals, _ in pairs:
        if not equals:
            raise BadInput("", f"{name!r} has no =", "write learning_rate=1e-3")
    return {name: value_of(text) for name, _, text in pairs}


def main() -> None:
    """Pause a run, try a point, give a trial up, or raise a limit, at work or not."""
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
            print({"again": again, "cancel": cancel}[given.what](run, given.number))


if __name__ == "__main__":
    main()
