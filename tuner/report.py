"""`python -m tuner.report RUN`: what a run has found so far, as text, tables and figures."""
# PYTHON_ARGCOMPLETE_OK

import json
import math
import os
import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs import files
from jobs.contract import State, trains_the_search
from jobs.scratch import Prepared
from models.defaults import OURS
from tuner import again, baselines, cli, confirm, confirmation, looks, surrogate, worth
from tuner.budget import Ledger, held_lines, spent_lines
from tuner.confirm import winner
from tuner.dependence import dependence
from tuner.known import known
from tuner.matrix import evaluations
from tuner.plots import confirming, convergence, importance, process
from tuner.results import chosen_epoch, csv, metric, minimised, searched, stopped_early, table
from tuner.space import BadInput
from tuner.store import Store
from tuner.study import Study
from tuner.style import PNG, SVG, pictures
from tuner.trial import Trial
from tuner.verdict import LeaveOneOut, Verdict, group_lines, judge, leave_one_out, lines

_EXAMPLE = "runs/pm25"
_STATES = {State.FAIL: "failed"}  # where the word of the field is no adjective
_METHOD = "share of the surrogate's variance, alone and with others (total Sobol index)"
_MOST = 6  # parameters whose partial dependence is shown


@dataclass(frozen=True, slots=True)
class Tested:
    """How the winner did on data that its search never saw; `missing` says why it is not known."""

    verdict: Verdict | None = None
    left_out: LeaveOneOut | None = None
    groups: int = 0
    missing: str = ""


def refresh(store: Store) -> None:
    """Write what is cheap: the table, and the figures that need no surrogate."""
    trials = store.trials()
    _cheap(store, trials, (PNG,))
    test = Tested(missing="the search goes on")
    _best(store, trials, test)
    _page(store, trials, test, _model(store, trials))


def write(store: Store) -> None:
    """Write the whole report, and print its summary."""
    trials = store.trials()
    _cheap(store, trials, (PNG, SVG))
    model = _model(store, trials)
    _surrogate(store, model)
    test = tested(store, trials)
    _best(store, trials, test)
    _page(store, trials, test, model)
    print("\n".join(summary(store, trials, test)))


def summary(store: Store, trials: Sequence[Trial], test: Tested) -> list[str]:
    """The report in words."""
    study, won = store.study, winner(store.study, trials)
    states = Counter(_STATES.get(t.state, t.state.lower()) for t in searched(trials))
    counts = ", ".join(f"{n} {state}" for state, n in states.items()) or "none yet"
    text = [f"{study.name}: {len(searched(trials))} trials ({counts})"]
    text += store.warm.lines
    failures = Counter(t.reason for t in searched(trials) if t.state is State.FAIL)
    text += [f"  {n} × {reason}" for reason, n in failures.most_common(3)]
    if saved := stopped_early(study, trials, store.last_sign().get("pruner_off")):
        text.append(f"{saved}.")
    if won is None:
        return [*text, "No trial is complete yet.", *_spending(store, trials), _figures(store)]
    if shares := known(study, trials):
        text.append(
            f"The sampler knew {shares.when_asked:.0%} of the earlier results when it asked for a"
            f" point; {shares.when_trained:.0%} were there when its training began."
        )
    text += _winner(study, trials, won)
    text += confirmation.lines(study, trials)
    text += worth.lines(study, trials)
    if test.verdict:
        text += [_tests(test.verdict), *lines(test.verdict)]
        text += _untested(test.verdict, confirm.models(study, trials))
    if test.left_out:
        text += group_lines(test.left_out, test.groups)
    if test.missing:
        text.append(f"No test score: {test.missing}.")
    text += looks.lines(store.path, trials)
    if ways := again.lines(store, won):
        text.append(f"Train the winner again: {ways[study.jobs.executor == 'local']}")
    return [*text, *_spending(store, trials), _figures(store)]


def _winner(study: Study, trials: Sequence[Trial], won: Trial) -> list[str]:
    """Its score on validation, by fresh seeds where there are any, and its parameters."""
    text = f"Best validation {metric(study)}: {won.value:.6g} (trial {won.number})"
    if found := confirm.confirmed(study, trials):
        seeds = f"{len(found.values)} fresh seed{'s' * (len(found.values) > 1)}"
        text = f"Winner: trial {won.number}, validation {metric(study)} "
        text += f"{found} over {seeds}"
    width = max((len(name) for name in won.params), default=0)
    return [text, *(f"  {name:<{width}}  {_short(value)}" for name, value in won.params.items())]


def _tests(verdict: Verdict) -> str:
    numbers = ", ".join(map(str, verdict.numbers))
    if len(verdict.numbers) == 1:
        return f"Test part, scored once (trial {numbers})"
    return f"Test part, scored once by each of the winner's fresh seeds (trials {numbers})"


def _untested(verdict: Verdict, models: Sequence[Trial]) -> list[str]:
    left = len(models) - len(verdict.numbers)
    return [f"{left} of the winner's {len(models)} models have no test score."] if left else []


def _figures(store: Store) -> str:
    return f"Figures and tables: {store.folder.report / 'index.html'}, and beside it"


def _spending(store: Store, trials: Sequence[Trial]) -> list[str]:
    held = sum(trial.number in store.folder.held() for trial in trials)
    use = Ledger(store).spent(trials)
    return [*spent_lines(use.table(), store.study.gpu_hours), *held_lines(held)]


def _page(
    store: Store, trials: Sequence[Trial], test: Tested, model: surrogate.Model | None
) -> None:
    from tuner.page.build import build  # noqa: PLC0415 - it needs what is above

    spent = Ledger(store).spent(trials).table()
    _save(store, "index.html", build(store, trials, test, spent, model))


def _cheap(store: Store, trials: Sequence[Trial], kinds: Sequence[str]) -> None:
    study = store.study
    _save(store, "bayesian_optimization_results.csv", csv(table(study, trials)))
    _draw(store, "optimization_process", kinds, process, study, trials)
    _draw(store, "convergence_curve", kinds, convergence, study, trials)
    _draw(store, "parameter_evaluations", kinds, evaluations, study, trials)
    if confirm.ranking(study, trials):
        _draw(store, "confirmation", kinds, confirming, study, trials)


def _model(store: Store, trials: Sequence[Trial]) -> surrogate.Model | None:
    return surrogate.model(store.study.space, minimised(store.study, trials), store.study.seed)


def _surrogate(store: Store, model: surrogate.Model | None) -> None:
    """Write what needs a model of the search: the pickle (for others), and two figures."""
    study, shares = store.study, model.shares if model else {}
    result = model and model.result
    if model:
        _save(store, "bayesian_optimization_result.pkl", pickle.dumps(result))
    _draw(store, "parameter_importance", (PNG, SVG), importance, study, shares, _METHOD)
    most = sorted(shares, key=lambda name: -shares[name][0])[:_MOST]
    _draw(store, "partial_dependence", (PNG, SVG), dependence, study, result, most)


def tested(store: Store, trials: Sequence[Trial]) -> Tested:
    """The winner against the baselines, as far as its parts are trained."""
    study = store.study
    trained = _trained(study, trials)
    if study.train != OURS or not study.data:
        return Tested(missing="only our own training on [data] has a test part")
    if not trained:
        return Tested(missing=_why_untested(study, trials))
    try:
        data = study.load_data(Prepared(store.path))
    except BadInput as error:
        return Tested(missing=str(error))
    assert data is not None  # see above
    spec = {"data": study.data, "hash": store.run["study"].get("data_hash")}
    rivals = baselines.cached(
        store.folder.report / "baselines.json", spec, data,
        lambda: looks.note(store.path, looks.BASELINES),
    )  # fmt: skip
    left = leave_one_out(trained, rivals)
    groups = len(rivals) - 1
    if "test" not in trained:
        return Tested(None, left, groups, _why_untested(study, trials))
    verdict = judge(store.folder, study, trained["test"], data.task, rivals["test"])
    gone = store.folder.predictions(trained["test"][0].number)
    return Tested(verdict, left, groups, "" if verdict else f"{gone} is gone")


def _trained(study: Study, trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """The complete tests of the winner, by their part."""
    found = {
        part: [t for t in tests if t.state is State.COMPLETE]
        for part, tests in confirm.tests(study, trials).items()
    }
    return {part: tests for part, tests in found.items() if tests}


def _why_untested(study: Study, trials: Sequence[Trial]) -> str:
    tests = confirm.tests(study, trials).get(confirm.TEST, [])
    failed = [t for t in tests if t.state is State.FAIL]
    if failed:
        return f"the winner's test failed in trial {failed[-1].number} ({failed[-1].reason})"
    return "the winner's test part is not trained yet"


def _best(store: Store, trials: Sequence[Trial], test: Tested) -> None:
    _save(store, "best.json", _document(store, trials, test))
    won = winner(store.study, trials)
    if won and again.lines(store, won):
        _save(store, again.NAME, again.study_file(store, won))


def _document(store: Store, trials: Sequence[Trial], test: Tested) -> bytes:
    """best.json: the winner, its scores, and the files that each number came from."""
    study, won = store.study, winner(store.study, trials)
    if won is None:
        return b"{}"
    found: dict[str, Any] = {
        "study": study.name,
        "number": won.number,
        "value": won.value,
        "metric": metric(study),
        "direction": study.direction,
        "params": won.params,
        "fixed": study.fixed,
        "seed": won.seed,
        "validation": {**chosen_epoch(study, won), "from": _sources(store, won)},
        "confirmed": confirmation.document(study, trials),
        "worth": worth.document(study, trials),
        "test": None,
        "leave_one_out": None,
        "train_again": again.lines(store, won),
    }
    trained = _trained(study, trials)
    if fresh := found["confirmed"]:
        runs = confirm.models(study, trials)
        fresh["from"] = [path for t in runs for path in _sources(store, t)]
    if verdict := test.verdict:
        methods = {name: baselines.METHODS[name] for name in verdict.rivals}
        scored = [t for t in trained["test"] if t.number in verdict.numbers]
        found["test"] = asdict(verdict) | {"standard_error": verdict.error}
        found["test"] |= {"from": [path for t in scored for path in _sources(store, t)]}
        found["test"] |= {"methods": methods, "sentence": verdict.sentence}
    if left := test.left_out:
        found["leave_one_out"] = asdict(left) | {
            "from": [_sources(store, t[0])[0] for part, t in trained.items() if part != "test"]
        }
    return json.dumps(_finite(found), indent=2, allow_nan=False).encode()


def _sources(store: Store, trial: Trial) -> list[str]:
    """The files of the run that hold a trial's numbers."""
    paths = [store.folder.source(trial.number)]
    if not trains_the_search(trial.part):
        paths.append(store.folder.predictions(trial.number))
    return [str(path.relative_to(store.folder.path)) for path in paths]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """The same with NaN and infinity as None: JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(store: Store, name: str, kinds: Sequence[str], *drawing: Any) -> None:
    """Write a figure's files; an SVG that is not drawn anew would show what was."""
    for kind, content in pictures(*drawing, kinds=kinds).items():
        _save(store, f"{name}.{kind}", content)
    if SVG not in kinds:
        files.remove([store.folder.report / f"{name}.{SVG}"])


def _save(store: Store, name: str, content: bytes) -> None:
    files.replace(store.folder.report / name, content)


def main() -> None:
    """Write a run's report and print its summary, at any time."""
    parser = cli.parser("report", main.__doc__, _EXAMPLE)
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/pm25")
    parser.add_argument(
        "--refresh", action="store_true", help="only what is cheap, at the lowest priority"
    )
    arguments = cli.parse(parser)
    if arguments.refresh:
        os.nice(19)
    with cli.guarded(arguments.run):
        (refresh if arguments.refresh else write)(Store(arguments.run))


if __name__ == "__main__":
    main()
