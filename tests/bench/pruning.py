"""Early stopping, replayed on recorded curves of real trainings: what it saves, and what it costs.

    python -m tests.bench.pruning            # how to tell a sampler of pruned trials
    python -m tests.bench.pruning --stop     # ASHA beside patience, few epochs, and no stopping

`curves.json` holds the validation curves of points of two shipped studies, each trained once to its
end on one CPU core, and five fresh trainings of those that won most (`tests/bench/curves.py` says
how). A replayed study is the product's own sampler and the product's own rule; instead of training
a proposed point, the nearest recorded one that is not taken yet gives its curve. Workers ask when
they have ended, and an epoch takes as long as it took.
"""

import argparse
import collections
import dataclasses
import heapq
import json
import multiprocessing
import statistics
from pathlib import Path

import numpy as np

from jobs.contract import State
from jobs.reasons import CANCELLED
from jobs.rungs import FACTOR, Rungs
from tuner import asha, samplers, study
from tuner.space import Categorical
from tuner.trial import Trial

ROOT = Path(__file__).resolve().parents[2]
CURVES = Path(__file__).with_name("curves.json")
WORKERS, INITIAL = 8, 8
TELLINGS = ("drop", "worst", "last", "gain")


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """A way to stop trials early; all of them off is none."""

    name: str
    asha: int = 0  # the reduction factor
    patience: int = 0
    short: bool = False  # trained for fewer epochs, with a schedule of its own


FULL, ASHA = Arm("to the end"), Arm("ASHA", asha=FACTOR)
ARMS = (FULL, ASHA, Arm("ASHA, one in 3", asha=3), Arm("patience 5", patience=5),
        Arm("few epochs", short=True))  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is replayed, with many seeds."""

    table: str
    arm: Arm
    telling: str
    sampler: str
    n_trials: int

    def play(self, seed):
        """The outcome of one seed."""
        return Replay(self, seed).run()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a replayed study found and spent; `wall` and `seconds` of one core a worker."""

    winner: int
    epochs: int
    seconds: float
    wall: float
    pruned: int


class Table:
    """The recorded trials of a study, as losses."""

    def __init__(self, name):
        held = json.loads(CURVES.read_text())[name]
        self.name, self.short = name, held["short"]
        self.study = study.read(ROOT / "jobs" / f"{name}.toml", [f"fixed.epochs={held['epochs']}"])
        self.params = [trial["params"] for trial in held["trials"]]
        self.curves = [self.study.sign * np.array(trial["curve"]) for trial in held["trials"]]
        self.shorts = [self.study.sign * np.array(trial["short"]) for trial in held["trials"]]
        self.epoch = [trial["seconds"] / held["epochs"] for trial in held["trials"]]
        self.confirmed = {int(k): v for k, v in held["confirmed"].items()}
        self.places = np.array([self.place(params) for params in self.params])
        pruner = {"name": "asha", "reduction_factor": FACTOR}
        self.rungs = Rungs.of(self.study.to_table(), pruner).epochs

    def place(self, params):
        """A point of the unit cube, a category as one of two corners of its own axis."""
        axes = []
        for name, p in self.study.space.parameters.items():
            if isinstance(p, Categorical):
                axes += [0.5 * (params[name] == choice) for choice in p.choices]
            else:
                low, high, at = (np.log(x) if p.log else x for x in (p.low, p.high, params[name]))
                axes.append((at - low) / (high - low))
        return np.array(axes)

    def nearest(self, params, taken):
        """The recorded point that is nearest to one, and not taken."""
        far = np.linalg.norm(self.places - self.place(params), axis=1)
        far[list(taken)] = np.inf
        return int(np.argmin(far))

    def final(self, index):
        """The loss at the end: the best epoch counts."""
        return float(self.curves[index].min())


class Replay:
    """One study on recorded curves."""

    def __init__(self, plan, seed):
        self.table, self.arm, self.telling, self.seed = (
            Table(plan.table),
            plan.arm,
            plan.telling,
            seed,
        )
        self.ask, self.n_trials = samplers.get(plan.sampler), plan.n_trials
        self.rungs = self._rungs()
        self.trials, self.taken = [], []  # by number
        self.reached = {rung: [] for rung in self.rungs}
        self.gone = []  # (losses at the rungs, final) of complete trials
        self.stopped = {}  # number → epochs
        self.seconds = self.epochs = 0
        self.now, self.events = 0.0, []

    def run(self):
        """Play it to its end."""
        for _ in range(WORKERS):
            self._begin()
        while self.events:
            self.now, number, epoch = heapq.heappop(self.events)
            if epoch < self._length(number) and not self._pruned(number, epoch):
                self._go_on(number, epoch)
            else:
                self._end(number, epoch)
                self._begin()
        done = [t for t in self.trials if t.state is State.COMPLETE]
        won = min(done, key=lambda t: t.value)
        pruned = len(self.trials) - len(done)
        return Outcome(self.taken[won.number], self.epochs, self.seconds, self.now, pruned)

    def _rungs(self):
        if not self.arm.asha:
            return ()
        pruner = {"name": "asha", "reduction_factor": self.arm.asha}
        return Rungs.of(self.table.study.to_table(), pruner).epochs

    def _curve(self, number):
        curves = self.table.shorts if self.arm.short else self.table.curves
        return curves[self.taken[number]]

    def _length(self, number):
        curve, patience = self._curve(number), self.arm.patience
        for epoch in range(patience, len(curve)) if patience else ():
            if epoch - int(np.argmin(curve[: epoch + 1])) >= patience:
                return epoch + 1
        return len(curve)

    def _begin(self):
        number = len(self.trials)
        if number == self.n_trials:
            return
        params = self.table.params[0]  # the study's own enqueued point
        if number:
            (params,) = self.ask(self.table.study.space, self._told(), 1, self.seed, INITIAL)
        self.taken.append(self.table.nearest(params, self.taken))
        params = self.table.params[self.taken[-1]]
        self.trials.append(Trial(number, State.RUNNING, params))
        self._go_on(number, 0)

    def _go_on(self, number, epoch):
        ahead = [rung for rung in (*self.rungs, self._length(number)) if rung > epoch]
        spent = (ahead[0] - epoch) * self.table.epoch[self.taken[number]]
        self.epochs, self.seconds = self.epochs + ahead[0] - epoch, self.seconds + spent
        heapq.heappush(self.events, (self.now + spent, number, ahead[0]))

    def _pruned(self, number, epoch):
        loss = float(self._curve(number)[:epoch].min())
        needed = asha.needed(self.reached[epoch], self.arm.asha)
        self.reached[epoch].append(loss)
        return number > 0 and loss > needed

    def _end(self, number, epoch):
        curve = self._curve(number)[:epoch]
        complete = epoch == self._length(number)
        state = State.COMPLETE if complete else State.PRUNED
        self.trials[number] = dataclasses.replace(
            self.trials[number], state=state, value=float(curve.min())
        )
        if complete:
            self.gone.append(([float(curve[:r].min()) for r in self.rungs], float(curve.min())))
        else:
            self.stopped[number] = self.rungs.index(epoch)

    def _told(self):
        return [self._tell(t) if t.state is State.PRUNED else t for t in self.trials]

    def _tell(self, trial):
        finals = [final for _, final in self.gone]
        rung = self.stopped[trial.number]
        match self.telling:
            case "drop":
                return dataclasses.replace(trial, state=State.FAIL, reason=CANCELLED, value=None)
            case "worst":
                return dataclasses.replace(trial, value=max(finals, default=trial.value))
            case "gain" if finals:
                gain = statistics.median(at[rung] - final for at, final in self.gone)
                worth = max(statistics.median(finals), trial.value - gain)
                return dataclasses.replace(trial, value=worth)
        return trial


def tellings(names, given, pool):
    """How far the winner is from the best recorded, for each way to tell of pruned trials."""
    print("regret of the winner's final loss, in units of (median − best) of all recorded points;")
    print(f"mean ± standard error over {given.seeds} seeds; {said(given)}")
    print(f"{'study':<12}" + "".join(f"{telling:>18}" for telling in TELLINGS))
    for name in names:
        table, cells = Table(name), []
        finals = [table.final(i) for i in range(len(table.curves))]
        best, span = min(finals), statistics.median(finals) - min(finals)
        for telling in TELLINGS:
            plan = Plan(name, ASHA, telling, given.sampler, given.trials)
            found = list(pool.map(plan.play, range(given.seeds)))
            regrets = [(finals[one.winner] - best) / span for one in found]
            cells.append(f"{np.mean(regrets):>9.3f} ± {error(regrets):.3f}")
        print(f"{name:<12}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def arms(names, given, pool):
    """Each arm's winner, trained again with five fresh seeds, and what its search spent."""
    for name in names:
        table, base, winners = Table(name), [], collections.Counter()
        print(f"\n{name}: {len(table.curves)} recorded points, rungs after {table.rungs} of "
              f"{len(table.curves[0])} epochs; {said(given)}, {given.seeds} seeds")  # fmt: skip
        print(f"{'arm':<16}{'confirmed':>20}{'− to the end':>20}{'epochs':>9}{'of all':>8}"
              f"{'core s':>9}{'of all':>8}{'wall s':>8}{'pruned':>8}")  # fmt: skip
        for arm in ARMS:
            plan = Plan(name, arm, given.telling, given.sampler, given.trials)
            found = list(pool.map(plan.play, range(given.seeds)))
            winners.update(one.winner for one in found)
            base = base or found
            print(f"{arm.name:<16}{row(table, found, base)}", flush=True)
        once = {winner: n for winner, n in winners.items() if winner not in table.confirmed}
        print(f"winners, and how often: {dict(winners.most_common())}")
        print(f"of them not trained again, so that their one recorded value stands: {once}")
        noise = [statistics.stdev(values) for values in table.confirmed.values()]
        print(f"standard deviation over training seeds: {np.mean(noise or [np.nan]):.4g}")


def said(given):
    """What is the same for all rows."""
    return f"{given.sampler}, {given.trials} trials, {WORKERS} workers"


def row(table, found, base):
    """A line of the table of arms."""
    scores = [confirmed(table, one.winner) for one in found]
    gaps = [s - confirmed(table, one.winner) for s, one in zip(scores, base, strict=True)]
    epochs, seconds = (np.mean([getattr(o, k) for o in found]) for k in ("epochs", "seconds"))
    all_epochs, all_seconds = (
        np.mean([getattr(o, k) for o in base]) for k in ("epochs", "seconds")
    )
    return "".join((
        f"{np.mean(scores):>11.5g} ± {error(scores):<6.2g}",
        f"{np.mean(gaps):>+11.4g} ± {error(gaps):<6.2g}",
        f"{epochs:>9.0f}{epochs / all_epochs:>8.0%}{seconds:>9.0f}{seconds / all_seconds:>8.0%}",
        f"{np.mean([o.wall for o in found]):>8.0f}{np.mean([o.pruned for o in found]):>8.1f}",
    ))  # fmt: skip


def confirmed(table, index):
    """The mean of five fresh trainings to the end; of one that has none, its recorded value."""
    again = table.confirmed.get(index)
    return float(np.mean(again)) if again else table.study.sign * table.final(index)


def error(values):
    """The standard error of a mean."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def main():
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stop", action="store_true", help="compare arms, not ways to tell")
    parser.add_argument("--sampler", default="gp")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--telling", choices=TELLINGS, default="last")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    names = list(json.loads(CURVES.read_text()))
    with multiprocessing.Pool(given.processes) as pool:
        if given.stop:
            arms(names, given, pool)
        else:
            tellings(names, given, pool)


if __name__ == "__main__":
    main()
