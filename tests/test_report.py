"""The report of a run's folder, at every stage of it."""

import contextlib
import csv
import io
import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

from jobs.contract import Proposal, Result, State
from models import data as datasets
from tests import made
from tuner import report, store

DATA = {"source": "prototype", "target": "target", "window": 8}
FIGURES = {
    "optimization_process.png",
    "convergence_curve.png",
    "parameter_importance.png",
    "parameter_evaluations.png",
    "partial_dependence.png",
}
TABLES = {
    "bayesian_optimization_results.csv",
    "bayesian_optimization_result.pkl",
    "best.json",
    "baselines.json",
}


def new_run(path):
    """A new run of a small study on the prototype's series."""
    return store.create(made.study(data=DATA, fixed={"metric": "mse"}), path)


@pytest.fixture
def run(tmp_path):
    """A new run without trials."""
    return new_run(tmp_path / "run")


def publish(run, trial):
    """Put a made-up trial into a run's folder."""
    shared = {"number": trial.number, "params": trial.params, "part": trial.part, "of": trial.of}
    run.folder.propose(Proposal(seed=1, origin="gp", **shared))
    if trial.state.finished:
        names = ("state", "value", "reason", "curve", "metrics", "started", "seconds", "attempts")
        more = {name: getattr(trial, name) for name in names}
        run.folder.publish(Result(**shared, **more))


def search(run, n):
    """Publish `n` made-up trials of the search."""
    for trial in made.trials(made.SMALL, n):
        publish(run, trial)


def score(run, winner, number):
    """Publish the winner's test, with a forecast that is off by 0.1 everywhere."""
    split = datasets.load(DATA).splits("test")[0]
    truth = split.test.targets * split.std + split.mean
    content = io.BytesIO()
    np.savez(content, truth=truth, prediction=truth + 0.1, index=split.test.index)
    run.folder.predictions(number).write_bytes(content.getvalue())
    publish(run, made.trial(number, 0.01, part="test", params=winner.params, of=winner.number))


def files_of(run):
    """What a report holds, by name."""
    return {path.name: path.read_bytes() for path in run.folder.report.iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with its test part scored, and what its report printed."""
    made_run = new_run(tmp_path_factory.mktemp("finished") / "run")
    search(made_run, 22)
    score(made_run, report.best(made_run.study, made_run.trials()), 22)
    with contextlib.redirect_stdout(io.StringIO()) as told, warnings.catch_warnings():
        warnings.simplefilter("error")
        report.write(made_run)
    return made_run, told.getvalue()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_report_can_be_written_at_any_time(run, n, capsys):
    """Before a trial is complete, with one, with few: all figures, and a word why no score."""
    search(run, n)
    report.write(run)
    told = capsys.readouterr()
    assert files_of(run).keys() >= FIGURES
    assert told.err == ""
    assert ("No test score" if n else "No trial is complete yet") in told.out


def test_the_report_of_a_finished_run_says_who_wins(finished):
    """The winner's score stands beside all baselines', with the interval, and the figures' path."""
    run, told = finished
    for words in (
        "persistence",
        "ridge",
        "gradient boosting",
        "95 % interval",
        "The tuned model beats",
    ):
        assert words in told
    assert told.splitlines()[-1] == f"Figures: {run.folder.report}"


def test_failures_are_counted_with_their_reason(finished):
    """So that nobody has to search logs for the common one."""
    assert "2 × CUDA out of memory" in finished[1]


def test_best_json_names_the_files_of_each_number(finished):
    """A number in a report can be traced."""
    run, _ = finished
    winner = report.best(run.study, run.trials())
    found = json.loads(files_of(run)["best.json"])
    assert (found["number"], found["params"]) == (winner.number, winner.params)
    assert found["test"]["metrics"]["mse"] == pytest.approx(0.01)
    assert found["test"]["rivals"]["ridge"]["difference"]["high"] < 0
    sources = (*found["validation"]["from"], *found["test"]["from"])
    assert len(sources) == 3
    assert all((run.folder.path / name).is_file() for name in sources)


def test_a_report_has_every_file_of_the_issue(finished):
    """And no draft is left behind."""
    found = files_of(finished[0])
    assert found.keys() == FIGURES | TABLES
    text = found["bayesian_optimization_results.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 22
    assert list(rows[0])[:2] == ["iteration", "loss"]


def test_others_can_read_the_pickle(finished):
    """An OptimizeResult in real units, with a model and the space."""
    run, _ = finished
    result = pickle.loads(files_of(run)["bayesian_optimization_result.pkl"])
    assert result.models
    assert result.fun == pytest.approx(report.best(run.study, run.trials()).value)
    assert 1e-4 <= result.x[0] <= 1e-2


def test_a_refresh_is_cheap(run):
    """During the run no surrogate is fitted and no baseline trained."""
    search(run, 20)
    report.refresh(run)
    names = files_of(run).keys()
    assert "optimization_process.png" in names
    assert not names & {
        "baselines.json",
        "partial_dependence.png",
        "bayesian_optimization_result.pkl",
    }


def test_a_test_that_failed_is_said_to_have_failed(run):
    """It is not just late."""
    trials = [made.trial(0, 1.0), made.trial(1, None, State.FAIL, part="test", of=0, reason="OOM")]
    for trial in trials:
        publish(run, trial)
    assert report.tested(run, trials).missing == "the winner's test failed in trial 1 (OOM)"
    assert "not trained yet" in report.tested(run, trials[:1]).missing


def test_data_that_is_gone_costs_only_the_comparison(run, monkeypatch):
    """The summary says why, and the rest of the report stands."""
    search(run, 5)
    score(run, report.best(run.study, run.trials()), 5)

    def fail(_):
        raise datasets.DataError("source", "no file x.csv", "put it back")

    monkeypatch.setattr(datasets, "load", fail)
    assert report.tested(run, run.trials()).missing.startswith("data.source: no file x.csv")


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(tmp_path):
    """No traceback, and nothing is written."""
    command = [sys.executable, "-m", "tuner.report", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert str(tmp_path) in answer.stderr
    assert list(tmp_path.iterdir()) == []
