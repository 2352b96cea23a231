"""What the page says of the winner: its scores, how sure they are, and how it errs."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from jobs import files
from tuner import confirm, confirmation
from tuner.page import tested, words
from tuner.results import metric
from tuner.store import Store
from tuner.trial import Trial
from tuner.verdict import TUNED, Verdict

if TYPE_CHECKING:
    from tuner.report import Tested

Facts = list[tuple[str, tuple[str, str]]]
Charts = list[tuple[str, Markup]]


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
    """Who wins, and how sure that is."""
    said = [test.verdict.sentence] if test.verdict else []
    if document := confirmation.document(store.study, trials):
        said.append(document["sentence"])
    elif confirm.best(store.study, trials):
        said.append(
            "The winner was trained once: the lowest of many values is partly luck. "
            "[confirm] in the study file trains the best again with fresh seeds."
        )
    return said


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
                f"Test {verdict.metric}, the tuned model's with its 95 % interval",
                tested.scores(rows, verdict.metric, _rival(verdict)[1], each),
            )
        )
        found += _agreement(store, trials, verdict)
        found += _forecast(store, verdict.number)
    if left := test.left_out:
        for group, score in left.winner.items():
            rivals = {name: scores[group] for name, scores in left.rivals.items()}
            rows = {TUNED: (score, math.nan, math.nan)} | {
                n: (s, math.nan, math.nan) for n, s in rivals.items()
            }
            chart = tested.scores(rows, "accuracy", max(rivals.values()), [])
            found.append((f"Accuracy on {group}, left out", chart))
    return found


def _rival(verdict: Verdict) -> tuple[str, float]:
    """The best baseline by its test value."""
    sign = -1 if verdict.metric == "accuracy" else 1
    values = {name: rival.metrics[verdict.metric] for name, rival in verdict.rivals.items()}
    return min(values.items(), key=lambda item: sign * item[1])


def _agreement(store: Store, trials: Sequence[Trial], verdict: Verdict) -> Charts:
    """Whether validation told what the test part said; nothing for a single model."""
    of = {t.number: t for t in trials}
    pairs = []
    for number, scores in zip(verdict.numbers, verdict.seeds, strict=True):
        model = next((t for t in trials if t.number == of[number].of), None)
        if model is not None and model.value is not None:
            pairs.append((model.number, model.value, scores[verdict.metric]))
    if len(pairs) < 2:
        return []
    level = verdict.metric == metric(store.study)
    chart = tested.agreement(pairs, _rival(verdict), verdict.metric, level)
    line = ", dashed: equal" if level else ""
    return [(f"Validation over test, a dot a model{line}", chart)]


def _forecast(store: Store, number: int) -> Charts:
    content = files.read_bytes(store.folder.predictions(number))
    if content is None:
        return []
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        truth, guess = arrays["truth"], arrays["prediction"]
    if np.issubdtype(truth.dtype, np.integer):
        return [("Confusion matrix (test windows)", tested.confusion(truth, guess))]
    miss = guess - truth
    mean, deviation = (words.number(float(each), 3) for each in (miss.mean(), miss.std()))
    said = f"Residuals: mean {mean}, deviation {deviation}"
    return [
        ("Forecast over truth (test windows)", tested.residuals(truth, guess)),
        (said, tested.histogram(miss)),
    ]
