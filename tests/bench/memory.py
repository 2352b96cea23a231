"""What a worker takes of memory on a data file that is larger than it: a real one, one short trial.

    python -m tests.bench.memory [FOLDER] [GB]     # three times as much disk; 4 GB: ten minutes

A table of 100 columns whose target is measured in every fiftieth row, so that windows lie all over
the file while the training is short. Mapped pages count in the peak (VmHWM), though the kernel may
drop them; RssAnon is what the process itself holds.
"""

import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jobs.contract import Proposal
from tuner import store
from tuner.settings import Jobs
from tuner.space import Space
from tuner.study import Study

COLUMNS, CHUNK, MEASURED = 100, 100_000, 50
SPACE = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2}}
FIXED = {"epochs": 1, "cnn_filters": 8, "lstm_units": 8, "batch_size": 256}
KINDS = ("VmHWM", "RssAnon", "RssFile")


def write(path: Path, size: float) -> None:
    """A table of so many bytes; its first column is the target."""
    rows, random = int(size / COLUMNS / 4), np.random.default_rng(0)
    table = np.lib.format.open_memmap(path, "w+", np.float32, (rows, COLUMNS))
    for first in range(0, rows, CHUNK):
        part = random.standard_normal((min(CHUNK, rows - first), COLUMNS), dtype=np.float32)
        part[np.arange(len(part)) % MEASURED != 0, 0] = np.nan
        table[first : first + len(part)] = part
    table.flush()


def study(path: Path) -> Study:
    """One trial of one epoch on a table."""
    data = {"source": str(path), "target": "0", "window": 24}
    space = Space.from_table(SPACE)
    return Study("big", "minimize", 1, space, fixed=FIXED, data=data, jobs=Jobs(grace=0.0))


def watched(command: list[str]) -> dict[str, float]:
    """Run a process to its end; GB at its peaks."""
    process, peaks = subprocess.Popen(command), dict.fromkeys(KINDS, 0.0)
    while process.poll() is None:
        try:
            said = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        for kind in KINDS:
            found = re.search(rf"{kind}:\s+(\d+)", said)
            peaks[kind] = max(peaks[kind], int(found[1]) / 1e6 if found else 0.0)
        time.sleep(0.05)
    assert process.wait() == 0
    return peaks


def main(folder: str = "", size: str = "4") -> None:
    """Write the file, check it as a controller does, train on it, print the peaks."""
    root = Path(tempfile.mkdtemp(dir=folder or None))
    wanted = float(size) * 1e9
    try:
        if shutil.disk_usage(root).free < 3 * wanted:
            raise SystemExit(f"{root} has no room for three times {size} GB")
        subprocess.run(
            [sys.executable, "-c", "from tests.bench import memory; from pathlib import Path;"
             f"memory.write(Path({str(root / 'big.npy')!r}), {wanted})"], check=True,
        )  # fmt: skip
        began = time.perf_counter()
        run = store.create(study(root / "big.npy"), root / "run").folder
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"checked in {time.perf_counter() - began:.0f} s, {own:.2f} GB at the peak", flush=True
        )
        run.propose(Proposal(0, {"learning_rate": 1e-3}, seed=0, origin="random"))
        began = time.perf_counter()
        peaks = watched([sys.executable, "-m", "jobs.worker", str(run.path)])
        words = ", ".join(f"{kind} {peak:.3f} GB" for kind, peak in peaks.items())
        result = run.result(0)
        assert result is not None
        print(f"worker: {time.perf_counter() - began:.0f} s, {words}; trial {result.state}")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main(*sys.argv[1:])
