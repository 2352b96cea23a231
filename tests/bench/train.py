"""How fast a trial trains: the prototype's loop, ours, and ours packed, side by side.

    python -m tests.bench.train                      # both families, three sizes; a GPU if there is
    python -m tests.bench.train --profile            # where a step's time goes
    python -m tests.bench.train --arms prototype,ours,tf32,compile,graphs   # to be tried on a GPU
    python -m tests.bench.train --curves             # the same losses, within a seed's noise

One thread a process. Arms take turns, epoch by epoch, in one process; the packed ones run in
processes of their own, all at once. A trial is taken to be twenty epochs with their validation.
"""

import argparse
import multiprocessing
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from models.train import device as best_device
from tests.bench.loops import SIZES, Ours, Prototype, data_of, params_of

ROUNDS = 7
EPOCHS = 20
SEEDS = 5
PEAK = 2048  # rows of the square matrices whose product stands for the device's best
SHOWN = ("prototype", "ours", "bf16")
HEAD = (
    "| model | size | arm | samples/s | × prototype | trials/h | × prototype | of peak | peak MB |"
)


def _tf32(*given):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return Ours(*given)


ARMS = {
    # It leaves out a ragged last batch here, as ours does: both train the same items.
    "prototype": lambda p, d, dev, s: Prototype(p, d, dev, s, drop_last=True),
    "ours": Ours,
    "bf16": lambda p, d, dev, s: Ours({**p, "precision": "bf16"}, d, dev, s),
    "tf32": _tf32,
    "compile": lambda p, d, dev, s: Ours(p, d, dev, s, torch.compile),
    "graphs": lambda p, d, dev, s: Ours(
        p, d, dev, s, lambda m: torch.compile(m, mode="reduce-overhead")
    ),
}


def trained(items: int, size: int) -> int:
    """How many items an epoch trains: whole batches."""
    return items // size * size


def wait(device):
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(action: Callable[[], object], device) -> float:
    """What one call takes, the device's work included."""
    wait(device)
    began = time.perf_counter()
    action()
    wait(device)
    return time.perf_counter() - began


def side_by_side(family, size, arms, device, rounds=ROUNDS):
    """Medians of (seconds to train an epoch, seconds to validate it) by arm; arms take turns."""
    data, params = data_of(family), params_of(family, size)
    loops = {arm: ARMS[arm](params, data, device, 0) for arm in arms}
    took = {arm: ([], []) for arm in arms}
    for number in range(rounds + 1):
        for arm, loop in loops.items():
            train = seconds(lambda loop=loop, n=number: loop.epoch(n), device)
            validate = seconds(loop.validate, device)
            if number:  # the first one warms up
                took[arm][0].append(train)
                took[arm][1].append(validate)
    return {arm: tuple(map(statistics.median, pair)) for arm, pair in took.items()}


def packed(family, size, workers, device, rounds=ROUNDS):
    """The same for `workers` processes of ours at once: seconds that one epoch takes in each."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(workers), context.SimpleQueue()
    jobs = [
        context.Process(target=_work, args=(family, size, (str(device), rounds), barrier, answers))
        for _ in range(workers)
    ]
    for job in jobs:
        job.start()
    found = [answers.get() for _ in jobs]
    for job in jobs:
        job.join()
    return tuple(statistics.mean(times) for times in zip(*found, strict=True))


def _work(family, size, how, barrier, answers):
    torch.set_num_threads(1)
    device, rounds = torch.device(how[0]), how[1]
    loop = ARMS["ours"](params_of(family, size), data_of(family), device, 0)
    loop.epoch(0)
    barrier.wait()
    both = [
        (seconds(lambda n=n: loop.epoch(n), device), seconds(loop.validate, device))
        for n in range(1, rounds + 1)
    ]
    answers.put(tuple(map(statistics.median, zip(*both, strict=True))))


def operations(family, size) -> float:
    """Floating-point operations of one sample, forwards and backwards, counted by torch."""
    data, params = data_of(family), params_of(family, size)
    loop = Ours(params, data, torch.device("cpu"), 0)
    fold = loop.fold
    batch = torch.arange(params["batch_size"])
    inputs, targets = fold.inputs.take(fold.rows[batch]), fold.targets[batch]
    # oneDNN's LSTM is one operation that the counter does not know; without it it is products.
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        fold.step(inputs, targets)
    return counter.get_total_flops() / len(batch)


def peak(device, dtype=torch.float32) -> float:
    """Operations a second of a large product on this device: what it can do at best."""
    a = torch.randn(PEAK, PEAK, device=device, dtype=dtype)
    times = [seconds(lambda: a @ a, device) for _ in range(8)]
    return 2 * PEAK**3 / min(times)


def memory(family, size, arm, device) -> float:
    """MB at the peak of a process that trains this and nothing else."""
    command = [sys.executable, "-m", "tests.bench.train", "--memory", family, size, arm]
    root = Path(__file__).resolve().parent.parent.parent
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    host, gpu = map(float, answer.stdout.split()[-2:])
    return gpu if device.type == "cuda" else host


def _print_memory(family, size, arm):
    device = best_device()
    loop = ARMS[arm](params_of(family, size), data_of(family), device, 0)
    loop.epoch(0)
    loop.validate()
    gpu = torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else 0.0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, gpu)


def rows(arms, workers, device, rounds) -> Iterator[str]:
    """The table, a line at a time."""
    best = {kind: peak(device, kind) for kind in (torch.float32, torch.bfloat16)}
    for family, sizes in SIZES.items():
        held = len(data_of(family).splits("search")[0].train.rows)
        for size in sizes:
            items = trained(held, params_of(family, size)["batch_size"])
            took = side_by_side(family, size, arms, device, rounds)
            per, first = operations(family, size), took[arms[0]]
            named = {arm: (took[arm], 1, memory(family, size, arm, device)) for arm in arms}
            crowd = packed(family, size, workers, device, rounds)
            each = named["ours"][2] if "ours" in named else float("nan")
            named[f"ours × {workers}"] = (crowd, workers, each * workers)
            for arm, ((train, validate), k, megabytes) in named.items():
                rate, trials = k * items / train, k * 3600 / EPOCHS / (train + validate)
                cores = k if device.type == "cpu" else 1
                share = (
                    rate * per / cores / best[torch.bfloat16 if arm == "bf16" else torch.float32]
                )
                more = rate * first[0] / items, trials * EPOCHS * sum(first) / 3600
                yield (
                    f"| {family} | {size} | {arm} | {rate:,.0f} | {more[0]:.2f} | {trials:,.0f} |"
                    f" {more[1]:.2f} | {share:.0%} | {megabytes:,.0f} |"
                )


def curves(device, epochs=8, seeds=SEEDS) -> Iterator[str]:
    """Training losses of both loops over an epoch's number: mean ± deviation over seeds."""
    for family in SIZES:
        data, params = data_of(family), params_of(family, "default")
        for arm in ("prototype", "ours", "bf16"):
            loops = [ARMS[arm](params, data, device, seed) for seed in range(seeds)]
            losses = [[loop.epoch(n) for loop in loops] for n in range(epochs)]
            words = [f"{statistics.mean(x):.4f} ± {statistics.stdev(x):.4f}" for x in losses[1::2]]
            yield f"| {family} | {arm} | {' | '.join(words)} |"


def where(family, device) -> str:
    """The ten dearest operations of fifty steps of the default size."""
    loop = ARMS["ours"](params_of(family, "default"), data_of(family), device, 0)
    loop.epoch(0)
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with profile(activities=kinds) as found:
        loop.epoch(1)
    spent = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in spent)
    lines = [f"  {event.self_cpu_time_total / whole:6.1%}  {event.key}" for event in spent[:10]]
    return "\n".join([f"{family}, default size:", *lines])


def name(device) -> str:
    """What it was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    return f"CPU ({model or platform.processor() or platform.machine()}), one thread a process"


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", default=",".join(SHOWN))
    parser.add_argument("--workers", type=int, default=2, help="processes of the packed arm")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="epochs of each arm, in turn")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--memory", nargs=3, metavar=("FAMILY", "SIZE", "ARM"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory:
        _print_memory(*given.memory)
        return
    device = best_device()
    print(f"{name(device)}; torch {torch.__version__}\n")
    if given.profile:
        print("\n".join(where(family, device) for family in SIZES))
    elif given.curves:
        print(*curves(device), sep="\n")
    else:
        print(HEAD, "|" + " --- |" * HEAD.count(" | ") + " --- |", sep="\n")
        for row in rows(given.arms.split(","), given.workers, device, given.rounds):
            print(row, flush=True)
        if device.type != "cuda":
            print("\nGPU: not measured, as there is none here.")


if __name__ == "__main__":
    main()
