"""The peers of `utilisation` as their users run them: same Slurm, same trials.

`python -m tests.bench.idle_peers ARM SEED FILE` runs one; each trial's number, start and end become
a line of FILE. barrier: submitit's arrays of 8, each when the one before has ended. top-up:
submitit, one job a trial, the next when one has ended. optuna: an array of 8 workers on a journal
file.
"""

import itertools
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.sleeping import seconds
from tuner.samplers import point_seed

SLOTS, TRIALS = 8, 160


def trial(number, seed, file):
    """Sleep as our own trial of that number does, and write down when."""
    began = time.time()
    time.sleep(seconds(point_seed(seed, number)))
    with Path(file).open("a") as times:
        times.write(f"{number} {began} {time.time()}\n")
    return (number % 7 - 3) ** 2


def _executor():
    import submitit  # noqa: PLC0415 - optuna's Python has none

    executor = submitit.SlurmExecutor(folder="runs/submitit")
    executor.update_parameters(gres="gpu:1", time=20)
    return executor


def barrier(seed, file):
    """Batch after batch."""
    for first in range(0, TRIALS, SLOTS):
        numbers = range(first, first + SLOTS)
        jobs = _executor().map_array(trial, numbers, [seed] * SLOTS, [file] * SLOTS)
        for job in jobs:
            job.result()


def top_up(seed, file):
    """A job for each trial, as slots are free."""
    executor, running = _executor(), []
    todo = iter(range(TRIALS))
    while new := list(itertools.islice(todo, SLOTS - len(running))) or running:
        if new is not running:
            running += [executor.submit(trial, number, seed, file) for number in new]
        time.sleep(0.5)
        running = [job for job in running if not job.done()]


def optuna(seed, file):
    """Workers that share a study by a file."""
    program = [sys.executable, "-m", "tests.bench.idle_peers", "optuna-worker", str(seed), file]
    options = ["--gres=gpu:1", "--time=20", f"--array=0-{SLOTS - 1}", "--output=/dev/null"]
    subprocess.run(["sbatch", "--wait", *options, "--wrap", " ".join(program)], check=True)


def optuna_worker(seed, file):
    """One of them."""
    import optuna  # noqa: PLC0415 - the other arms do without
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415

    storage = JournalStorage(JournalFileBackend(f"{file}.journal"))
    study = optuna.create_study(storage=storage, study_name="idle", load_if_exists=True)

    def objective(asked):
        x = asked.suggest_float("x", 0, 1)
        y = asked.suggest_float("y", 1e-3, 1, log=True)
        asked.suggest_int("z", 1, 64, log=True)
        trial(asked.number, seed, file)
        return (x - 0.3) ** 2 + y

    study.optimize(objective, callbacks=[optuna.study.MaxTrialsCallback(TRIALS)])


ARMS = {"barrier": barrier, "top-up": top_up, "optuna": optuna}


def main():
    """Run an arm."""
    arm, seed, file = sys.argv[1:]
    {**ARMS, "optuna-worker": optuna_worker}[arm](int(seed), file)


if __name__ == "__main__":
    main()
