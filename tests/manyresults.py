"""Runs of many finished trials, for tests of loading; as a command it measures 100,000.

python -m tests.manyresults [N] [EPOCHS]
"""

import dataclasses
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from jobs.contract import Result, State
from tests import made
from tuner.digest import Digest
from tuner.store import Store, create

METRICS = ("train", "mse", "rmse", "mae")


def result(number, epochs=10):
    """An outcome with a curve, as a worker publishes it."""
    value = 50 + 7919 * number % 10_007 / 10_007
    curve = tuple(
        {"step": step, **dict.fromkeys(METRICS, value + 1 / (step + 3)), "time": 1.7e9 + number}
        for step in range(epochs)
    )
    params = {"learning_rate": value / 9973, "units": 16 + number % 113, "optimizer": "adam"}
    return Result(
        number, State.COMPLETE, params, value=value, seed=number, origin="gp", curve=curve,
        pending=tuple(range(max(0, number - 8), number)), attempts=1, started=1.7e9 + number,
        seconds=90.0, job=f"{number}_0", host="node1", device="0",
    )  # fmt: skip


def finished_run(path, n, epochs=10):
    """A run with `n` results, written without the patience of `publish` (two fsyncs each)."""
    run = create(made.study(n_trials=n, train="tests.functions:quadratic"), path)
    for number in range(n):
        target = run.folder.result_path(number)
        if number % 1000 == 0:
            target.parent.mkdir(exist_ok=True)
        table = dataclasses.asdict(result(number, epochs)) | {"nonce": f"{number:016x}"}
        target.write_text(json.dumps(table))
    return run


def digested(run):
    """The same run once its controller has written the whole digest."""
    digest, finished = Digest(run.folder), run.view().finished
    for _ in range(0, len(finished), 1000):
        digest.extend(finished)
    return run


def main(n=100_000, epochs=10):
    """Print seconds and memory of loading a run of many trials from its digest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        digested(finished_run(path, n, epochs))
        size = (path / "digest.jsonl").stat().st_size
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        trials = Store(path).trials()
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{len(trials)} trials of {epochs} epochs: {seconds:.2f} s, digest {size / 1e6:.0f} MB")
    print(f"memory at most {after / 1e3:.0f} MB, before loading {before / 1e3:.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
