"""`python -m tuner.compare RUN RUN …`: several runs beside each other, as a table and one page."""
# PYTHON_ARGCOMPLETE_OK

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import files, trust
from tuner import beside, cli, confirm
from tuner.beside import Entry, Test
from tuner.budget import Ledger
from tuner.results import metric
from tuner.space import BadInput
from tuner.store import Store
from tuner.study import Study
from tuner.tallies import Interval
from tuner.units import amount

_EXAMPLE = "runs/pm25 runs/pm25-random --output comparison.html"
HEAD = ("run", "sampler", "seed", "trials", "failed", "best searched", "confirmed", "test", "hours")
Row = tuple[str, ...]


def read(path: Path, names: Sequence[str]) -> Entry:
    """A run by its folder, under a name that none of `names` is; raises BadInput, Untrusted."""
    store = Store(path, trust.check_reader)
    trials = store.trials()
    short = path.resolve().name
    return Entry(
        id=store.id,
        name=str(path) if short in names else short,
        study=store.study,
        trials=trials,
        spent=Ledger(store).spent(trials).table(),
        data_hash=str(store.run["study"].get("data_hash") or ""),
        test=_test(store, trials),
    )


def check(first: Entry, other: Entry) -> None:
    """Raise BadInput where two runs' values are not of the same thing."""
    asked, theirs = (_compared(entry) for entry in (first, other))
    for key in dict.fromkeys((*asked, *theirs)):
        if asked.get(key) != theirs.get(key):
            problem = f"is {theirs.get(key)!r} here and {asked.get(key)!r} in {first.name}"
            raise BadInput(key, f"{problem}: their values are not comparable", "leave one out")


def rows(entries: Sequence[Entry]) -> list[Row]:
    """A row a run, as HEAD names its cells."""
    return [_row(entry) for entry in entries]


def lines(entries: Sequence[Entry]) -> list[str]:
    """The table as text, and who is ahead."""
    from tuner.page.words import visible  # noqa: PLC0415 - a folder's name may hold anything

    table = [HEAD, *([str(visible(cell)) for cell in row] for row in rows(entries))]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    text = ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in table]
    said = beside.verdict(beside.groups(entries)).sentences
    first = entries[0].study
    return [f"{first.direction} {metric(first)}", *map(str.rstrip, text), *map(visible, said)]


def _compared(entry: Entry) -> dict[str, Any]:
    """What has to be equal; a file of data counts by its content, wherever it lies."""
    data = {f"data.{key}": value for key, value in entry.study.data.items()}
    if entry.data_hash:
        data |= {"data.source": f"a file with SHA-256 {entry.data_hash[:12]}"}
    study = entry.study
    own = {"direction": study.direction, "fixed.metric": metric(study), "train": study.train}
    return {**own, **data}


def _test(store: Store, trials: Sequence[Any]) -> Test | None:
    """The winner's test as the run's report wrote it; None where it is not of this winner."""
    found = files.read(store.folder.report / "best.json") or {}
    won = confirm.winner(store.study, trials)
    try:
        if won is None or found["number"] != won.number:
            return None
        ends = (found["test"]["interval"][key] for key in ("value", "low", "high"))
        return Test(str(found["test"]["metric"]), Interval(*map(float, ends)))
    except (KeyError, TypeError, ValueError):  # not tested yet, or by an older version
        return None


def _row(entry: Entry) -> Row:
    study, best, again, test = entry.study, entry.best, entry.confirmed, entry.test
    seeds = f" ({len(again.values)} seeds)" if again else ""
    return (
        entry.name,
        study.sampler,
        str(study.seed),
        f"{len(entry.ended)} of {study.n_trials}",
        str(entry.failed),
        "–" if best is None else f"{best.value:.6g}",
        f"{again}{seeds}" if again else "–",
        _interval(test, study) if test else "–",
        f"{amount(entry.spent['total'])} {entry.spent['unit']}",
    )


def _interval(test: Test, study: Study) -> str:
    name = "" if test.metric == metric(study) else f"{test.metric} "
    ends = test.interval
    return f"{name}{ends.value:.5g} [{ends.low:.5g}, {ends.high:.5g}]"


def _read_all(paths: Sequence[Path]) -> list[Entry]:
    entries: list[Entry] = []
    for i, path in enumerate(paths):
        with cli.guarded(path):
            if path.resolve() in [other.resolve() for other in paths[:i]]:
                raise BadInput("", "is named twice", "name each run once")
            entry = read(path, [entry.name for entry in entries])
            if same := [other.name for other in entries if other.id == entry.id]:
                raise BadInput("", f"is the same run as {same[0]}, or its copy", "leave one out")
            entries.append(entry)
            check(entries[0], entries[-1])
    return entries


def main() -> None:
    """Compare runs: print a table, and write one page that loads nothing."""
    parser = cli.parser("compare", main.__doc__, _EXAMPLE)
    parser.add_argument("runs", type=Path, nargs="+", help="the runs' folders")
    parser.add_argument("--output", type=Path, default=Path("comparison.html"), help="the page")
    arguments = cli.parse(parser)
    with cli.guarded(arguments.output):
        if arguments.output.is_dir() or not arguments.output.parent.is_dir():
            raise BadInput("", "is no place for a file", "choose another --output")
    entries = _read_all(arguments.runs)
    from tuner.page.beside import build  # noqa: PLC0415 - bad input is known without it

    with cli.guarded(arguments.output):
        try:
            files.replace(arguments.output, build(entries))
        except OSError as error:
            remedy = "choose another --output"
            raise BadInput("", f"cannot be written ({error.strerror})", remedy) from None
    print("\n".join([*lines(entries), f"The page: {arguments.output}"]))


if __name__ == "__main__":
    main()
