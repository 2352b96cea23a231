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
from tuner import confirm, report, store, worth
from tuner.settings import Confirm

DATA = {"source": "prototype", "target": "target", "window": 8}
FIGURES = {
    "optimization_process.png",
    "convergence_curve.png",
    "parameter_importance.png",
    "parameter_evaluations.png",
    "partial_dependence.png",
}
TABLES = {
    "index.html",
    "bayesian_optimization_results.csv",
    "bayesian_optimization_result.pkl",
    "best.json",
    "best.toml",
    "baselines.json",
}


def new_run(path, **more):
    """A new run of a small study on the prototype's series."""
    return store.create(made.study(data=DATA, fixed={"metric": "mse"}, **more), path)


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
        more = {name: getattr(trial, name) for name in (*names, "seed")}
        run.folder.publish(Result(**shared, **more))


def search(run, n):
    """Publish `n` made-up trials of the search."""
    for trial in made.trials(made.SMALL, n):
        publish(run, trial)


def score(run, winner, number, off=0.1):
    """Publish the winner's test, with a forecast that is off by so much everywhere."""
    split = datasets.load(DATA).splits("test")[0]
    truth = split.test.targets * split.std + split.mean
    content = io.BytesIO()
    np.savez(content, truth=truth, prediction=truth + off, index=split.test.index)
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
    score(made_run, confirm.best(made_run.study, made_run.trials()), 22)
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
    assert (
        told.splitlines()[-1]
        == f"Figures and tables: {run.folder.report / 'index.html'}, and beside it"
    )


def test_failures_are_counted_with_their_reason(finished):
    """So that nobody has to search logs for the common one."""
    assert "2 × CUDA out of memory" in finished[1]


def test_best_json_names_the_files_of_each_number(finished):
    """A number in a report can be traced."""
    run, _ = finished
    winner = confirm.best(run.study, run.trials())
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
    vectors = {name.replace(".png", ".svg") for name in FIGURES}
    assert found.keys() == FIGURES | vectors | TABLES
    text = found["bayesian_optimization_results.csv"].decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 22
    assert list(rows[0])[:2] == ["iteration", "loss"]


def test_others_can_read_the_pickle(finished):
    """An OptimizeResult in real units, with a model and the space."""
    run, _ = finished
    result = pickle.loads(files_of(run)["bayesian_optimization_result.pkl"])
    assert result.models
    assert result.fun == pytest.approx(confirm.best(run.study, run.trials()).value)
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


def test_no_svg_is_older_than_its_png(run):
    """A refresh draws PNGs alone, in half the time: the SVGs of an earlier report go."""
    old = run.folder.report / "convergence_curve.svg"
    old.write_text("<svg/>")
    report.refresh(run)
    assert not [name for name in files_of(run) if name.endswith(".svg")]


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
    score(run, confirm.best(run.study, run.trials()), 5)

    def fail(*_):
        raise datasets.DataError("source", "no file x.csv", "put it back")

    monkeypatch.setattr(datasets, "load", fail)
    assert report.tested(run, run.trials()).missing.startswith("data.source: no file x.csv")


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    """A run whose second best wins by two fresh seeds, each tested; and what its report printed."""
    path = tmp_path_factory.mktemp("confirmed") / "run"
    run = new_run(path, confirm=Confirm(2, 2), n_trials=6)
    for number, value in enumerate((5.0, 4.0, 3.0, 2.0, 9.0, 1.0)):
        publish(run, made.trial(number, value))
    for number, (k, of, value) in enumerate(
        [(0, 5, 1.2), (0, 3, 1.0), (1, 5, 2.0), (1, 3, 1.3)], start=6
    ):
        publish(run, made.trial(number, value, part=f"confirm:{k}", of=of))
    trials = run.trials()
    score(run, trials[7], 10, off=0.1)
    score(run, trials[9], 11, off=0.2)
    with contextlib.redirect_stdout(io.StringIO()) as told:
        report.write(run)
        report.write(run)
    return run, told.getvalue()


def test_a_confirmed_winner_is_reported_by_its_fresh_seeds(confirmed):
    """Validation and test are means with their errors, one test a seed; looks are counted."""
    _, told = confirmed
    for words in (
        "Winner: trial 3, validation mse 1.15 ± 0.15 over 2 fresh seeds",
        "The first cannot be told from the second",
        "Test part, scored once by each of the winner's fresh seeds (trials 10, 11)",
        "means over 2 seeds: mse ± 0.015, the standard error",
        "looked at 2 × for the winner, 1 × for the baselines",
    ):
        assert words in told
    assert "No test score" not in told


def test_the_page_compares_validation_and_test_of_each_model(confirmed):
    """A dot a fresh seed; the best baseline's line is in charts of the test part alone."""
    text = files_of(confirmed[0])["index.html"].decode()
    assert "Validation over test" in text
    assert "trial 7: validation 1, test 0.01<" in text
    assert "trial 9: validation 1.3, test 0.04<" in text
    history = text[text.index('id="history"') : text.index('id="parameters"')]
    assert "ridge" not in history
    assert "The baselines are scored on the test part alone" in history


def test_best_json_has_each_seed_and_the_files_it_came_from(confirmed):
    """Of the confirmed value and of the test."""
    run, _ = confirmed
    found = json.loads(files_of(run)["best.json"])
    assert (found["number"], found["value"]) == (3, 2.0)
    assert found["confirmed"]["mean"] == pytest.approx(1.15)
    assert [s["number"] for s in found["confirmed"]["seeds"]] == [7, 9]
    assert found["test"]["metrics"]["mse"] == pytest.approx((0.01 + 0.04) / 2)
    assert [seed["mse"] for seed in found["test"]["seeds"]] == pytest.approx([0.01, 0.04])
    assert found["test"]["standard_error"] == pytest.approx(0.015)
    sources = (*found["confirmed"]["from"], *found["test"]["from"])
    assert len({*sources}) == 6
    assert all((run.folder.path / name).is_file() for name in sources)
    assert "confirmation.png" in files_of(run)


def test_a_model_without_a_test_score_is_said(confirmed):
    """The mean is over the others."""
    run, _ = confirmed
    run.folder.predictions(11).rename(run.folder.predictions(99))
    try:
        told = "\n".join(report.summary(run, run.trials(), report.tested(run, run.trials())))
    finally:
        run.folder.predictions(99).rename(run.folder.predictions(11))
    assert "1 of the winner's 2 models have no test score" in told
    assert "scored once (trial 10)" in told


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(tmp_path):
    """No traceback, and nothing is written."""
    command = [sys.executable, "-m", "tuner.report", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert str(tmp_path) in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_whether_it_is_worth_going_on_is_said_everywhere(tmp_path):
    """After the winner in the summary, in best.json, and in the page's answer."""
    run = new_run(tmp_path / "run")
    search(run, 25)
    trials = run.trials()
    (said,) = worth.lines(run.study, trials)
    told = report.summary(run, trials, report.tested(run, trials))
    assert told.index(said) > next(i for i, line in enumerate(told) if "Best validation" in line)
    report.refresh(run)
    assert json.loads(files_of(run)["best.json"])["worth"]["sentence"] == said
    assert said.replace("'", "&#39;") in files_of(run)["index.html"].decode()
