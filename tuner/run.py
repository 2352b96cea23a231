"""`python -m tuner.run STUDY`, or `run(study)`: start a study, or go on with the run it began."""
# PYTHON_ARGCOMPLETE_OK

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from jobs import doors
from tuner import checks, cli, confirm, drive, functions, ours, store, study
from tuner.store import Store
from tuner.study import Study

_EXAMPLE = "jobs/pm25.toml --set n_trials=20 --set jobs.n_workers=2"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run has come to so far; its files are in `path`, its report in `path`/report.

    `best_value` is the winner's mean over fresh seeds where it was confirmed, else its value in the
    search; all three `best_` are None before a trial is complete.
    """

    path: Path
    finished: bool  # False after one look, and where another controller is at work
    best_number: int | None
    best_value: float | None
    best_params: Mapping[str, Any] | None


def run(
    study: Study,
    folder: Path | str | None = None,
    *,
    executor: Literal["local", "slurm"] | None = None,
    once: bool = False,
) -> Ran:
    """Run a study to its end, or go on with the run that it began; the command does the same.

    `folder`: the run's, runs/NAME by default. `executor`: in place of the study's. `once`: one look
    and what follows. Raises BadInput and Untrusted before anything is made, StudyFailed with the
    error where all trials fail, and KeyboardInterrupt: the same call then goes on. In a thread that
    is not the main one nothing can interrupt it but `python -m tuner.steer RUN pause`.
    """
    checks.record("study", study, Study)
    if executor is not None:
        study = replace(study, jobs=replace(study.jobs, executor=executor))
    path = Path(folder or Path("runs") / study.name).absolute()
    with doors.masked(path):
        functions.check_workers_find(str(study.train))
        ours.check_data(study)
        drive.check_executor(study, path)
        begun = store.create(study, path)
        print(*begun.warm.lines, sep="\n", end="\n" if begun.warm.lines else "")
        begun.go_on()
        drive.go_on(begun, drive.executor_for(begun), once)
        return _ran(begun)


def _ran(begun: Store) -> Ran:
    trials = begun.trials()
    finished = bool(begun.last_sign().get("end"))
    won = confirm.winner(begun.study, trials)
    if won is None:
        return Ran(begun.path, finished, None, None, None)
    again = confirm.confirmed(begun.study, trials)
    value = again.mean if again else won.value
    return Ran(begun.path, finished, won.number, value, dict(won.params))


def main() -> int:
    """Start a study, or go on with the run that it began."""
    parser = cli.parser("run", main.__doc__, _EXAMPLE)
    parser.add_argument("study", type=Path, help="the study file, such as jobs/pm25.toml")
    parser.add_argument("--executor", choices=("local", "slurm"), help="where workers run")
    parser.add_argument("--folder", type=Path, help="the run's folder [runs/NAME]")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="another value for a key of the study file, such as n_trials=20",
    )  # fmt: skip
    parser.add_argument("--once", action="store_true", help="one look and what follows, for cron")
    given = cli.parse(parser)
    with cli.guarded(given.study):
        wanted = study.read(given.study, given.settings)
        return drive.exit_code(
            lambda: run(wanted, given.folder, executor=given.executor, once=given.once)
        )


if __name__ == "__main__":
    raise SystemExit(main())
