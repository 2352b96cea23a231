"""FileTrials: hyperopt's own `fmin`, on files that outlive the process."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import hyperopt
import numpy as np
import pytest
from hyperopt import hp

from jobs import files
from jobs.contract import Claim, Proposal, Result, State
from jobs.folder import RunFolder
from tuner.filetrials import FileTrials

SPACE = {"x": hp.uniform("x", -5, 5), "n": hp.quniform("n", 1, 9, 2)}
NESTED = {
    "optimizer": hp.choice(
        "optimizer",
        [{"name": "adam"}, {"name": "sgd", "momentum": hp.uniform("momentum", 0, 0.99)}],
    ),
    "layers": hp.choice("layers", [1, 2, 4]),
    "rate": hp.loguniform("rate", -9, -4),
}


def square(point):
    """A loss that is least at x = 0."""
    return point["x"] ** 2 + point["n"]


def minimise(fn, space, trials, max_evals, **options):
    """What a user's own script does, in few words and quietly."""
    given = {"algo": hyperopt.tpe.suggest, "rstate": np.random.default_rng(3)}
    return hyperopt.fmin(
        fn,
        space,
        max_evals=max_evals,
        trials=trials,
        show_progressbar=False,
        **{**given, **options},
    )


def contents(folder):
    """All bytes of a folder's files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fmin_does_with_files_what_it_does_in_memory(tmp_path):
    """Unmodified code: the same points, losses and answer as with hyperopt's own Trials."""
    ours, theirs = FileTrials(tmp_path), hyperopt.Trials()
    answer = minimise(square, SPACE, ours, 25)
    assert answer == minimise(square, SPACE, theirs, 25)
    assert ours.losses() == theirs.losses()
    assert ours.vals == theirs.vals
    assert isinstance(ours, hyperopt.Trials)


def test_a_new_process_sees_every_trial(tmp_path):
    """And hyperopt can do with them what it could with the old ones."""
    before = FileTrials(tmp_path)
    minimise(lambda p: {"loss": p["x"] ** 2, "status": "ok", "note": [1]}, SPACE, before, 6)
    after = FileTrials(tmp_path)
    assert after.vals == before.vals
    assert after.results == before.results
    assert after.argmin == before.argmin
    assert after.best_trial["result"]["note"] == [1]
    assert [d["state"] for d in after.trials] == [hyperopt.JOB_STATE_DONE] * 6


def test_a_larger_number_of_evaluations_goes_on(tmp_path):
    """The second call evaluates the difference, a third with no more nothing.

    With a fixed seed the points are those of one call, and not the first ones again.
    """
    seen, whole = [], hyperopt.Trials()
    for max_evals in (4, 24, 24):
        minimise(lambda p: seen.append(p["x"]) or p["x"], SPACE, FileTrials(tmp_path), max_evals)
    minimise(lambda p: p["x"], SPACE, whole, 24)
    assert seen == whole.losses() == FileTrials(tmp_path).losses()


def test_a_result_is_in_the_folder_when_its_evaluation_ends(tmp_path):
    """Whatever the queue's length: the next evaluation finds the earlier ones published."""
    done = []

    def look(point):
        done.append(len(RunFolder(tmp_path).look().finished))
        return point["x"]

    minimise(look, SPACE, FileTrials(tmp_path), 6, max_queue_len=3)
    assert done == [0, 1, 2, 3, 4, 5]


def test_results_are_those_of_a_run(tmp_path):
    """With state, value and params, so that what reads a run's folder reads these too."""
    minimise(square, SPACE, FileTrials(tmp_path), 2)
    folder = RunFolder(tmp_path)
    view, result = folder.look(), folder.result(1)
    assert (view.finished, view.proposed, view.whole) == ({0, 1}, frozenset(), True)
    assert result.state is State.COMPLETE
    assert result.value == square(result.params)
    assert result.seconds >= 0


def test_conditional_choices_survive(tmp_path):
    """An inactive label stays empty, and TPE goes on over choices within choices."""
    points = []

    def loss(point):
        points.append(point)
        return point["rate"] * point["layers"] + point["optimizer"].get("momentum", 1)

    for max_evals in (12, 24):
        minimise(loss, NESTED, FileTrials(tmp_path), max_evals)
    trials = FileTrials(tmp_path)
    kinds = {len(misc["vals"]["momentum"]) for misc in trials.miscs}
    assert kinds == {0, 1}
    found = [
        hyperopt.space_eval(NESTED, {k: v[0] for k, v in misc["vals"].items() if v})
        for misc in trials.miscs
    ]
    assert found == points


def test_a_status_fail_is_a_trial_without_a_loss(tmp_path):
    """It counts as evaluated, in a new process too."""
    calls = []

    def loss(point):
        calls.append(point)
        if len(calls) == 2:
            return {"status": "fail", "failure": "no convergence"}
        return point["x"]

    for _ in range(2):
        minimise(loss, SPACE, FileTrials(tmp_path), 4)
    assert len(calls) == 4
    assert FileTrials(tmp_path).statuses() == ["ok", "fail", "ok", "ok"]
    result = RunFolder(tmp_path).result(1)
    assert (result.state, result.reason) == (State.FAIL, "no convergence")


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_kept_and_does_not_count(tmp_path, loss):
    """hyperopt allows it, JSON does not; a search must not end for it."""
    numbers = iter([2.0, loss, 1.0])
    for _ in range(2):
        minimise(lambda _: next(numbers), SPACE, FileTrials(tmp_path), 3)
    kept = FileTrials(tmp_path).losses()
    assert repr(kept) == repr([2.0, loss, 1.0])
    assert RunFolder(tmp_path).result(1).state is State.FAIL


def test_what_a_result_holds_becomes_plain(tmp_path):
    """Arrays as lists, numpy's numbers as Python's, other values as text; odd keys are left out."""
    extra = {"curve": np.arange(3), "best": np.float32(0.5), "where": tmp_path, (1, 2): "a pair"}
    loss = {"loss": np.float64(1.5), "status": "ok", **extra}
    minimise(lambda _: dict(loss), SPACE, FileTrials(tmp_path), 1)
    (result,) = FileTrials(tmp_path).results
    assert result["loss"] == 1.5
    assert result["curve"] == [0, 1, 2]
    assert result["best"] == 0.5
    assert result["where"] == str(tmp_path)


def broken_once(error):
    """A function that fails at its second call."""
    calls = []

    def fn(point):
        calls.append(point)
        if len(calls) == 2:
            raise error
        return point["x"]

    return fn, calls


def test_an_exception_is_fails_reason_and_the_search_goes_on(tmp_path):
    """With `catch_eval_exceptions` as without files: an error, told to nobody as a score."""
    fn, calls = broken_once(ValueError("no such layer"))
    trials = FileTrials(tmp_path)
    minimise(fn, SPACE, trials, 4, catch_eval_exceptions=True)
    result = RunFolder(tmp_path).result(1)
    assert result.state is State.FAIL
    assert "no such layer" in result.reason
    theirs = hyperopt.Trials()
    minimise(broken_once(ValueError())[0], SPACE, theirs, 4, catch_eval_exceptions=True)
    assert len(calls) == 4
    assert len(trials) == len(FileTrials(tmp_path)) == len(theirs) == 3


def test_an_exception_that_is_not_caught_reaches_the_caller(tmp_path):
    """And is in the folder: going on does not evaluate that point again."""
    fn, calls = broken_once(ValueError("no such layer"))
    with pytest.raises(ValueError, match="no such layer"):
        minimise(fn, SPACE, FileTrials(tmp_path), 4)
    minimise(fn, SPACE, FileTrials(tmp_path), 4)
    assert len({point["x"] for point in calls[:2]}) == 2
    assert RunFolder(tmp_path).result(1).state is State.FAIL
    assert len(FileTrials(tmp_path)) == 4


KILLED = """
import os, sys
import numpy as np
from hyperopt import fmin, hp, tpe
from tuner.filetrials import FileTrials

def fn(point):
    with open(sys.argv[2], "a") as log:
        log.write(f"{point['x']!r}\\n")
    if sum(1 for _ in open(sys.argv[2])) == 5:
        os.kill(os.getpid(), 9)
    return point["x"] ** 2

fmin(fn, {"x": hp.uniform("x", -5, 5)}, algo=tpe.suggest, max_evals=int(sys.argv[3]),
     trials=FileTrials(sys.argv[1]), rstate=np.random.default_rng(0), show_progressbar=False)
"""


@pytest.mark.parametrize("total", [5, 8])
def test_a_killed_search_goes_on_with_the_point_in_work(tmp_path, total):
    """kill -9 in the fifth evaluation: it is evaluated first, and nothing that had a result again.

    Even where it was the last one that was asked for.
    """
    log = tmp_path / "log"
    command = [sys.executable, "-c", KILLED, tmp_path / "run", log, str(total)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = log.read_text().split()
    assert len(RunFolder(tmp_path / "run").look().finished) == 4
    went_on = subprocess.run(command, capture_output=True, text=True, check=False)
    assert went_on.returncode == 0, went_on.stderr
    evaluated = log.read_text().split()
    assert evaluated[5] == before[4]
    assert len(evaluated) == total + 1
    assert len(set(evaluated)) == total
    trials = FileTrials(tmp_path / "run")
    assert [repr(x) for x in trials.vals["x"]] == [*before, *evaluated[6:]]
    assert trials.tids == list(range(total))


def test_nothing_is_pickled_and_no_code_is_in_the_folder(tmp_path):
    """What others may write there must never run: JSON and nothing else."""
    minimise(square, SPACE, FileTrials(tmp_path), 3)
    found = contents(tmp_path)
    assert found
    assert {path.suffix for path in found} == {".json"}
    assert not any(b"square" in data or data.startswith(b"\x80") for data in found.values())


def test_results_are_not_taken_back(tmp_path):
    """hyperopt's `delete_all` would have to remove what is published."""
    trials = FileTrials(tmp_path)
    minimise(square, SPACE, trials, 1)
    with pytest.raises(RuntimeError, match="never taken back"):
        trials.delete_all()
    assert len(FileTrials(tmp_path)) == 1


def work(folder, evaluate, busy, stop):
    """Play one of the run's workers: claim what waits, publish what comes of it."""
    while not stop.is_set():
        view = folder.look()
        for number in view.numbers(State.WAITING):
            claim = Claim(number, 1, job="1", time=time.time())
            if not folder.claim(claim):
                continue
            view = folder.look()
            busy.append(len(view.numbers(State.RUNNING)))
            if number not in view.finished:  # else another was here since we looked
                folder.publish(evaluate(number, folder.proposal(number)))
            files.remove(folder.open / name for name in folder.look().files.get(number, ()))
        stop.wait(0.01)


@pytest.fixture
def quick(monkeypatch):
    """hyperopt looks every hundredth second for its workers, and not once a second."""
    seconds = SimpleNamespace(**{**vars(time), "sleep": lambda _: time.sleep(0.01)})
    monkeypatch.setattr(sys.modules["hyperopt.fmin"], "time", seconds)


@pytest.fixture
def workers(quick):
    """Starts threads that play the workers of a run; `end()` waits until they have let go of it."""
    stop, threads = threading.Event(), []

    def start(folder, evaluate, n=1):
        busy = []
        for _ in range(n):
            arguments = (RunFolder(folder), evaluate, busy, stop)
            threads.append(threading.Thread(target=work, args=arguments, daemon=True))
            threads[-1].start()
        return busy

    def end():
        stop.set()
        for thread in threads:
            thread.join()

    start.end = end
    yield start
    end()


def complete(number, proposal):
    """A result of a worker that trained what it was given."""
    loss = proposal.params["rate"] * proposal.params["layers"]
    return Result(number, State.COMPLETE, proposal.params, value=loss, origin=proposal.origin)


def never(point):
    """Workers train what the study names; hyperopt's function stays at home."""
    raise AssertionError(point)


def test_workers_train_what_the_function_would_have_got(tmp_path, workers):
    """Choices resolved, inactive parameters left out, `fn` never called."""
    trained = []
    workers(tmp_path, lambda n, p: trained.append(p.params) or complete(n, p))
    trials = FileTrials(tmp_path, asynchronous=True)
    minimise(never, NESTED, trials, 16)
    assert len(trained) == len(trials) == 16
    assert {point["optimizer"]["name"] for point in trained} == {"adam", "sgd"}
    for misc, result in zip(trials.miscs, trials.results, strict=True):
        assigned = {label: vals[0] for label, vals in misc["vals"].items() if vals}
        point = hyperopt.space_eval(NESTED, assigned)
        assert point in trained
        assert result == {"status": "ok", "loss": point["rate"] * point["layers"]}
    workers.end()
    assert not any(b"never" in data for data in contents(tmp_path).values())
    assert {path.suffix for path in contents(tmp_path)} == {".json"}


def test_points_for_workers_are_asked_for_while_others_train(tmp_path, workers):
    """A claimed point no longer counts as queued: all workers have something to do."""
    together = threading.Barrier(3, timeout=10)

    def wait_for_the_others(number, proposal):
        with suppress(threading.BrokenBarrierError):  # alone: seen below
            together.wait()
        return complete(number, proposal)

    busy = workers(tmp_path, wait_for_the_others, n=3)
    minimise(never, NESTED, FileTrials(tmp_path, asynchronous=True), 6)
    assert max(busy) == 3


def test_a_search_with_workers_goes_on_in_a_new_process(tmp_path, workers):
    """TPE knows the labels of earlier points, which the workers never saw."""
    workers(tmp_path, complete)
    first = FileTrials(tmp_path, asynchronous=True)
    minimise(never, NESTED, first, 4)
    second = FileTrials(tmp_path, asynchronous=True)
    assert second.vals == first.vals
    assert second.losses() == first.losses()
    minimise(never, NESTED, second, 8, algo=lambda *a: hyperopt.tpe.suggest(*a, n_startup_jobs=2))
    assert second.losses()[:4] == first.losses()
    assert len(second) == 8


def test_a_failed_worker_is_an_error_and_not_a_score(tmp_path, workers):
    """As with MongoTrials: it is out of the trials, and the search goes on."""

    def evaluate(number, proposal):
        if number == 1:
            return Result(number, State.FAIL, proposal.params, reason="CUDA out of memory")
        return complete(number, proposal)

    workers(tmp_path, evaluate)
    trials = FileTrials(tmp_path, asynchronous=True)
    minimise(never, NESTED, trials, 4)
    assert trials.tids == [0, 2, 3]
    assert None not in trials.losses()


def test_trials_of_a_run_that_are_not_hyperopts_are_left_alone(tmp_path, workers):
    """An enqueued point and a winner's test have numbers of the run, and no labels."""
    folder = RunFolder(tmp_path)
    folder.make()
    folder.propose(Proposal(0, {"rate": 0.1, "layers": 1}, 0, "enqueue"))
    folder.publish(Result(0, State.COMPLETE, {"rate": 0.1, "layers": 1}, value=0.1))
    trials = FileTrials(tmp_path, asynchronous=True)
    assert len(trials) == 0
    workers(tmp_path, complete)
    minimise(never, NESTED, trials, 3)
    assert trials.tids == [1, 2, 3]


def test_two_programs_may_propose_to_the_same_workers(tmp_path, workers):
    """No number is given twice, and both see all results."""
    workers(tmp_path, complete, n=2)
    both = [FileTrials(tmp_path, asynchronous=True) for _ in range(2)]
    threads = [
        threading.Thread(target=minimise, args=(never, NESTED, trials, 5)) for trials in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view = RunFolder(tmp_path).look()
    assert view.whole
    assert view.finished >= set(range(5))
    everything = FileTrials(tmp_path, asynchronous=True)
    assert sorted(everything.tids) == sorted(view.finished)


def test_a_result_may_be_seen_before_hyperopts_view_of_its_point(tmp_path):
    """Another program's trial counts as soon as its labels are there, which may be later."""
    params = {"rate": 0.1, "layers": 1}
    result = Result(0, State.COMPLETE, params, value=0.1, origin="fmin")
    trials = FileTrials(tmp_path, asynchronous=True)
    trials.folder.publish(result)
    trials.refresh()
    assert len(trials) == 0
    misc = {"tid": 0, "cmd": None, "idxs": {"rate": [0]}, "vals": {"rate": [0.1]}}
    files.write_once(tmp_path / "fmin" / "000000.json", {"misc": misc})
    trials.refresh()
    assert trials.losses() == [0.1]


def test_a_run_that_maximises_gives_hyperopt_losses(tmp_path, workers):
    """A higher accuracy is a lower loss, and what is published keeps the study's direction."""
    files.make_folder(tmp_path)
    files.write_once(tmp_path / "run.json", {"study": {"direction": "maximize", "seed": 1}})
    workers(tmp_path, complete)
    trials = FileTrials(tmp_path, asynchronous=True)
    minimise(never, NESTED, trials, 4)
    values = [RunFolder(tmp_path).result(number).value for number in trials.tids]
    assert trials.losses() == [-value for value in values]


def test_workers_need_a_space_of_names(tmp_path):
    """A point that is no dict names no parameters."""
    trials = FileTrials(tmp_path, asynchronous=True)
    with pytest.raises(TypeError, match="a space that is a dict"):
        minimise(never, hp.uniform("x", 0, 1), trials, 2)
    assert os.listdir(tmp_path / "open") == []
