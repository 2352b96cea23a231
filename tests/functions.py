"""Training functions of a user's own, for tests: `train = "tests.functions:..."`."""

import json
import os
import signal
import time
from pathlib import Path


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


def talking(params, data, report, checkpoint, seed):
    """A user who prints, and then has a bug."""
    print("a word before the end")
    raise ValueError("at last")


def diverging(params, data, report, checkpoint, seed):
    """A training that diverges for large x only."""
    return float("nan") if params["x"] > 1 else params["x"]
