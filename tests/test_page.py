"""The report's page: what it says at every stage of a run, and that foreign words stay words."""

import dataclasses
import re

import pytest

from jobs.contract import Proposal, Result, State
from tests import made
from tuner import report, store
from tuner.page import charts, slots, svg, words
from tuner.page.build import build, policy
from tuner.space import Categorical, Float

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script>",
    "\u202egnp.exe",
]
SPENT = {"total": 1.5, "unit": "GPU-hours", "by": "the trials' own clocks", "on": {"complete": 1.5}}
SPACE = {"x": Float(0.0, 1.0), '<b id="name">': Categorical(tuple(HOSTILE))}


def curve(value, n=3):
    """A learning curve that ends near a value."""
    return tuple(
        {"step": i, "rmse": value + 1 / (i + 1), "mae": 1.0, "time": 1e9} for i in range(n)
    )


def hostile_trials(n=12):
    """Trials whose every word was written by somebody unfriendly."""
    found = []
    for i in range(n):
        word = HOSTILE[i % 4]
        params = {"x": i / n, '<b id="name">': word}
        state = State.FAIL if i % 4 == 3 else State.COMPLETE
        more = {"params": params, "reason": word if i % 4 == 3 else "", "host": word}
        value = None if i % 4 == 3 else 50.0 + i
        found.append(made.trial(i, value, state, curve=curve(50.0 + i), **more))
    return found


def new_run(path, trials=(), space=SPACE, **changes):
    """A run with published trials."""
    study = made.study(space, train="tests.functions:quadratic", **changes)
    run = store.create(study, path)
    shared = ("state", "value", "reason", "curve", "started", "seconds", "attempts", "host")
    for trial in trials:
        run.folder.propose(Proposal(trial.number, trial.params, 1, "gp"))
        if trial.state.finished:
            given = {name: getattr(trial, name) for name in shared}
            run.folder.publish(Result(number=trial.number, params=trial.params, **given))
    return run


def page(run):
    """The page of a run, as text."""
    return build(run, run.trials(), report.Tested(missing="there is none"), SPENT).decode()


def test_foreign_words_stay_words(tmp_path):
    """A choice, an error's text, a host or a name that is HTML is shown and never is any."""
    text = page(new_run(tmp_path / "run", hostile_trials()))
    assert text.count("<script") == 1
    assert text.count("</script>") == 1
    assert "<img" not in text
    assert '<b id="name">' not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_page_may_load_nothing_and_its_policy_knows_its_own_style_and_script(tmp_path):
    """The hashes are of what stands in the page, and no attribute is a style or a handler."""
    text = page(new_run(tmp_path / "run", hostile_trials()))
    css = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    js = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    assert policy(css, js).replace("'", "&#39;") in text
    assert not re.search(r"<[^>]*\s(style|on\w+)=", text)
    assert not re.search(r'(src|href)="(https?:|//)', text)


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([], "No trial has been proposed yet."),
        ([made.trial(0, None, State.FAIL, reason="boom")], "No trial is complete yet."),
        ([made.trial(0, 1.0)], "Too few trials are complete"),
    ],
)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_page_has_words_where_it_has_no_chart(tmp_path, trials, said, direction):
    """Nothing proposed, all failed, one complete: no broken chart, no NaN."""
    text = page(new_run(tmp_path / "run", trials, made.SMALL, direction=direction))
    assert said in text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_a_space_of_choices_alone_has_a_page(tmp_path):
    """Nothing there has a middle or a logarithm."""
    space = {"kind": Categorical(("a", "b")), "flag": Categorical((True, False))}
    params = [{"kind": "ab"[i % 2], "flag": i % 3 == 0} for i in range(8)]
    trials = [made.trial(i, float(i), params=p) for i, p in enumerate(params)]
    text = page(new_run(tmp_path / "run", trials, space))
    assert text.count('aria-label="Dependence on') == 3
    assert not re.search(r"\b(nan|inf)\b", text)


def test_of_many_curves_the_best_stay():
    """The others are spread over the study."""
    many = [made.trial(i, float(1000 - i), curve=curve(1.0)) for i in range(1000)]
    shown = charts.shown_curves(made.study(), many)
    assert len(shown) == charts.CURVES
    assert {t.number for t in shown} >= set(range(950, 1000))
    assert min(t.number for t in shown) == 0


def test_a_slot_never_trains_two_at_once():
    """Trials of one device that overlap are of two slots; one after the other of one."""
    one = made.trial(0, 1.0, started=100.0, seconds=50.0)
    after, beside = (
        dataclasses.replace(one, number=n, started=s) for n, s in ((1, 150.0), (2, 120.0))
    )
    assert [[t.number for t in lane] for lane in slots.lanes([one, after, beside], 0)] == [
        [0, 1],
        [2],
    ]


@pytest.mark.fast
def test_round_ticks():
    """Within the scale, and as a reader writes them."""
    assert [label for _, label in svg.Scale(0.0, 1.0, 0, 100).ticks()] == [
        "0",
        "0.2",
        "0.4",
        "0.6",
        "0.8",
        "1",
    ]
    assert svg.Scale(1e-4, 1.0, 0, 1, log=True).ticks()[0][1] == "1e−4"


@pytest.mark.fast
def test_a_line_breaks_where_there_is_no_value():
    """And does not jump over the gap."""
    assert svg.line([(0, 0), (1, float("nan")), (2, 2)]) == "M0 0M2 2"


@pytest.mark.fast
def test_what_turns_words_around_is_marked():
    """The directions of Unicode would reorder the cell beside it."""
    assert words.visible("a\u202eb\x00") == "a\ufffdb\ufffd"
