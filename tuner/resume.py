"""`python -m tuner.resume [RUN]`: go on with a run, whatever ended it."""
# PYTHON_ARGCOMPLETE_OK

from pathlib import Path

from tuner import cli, drive
from tuner.space import BadInput
from tuner.store import Store

_EXAMPLE = "runs/pm25"


def main() -> int:
    """Go on with a run, whatever ended it; without a folder, with the only unfinished one."""
    parser = cli.parser("resume", main.__doc__, _EXAMPLE)
    parser.add_argument("run", type=Path, nargs="?", help="the run's folder")
    parser.add_argument("--once", action="store_true", help="one look and what follows, for cron")
    parser.add_argument(
        "--standby", action="store_true", help="only if nobody stopped the run; for successors"
    )
    arguments = cli.parse(parser)
    path = arguments.run or Path("runs")
    with cli.guarded(path):
        run = Store((arguments.run or _only_unfinished(path)).absolute())
        executor = drive.executor_for(run)
        if arguments.standby and (why := run.folder.stopping()):
            print(f"{run.path} has ended: {why}")
            return 0
        run.go_on()
        return drive.drive(run, executor, arguments.once)


def _only_unfinished(runs: Path) -> Path:
    found = drive.unfinished(runs)
    for path in found:
        print(f"unfinished: {path}")
    if not found:
        raise BadInput("", "holds no unfinished run", "start one: python -m tuner.run STUDY")
    if len(found) > 1:
        raise BadInput("", f"holds {len(found)} unfinished runs", "name the one to go on with")
    return found[0]


if __name__ == "__main__":
    raise SystemExit(main())
