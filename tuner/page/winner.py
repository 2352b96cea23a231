"""What the page says of the winner: its scores, how sure they are, and how it errs."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from jobs import files
from tuner import confirm, confirmation, worth
from tuner.page import tested, words
from tuner.results import metric
from tuner.store import Store
from tuner.trial import Trial
from tuner.verdict import TUNED, Verdict

if TYPE_CHECKING:
    from tuner.report import Tested

Facts = list[tuple[str, tuple[str, str]]]
Charts = list[tuple[str, str, Markup]]  # title, note, chart


def facts(store: Store, trials: Sequence[Trial], test: "Tested", spent: str, unit: str) -> Facts:
    """The figures at the head of the page: large, what it is, and a remark."""
    study, won = store.study, confirm.winner(store.study, trials)
    done = sum(t.state.finished for t in trials if t.part == "search")
    found: Facts = []
    if won is None:
        found.append(("–", (f"best validation {metric(study)}", "no trial is complete yet")))
    elif again := confirm.confirmed(study, trials):
        seeds = words.count(len(again.values), "fresh seed")
        found.append(
            (
                words.uncertain(again.mean, again.error),
                (f"validation {metric(study)}", f"trial {won.number}, over {seeds}"),
            )
        )
    else:
        found.append(
            (
                words.number(won.value, 5),
                (
                    f"best validation {metric(study)}",
                    f"trial {won.number}, one training: the luckiest of {done}",
                ),
            )
        )
    if verdict := test.verdict:
        low, high = verdict.interval.low, verdict.interval.high
        gap = f"95 % interval {words.number(low)} … {words.number(high)}"
        found.append((words.number(verdict.interval.value, 5), (f"test {verdict.metric}", gap)))
    found.append((str(done), ("trials done", f"of {study.n_trials}")))
    found.append(
        (
            spent,
            (
                unit,
                "of a budget of " + words.number(study.gpu_hours) if study.gpu_hours else "spent",
            ),
        )
    )
    return found


def sentences(store: Store, trials: Sequence[Trial], test: "Tested") -> list[str]:
    """Who wins, how sure that is, and whether it is worth going on."""
    said = [test.verdict.sentence] if test.verdict else []
    if document := confirmation.document(store.study, trials):
        said.append(document["sentence"])
    elif confirm.best(store.study, trials):
        said.append(
            "The winner was trained once: the lowest of many values is partly luck. "
            "[confirm] in the study file trains the best again with fresh seeds."
        )
    return said + worth.lines(store.study, trials)


def confirmed(store: Store, trials: Sequence[Trial]) -> list[tuple[str, str, str, str]]:
    """The candidates by their fresh seeds, the best first."""
    return [
        (
            f"{one.trial.number}",
            str(one),
            words.listing(words.number(v, 5) for v in one.values),
            words.number(one.trial.value, 5),
        )
        for one in confirm.ranking(store.study, trials)
    ]


def errs(store: Store, trials: Sequence[Trial], test: "Tested") -> Charts:
    """How the winner errs on the test part, beside the baselines."""
    found: Charts = []
    if verdict := test.verdict:
        each = [scores[verdict.metric] for scores in verdict.seeds]
        ends = verdict.interval
        rows = {TUNED: (ends.value, ends.low, ends.high)}
        rows |= {
            n: (r.metrics[verdict.metric], math.nan, math.nan) for n, r in verdict.rivals.items()
        }
        found.append(
            (
                f"Test {verdict.metric} beside the baselines'",
                "The bar is the tuned model's 95 % interval, faint dots are its seeds. "
                "Dashed: the best baseline.",
                tested.scores(rows, verdict.metric, _rival(verdict)[1], each),
            )
        )
        found += _agreement(store, trials, verdict)
        found += _forecast(store, verdict.number)
    if left := test.left_out:
        note = "Of the group in the row, by models that were trained on all others."
        found.append(("Accuracy, group by group", note, tested.groups(left.winner, left.rivals)))
    return found


def _rival(verdict: Verdict) -> tuple[str, float]:
    """The best baseline by its test value."""
    sign = -1 if verdict.metric == "accuracy" else 1
    values = {name: rival.metrics[verdict.metric] for name, rival in verdict.rivals.items()}
    return min(values.items(), key=lambda item: sign * item[1])


def _agreement(store: Store, trials: Sequence[Trial], verdict: Verdict) -> Charts:
    """Whether validation told what the test part said; nothing for a single model."""
    of: dict[int | None, Trial] = {t.number: t for t in trials}
    pairs = []
    for number, scores in zip(verdict.numbers, verdict.seeds, strict=True):
        model = of.get(of[number].of)
        if model is not None and model.value is not None:
            pairs.append((model.number, model.value, scores[verdict.metric]))
    if len(pairs) < 2:
        return []
    level = verdict.metric == metric(store.study)
    chart = tested.agreement(pairs, _rival(verdict), verdict.metric, level)
    line = "; on the dashed line both are equal" if level else ""
    note = f"A dot is one of the winner's models{line}. Amber: the best baseline's test score."
    return [("Validation over test", note, chart)]


def _forecast(store: Store, number: int) -> Charts:
    content = files.read_bytes(store.folder.predictions(number))
    if content is None:
        return []
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        truth, guess = arrays["truth"], arrays["prediction"]
    if np.issubdtype(truth.dtype, np.integer):
        return [("Confusion matrix", "Windows of the test part.", tested.confusion(truth, guess))]
    miss = guess - truth
    mean, deviation = (words.number(float(each), 3) for each in (miss.mean(), miss.std()))
    said = f"Their mean is {mean}, their deviation {deviation}; without the outermost percent."
    return [
        ("Forecast over truth", "Windows of the test part.", tested.residuals(truth, guess)),
        ("Residuals", said, tested.histogram(miss)),
    ]
