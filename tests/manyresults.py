"""Runs of many finished trials, for tests of loading; as a command it measures that.

python -m tests.manyresults [TRIALS] [EPOCHS]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs import archive, files
from jobs.contract import Result, State
from tests import made
from tests.slurm_cluster import REPOSITORY
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


def table(number, epochs=10):
    """The same as its file has it."""
    found = result(number, epochs)
    return {name: getattr(found, name) for name in found.__slots__} | {"nonce": f"{number:016x}"}


def finished_run(path, n, epochs=2, **study):
    """A run with `n` results, written without the two fsyncs that `publish` has for each."""
    run = create(made.study(n_trials=n, train="tests.functions:quadratic", **study), path)
    for number in range(n):
        target = run.folder.result_path(number)
        files.make_folder(target.parent)
        target.write_text(json.dumps(table(number, epochs)))
    return run


def digested_run(path, n, epochs=10, **study):
    """A run whose `n` results are empty files, but whole in its digest: whoever opens one errs.

    They are links of one file a shard, since a disk takes a minute for 100,000 files.
    """
    run = create(made.study(n_trials=n, train="tests.functions:quadratic", **study), path)
    for number in range(n):
        target = run.folder.result_path(number)
        if number % 1000 == 0:
            target.parent.mkdir()
            target.touch()
        else:
            os.link(target.with_name(f"{number // 1000 * 1000:06d}.result.json"), target)
    key = run.folder.archives.key()
    with (path / "digest.jsonl").open("wb") as file:
        file.writelines(b"\n" + archive.line(table(number, epochs), key) for number in range(n))
    return run


def measure(path):
    """Seconds, trials and MB at most of loading a run, by a new process and beyond its start."""
    command = [sys.executable, "-m", "tests.manyresults", "--load", str(path)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def load(path):
    """Load a run and print what that took, as JSON."""
    before, started = memory(), time.perf_counter()
    trials = Store(Path(path)).trials()
    seconds = time.perf_counter() - started
    grown = memory() - before
    print(json.dumps({"seconds": seconds, "trials": len(trials), "megabytes": grown}))


def memory():
    """The most that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main(n="100000", epochs="10"):
    """Print what loading a run of many trials takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        digested_run(path, int(n), int(epochs))
        print(f"digest: {(path / 'digest.jsonl').stat().st_size / 1e6:.0f} MB", measure(path))


if __name__ == "__main__":
    load(sys.argv[2]) if "--load" in sys.argv else main(*sys.argv[1:])
