"""Confirmation: who is trained again, who wins then, what of it the budget lets, and the looks."""

import dataclasses
import math

import pytest
from scipy import stats

from jobs import files
from jobs.contract import CONFIRM, SEARCH, State
from jobs.executor import Inline, Slots
from tests import made
from tests.test_controller import drive, make
from tuner import confirm, confirmation, looks, samplers, store
from tuner.afford import SHARE, afford
from tuner.budget import CONFIRMING, Past, spent, spent_lines
from tuner.confirm import TEST
from tuner.controller import Controller, Status
from tuner.plan import Afford, plan
from tuner.progress import describe
from tuner.settings import Confirm, Jobs
from tuner.space import BadInput
from tuner.status import status, text
from tuner.study import Study

pytestmark = pytest.mark.fast

NONE = Slots(0, frozenset())
HOUR = 3600.0
SEARCHED = (5.0, 3.0, 4.0, 1.0, 2.0)  # trials 3, 4 and 1 are the best


def of(top=3, seeds=2, **more):
    """A study that confirms, and whose search is over after five trials."""
    return made.study(confirm=Confirm(top, seeds), n_trials=5, **more)


def search(values=SEARCHED, **more):
    """The complete trials of a search."""
    return [made.trial(n, value, params={"x": n}, **more) for n, value in enumerate(values)]


def again(trials, runs, **more):
    """Those trials, and the runs with fresh seeds: number of the candidate → values by k.

    None is a run that diverged, a state one that is in it.
    """
    made_runs = []
    first = max(t.number for t in trials) + 1
    pairs = [(n, k, value) for n, values in runs.items() for k, value in enumerate(values)]
    for number, (n, k, value) in enumerate(sorted(pairs, key=lambda p: p[1]), start=first):
        state = value if isinstance(value, State) else State.FAIL if value is None else None
        value_ = value if state is None else None
        made_runs.append(
            made.trial(
                number,
                value_,
                state or State.COMPLETE,
                part=f"{CONFIRM}{k}",
                of=n,
                seed=100 * n + k,
                reason="the value is nan" if value is None else "",
                **more,
            )
        )
    return [*trials, *made_runs]


CONFIRMED = {3: (2.0, 2.2), 4: (1.0, 1.1), 1: (3.0, 3.0)}  # the second of the search wins


def decide(study, trials, parts=(), **more):
    """plan() for a run whose workers have all left."""
    return plan(study, trials, NONE, parts, 100, **more)


def names(todo):
    """What is due, as (part, of)."""
    return [(due.part, due.of) for due in todo.due]


def numbers(found):
    """The trials of a ranking."""
    return [one.trial.number for one in found]


def test_the_best_of_the_search_are_trained_again_seed_by_seed():
    """All candidates' first seed before anybody's second; not before the search is over."""
    trials = search()
    todo = decide(of(), trials, (TEST,))
    first = [("confirm:0", 3), ("confirm:0", 4), ("confirm:0", 1)]
    assert names(todo) == [*first, ("confirm:1", 3), ("confirm:1", 4), ("confirm:1", 1)]
    assert (todo.submit, todo.finished) == (4, False)
    running = [*trials[:4], made.trial(4, None, State.RUNNING)]
    assert names(decide(of(), running)) == []
    assert names(decide(dataclasses.replace(of(), n_trials=6), trials)) == []


def test_the_runs_have_the_candidates_points_and_fresh_seeds():
    """By the study's seed, the candidate and k: the same again, and no other's."""
    todo = decide(of(), search())
    assert [due.params for due in todo.due] == [{"x": due.of} for due in todo.due]
    seeds = [due.seed for due in todo.due]
    assert len({*seeds}) == 6
    assert [due.seed for due in decide(of(), search()).due] == seeds
    assert {*seeds}.isdisjoint(due.seed for due in decide(of(seed=2), search()).due)


@pytest.mark.parametrize(("direction", "first"), [("minimize", [3, 4, 1]), ("maximize", [0, 2, 1])])
def test_candidates_are_the_best_in_the_studys_direction(direction, first):
    """A pruned, a failed or a later trial's test is none."""
    trials = [
        *search(), made.trial(5, 9.0, State.PRUNED), made.trial(6, None, State.FAIL),
        made.trial(7, -9.0, part=TEST, of=3), made.trial(8, math.inf),
    ]  # fmt: skip
    found = confirm.candidates(of(direction=direction), trials)
    assert [t.number for t in found] == first
    every = confirm.candidates(of(top=9, direction=direction), trials)
    assert sorted(t.number for t in every) == [0, 1, 2, 3, 4]


def test_of_equally_good_ones_the_lower_loss_is_the_candidate():
    """As the search's best is chosen, among others for the last place."""
    curves = [[{"loss": loss}] for loss in (0.5, 0.1, 0.3, 0.2)]
    trials = [made.trial(n, 0.9, curve=curve) for n, curve in enumerate(curves)]
    found = confirm.candidates(of(direction="maximize"), [*trials, made.trial(4, 0.95)])
    assert [t.number for t in found] == [4, 1, 3]


@pytest.mark.parametrize("study", [of(top=9), of(top=9, gpu_hours=100.0)])
def test_fewer_complete_trials_than_candidates_are_fine(study):
    """And none at all end the study."""
    assert len(decide(study, search()).due) == 10
    failed = [made.trial(n, None, State.FAIL) for n in range(5)]
    assert decide(study, failed, (TEST,)).finished


def test_without_the_table_the_searchs_best_wins_as_before():
    """Even if a run was confirmed earlier."""
    study = dataclasses.replace(of(), confirm=None)
    trials = again(search(), CONFIRMED)
    assert names(decide(study, search(), (TEST,))) == [(TEST, 3)]
    assert confirm.winner(study, trials).number == 3


def test_the_winner_is_chosen_by_fresh_seeds_alone():
    """The lucky searched value has no part in it; in both directions."""
    trials = again(search(), CONFIRMED)
    assert numbers(confirm.ranking(of(), trials)) == [4, 3, 1]
    assert confirm.winner(of(), trials).number == 4
    higher = again(search(), {0: (1.0, 1.0), 2: (3.0, 2.0), 1: (2.0, 2.0)})
    assert confirm.winner(of(direction="maximize"), higher).number == 2
    first = confirm.ranking(of(), trials)[0]
    assert first.mean == pytest.approx(1.05)
    assert first.error == pytest.approx(0.05)


def test_of_equal_means_the_lower_reported_loss_wins():
    """As accuracies of 1 often are; the fresh runs' loss, not the search's."""
    trials = [made.trial(n, 1.0, curve=[{"loss": n}]) for n in range(2)]
    runs = again(trials, {0: (1.0, 1.0), 1: (1.0, 1.0)})
    runs = [dataclasses.replace(t, curve=[{"loss": -t.of}]) if t.of in (0, 1) else t for t in runs]
    study = of(direction="maximize")
    assert [t.number for t in confirm.candidates(study, runs)] == [0, 1]
    assert numbers(confirm.ranking(study, runs)) == [1, 0]
    assert "their means are equal" in "\n".join(confirmation.lines(study, runs))


def test_until_the_last_run_has_ended_the_searchs_best_is_the_best():
    """And the test waits; what exists is not proposed again."""
    trials = again(search(), {**CONFIRMED, 1: (3.0, State.RUNNING)})
    assert confirm.winner(of(), trials).number == 3
    assert confirm.ranking(of(), trials) == []
    todo = decide(of(), trials, (TEST,))
    assert (names(todo), todo.finished) == ([], False)
    half = again(search(), {3: (2.0,), 4: (1.0, 1.1), 1: (3.0, State.WAITING)})
    assert names(decide(of(), half)) == [("confirm:1", 3)]


def test_each_of_the_winners_fresh_models_is_tested_once():
    """With its own seed; groups are left out once, with the first; then all is done."""
    trials = again(search(), CONFIRMED)
    todo = decide(of(), trials, (TEST, "leave:1"))
    runs = [t.number for t in trials if t.of == 4]
    assert names(todo) == [(TEST, runs[0]), (TEST, runs[1]), ("leave:1", runs[0])]
    assert [due.seed for due in todo.due] == [400, 401, 400]
    done = [
        *trials, made.trial(11, 1.0, part=TEST, of=runs[0]),
        made.trial(12, None, State.FAIL, part=TEST, of=runs[1]),
        made.trial(13, 1.0, part="leave:1", of=runs[0]),
    ]  # fmt: skip
    assert decide(of(), done, (TEST, "leave:1")).finished
    found = {part: [t.number for t in ts] for part, ts in confirm.tests(of(), done).items()}
    assert found == {TEST: [11, 12], "leave:1": [13]}


def test_who_failed_with_a_fresh_seed_ranks_behind_all_who_did_not():
    """However good its others are; what was nobody's fault does not count against it."""
    trials = again(search(), {**CONFIRMED, 4: (1.0, None)})
    found = confirm.ranking(of(), trials)
    assert numbers(found) == [3, 1, 4]
    assert "failed with 1 of 2 seeds: the value is nan" in "\n".join(
        confirmation.lines(of(), trials)
    )
    cancelled = [
        dataclasses.replace(t, reason="CANCELLED") if t.state is State.FAIL else t for t in trials
    ]
    assert numbers(confirm.ranking(of(), cancelled)) == [4, 3, 1]


def test_a_winner_is_tested_with_the_seeds_that_have_a_value():
    """Where every candidate failed with one; the report says why the first is it."""
    trials = again(search(), {3: (2.0, None), 4: (1.0, None), 1: (None, None)})
    runs = [t.number for t in trials if t.of == 4]
    assert names(decide(of(), trials, (TEST,))) == [(TEST, runs[0])]
    said = confirmation.lines(
        of(), again(search(), {3: (2.0, 2.2), 4: (1.0, None), 1: (None,) * 2})
    )
    assert "Trial 3 is first because all others failed with more seeds." in said


def test_where_all_runs_failed_the_searchs_best_is_tested():
    """The study ends, and says so."""
    trials = again(search(), dict.fromkeys((3, 4, 1), (None, None)))
    assert names(decide(of(), trials, (TEST,))) == [(TEST, 3)]
    assert "None of them has a value" in "\n".join(confirmation.lines(of(), trials))
    tested = [*trials, made.trial(11, 1.0, part=TEST, of=3)]
    assert decide(of(), tested, (TEST,)).finished
    assert [t.number for t in confirm.tests(of(), tested)[TEST]] == [11]


def test_more_trials_choose_the_candidates_anew():
    """Runs that exist are reused; who was confirmed stays, however many were luckier."""
    study = dataclasses.replace(of(), n_trials=8)
    more = [made.trial(n, 0.1, params={"x": n}) for n in (11, 12, 13)]
    trials = [*again(search(), CONFIRMED), *more]
    assert confirm.winner(study, trials).number == 4  # and not the newest lucky one
    todo = decide(study, trials)
    assert {due.of for due in todo.due} == {11, 12, 13}
    bad = again(trials, dict.fromkeys((11, 12, 13), (5.0, 5.0)))
    assert numbers(confirm.ranking(study, bad)) == [4, 3, 1, 11, 12, 13]
    good = again(trials, dict.fromkeys((11, 12, 13), (0.5, 0.5)))
    assert confirm.winner(study, good).number == 11
    older = dataclasses.replace(study, confirm=Confirm(top=6, seeds=2))
    assert {due.of for due in decide(older, trials).due} == {11, 12, 13}


def test_more_seeds_add_runs_and_all_are_compared_by_equally_many():
    """Who has more of them gets no better mean by that."""
    trials = again(search(), CONFIRMED)
    assert [d.part for d in decide(of(seeds=3), trials).due] == ["confirm:2"] * 3
    ahead = again(search(), {**CONFIRMED, 3: (2.0, 2.2, -50.0)})
    assert numbers(confirm.ranking(of(seeds=3), ahead)) == [4, 3, 1]
    other = again(search(), {**CONFIRMED, 2: (-50.0,)})  # no candidate, and one seed of it
    assert numbers(confirm.ranking(of(), other)) == [4, 3, 1]
    assert [len(one.runs) for one in confirm.ranking(of(), other)] == [2, 2, 2]


def test_a_budget_that_ends_in_the_middle_leaves_whole_rounds():
    """So that all candidates have equally many seeds; the report says how many."""
    assert len(decide(of(), search(), afford=Afford(runs=5)).due) == 3
    assert len(decide(of(), search(), afford=Afford(runs=6)).due) == 6
    todo = decide(of(), search(), (TEST,), afford=Afford(runs=2))
    assert names(todo) == [(TEST, 3)]
    one = again(search(), {3: (2.0,), 4: (1.0,), 1: (3.0,)})
    todo = decide(of(), one, (TEST,), afford=Afford(runs=2))
    assert names(todo) == [(TEST, 6)]
    said = "\n".join(confirmation.lines(of(), one))
    assert "with 1 of the 2 asked for fresh seeds each" in said
    assert "One seed each cannot tell" in said
    said = "\n".join(confirmation.lines(of(gpu_hours=9.0), search()))
    assert "0 of 6 trainings with fresh seeds are done, which may use a quarter" in said


def hours(trials, **more):
    """The same trials, each with an hour of a slot."""
    return [dataclasses.replace(t, started=0.0, seconds=HOUR, **more) for t in trials]


def reach(hours_, trials, parts=(TEST,), resumes=False, **more):
    """What the budget lets begin."""
    study = of(gpu_hours=hours_, **more)
    use = spent(study, trials, None, HOUR, Past())
    return afford(study, trials, use, parts, HOUR, resumes=resumes)


def test_confirmation_is_put_by_and_gets_a_quarter_of_the_budget_at_most():
    """Six runs of an hour and their two tests before the search; with less, what is a quarter."""
    searched = hours(search())
    assert reach(100.0, searched) == Afford(trials=100 - 5 - 6 - 2, runs=25, parts=95)
    assert reach(16.0, searched) == Afford(trials=16 - 5 - 3 - 2, runs=4, parts=11)  # one round
    assert reach(9.0, searched).runs == min(SHARE * 9, 9 - 5 - 2)
    assert reach(7.0, searched).runs == 0  # the tests come first
    assert reach(11.0, searched).trials == 11 - 5 - 2  # no round fits into a quarter
    assert reach(100.0, searched, resumes=True).trials == 100 - 5 - 6 - 1
    assert reach(100.0, searched, ()).trials == 100 - 5 - 6


@pytest.mark.parametrize("again_costs", [0.1, 1.0, 1.9])
@pytest.mark.parametrize("budget", [0.5, 1.5, 4, 7, 11, 13, 17, 24, 30, 60])
def test_a_budget_of_any_size_comes_to_an_end(budget, again_costs):
    """Search, whole rounds, tests; never more than the last trials' own error beyond it."""
    study = dataclasses.replace(of(gpu_hours=budget), n_trials=30)
    trials = []
    for _ in range(200):
        use = spent(study, trials, None, HOUR, Past())
        reach_ = afford(study, trials, use, (TEST,), HOUR)
        todo = plan(study, trials, NONE, (TEST,), 1, afford=reach_)
        if todo.finished:
            break
        new = [made.trial(len(trials), float(-len(trials)), params={"x": 1})] * bool(todo.propose)
        new += [
            made.trial(n, 1.0, part=due.part, of=due.of, seed=due.seed)
            for n, due in enumerate(todo.due, start=len(trials))
        ]
        cost = [1.0 if t.part == SEARCH else again_costs for t in new]
        trials += [
            dataclasses.replace(t, started=0.0, seconds=HOUR * hours_)
            for t, hours_ in zip(new, cost, strict=True)
        ]
    assert todo.finished
    runs = confirm.runs_of(trials)
    assert len(runs) % 3 == 0
    assert len(runs) == (0 if budget < 13 else 3 if budget < 24 else 6)
    parts = [t.part for t in trials]
    assert parts == sorted(parts, key=lambda part: (part != SEARCH, part))
    if again_costs <= 1 and budget > 2:  # dearer ones may have eaten what was put by for the tests
        assert parts.count(TEST) == max(1, len(runs) // 3)
    limit = budget + 0.9 * len([t for t in trials if t.part != SEARCH])
    assert spent(study, trials, None, HOUR, Past()).total <= max(limit, 1.0)


def test_what_is_in_work_is_put_by_until_it_ends():
    """A waiting run whole, one that runs by its rest; the others' candidates' count as spent."""
    runs = {3: (2.0, State.WAITING), 4: (1.0, State.RUNNING), 1: (3.0, State.WAITING)}
    unfinished = {State.WAITING: {"seconds": None}, State.RUNNING: {"started": HOUR / 2}}
    trials = [
        dataclasses.replace(t, **unfinished.get(t.state, {})) for t in hours(again(search(), runs))
    ]
    found = reach(100.0, trials)
    assert found.runs == 25 - 3.5 - 2.5
    assert found.parts == 100 - 8.5 - 2.5
    assert found.trials == 100 - 8.5 - 2.5 - 2
    tests = [
        made.trial(20, None, State.WAITING, part=TEST, of=3, seconds=None),
        made.trial(21, None, State.RUNNING, part="leave:1", of=3, started=HOUR / 2),
    ]
    assert reach(100.0, [*trials, *tests]).parts == 100 - 9 - 2.5 - 1.5
    old = [dataclasses.replace(t, of=2) if t.part == "confirm:0" else t for t in trials]
    assert reach(100.0, old).trials < reach(100.0, trials).trials


def test_cheap_runs_and_tests_leave_nothing_for_another_search():
    """Its winner is final when it is confirmed: else the test part would be read again."""
    trials = hours(again(search(), {3: (2.0,), 4: (1.0,)}))
    cheap = [dataclasses.replace(t, seconds=1.0) if t.part != SEARCH else t for t in trials]
    for found in (trials[:5], trials, cheap):
        assert reach(8.5, found, top=2, seeds=1).trials == pytest.approx(0.5)
    parts = spent(of(), cheap, None, HOUR, Past())
    assert parts.parts[CONFIRMING] == pytest.approx(2 / HOUR)
    assert any(CONFIRMING in line for line in spent_lines(parts.table(), None))


def test_a_study_is_confirmed_by_ordinary_jobs_and_goes_on(tmp_path, monkeypatch):
    """Search, fresh seeds, and the end; its sampler knows none of it; more trials reuse it."""
    how = {"train": "tests.functions:noisy", "confirm": Confirm(2, 3), "n_trials": 6}
    run = make(tmp_path, **how)
    drive(run)
    trials = run.trials()
    assert [t.part for t in trials[6:]] == [f"confirm:{k}" for k in (0, 0, 1, 1, 2, 2)]
    for trial in trials[6:]:
        assert trial.params == trials[trial.of].params
        assert trial.value == pytest.approx((trial.params["x"] - 1) ** 2 + trial.seed % 100 / 1000)
    found = confirm.ranking(run.study, trials)
    assert {len(one.values) for one in found} == {3}
    assert found[0].mean < found[1].mean
    more = store.create(dataclasses.replace(run.study, n_trials=9), run.path)
    ask = samplers.get("random")
    told = []
    monkeypatch.setattr(samplers, "get", lambda _: lambda *a: told.append(a[1]) or ask(*a))
    drive(more)
    assert {t.part for trials in told for t in trials} == {SEARCH}
    kinds = [t.part for t in more.trials()]
    assert kinds.count(SEARCH) == 9
    pairs = [(t.of, t.part) for t in more.trials() if t.part != SEARCH]
    assert len(pairs) == len({*pairs})


def test_only_the_winners_models_stay_and_not_before_it_is_known(tmp_path):
    """Each run's finished checkpoint is kept until the last has ended."""
    run = make(tmp_path, train="tests.functions:noisy", confirm=Confirm(3, 2), n_trials=6)
    controller = Controller(run, OneTrial(run.folder))
    for _ in range(100):
        done = controller.tick().finished
        trials = run.trials()
        runs = {t.number for t in trials if t.part != SEARCH and t.state is State.COMPLETE}
        held = {int(name[:6]) for name in files.names(run.folder.weights)}
        if not confirm.ranking(run.study, trials):
            assert runs <= held
        if done:
            break
    won = confirm.confirmed(run.study, trials)
    assert held & runs == {t.number for t in won.complete}
    assert len(held - runs) == 3


class OneTrial(Inline):
    """A worker that leaves after one trial."""

    def submit(self, workers):
        """Train the next one."""
        study = dataclasses.asdict(Jobs(grace=0.0, trials_per_job=1))
        path = self.folder.path / "settings.json"
        settings = files.read(path)
        files.replace(path, __import__("json").dumps({**settings, "jobs": study}).encode())
        super().submit(workers)


def test_a_seed_that_diverges_ends_the_study_all_the_same(tmp_path):
    """No value for some, a winner by the others, and no endless confirmation."""
    run = make(
        tmp_path, train="tests.functions:noisy", fixed={"diverges": True}, confirm=Confirm(3, 3)
    )
    drive(run)
    trials = run.trials()
    assert State.FAIL in {t.state for t in trials if t.part != SEARCH}
    found = confirm.ranking(run.study, trials)
    assert [len(one.failed) for one in found] == sorted(len(one.failed) for one in found)


def test_status_and_progress_say_that_it_confirms(tmp_path):
    """And then by how many seeds who was confirmed."""
    run = make(tmp_path, train="tests.functions:noisy", confirm=Confirm(2, 2), n_trials=4)
    controller = Controller(run, Inline(run.folder))
    while not [t for t in run.trials() if t.part != SEARCH]:
        controller.executor.submit = (
            lambda n: Inline.submit(controller.executor, n)
            if [t for t in run.trials() if t.part == SEARCH and not t.state.finished] else None
        )  # fmt: skip
        controller.tick()
    assert "confirming: 0 of 4 runs" in text(status(run))
    assert "confirming: 0 of 4 runs" in describe(run.study, Status(run.trials(), NONE))
    drive(run)
    found = status(run)
    assert found["confirmed"]["values"] == confirm.confirmed(run.study, run.trials()).values
    assert "over 2 fresh seeds" in text(found)
    assert "confirmed)" in describe(run.study, Status(run.trials(), NONE))


def test_welchs_interval_is_scipys():
    """Of the difference of means; none of a single value, a point where nothing varies."""
    one, other = (1.0, 1.5, 0.7, 2.0), (2.0, 4.0, 3.5)
    found = confirmation.welch(one, other)
    theirs = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.value == pytest.approx(sum(one) / 4 - sum(other) / 3)
    assert confirmation.welch((1.0,), other) is None
    assert confirmation.welch((1.0, 1.0), (2.0, 2.0)).high == -1.0


def test_the_report_says_whether_the_first_can_be_told_from_the_second():
    """With the luck of the searched value, and who was not trained again."""
    clear = confirmation.lines(of(), again(search(), CONFIRMED))
    assert "2 fresh seeds each" in clear[0]
    assert "trial 4     1.05 ± 0.05" in clear[1]
    assert "searched: 2" in clear[1]
    near = again(search(), {3: (1.0, 1.4), 4: (1.1, 1.5), 1: (3.0, 3.0)})
    assert "The first cannot be told from the second" in "\n".join(confirmation.lines(of(), near))
    far = again(search(), {3: (1.0, 1.01), 4: (2.1, 2.11), 1: (3.0, 3.0)})
    said = "\n".join(confirmation.lines(of(), far))
    assert "The first can be told from the second: it is better by 1.1 rmse" in said
    assert "The search saw 1 for trial 3: 0.005 better than the mean of its fresh seeds" in said
    up = "\n".join(
        confirmation.lines(
            of(direction="maximize"), again(search(), {0: (9, 8.9), 2: (1, 1.1), 1: (1, 1)})
        )
    )
    assert "can be told from the second: it is better by 7.9 rmse" in up
    assert "The search saw 5 for trial 0: no better than the mean" in up
    lower = again(search(), {3: (0.5, 0.6), 4: (2.1, 2.11), 1: (3.0, 3.0)})
    assert "no better than the mean" in "\n".join(confirmation.lines(of(), lower))
    more = [*far, made.trial(11, 0.1)]
    assert "Not trained again" in confirmation.lines(of(), more)[-1]
    assert confirmation.lines(made.study(), far) == []
    alone = again(search(SEARCHED[:1]), {0: (1.0, 2.0)})
    assert "no second" in "\n".join(confirmation.lines(of(), alone))


def test_best_json_names_every_seed():
    """Of each candidate: number, seed and value of every run."""
    found = confirmation.document(of(), again(search(), {**CONFIRMED, 1: (3.0, None)}))
    assert found["mean"] == pytest.approx(1.05)
    assert [s["value"] for s in found["seeds"]] == [1.0, 1.1]
    assert [c["number"] for c in found["candidates"]] == [4, 3, 1]
    assert found["candidates"][2]["failed"][0]["reason"] == "the value is nan"
    assert found["first_less_second"]["value"] == pytest.approx(-1.05)
    assert confirmation.document(of(), search()) is None


def test_every_look_at_the_test_part_is_written_down_first(tmp_path, monkeypatch):
    """Who, when, which trial, of whom; a killed controller leaves the line and no look."""
    run = make(tmp_path, train="tests.functions:noisy", confirm=Confirm(2, 2), n_trials=4)
    drive(run)
    controller = Controller(run, Inline(run.folder))
    controller.parts = (TEST,)
    monkeypatch.setattr(type(run.folder), "propose", killed)
    with pytest.raises(KeyboardInterrupt):
        controller.tick()
    (line,) = files.read_lines(run.path / "looks.jsonl")
    won = confirm.confirmed(run.study, run.trials())
    assert (line["part"], line["trial"], line["of"]) == (TEST, 8, won.complete[0].number)
    assert line["seed"] == won.complete[0].seed
    assert line.keys() >= {"host", "pid", "time"}


def killed(*_):
    """A controller that ends here."""
    raise KeyboardInterrupt


def test_looks_for_a_second_candidate_are_a_warning(tmp_path):
    """Noted twice is looked at once; a look whose line is torn counts by its trial."""
    trials = again(search(), CONFIRMED)
    runs = [t.number for t in trials if t.of == 4]
    assert looks.lines(tmp_path, trials) == []
    for _ in range(2):
        looks.note(tmp_path, TEST, 11, runs[0], 1)
    looks.note(tmp_path, looks.BASELINES)
    tested = [*trials, made.trial(12, 1.0, part=TEST, of=runs[1])]
    (said,) = looks.lines(tmp_path, tested)
    assert "looked at 2 × for the winner, 1 × for the baselines" in said
    other = [*tested, made.trial(13, 1.0, part=TEST, of=3)]
    (said,) = looks.lines(tmp_path, other)
    assert said.startswith("Warning: ")
    assert "3 × for 2 candidates" in said


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"top": -1}, "confirm.top"), ({"top": 2.5}, "confirm.top"), (5, "confirm"),
        ({"top": False}, "confirm.top"), ({"seeds": 0}, "confirm.seeds"),
        ({"tops": 5}, "confirm.tops"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(table, key):
    """With its key."""
    with pytest.raises(BadInput) as caught:
        Study.from_table({**made.study().to_table(), "confirm": table})
    assert caught.value.key == key


def test_the_table_alone_switches_it_on():
    """With its defaults; `top = 0`, or no table, is off; it may change while a run goes on."""
    plain = made.study().to_table()
    assert plain["confirm"] is None
    for table, wanted in (({}, Confirm(5, 5)), ({"top": 0}, None), ({"seeds": 2}, Confirm(5, 2))):
        read = Study.from_table({**plain, "confirm": table})
        assert read.confirm == wanted
        assert Study.from_table(read.to_table()) == read
        assert read.identity() == made.study().identity()
