"""Runs beside each other: what belongs together, who is ahead, and what is refused."""

import dataclasses
import itertools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jobs import files
from jobs.contract import CONFIRM, Proposal, Result, State
from tests import made
from tuner import beside, compare, pack, store
from tuner.beside import Entry
from tuner.page import overlay
from tuner.page.beside import build
from tuner.settings import Confirm
from tuner.space import BadInput

SPENT = {"total": 1.5, "unit": "slot-hours", "by": "the trials' own clocks", "on": {}}
HOSTILE = '<img src=x onerror=alert(1)>"'


def entry(name, values=(), fresh=(), **changes):
    """A run with these searched values, None a failed one, and its best's fresh seeds."""
    changes.setdefault("train", "tests.functions:quadratic")
    study = made.study(confirm=Confirm(1, max(1, len(fresh))) if fresh else None, **changes)
    trials = [
        made.trial(n, v, State.FAIL if v is None else State.COMPLETE, reason="")
        for n, v in enumerate(values)
    ]
    if fresh:
        best = min((t for t in trials if t.value is not None), key=lambda t: study.sign * t.value)
        trials += [
            made.trial(len(values) + k, v, part=f"{CONFIRM}{k}", of=best.number)
            for k, v in enumerate(fresh)
        ]
    return Entry(name, study, trials, SPENT)


def said(*entries):
    """What is said of who is ahead."""
    return " ".join(beside.verdict(beside.groups(entries)).sentences)


def new_run(path, one, **changes):
    """The run of an entry, on disk."""
    run = store.create(dataclasses.replace(one.study, **changes), path)
    names = ("number", "params", "part", "of")
    more = ("state", "value", "reason", "started", "seconds", "attempts")
    for t in one.trials:
        shared = {name: getattr(t, name) for name in names}
        run.folder.propose(Proposal(seed=1, origin="gp", **shared))
        run.folder.publish(Result(**shared, **{name: getattr(t, name) for name in more}))
    return run


def command(*arguments):
    """The command with these arguments."""
    line = [sys.executable, "-m", "tuner.compare", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.fast
def test_a_seed_counts_once():
    """Two runs with one seed are no two searches."""
    twice = [entry(f"run-{i}", [3.0, 1.0], seed=seed) for i, seed in enumerate((1, 1, 2))]
    (group,) = beside.groups(twice)
    assert len(group.finals(again=False)) == 2


def test_seeds_of_one_setting_are_one_group():
    """Another sampler, space or pruner is another; n_trials is not."""
    runs = [
        entry("pm25-s1", [3.0], seed=1),
        entry("pm25-s2", [2.0], seed=2, n_trials=50),
        entry("random", [2.0], seed=1, sampler="random"),
        entry(
            "asha", [2.0], seed=1, pruner={"name": "asha"}, fixed={"metric": "rmse", "epochs": 9}
        ),
    ]
    found = beside.groups(runs)
    assert [[e.name for e in group.entries] for group in found] == [
        ["pm25-s1", "pm25-s2"],
        ["random"],
        ["asha"],
    ]
    assert [group.label for group in found] == ["pm25 (2 seeds)", "random", "asha"]
    rows = dict(beside.differences(found))
    assert rows["sampler"] == ["gp", "random", "gp"]
    assert rows["fixed.epochs"] == [None, None, 9]
    assert "seed" not in rows


@pytest.mark.fast
def test_single_unconfirmed_runs_cannot_be_told_apart():
    """However large the gap is."""
    text = said(entry("a", [1.0, 5.0]), entry("b", [4.0, 3.0], sampler="random"))
    assert "a is ahead of b by 2 rmse" in text
    assert "cannot be told from single runs" in text


@pytest.mark.fast
@pytest.mark.parametrize(("sign", "direction"), [(1, "minimize"), (-1, "maximize")])
def test_confirmed_single_runs_are_compared_by_their_winners(sign, direction):
    """By Welch, with what it says and does not; the searched values have no part."""
    lucky = entry("lucky", [sign * 1.0], [sign * v for v in (5.0, 5.1, 4.9)], direction=direction)
    good = entry(
        "good", [sign * 3.0], [sign * v for v in (3.0, 3.1, 2.9)], direction=direction,
        sampler="random",
    )  # fmt: skip
    text = said(lucky, good)
    assert "good is ahead of lucky by 2 rmse" in text
    assert "That is more than chance: the 95 % interval of the difference is 1.773 … 2.227" in text
    assert "of these two winners" in text
    close = entry("close", [sign * 3.0], [sign * v for v in (3.4, 2.8, 3.1)], direction=direction)
    assert "That may be chance" in said(close, good)


@pytest.mark.fast
def test_several_seeds_tell_of_the_settings():
    """By their runs' finals; one more run in the other group is not enough."""
    a = [entry(f"a{i}", [1.0 + i / 10], seed=i) for i in range(4)]
    b = [entry(f"b{i}", [3.0 + i / 10], seed=i, sampler="random") for i in range(4)]
    text = said(*a, *b)
    assert "a is ahead of b by 2 rmse, by the means over searches of their best searched" in text
    assert "That is more than chance" in text
    assert "tells of the settings" in text
    assert "cannot be told from single runs" in said(*a, b[0])


@pytest.mark.fast
def test_of_more_than_two_the_choice_is_said():
    """The first two were chosen by the same values."""
    runs = [
        entry(name, [v], [v, v + 0.1, v - 0.1], sampler=sampler)
        for name, v, sampler in (("a", 1.0, "gp"), ("b", 2.0, "random"), ("c", 3.0, "tpe"))
    ]
    assert "a little too narrow" in said(*runs)
    assert "a little too narrow" not in said(*runs[:2])


@pytest.mark.fast
def test_unequal_searches_are_said_to_be():
    """More trials find more."""
    long = entry("long", [1.0] * 40)
    short = entry("short", [2.0] * 20, sampler="random")
    assert "had 40 and 20 trials" in said(long, short)


@pytest.mark.fast
def test_nothing_and_one_are_no_comparison():
    """Without a trial, with all failed, and with one group alone."""
    empty, failed = entry("empty"), entry("failed", [None, None], sampler="random")
    assert said(empty, failed) == "No run has a complete trial yet."
    assert "Only a has a complete trial" in said(entry("a", [1.0], sampler="tpe"), empty)
    one, two = entry("s1", [1.0], seed=1), entry("s2", [3.0], seed=2)
    assert "same settings" in said(one, two)
    assert "2 ± 1" in said(one, two)
    assert "level" in said(one, entry("t", [1.0], sampler="tpe"))


@pytest.mark.fast
def test_a_band_is_the_range_of_all_runs_as_far_as_all_go():
    """By hand: medians of three, from where each has a value to where the shortest ends."""
    runs = [entry("a", [None, 9.0, 2.0, 1.0]), entry("b", [5.0, 6.0, 4.0]), entry("c", [8.0] * 5)]
    way = overlay._steps([(np.arange(1.0, len(e.ended) + 1), e) for e in runs])
    assert way.x.tolist() == [2.0, 3.0]
    assert way.middle.tolist() == [8.0, 4.0]
    assert way.low.tolist() == [5.0, 2.0]
    assert way.high.tolist() == [9.0, 8.0]


@pytest.mark.fast
def test_hours_are_the_trials_own_in_the_order_of_their_ends():
    """Lost attempts cost too."""
    run = entry("a", [3.0, 1.0, 2.0])
    first, second, third = run.trials
    first = dataclasses.replace(first, seconds=7200.0)  # ends last
    second = dataclasses.replace(second, lost_seconds=1710.0)
    run = dataclasses.replace(run, trials=[first, second, third])
    assert run.hours().tolist() == pytest.approx([0.5, 0.525, 2.525])
    assert run.best_so_far().tolist() == [1.0, 1.0, 1.0]


@pytest.mark.fast
def test_names_beside_lines_do_not_overlap():
    """Within the frame, a row apart."""
    found = overlay._apart([10.0, 11.0, 200.0, 300.0, 300.0], 14.0, 300.0)
    assert all(b - a >= overlay._ROW for a, b in itertools.pairwise(found))
    assert found[0] >= 14.0
    assert found[-1] <= 300.0
    assert found[2] == 200.0


@pytest.mark.fast
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"direction": "maximize"}, "direction"),
        ({"fixed": {"metric": "mae"}}, "fixed.metric"),
        ({"train": "tests.functions:counting"}, "train"),
        ({"data": {"source": "prototype", "target": "target", "window": 9}}, "data.window"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_difference(changes, key):
    """Another sampler, seed or space can."""
    data = {"source": "prototype", "target": "target", "window": 8}
    one = entry("one", [1.0], data=data)
    compare.check(one, entry("two", [1.0], data=data, sampler="random", seed=3))
    with pytest.raises(BadInput) as caught:
        compare.check(one, entry("two", [1.0], **{"data": data, **changes}))
    assert caught.value.key == key
    assert "in one" in caught.value.problem


@pytest.mark.fast
def test_a_file_counts_by_its_content():
    """The same file elsewhere is the same, another one of that name is not."""
    one = dataclasses.replace(entry("one", data={"source": "/a/x.csv"}), data_hash="1" * 64)
    moved = dataclasses.replace(entry("two", data={"source": "/b/x.csv"}), data_hash="1" * 64)
    compare.check(one, moved)
    with pytest.raises(BadInput, match="SHA-256"):
        compare.check(one, dataclasses.replace(one, data_hash="2" * 64))


def test_the_page_is_silent_and_foreign_words_stay_words():
    """A folder may be called anything; no script, style attribute or address is in the page."""
    runs = [
        entry(HOSTILE, [5.0, 4.0, None, 3.0], [3.1, 3.2]),
        entry("other\u202e", [6.0, 5.0], sampler="random"),
        entry("empty", sampler="tpe"),
    ]
    text = build(runs).decode()
    assert "<img" not in text
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;img src=x onerror" in text
    assert not re.search(r"<[^>]*\s(style|on\w+)=", text)
    assert not re.search(r'(src|href)="(https?:|//)', text)
    assert not re.search(r"\b(nan|inf)\b", text)
    assert text.count('aria-label="Best rmse so far') == 2


def test_a_page_without_any_value(tmp_path):
    """Words in place of charts."""
    text = build([entry("a"), entry("b", [None], sampler="random")]).decode()
    assert "No run has a complete trial yet." in text
    assert not re.search(r"\b(nan|inf)\b", text)


def test_hours_of_two_units_have_no_common_axis():
    """GPU-hours beside slot-hours."""
    a, b = entry("a", [1.0]), entry("b", [2.0], sampler="random")
    text = build([a, dataclasses.replace(b, spent={**SPENT, "unit": "GPU-hours"})]).decode()
    assert "no common axis" in text
    assert text.count('aria-label="Best rmse so far') == 1


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_the_page(tmp_path):
    """Of runs on disk, one of them packed, one without trials, one with a test score."""
    run = new_run(tmp_path / "gp", entry("gp", [5.0, None, 3.0], [3.1, 3.3]))
    files.make_folder(run.folder.report)
    test = {"metric": "rmse", "interval": {"value": 3.5, "low": 3.25, "high": 3.75}}
    best = json.dumps({"number": 2, "test": test}).encode()
    files.replace(run.folder.report / "best.json", best)
    packed = new_run(tmp_path / "random", entry("random", [4.0, 6.0], sampler="random"))
    pack.pack(packed)
    new_run(tmp_path / "empty", entry("empty", sampler="tpe"))
    page = tmp_path / "page.html"
    names = [tmp_path / name for name in ("gp", "random", "empty")]
    answer = command(*names, "--output", page)
    assert answer.returncode == 0, answer.stderr
    rows = answer.stdout.splitlines()
    assert re.search(
        r"^gp +gp +0 +3 of 40 +1 +3 +3.2 ± 0.1 \(2 seeds\) +3.5 \[3.25, 3.75\]", rows[2]
    )
    assert re.search(r"^random +random +0 +2 of 40 +0 +4 +– +–", rows[3])
    assert re.search(r"^empty +tpe +0 +0 of 40 +0 +– +– +– +0 slot-hours$", rows[4])
    assert "gp is ahead of random" in answer.stdout
    assert "<!doctype html>" in page.read_text()


@pytest.mark.slow
def test_a_test_score_of_another_winner_is_not_shown(tmp_path):
    """best.json is as old as the last report."""
    run = new_run(tmp_path / "gp", entry("gp", [5.0, 3.0]))
    files.make_folder(run.folder.report)
    text = (
        b'{"number": %d, "test": {"metric": "rmse", "interval": {"value": 1, "low": 1, "high": 1}}}'
    )
    files.replace(run.folder.report / "best.json", text % 0)
    assert compare.read(run.path, []).test is None
    files.replace(run.folder.report / "best.json", text % 1)
    assert compare.read(run.path, []).test is not None
    files.replace(run.folder.report / "best.json", b'{"number": 1, "test": [7]}')
    assert compare.read(run.path, []).test is None


@pytest.mark.slow
def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
    """Runs that do not compare, one named twice, a folder that is none; nothing is written."""
    one, two = tmp_path / "one", tmp_path / "two"
    new_run(one, entry("one", [1.0]))
    new_run(two, entry("two", [1.0], fixed={"metric": "mae"}))
    page = tmp_path / "page.html"
    for given, words in (
        ((one, two), "fixed.metric: is 'mae' here and 'rmse' in one"),
        ((one, one), "is named twice"),
        ((one, tmp_path / "none"), "is not a run's folder"),
    ):
        answer = command(*given, "--output", page)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert len(answer.stderr.splitlines()) == 1
        assert words in answer.stderr
    assert command(one, "--output", tmp_path / "no" / "page.html").returncode == 2
    assert not page.exists()


@pytest.mark.slow
def test_a_copy_of_a_run_is_no_second_one(tmp_path):
    """A backup beside its original would make chance look small."""
    new_run(tmp_path / "gp", entry("gp", [5.0, 3.0]))
    shutil.copytree(tmp_path / "gp", tmp_path / "backup")
    answer = command(tmp_path / "gp", tmp_path / "backup", "--output", tmp_path / "page.html")
    assert answer.returncode == 2
    assert "is the same run as gp, or its copy" in answer.stderr
    assert not (tmp_path / "page.html").exists()
