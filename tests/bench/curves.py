"""Record the curves that tests/bench/pruning.py replays: one core, for hours.

    OMP_NUM_THREADS=1 nice python -m tests.bench.curves FOLDER 40      # 40 points of each study
    OMP_NUM_THREADS=1 nice python -m tests.bench.curves FOLDER 40 household:0,9 pm25:4

Points are the study's own enqueued one and then Sobol's, alternating between the studies, so that
it may be stopped at any time and goes on where it was. The second line trains some of them again,
with five fresh seeds each. Both end by writing what is in FOLDER to `curves.json`.

Two shipped studies, but for what THIN, EPOCHS and SHORT say: every third training window, so that
a core gets through many points in an hour (validation is whole); pm25 with 12 epochs, since at its
own 5 the pruner stays off; and once more for a few epochs, with the schedule that belongs to them.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

from models.train import train
from tests.bench.pruning import CURVES, ROOT
from tuner import study
from tuner.samplers.random import initial

THIN = 3
EPOCHS = {"household": 10, "pm25": 12}
SHORT = {"household": 4, "pm25": 5}
SEEDS = 5
_SOBOL = 20250


class Thin:
    """A data set with every third training window."""

    def __init__(self, data):
        self.data = data
        self.task, self.n_classes, self.target_column = data.task, data.n_classes, None

    def splits(self, part):
        """The data set's own, thinned."""
        return tuple(dataclasses.replace(s, train=_thin(s.train)) for s in self.data.splits(part))


def _thin(part):
    kept = {name: getattr(part, name)[::THIN].copy() for name in ("rows", "targets", "index")}
    return dataclasses.replace(part, **kept)


class Forgetful:
    """A checkpoint that nobody needs."""

    def load(self):
        """A first start."""

    def save(self, step, state, last=False):
        """Nothing is kept."""


class Recorder:
    """Trains points of one study, each once: a file says that it is done."""

    def __init__(self, name, folder, count):
        self.name, self.folder = name, folder
        self.study = study.read(ROOT / "jobs" / f"{name}.toml", ["pruner.name=none"])
        self.data = Thin(self.study.load_data())
        sobol = initial(self.study.space, [], max(count, 200), _SOBOL)
        self.points = [dict(self.study.enqueue[0]), *sobol]

    def record(self, number, kind, epochs, seed):
        """Train a point unless its file is there."""
        path = self.folder / f"{self.name}.{number:03d}{kind}.json"
        if path.exists():
            return
        curve, began = [], time.process_time()
        params = {**self.study.fixed, "epochs": epochs, **self.points[number]}
        train(params, self.data, lambda step, **m: curve.append(m), Forgetful(), seed)
        values = [float(f"{m[self.study.fixed['metric']]:.6g}") for m in curve]
        seconds = round(time.process_time() - began, 2)
        found = {"params": self.points[number], "curve": values, "seconds": seconds}
        path.write_text(json.dumps(found))
        print(time.strftime("%H:%M:%S"), path.name, min(values), f"{seconds} s", flush=True)

    def once(self, number):
        """A whole training, and a short one."""
        self.record(number, "", EPOCHS[self.name], 1000 + number)
        self.record(number, ".short", SHORT[self.name], 1000 + number)

    def again(self, numbers):
        """Five more whole ones, none with a seed that was used."""
        for i in range(SEEDS):
            for number in numbers:
                seed = 90000 + 100 * number + i
                self.record(number, f".confirm{i}", EPOCHS[self.name], seed)

    def table(self):
        """What was recorded, for replays; values are in the study's direction."""
        trials = []
        while (full := self._held(f"{len(trials):03d}")) and (
            s := self._held(f"{len(trials):03d}.short")
        ):
            trials.append({**full, "short": s["curve"]})
        confirmed = {}
        for number in range(len(trials)):
            runs = [self._held(f"{number:03d}.confirm{i}") for i in range(SEEDS)]
            if all(runs):
                confirmed[str(number)] = [min(run["curve"]) for run in runs]
        epochs, short = EPOCHS[self.name], SHORT[self.name]
        return {"epochs": epochs, "short": short, "confirmed": confirmed, "trials": trials}

    def _held(self, name):
        path = self.folder / f"{self.name}.{name}.json"
        return json.loads(path.read_text()) if path.exists() else None


def write(recorders):
    """All that was recorded as one file, a line a point; as many points of each study."""
    tables = {recorder.name: recorder.table() for recorder in recorders}
    least = min(len(table["trials"]) for table in tables.values())
    for table in tables.values():
        table["trials"] = table["trials"][:least]
    text = (
        json.dumps(tables).replace('{"params"', '\n{"params"').replace('{"epochs"', '\n{"epochs"')
    )
    CURVES.write_text(text + "\n")
    print(f"{least} points of each study, {len(text)} bytes")


def main():
    """Record, and write what there is."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("points", type=int)
    parser.add_argument("again", nargs="*", metavar="STUDY:NUMBER,…")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    recorders = {name: Recorder(name, given.folder, given.points) for name in EPOCHS}
    for number in () if given.again else range(given.points):
        for recorder in recorders.values():
            recorder.once(number)
    for name, _, numbers in (asked.partition(":") for asked in given.again):
        recorders[name].again([int(number) for number in numbers.split(",")])
    write(recorders.values())


if __name__ == "__main__":
    main()
