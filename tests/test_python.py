"""A study by hand: the same as its file, and run() as the command, in whatever process it is."""

import functools
import os
import signal
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import tuner
from jobs.executor import Inline
from tests import functions
from tests.slurm_cluster import REPOSITORY
from tuner import (
    BadInput,
    Categorical,
    Confirm,
    Float,
    Int,
    Jobs,
    Space,
    Study,
    StudyFailed,
    WarmStart,
    drive,
    store,
)
from tuner.controller import Controller
from tuner.run import run
from tuner.study import read

SPACE = Space({"x": Float(-2, 3)})
PM25 = Study(
    name="pm25",
    direction="minimize",
    n_trials=40,
    seed=1,
    space=Space({
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "batch_size": Categorical([64, 128, 256]),
        "cnn_filters": Int(16, 64, step=8),
        "kernel_size": Int(2, 5),
        "pool": Categorical((1, 2)),
        "lstm_units": Int(32, 96, step=16),
        "dropout": Float(0.0, 0.5),
        "weight_decay": Float(1e-6, 1e-2, log=True),
    }),
    fixed={
        "model": "cnn_lstm", "metric": "rmse", "epochs": 5, "schedule": "cosine", "residual": True,
    },
    enqueue=[{
        "learning_rate": 2e-3, "batch_size": 128, "cnn_filters": 32, "kernel_size": 3, "pool": 1,
        "lstm_units": 64, "dropout": 0.2, "weight_decay": 1e-4,
    }],
    confirm=Confirm(),
    data={
        "source": "beijing_pm25", "target": "pm2.5", "window": 24, "horizon": 6,
        "calendar": ("hour", "year"), "borders": (date(2013, 1, 1), date(2014, 1, 1)),
    },
    jobs=Jobs(n_workers=8, slurm={"gres": "gpu:1", "cpus_per_task": 2, "time": "02:00:00"}),
)  # fmt: skip


def by_hand(**more):
    """A small study of the quadratic function, or of what `more` says."""
    given = {
        "name": "s", "direction": "minimize", "n_trials": 4, "space": SPACE, "sampler": "random",
        "train": functions.quadratic, "jobs": Jobs(grace=0.0, n_workers=2),
    }  # fmt: skip
    return Study(**{**given, **more})


@pytest.fixture
def inline(monkeypatch):
    """Workers inside this process: quick."""
    monkeypatch.setattr(drive, "executor_for", lambda run: Inline(run.folder))


@pytest.mark.fast
def test_a_study_by_hand_is_the_one_of_its_file():
    """Word for word: either goes on with a run that the other began."""
    shipped = read(REPOSITORY / "jobs" / "pm25.toml")
    assert shipped == PM25
    assert shipped.identity() == PM25.identity()
    assert list(shipped.space.parameters) == list(PM25.space.parameters)


@pytest.mark.slow
def test_python_and_the_command_go_on_with_each_others_run(tmp_path, monkeypatch):
    """By the same identity, in the same folder; more trials are asked of it each time."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(
        'direction = "minimize"\nn_trials = 4\nsampler = "random"\n'
        'train = "tests.functions:quadratic"\n[space]\nx = { type = "float", low = -2, high = 3 }\n'
        "[jobs]\ngrace = 0.0\nn_workers = 2\n"
    )
    first = run(by_hand(n_trials=2))
    assert (first.path, first.finished) == (tmp_path / "runs" / "s", True)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tuner.run", "s.toml"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    last = run(by_hand(n_trials=6), "runs/s")
    trials = store.Store(first.path).trials()
    assert len(trials) == 6
    best = min(trials, key=lambda trial: trial.value)
    assert (last.best_number, last.best_value) == (best.number, best.value)
    assert last.best_params == best.params


def test_the_same_call_goes_on_after_one_look(tmp_path, inline):
    """`once` is the command's; its folder may be a word."""
    folder, looks = str(tmp_path / "run"), 0
    while not (ran := run(by_hand(), folder, once=True)).finished:
        looks += 1
        assert looks < 20
    assert looks > 1
    assert ran.best_number is not None
    assert run(by_hand(), folder) == ran


def test_a_confirmed_winners_value_is_its_mean_over_fresh_seeds(tmp_path, inline):
    """And not the lucky one of the search."""
    study = by_hand(train=functions.noisy, confirm=Confirm(top=1, seeds=3))
    ran = run(study, tmp_path / "run")
    fresh = [t.value for t in store.Store(ran.path).trials() if t.of == ran.best_number]
    assert len(fresh) == 3
    assert ran.best_value == pytest.approx(sum(fresh) / 3)


def test_what_a_run_changes_of_its_process_is_put_back(tmp_path, inline):
    """A notebook or a script goes on with its own signals and umask."""

    def own(number, frame):
        """A handler of the caller's."""

    before = {number: signal.signal(number, own) for number in (signal.SIGINT, signal.SIGTERM)}
    os.umask(0o027)
    try:
        run(by_hand(), tmp_path / "run")
        assert [signal.getsignal(number) for number in before] == [own, own]
        with pytest.raises(BadInput):
            run(by_hand(seed=2), tmp_path / "run")
        assert os.umask(0o027) == 0o027
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_an_interrupted_call_says_how_it_goes_on_and_does(tmp_path, inline, monkeypatch, capsys):
    """KeyboardInterrupt, so that nothing behind it in a notebook is run; the handler is back."""
    tick, ticks = Controller.tick, []
    handler = signal.getsignal(signal.SIGINT)

    def interrupted(controller):
        ticks.append(1)
        if len(ticks) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return tick(controller)

    monkeypatch.setattr(Controller, "tick", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"to go on: python -m tuner\.resume .*run"):
        run(by_hand(), tmp_path / "run")
    assert "nothing is lost" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler
    assert store.Store(tmp_path / "run").folder.stopping() == "Ctrl-C"
    assert run(by_hand(), tmp_path / "run").finished


@pytest.mark.slow
def test_it_runs_in_a_thread_of_its_own(tmp_path):
    """Signals are the main thread's, which may train something else meanwhile."""
    found = []
    thread = threading.Thread(target=lambda: found.append(run(by_hand(), tmp_path / "run")))
    thread.start()
    thread.join()
    assert found[0].finished


def test_a_study_that_fails_says_why(tmp_path, inline):
    """With the error of its trials, and what to do about it."""
    with pytest.raises(StudyFailed, match="the same bug every time") as caught:
        run(by_hand(train=functions.broken), tmp_path / "run")
    assert "mend that, then go on: python -m tuner.resume" in str(caught.value)


def test_bad_input_is_raised_and_leaves_nothing(tmp_path, monkeypatch):
    """No exit code in Python, and no folder."""
    monkeypatch.chdir(tmp_path)
    for more, words in {
        "data": ({"data": {"source": "prototype", "widnow": 3}}, r"data\.widnow: unknown key"),
        "file": ({"data": {"source": "gone.csv", "target": "a"}}, r"data\.source: .*gone\.csv"),
        "module": ({"train": "tests.nothing:train"}, "train: cannot import tests.nothing"),
        "arguments": ({"train": functions.fail}, "train: fail in .* takes other arguments"),
        "earlier": ({"warm_start": WarmStart(["gone"])}, r"warm_start\.runs: .*gone is not"),
    }.values():
        with pytest.raises(BadInput, match=words):
            run(by_hand(**more))
    with pytest.raises(BadInput, match="study: a str is no Study"):
        run("jobs/pm25.toml")
    assert os.listdir(tmp_path) == []


@pytest.mark.fast
def test_a_relative_path_counts_from_the_working_directory(tmp_path, monkeypatch):
    """Of data and of earlier runs; wherever the process goes next."""
    monkeypatch.chdir(tmp_path)
    made = by_hand(data={"source": Path("own.csv")}, warm_start=WarmStart([Path("runs/old")]))
    assert made.data["source"] == str(tmp_path / "own.csv")
    assert made.warm_start.runs == (str(tmp_path / "runs" / "old"),)


@pytest.mark.fast
def test_values_are_kept_as_json_knows_them():
    """numpy's numbers, tuples, paths and dates are common in a notebook."""
    made = by_hand(
        n_trials=np.int64(7),
        space=Space({
            "x": Float(np.float32(0.5), np.float64(2)),
            "n": Int(np.int64(1), np.int64(4)),
            "c": Categorical(np.array([16, 32])),
            "m": Float(0, 1, when={"n": np.int64(2)}),
        }),
        fixed={
            "a": np.float32(0.25), "b": (1, np.bool_(True)), "k": np.arange(3), "d": Path("x/y"),
            "e": {"f": np.datetime64("2013-01-01")}, "g": date(2014, 1, 1), "h": range(2),
            "i": np.array(["2013-01-01", "2014-01-01"], "M8[D]"), "j": np.datetime64(0, "ns"),
        },
        enqueue=({"x": np.float64(1), "n": np.int64(3), "c": np.int64(16)},),
        jobs=Jobs(n_workers=np.int64(2), slurm={"mem": np.int64(5)}),
    )  # fmt: skip
    assert made.fixed == {
        "a": 0.25, "b": [1, True], "k": [0, 1, 2], "d": "x/y", "e": {"f": "2013-01-01"},
        "g": "2014-01-01", "h": [0, 1], "i": ["2013-01-01", "2014-01-01"],
        "j": "1970-01-01T00:00:00.000000000",
    }  # fmt: skip
    assert made == Study.from_table(made.to_table())
    assert {type(part) for part in parts(made.to_table())} <= {bool, int, float, str, type(None)}


def parts(value):
    """The leaves of a table; records of Python's own are none of JSON's."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return [value]
    return [leaf for part in value for leaf in parts(part)]


@pytest.mark.fast
@pytest.mark.parametrize(("more", "words"), [
    ({"fixed": {"a": {"b": [1, object()]}}}, r"fixed\.a\.b\[1\]: a value of type object cannot"),
    ({"fixed": {"a": float("nan")}}, r"fixed\.a: nan is no number"),
    ({"gpu_hours": float("inf")}, r"gpu_hours: inf is no number"),
    ({"fixed": {1: 2}}, "fixed: 1 will not do for a name"),
    ({"fixed": {"a": {1, 2}}}, r"fixed\.a: a value of type set cannot"),
    ({"fixed": 3}, "fixed: is no table"),
    ({"data": "beijing_pm25"}, "data: is no table"),
    ({"space": {"x": Float(0, 1)}}, r"space: a dict is no Space; write space=Space\(...\)"),
    ({"jobs": {"n_workers": 2}}, "jobs: a dict is no Jobs"),
    ({"confirm": 5}, "confirm: a int is no Confirm"),
    ({"warm_start": ["runs/old"]}, "warm_start: a list is no WarmStart"),
    ({"enqueue": {"x": 1.0}}, "enqueue: is no list of points"),
    ({"enqueue": [{"x": 9}]}, r"enqueue\[0\]\.x: 9 is outside"),
    ({"direction": "down"}, "direction: 'down' is unknown"),
    ({"n_trials": 0}, "n_trials: 0 will not do"),
])  # fmt: skip
def test_a_wrong_value_is_refused_with_its_key(more, words):
    """In the words of a study file's."""
    with pytest.raises(BadInput, match=words):
        by_hand(**more)


@pytest.mark.fast
@pytest.mark.parametrize(("make", "words"), [
    (lambda: Space({}), "space: has no parameters"),
    (lambda: Space({"x": 3}), r"space\.x: 3 is no parameter"),
    (lambda: Space({3: Float(0, 1)}), "space: 3 will not do for a name"),
    (lambda: Space({"x": Float(0, 1, when={"y": 1})}), r"space\.x\.when: 'y' is no parameter"),
    (lambda: Space({"x": Float(0, 1, when="y")}), r"space\.x\.when: is no table"),
    (lambda: WarmStart("runs/old"), r"warm_start\.runs: 'runs/old' will not do"),
    (lambda: Jobs(slurm="gpu"), r"jobs\.slurm: is no table"),
    (lambda: Jobs(executor="pbs"), r"jobs\.executor: 'pbs' is unknown"),
])  # fmt: skip
def test_a_wrong_part_is_refused_with_its_key(make, words):
    """Before it is part of a study."""
    with pytest.raises(BadInput, match=words):
        make()


@pytest.mark.fast
def test_a_function_becomes_its_name():
    """Workers import it."""
    assert by_hand().train == "tests.functions:quadratic"
    assert by_hand(train="models.train:train").train == "models.train:train"


def closure():
    """A function that knows something."""

    def train(params, data, report, checkpoint, seed):
        return 0.0

    return train


class Trainer:
    """Something to call, that is no function."""

    def __call__(self, *given):
        """As a function is."""
        return 0.0

    def train(self, *given):
        """A function that knows something too."""
        return 0.0


def of_a_notebook():
    """As a cell defines it."""
    there = {"__name__": "__main__"}
    exec("def train(params, data, report, checkpoint, seed): return 0.0", there)
    return there["train"]


@pytest.mark.fast
@pytest.mark.parametrize("train", [
    lambda *given: 0.0, closure(), Trainer(), Trainer().train, Trainer, of_a_notebook(),
    functools.partial(functions.quadratic), "__main__:train", 3,
])  # fmt: skip
def test_a_function_that_no_other_process_finds_is_refused(train):
    """With what a notebook can do about it."""
    with pytest.raises(BadInput, match=r"train: .*workers.*%%writefile mymodel\.py"):
        by_hand(train=train)


def test_a_module_that_workers_do_not_find_is_refused(tmp_path, monkeypatch):
    """A notebook's sys.path is its own; the folder that it names is where to start."""
    (tmp_path / "src").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "src" / "found_by_me.py").write_text(
        "def train(params, data, report, checkpoint, seed):\n    return 0.0\n"
    )
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "src")
    from found_by_me import train  # noqa: PLC0415

    try:
        with pytest.raises(BadInput, match=f"workers do not find it; start in {tmp_path}/src"):
            run(by_hand(train=train))
        (tmp_path / "here" / "found_by_me.py").write_text("")
        with pytest.raises(BadInput, match=f"workers find {tmp_path}/here/found_by_me.py"):
            run(by_hand(train=train))
    finally:
        del sys.modules["found_by_me"]
    assert os.listdir(tmp_path / "here") == ["found_by_me.py"]


@pytest.mark.fast
def test_names_of_the_room_are_there_and_no_others():
    """Each where it is defined; completion sees them."""
    for name in tuner.__all__:
        assert getattr(tuner, name).__module__ == tuner._LAZY[name]
    assert {*tuner.__all__} == {*tuner._LAZY} <= {*dir(tuner)}
    with pytest.raises(AttributeError, match="no attribute 'Stduy'"):
        tuner.Stduy  # noqa: B018
