"""`python -m tuner.export RUN FILE`: a run's trials for other tools, at any time."""
# PYTHON_ARGCOMPLETE_OK

from pathlib import Path

from jobs import files, trust
from tuner import cli
from tuner.space import BadInput
from tuner.store import Store

_KINDS = (".parquet", ".csv", ".db")


def export(store: Store, target: str) -> str:
    """Write the trials of the search to a file, or to an Optuna storage; returns what was written.

    .parquet and .csv have the columns of `tuner.load`, and replace a file of that name; a CSV has
    durations in seconds, and no text in it is a formula to a spreadsheet. .db is an Optuna study in
    SQLite, and an URL such as sqlite:///pm25.db names any storage of Optuna's; a study that is
    there already is left alone. Raises BadInput.
    """
    path = Path(target)
    url = target if "://" in target else f"sqlite:///{path.absolute()}"
    if "://" not in target:
        if path.suffix not in _KINDS:
            raise BadInput(target, "has no known ending", f"use one of: {', '.join(_KINDS)}")
        if not path.absolute().parent.is_dir():
            raise BadInput(target, "is in no folder", f"make it: mkdir -p {path.parent}")
    trials = store.trials()
    if "://" in target or path.suffix == ".db":
        from tuner.to_optuna import write  # noqa: PLC0415 - it may not be installed

        return f"{write(store, trials, url)} trials: {target}"
    from tuner.frames import table  # noqa: PLC0415 - pandas, a second
    from tuner.results import csv, searched  # noqa: PLC0415 - pandas too

    frame = table(store.study, searched(trials))
    if path.suffix == ".csv":
        frame["duration"] = frame["duration"].dt.total_seconds()
        content = csv(frame)
    else:
        content = frame.to_parquet(None, index=False)
    try:
        files.replace(path.absolute(), content)
    except OSError as error:
        raise BadInput(target, f"cannot be written ({error.strerror})", "name another") from None
    return f"{len(frame)} trials: {target}"


def main() -> None:
    """Write a run's trials as Parquet, CSV, or an Optuna study, while it runs or not."""
    parser = cli.parser(
        "export", main.__doc__, "runs/pm25 pm25.parquet", "runs/pm25 pm25.csv", "runs/pm25 pm25.db"
    )
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/pm25")
    parser.add_argument("target", metavar="FILE", help="ends in .parquet, .csv or .db; or an URL")
    given = cli.parse(parser)
    with cli.guarded(given.run):
        print(export(Store(given.run, trust.check_reader), given.target))


if __name__ == "__main__":
    main()
