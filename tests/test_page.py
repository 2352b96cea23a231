"""The report's page: what it says at every stage of a run, and that foreign words stay words."""

import dataclasses
import json
import re

import pytest

from jobs.contract import Proposal, Result, State
from tests import made
from tuner import report, store
from tuner.page import charts, slots, svg, tested, words
from tuner.page.build import build, policy
from tuner.space import Categorical, Float

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script>",
    "\u202egnp.exe",
]
SPENT = {"total": 1.5, "unit": "GPU-hours", "by": "the trials' own clocks", "on": {"complete": 1.5}}
NAMED = ("optimizer", "momentum", "use_leaky_relu", "hidden", "dropout", "weight_decay", "layers")
EIGHT = {"learning_rate": made.SMALL["learning_rate"]} | {name: made.WIDE[name] for name in NAMED}
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
    for trial in trials:
        run.folder.propose(Proposal(trial.number, trial.params, 1, "gp"))
        if trial.state.finished:
            run.folder.publish(outcome(trial))
    return run


def outcome(trial):
    """A finished trial's result."""
    shared = {f.name for f in dataclasses.fields(Result)} & set(trial.__slots__) - {"pending"}
    return Result(**{name: getattr(trial, name) for name in shared})


def large_run(path, n=1000):
    """A run of `n` trials of 8 parameters, written without the fsyncs of `publish`."""
    run = store.create(made.study(EIGHT, train="tests.functions:quadratic", n_trials=n), path)
    for trial in made.searched_by(8, EIGHT, n):
        target = run.folder.result_path(trial.number)
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(dataclasses.asdict(outcome(trial))))
    return run


def page(run):
    """The page of a run, as text."""
    trials, test = run.trials(), report.Tested(missing="there is none")
    return build(run, trials, test, SPENT, report._model(run, trials)).decode()


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


def test_a_curve_of_one_step_is_a_dot():
    """A line of one point would not be seen."""
    trials = [made.trial(0, 1.0, curve=curve(1.0, 1)), made.trial(1, 1.0, curve=curve(1.0))]
    drawn = charts.curves(trials, "rmse", None, 1)
    assert re.findall('d="(M[^"]*)" class="curve (.*?)"', drawn)[0][1] == "complete dot5"
    assert len(re.findall('class="curve complete"', drawn)) == 1


def numbers(trials, now=0.0):
    """The numbers of the trials that each slot trained."""
    return [
        [int(spell.said.split()[1].strip(",")) for stay in lane for spell in stay.trained]
        for lane in slots.lanes(trials, now)
    ]


def test_a_slot_never_trains_two_at_once():
    """Trials of one device that overlap are of two slots; one after the other of one."""
    one = made.trial(0, 1.0, started=100.0, seconds=50.0)
    after, beside = (
        dataclasses.replace(one, number=n, started=s) for n, s in ((1, 150.0), (2, 120.0))
    )
    assert numbers([one, after, beside]) == [[0, 1], [2]]


def placed(number, job, started, began, submitted, **more):
    """A trial of 40 s in a job of Slurm."""
    given = {"host": f"n{job}", "job": job, "began": began, "submitted": submitted}
    return made.trial(number, 1.0, started=started, seconds=40.0, **given, **more)


def test_a_slot_queues_starts_and_trains():
    """Job 1, then on another node job 2, which was submitted when job 1 had ended."""
    trials = [
        placed(0, "1", 130.0, 120.0, 100.0),
        placed(1, "1", 170.0, 120.0, 100.0),
        placed(2, "2", 300.0, 290.0, 211.0),
    ]
    (lane,) = slots.lanes(trials, 0.0)
    spells = [(s.kind, s.begin, s.end) for stay in lane for s in stay.spells]
    assert spells == [
        ("queued", 100.0, 120.0), ("starting", 120.0, 130.0),
        ("complete", 130.0, 170.0), ("complete", 170.0, 210.0),
        ("queued", 211.0, 290.0), ("starting", 290.0, 300.0), ("complete", 300.0, 340.0),
    ]  # fmt: skip
    _, said = slots.slots(trials, 0.0)
    assert "training 86%, start-up 14%." in said
    assert "a job waited 50 s in the median, 79 s at most" in said.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_a_job_that_began_at_once_waited_too():
    """Slurm's clock has whole seconds: it can begin before it was submitted."""
    trials = [placed(n, f"{n}", 130.0, began, 120.7) for n, began in enumerate((120.0, 120.0))]
    chart, said = slots.slots(trials, 0.0)
    assert "a job waited 0 s in the median, 0 s at most" in said.replace("\N{NO-BREAK SPACE}", " ")
    assert "in the queue" not in chart


def test_a_lost_attempt_stands_where_it_was():
    """In its own job's slot, and not in that of the job where the trial ended well."""
    died = {"job": "1", "host": "n1", "device": "", "submitted": 0.0, "began": 90.0}
    lost = {**died, "time": 100.0, "seconds": 60.0, "reason": "NODE_FAIL"}
    first, second = slots.lanes([placed(5, "2", 120.0, 110.0, 0.0, tries=(lost,))], 0.0)
    assert [(s.kind, s.begin, s.end) for s in first[0].spells] == [
        ("starting", 90.0, 100.0),
        ("lost", 100.0, 160.0),
    ]
    assert [s.kind for s in second[0].spells] == ["starting", "complete"]


def test_an_older_run_shows_what_it_recorded():
    """Without a job's start the trainings alone, and a word about it."""
    chart, said = slots.slots([made.trial(n, 1.0, started=100.0 + 90 * n) for n in range(3)], 0.0)
    assert "when jobs began is not recorded" in said
    assert chart.count("<rect") == 3


def test_workers_that_share_a_job_have_a_slot_each():
    """With workers_per_gpu two train at once under one job id."""
    trials = [placed(n, "7", 130.0 + n, 120.0, 100.0) for n in range(2)]
    assert numbers(trials) == [[0], [1]]


def test_the_best_over_time_and_hours():
    """It steps when a trial ends, not when it began; hours count the lost attempts too."""
    study = made.study()
    trials = [
        made.trial(0, 5.0, started=0.1, seconds=100.0, lost_seconds=100.0),
        made.trial(1, 4.0, started=10.1, seconds=20.0),
        made.trial(2, 3.0, started=90.1, seconds=110.0),
    ]
    time, hours = (chart for _, chart in charts.progress(study, trials, "GPU-hours"))
    assert [title for title, _ in charts.progress(study, trials, "GPU-hours")][1:] == [
        "Best over GPU-hours"
    ]
    assert re.findall("<title>(.*?)</title>", time) == ["trial 1: 4", "trial 2: 3"]
    x = [float(at) for at in re.findall('cx="(.*?)"', time)]
    assert x == pytest.approx([56 + 438 * 0.15, 494], abs=0.1)
    x = [float(at) for at in re.findall('cx="(.*?)"', hours)]
    assert x == pytest.approx([56 + 438 * 20 / 330, 494], abs=0.1)


@pytest.mark.parametrize("level", [True, False])
def test_validation_against_test(level):
    """A dot a model, the best baseline's line, and that of equality for the same metric alone."""
    chart = tested.agreement([(7, 1.0, 2.0), (9, 1.5, 2.5)], ("ridge", 2.2), "rmse", level)
    assert chart.count("<circle") == 2
    assert "trial 7: validation 1, test 2" in chart
    assert "ridge, test" in chart
    assert ("line level" in chart) is level


def test_groups_that_were_left_out_have_a_row_each():
    """With a dot of the tuned model and of each baseline."""
    chart = tested.groups({"s1": 0.9, "s2": 0.8}, {"majority class": {"s1": 0.2, "s2": 0.25}})
    assert re.findall("<title>(.*?)</title>", chart) == [
        "majority class on s1: 0.2",
        "tuned model on s1: 0.9",
        "majority class on s2: 0.25",
        "tuned model on s2: 0.8",
    ]


@pytest.mark.fast
def test_a_value_has_the_decimals_of_its_error():
    """What is beyond them is noise."""
    assert words.uncertain(0.0875747, 0.01234) == "0.088 ± 0.012"
    assert words.uncertain(58.4962, 0.0213) == "58.496 ± 0.021"
    assert words.uncertain(1234.5, 56.0) == "1234 ± 56"
    assert words.uncertain(0.5, float("nan")) == "0.5"


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


def test_a_pruner_that_was_off_saved_nothing(tmp_path):
    """The page says why, and no epochs that were saved."""
    more = {"pruner": {"name": "asha"}, "fixed": {"metric": "rmse", "epochs": 6}}
    run = new_run(tmp_path / "run", [made.trial(0, 1.0)], made.SMALL, **more)
    run.sign_of_life({"pruner_off": "3 epochs are too few"})
    text = page(run)
    assert "No trial was pruned: 3 epochs are too few." in text
    assert "Stopped early" not in text
