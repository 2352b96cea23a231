"""`python -m tuner.run STUDY`: start a study, or go on with the run it began."""
# PYTHON_ARGCOMPLETE_OK

from pathlib import Path

from tuner import cli, drive, store, study

_EXAMPLE = "jobs/pm25.toml --set n_trials=20 --set jobs.n_workers=2"


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
    arguments = cli.parse(parser)
    settings = list(arguments.settings)
    if arguments.executor:
        settings.append(f'jobs.executor="{arguments.executor}"')
    with cli.guarded(arguments.study):
        wanted = study.read(arguments.study, settings)
        path = (arguments.folder or Path("runs") / wanted.name).absolute()
        drive.check_executor(wanted, path)
        run = store.create(wanted, path)
        print(*run.warm.lines, sep="\n", end="\n" if run.warm.lines else "")
        run.go_on()
        return drive.drive(run, drive.executor_for(run), arguments.once)


if __name__ == "__main__":
    raise SystemExit(main())
