"""A warm start: which trials of earlier runs a sampler is told, as which points and losses."""

import dataclasses
import json

import pytest

from jobs import files
from jobs.contract import State
from tests import made
from tests.test_controller import SPACE, drive, make
from tuner import report, samplers, store
from tuner.pack import pack
from tuner.results import searched
from tuner.settings import WarmStart
from tuner.space import BadInput
from tuner.study import Study, read
from tuner.warm import Earlier, load, snapshot, told

pytestmark = pytest.mark.fast

X = {"x": {"type": "float", "low": 0, "high": 1}}


def study(space=X, fixed=None, warm=None, **more):
    """A study that starts warm."""
    given = {"direction": "minimize", "n_trials": 9, "name": "new", "n_initial": 4, **more}
    return Study.from_table(
        {
            **given,
            "space": space,
            "fixed": fixed or {},
            "warm_start": {"runs": ["old"], **(warm or {})},
        }
    )


def point(number, params, value=1.0, state=State.COMPLETE, **more):
    """A trial of the earlier run."""
    return made.trial(number, value, state, params=params, **more)


def taken(new, old, trials, hash_=""):
    """What of an earlier run's trials the new sampler is told: (params, loss)."""
    record = snapshot(new, "", [Earlier("old", old, trials, hash_)])
    found = load(json.loads(json.dumps(record)))
    return [(t.params, t.value) for t in found.trials]


def test_points_of_both_spaces_are_taken_as_they_are():
    """Ranges may be others: what is outside the new one is left out."""
    old = study({"x": {"type": "float", "low": -5, "high": 5}})
    trials = [point(0, {"x": 0.5}, 3.0), point(1, {"x": 2.0}), point(2, {"x": 1.0}, 4.0)]
    assert taken(study(), old, trials) == [({"x": 0.5}, 3.0), ({"x": 1.0}, 4.0)]
    record = snapshot(study(), "", [Earlier("old", old, trials, "")])
    assert load(record).lines == ["Warm start: 2 trials of old, 1 do not fit"]


def test_grids_and_choices_are_the_new_spaces():
    """A value between the new grid's is no point of it."""
    new = study({"n": {"type": "int", "low": 16, "high": 64, "step": 16},
                 "o": {"type": "categorical", "choices": ["adam", "sgd"]}})  # fmt: skip
    old = study({"n": {"type": "int", "low": 1, "high": 64},
                 "o": {"type": "categorical", "choices": ["adam", "lion"]}})  # fmt: skip
    trials = [point(i, {"n": n, "o": o})
              for i, (n, o) in enumerate([(32, "adam"), (33, "adam"), (32, "lion")])]  # fmt: skip
    assert taken(new, old, trials) == [({"n": 32, "o": "adam"}, 1.0)]


def test_a_parameter_that_was_fixed_is_known_and_one_that_was_not_named_is_not():
    """Nobody has measured a middle or a default; the study may say what it was."""
    both = {**X, "y": {"type": "float", "low": 0, "high": 1}}
    fixed = study(fixed={"y": 0.25})
    assert taken(study(both), fixed, [point(0, {"x": 0.5})]) == [({"x": 0.5, "y": 0.25}, 1.0)]
    with pytest.raises(BadInput, match="no finished trial of old fits"):
        taken(study(both), study(), [point(0, {"x": 0.5})])
    given = study(both, warm={"fixed": {"y": 0.75}})
    assert taken(given, study(), [point(0, {"x": 0.5})]) == [({"x": 0.5, "y": 0.75}, 1.0)]


def test_a_parameter_that_was_searched_and_now_is_fixed_must_have_that_value():
    """Other trials measured another function."""
    old = study({**X, "y": {"type": "int", "low": 0, "high": 9}})
    trials = [point(0, {"x": 0.5, "y": 3}), point(1, {"x": 0.25, "y": 4})]
    assert taken(study(fixed={"y": 4}), old, trials) == [({"x": 0.25}, 1.0)]


def test_conditions_are_the_new_spaces():
    """A parameter that counts now and did not then is not known; the other way it is dropped."""
    plain = {"o": {"type": "categorical", "choices": ["adam", "sgd"]},
             "m": {"type": "float", "low": 0, "high": 1}}  # fmt: skip
    when = {**plain, "m": {**plain["m"], "when": {"o": "sgd"}}}
    trials = [point(0, {"o": "adam", "m": 0.5}), point(1, {"o": "sgd", "m": 0.5})]
    assert [params for params, _ in taken(study(when), study(plain), trials)] == [
        {"o": "adam"}, {"o": "sgd", "m": 0.5},
    ]  # fmt: skip
    trials = [point(0, {"o": "adam"}), point(1, {"o": "sgd", "m": 0.5})]
    assert taken(study(plain), study(when), trials) == [({"o": "sgd", "m": 0.5}, 1.0)]


def test_losses_are_told_failures_too_and_nothing_else():
    """Not a pruned trial's early value, nor what a user cancelled, a winner's test, an open one."""
    best = {"direction": "maximize"}
    trials = [
        point(0, {"x": 0.1}, 5.0), point(1, {"x": 0.2}, None, State.FAIL, reason="ValueError"),
        point(2, {"x": 0.3}, None, State.FAIL, reason="CANCELLED"),
        point(3, {"x": 0.4}, 9.0, State.PRUNED), point(4, {"x": 0.5}, None, State.RUNNING),
        point(5, {"x": 0.1}, 7.0, part="test", of=0),
    ]  # fmt: skip
    assert taken(study(**best), study(**best), trials) == [({"x": 0.1}, -5.0), ({"x": 0.2}, None)]
    record = snapshot(study(), "", [Earlier("old", study(), trials, "")])
    states = [(t.number, t.state) for t in load(record).trials]
    assert states == [(-2, State.COMPLETE), (-1, State.FAIL)]


@pytest.mark.parametrize(
    ("more", "old", "hash_", "word"),
    [
        ({}, {"direction": "maximize"}, "", "maximize"),
        ({}, {"data": {"source": "household"}}, "", "data"),
        ({}, {}, "other content", "data"),
        ({}, {"train": "mine:train"}, "", "train"),
        ({"fixed": {"epochs": 30}}, {"fixed": {"epochs": 10}}, "", "fixed.epochs"),
        ({"fixed": {"epochs": 30}}, {}, "", "fixed.epochs"),
        ({}, {"fixed": {"epochs": 10}}, "", "fixed.epochs"),
    ],
)
def test_values_of_another_function_are_refused(more, old, hash_, word):
    """With the first thing that differs; `scale` takes them, but never another direction."""
    trials = [point(0, {"x": 0.5}, 10.0), point(1, {"x": 0.6}, 12.0), point(2, {"x": 0.7}, 20.0)]
    with pytest.raises(BadInput, match=word):
        taken(study(**more), study(**old), trials, hash_)
    scaling = study(**more, warm={"scale": True})
    if "direction" in old:
        with pytest.raises(BadInput, match=word):
            taken(scaling, study(**old), trials, hash_)
    else:
        assert [loss for _, loss in taken(scaling, study(**old), trials, hash_)] == [-1, 0, 4]


def test_scaled_values_come_to_the_own_runs_middle_and_span():
    """Once its spread points have them; before, and while they are few, nothing is told."""
    trials = [point(n, {"x": n / 10}, value) for n, value in enumerate([10.0, 12.0, 20.0])]
    new = study(warm={"scale": True})
    found = load(snapshot(new, "", [Earlier("old", study(), trials, "")]))
    own = [point(n, {"x": 0.5}, value) for n, value in enumerate([1.0, 1.1, 1.2, 1.4])]
    assert told(found, own[:3], 4) == own[:3]
    waiting = dataclasses.replace(own[0], state=State.RUNNING, value=None)
    few = [waiting, dataclasses.replace(waiting, number=1), *own[2:]]
    assert told(found, few, 4) == few
    both = told(found, own, 4)
    assert both[3:] == own
    assert [t.value for t in both[:3]] == pytest.approx([1.05, 1.15, 1.55])
    assert (found.initial(4), both[0].number) == (4, -3)
    later = [*own, point(4, {"x": 0.7}, 0.1), point(5, {"x": 0.7}, 0.2)]
    assert told(found, later, 4)[:3] == both[:3]


def test_a_later_sampled_point_moves_no_scale():
    """Good points that a sampler chose would make the earlier run's middle look like them."""
    trials = [point(n, {"x": 0.1}, v) for n, v in enumerate([10.0, 12.0, 20.0, 14.0, 0.1, 0.2])]
    new = study(warm={"scale": True})
    (run,) = snapshot(new, "", [Earlier("old", study(), trials, "")])["runs"]
    assert run["scale"] == (13.0, 2.0)


def warmed(tmp_path, sampler="gp", **more):
    """A finished run, and a new one that starts warm from it."""
    old = make(tmp_path / "a", sampler="random", n_trials=8)
    drive(old)
    runs = WarmStart(runs=(str(old.path),))
    return old, make(tmp_path / "b", sampler=sampler, warm_start=runs, **more)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_every_warm_proposal_can_be_replayed(tmp_path, sampler):
    """Promise 4, whatever has become of the earlier run; numbers and seeds are the new run's."""
    old, run = warmed(tmp_path, sampler, n_trials=6, n_initial=4)
    before = run.warm.trials
    again = store.create(dataclasses.replace(old.study, n_trials=12), old.path)
    drive(again)
    files.remove_folder(old.path)
    drive(run)
    again = store.Store(run.path)
    assert again.warm.trials == before
    trials = again.trials()
    assert [t.number for t in trials] == list(range(6))
    for trial in trials:
        pending = again.folder.result(trial.number).pending
        known = [
            dataclasses.replace(t, state=State.WAITING, value=None) if t.number in pending else t
            for t in trials[: trial.number]
        ]
        everything = told(again.warm, known, 4)
        assert samplers.get(sampler)(SPACE, everything, 1, 0, 0) == [trial.params]


def test_a_warm_sampler_looks_where_the_earlier_run_found_something(tmp_path):
    """No spread points first: the first point is near the minimum at 1, in a range of five."""
    _, run = warmed(tmp_path, n_trials=3, n_initial=8)
    drive(run)
    assert abs(run.trials()[0].params["x"] - 1.0) < 0.5
    cold = make(tmp_path / "c", sampler="gp", n_trials=3, n_initial=8)
    drive(cold)
    assert run.trials()[0].params != cold.trials()[0].params


def test_fewer_earlier_trials_than_spread_points_shorten_these(tmp_path):
    """Two of ten are spread yet, as the first two of a cold start are."""
    _, run = warmed(tmp_path, n_trials=3, n_initial=10)
    drive(run)
    cold = make(tmp_path / "c", sampler="gp", n_trials=3, n_initial=10)
    drive(cold)
    mine, others = ([t.params for t in r.trials()] for r in (run, cold))
    assert (mine[:2], mine[2] == others[2]) == (others[:2], False)


def test_earlier_trials_are_no_results_of_the_new_run(tmp_path):
    """They never win, stand in no table, and are said in one line."""
    old, run = warmed(tmp_path, n_trials=2)
    drive(run)
    trials = run.trials()
    assert len(searched(trials)) == 2
    text = report.summary(run, trials, report.tested(run, trials))
    assert [line for line in text if "Warm" in line] == [f"Warm start: 8 trials of {old.path}"]
    assert not any(t.number < 0 for t in trials)


def test_a_packed_run_is_as_good(tmp_path):
    """Its trials come from one file."""
    old = make(tmp_path / "a", sampler="random", n_trials=8)
    drive(old)
    pack(store.Store(old.path))
    run = make(tmp_path / "b", warm_start=WarmStart(runs=(str(old.path),)))
    assert len(run.warm.trials) == 8


def test_the_warm_start_of_a_run_does_not_change(tmp_path):
    """It makes proposals what they are; a run without one goes on as before."""
    _, run = warmed(tmp_path)
    with pytest.raises(BadInput, match="warm_start"):
        store.create(dataclasses.replace(run.study, warm_start=WarmStart()), run.path)
    store.create(dataclasses.replace(run.study, n_trials=99), run.path)
    cold = make(tmp_path / "c")
    known = files.read(cold.path / "run.json")
    del known["study"]["warm_start"]  # as an older version wrote it
    files.replace(cold.path / "run.json", json.dumps(known).encode())
    make(tmp_path / "c", n_trials=99)


def test_a_lost_snapshot_is_said(tmp_path):
    """Without it the next points would silently be others."""
    _, run = warmed(tmp_path)
    files.remove([run.path / "warm.json"])
    with pytest.raises(BadInput, match=r"warm\.json"):
        store.Store(run.path)


def test_what_is_no_run_is_refused_before_anything_is_made(tmp_path):
    """With its path."""
    with pytest.raises(BadInput, match="nowhere"):
        make(tmp_path, warm_start=WarmStart(runs=(str(tmp_path / "nowhere"),)))
    assert files.names(tmp_path) == []


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"run": ["a"]}, "warm_start.run"), ({"runs": "a"}, "warm_start.runs"),
        ({"scale": 1}, "warm_start.scale"), ({"fixed": 3}, "warm_start.fixed"),
    ],
)  # fmt: skip
def test_a_table_that_makes_no_sense_is_refused(table, key):
    """With its key."""
    given = {"direction": "minimize", "n_trials": 9, "name": "n", "space": X, "warm_start": table}
    with pytest.raises(BadInput) as error:
        Study.from_table(given)
    assert error.value.key == key


def test_an_earlier_runs_path_counts_from_here(tmp_path, monkeypatch):
    """As that of a new run does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(
        'direction = "minimize"\nn_trials = 3\n[warm_start]\nruns = ["runs/old"]\n'
        '[space]\nx = { type = "float", low = 0, high = 1 }\n'
    )
    assert read(tmp_path / "s.toml").warm_start.runs == (str(tmp_path / "runs/old"),)
