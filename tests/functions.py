"""Training functions of a user's own, for tests: `train = "tests.functions:..."`."""

import json
import os
import signal
import time
from pathlib import Path

import torch

from jobs import files
from jobs.folder import RunFolder


def quadratic(params, data, report, checkpoint, seed):
    """A function with its minimum at x = 1, in two epochs."""
    value = (params["x"] - 1.0) ** 2
    for step in range(2):
        report(step, value=value + 1 - step)
    return value


def sleep(params, data, report, checkpoint, seed):
    """Take some seconds, as a training does, without the processor."""
    for step in range(int(params["seconds"] * 10)):
        time.sleep(0.1)
        report(step, value=params["x"])
    return params["x"]


def counting(params, data, report, checkpoint, seed):
    """Six epochs that each add one; a checkpoint remembers how far it came."""
    state = checkpoint.load() or {"done": 0, "value": 0.0}
    for step in range(state["done"], 6):
        state = {"done": step + 1, "value": state["value"] + params["x"]}
        report(step, value=state["value"])
        checkpoint.save(step, lambda state=state: state)
        if params.get("kill_at") == step and Path(params["once"]).exists():
            Path(params["once"]).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
    return state["value"]


def saving(params, data, report, checkpoint, seed):
    """Three epochs, the last of which is saved for later."""
    for step in range(3):
        report(step, value=params["x"])
        state = {"weight": params["x"], "epoch": step}
        checkpoint.save(step, lambda state=state: state, last=step == 2)
    return 3 * params["x"]


def environment(params, data, report, checkpoint, seed):
    """Write down what a worker's process is given, and shows to others."""
    os.umask(umask := os.umask(0))
    command = Path("/proc/self/cmdline").read_text().split("\0")
    seen = {"environment": dict(os.environ), "command": command, "umask": umask}
    Path(params["into"]).write_text(json.dumps(seen))
    return 0.0


def broken(params, data, report, checkpoint, seed):
    """A bug of the user's."""
    raise ValueError("the same bug every time")


def suicide(params, data, report, checkpoint, seed):
    """Die as the kernel lets a process die that wants too much memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def talking(params, data, report, checkpoint, seed):
    """A user who prints, and then has a bug."""
    print("a word before the end")
    raise ValueError("at last")


def diverging(params, data, report, checkpoint, seed):
    """A training that diverges for large x only."""
    return float("nan") if params["x"] > 1 else params["x"]


def colourful(params, data, report, checkpoint, seed):
    """A training whose error is written in red."""
    raise ValueError("\x1b[31mred\x1b[0m")


def faulty(params, data, report, checkpoint, seed):
    """Epochs that each add to the value; the first attempt meets the fault that its point names."""
    state = checkpoint.load() or {"done": 0, "value": 0.0}
    first = checkpoint.claim.attempt == 1
    fail(params["fault"])
    for step in range(state["done"], params["epochs"]):
        time.sleep(params["seconds"])
        state = {"done": step + 1, "value": 0.9 * state["value"] + params["x"] * step}
        if first and step == 3:
            meet(params["fault"])
        report(step, value=state["value"])
        checkpoint.save(step, lambda state=state: state)
    if first:
        meet(f"{params['fault']}, at its end")
    return {"nan": float("nan"), "inf": float("inf")}.get(params["fault"], state["value"])


def fail(fault):
    """What a point does by itself, at every attempt."""
    match fault:
        case "error":
            raise ValueError("a bug of this point")
        case "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        case "memory":
            b"x" * (3 << 30)


def meet(fault):
    """Do what a fault's name says: to this process, or to what it does next."""
    match fault:
        case "killed in an epoch":
            die()
        case "killed in a checkpoint":
            files._write = half_of
        case "killed before the link, at its end":
            files._link = die
        case "killed after the link, at its end":
            files._sync_folder = die
        case "killed before the next claim, at its end":
            RunFolder.claim = die
        case "killed after the next claim, at its end":
            claim = RunFolder.claim
            RunFolder.claim = lambda *given: (claim(*given), die())


def die(*arguments):
    """kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def half_of(path, data):
    """A draft that is torn by kill -9."""
    path.write_bytes(data[: len(data) // 2])
    die()


def noisy(params, data, report, checkpoint, seed):
    """Lowest at x = 1, and a second decimal that the seed decides; a seed may diverge."""
    value = (params["x"] - 1.0) ** 2 + seed % 100 / 1000
    checkpoint.save(0, lambda: {"value": value}, last=True)
    report(0, value=value)
    return float("nan") if params.get("diverges") and seed % 2 else value
