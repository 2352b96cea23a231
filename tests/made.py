"""Made-up studies and trials for the tests of what is shown of them."""

import math
from dataclasses import replace

import numpy as np

from jobs.contract import State
from tuner.space import Categorical, Float, Int, Space
from tuner.study import Study
from tuner.trial import Trial

SMALL = {
    "learning_rate": Float(1e-4, 1e-2, log=True),
    "lstm_units": Int(16, 128, step=16),
    "optimizer": Categorical(("adam", "sgd")),
    "weight_decay": Float(0.0, 0.99, when={"optimizer": "sgd"}),
}
WIDE = {
    "a_very_long_name_of_a_parameter_for_the_first_convolution": Int(16, 64),
    "=not_a_$formula$": Float(1e-6, 1.0, log=True),
    "optimizer": Categorical(("adam", "sgd", "averaged_stochastic_gradient_descent")),
    "momentum": Float(0.0, 0.99, when={"optimizer": "sgd"}),
    "use_leaky_relu": Categorical((True, False)),
    "batch_size": Categorical((16, 32, 64)),
    "hidden": Int(16, 1024, log=True),
    "dropout": Float(0.1, 0.5, step=0.1),
    "only": Categorical(("one",)),
    "weight_decay": Float(0.0, 1e-3),
    "warm_up": Int(0, 100_000),
    "layers": Int(1, 3),
}


def study(space=SMALL, **changes):
    """A study that minimises a validation RMSE unless told otherwise."""
    given = {
        "name": "made",
        "direction": "minimize",
        "n_trials": 40,
        "space": Space(space),
        "n_initial": 4,
        "fixed": {"metric": "rmse"},
    }
    return Study(**{**given, **changes})


def trial(number, value=None, state=State.COMPLETE, **changes):
    """A finished trial; without params, some that suit its number."""
    given = {
        "params": {"learning_rate": 1e-3, "lstm_units": 32, "optimizer": "adam"},
        "started": 1.7e9 + 60 * number,
        "seconds": 90.0,
        "attempts": 1,
        "host": "node1",
    }
    return Trial(number=number, state=state, value=value, **{**given, **changes})


def trials(space, n, seed=0):
    """`n` trials of every kind: complete, pruned, failed, one diverged, the last two open."""
    random = np.random.default_rng(seed)
    kinds = [State.COMPLETE] * 8 + [State.PRUNED, State.FAIL]
    made = []
    for number in range(n):
        params = {name: _value(kind, random) for name, kind in space.items()}
        params = {
            name: value
            for name, value in params.items()
            if all(params.get(key) == needed for key, needed in space[name].when.items())
        }
        state = kinds[number % 10] if number < max(3, n - 2) else State.RUNNING
        value = 1e6 if number == 6 else 50 + 5 * float(random.random())
        known = value if state in (State.COMPLETE, State.PRUNED) else None
        reason = "CUDA out of memory" if state is State.FAIL else ""
        made.append(trial(number, known, state, params=params, reason=reason))
    return made


def searched_by(slots, space, n, epochs=10, seed=0):
    """`n` finished trials in jobs of 20 on so many slots: curves of 3 metrics, lost attempts."""
    random = np.random.default_rng(seed)
    ends = [(1.7e9 + 3 * k, 0, f"n{k % 3}") for k in range(slots)]  # of a slot: when, jobs, host
    found, jobs = [], {}
    for made_ in trials(space, n + 2, seed)[:n]:
        k = min(range(slots), key=lambda k: ends[k][0])
        end, used, host = ends[k]
        if used % 20 == 0:
            submitted, began = end + 2, end + 2 + 60 * float(random.exponential())
            jobs[k] = {"job": f"{len(found)}_{k}", "submitted": submitted, "began": began}
            end, host = began + 11, f"n{random.integers(3)}"
        place = {**jobs[k], "host": host, "device": str(k % 2)}
        more = {}
        if made_.number % 97 == 50:
            took = 20 + 40 * float(random.random())
            lost = {**place, "time": end, "seconds": took, "reason": "PREEMPTED"}
            more = {"tries": (lost,), "lost": ("PREEMPTED",), "lost_seconds": took, "attempts": 2}
            end += took
        seconds = 30 + 60 * float(random.random())
        value = made_.value if made_.value is not None else 60.0
        curve = tuple(
            {
                "step": i,
                "rmse": value + 8 * math.exp(-i / 3) + float(random.normal()) / 9,
                "mae": value / 2 + 1 / (i + 1),
                "train": value * math.exp(-i / 9),
                "time": end + i,
            }
            for i in range(epochs if made_.state is State.COMPLETE else 3)
        )
        given = {"started": end, "seconds": seconds, "curve": curve, **place, **more}
        found.append(replace(made_, **given))
        ends[k] = end + seconds, used + 1, host
    return found


def _value(kind, random):
    if isinstance(kind, Categorical):
        return kind.choices[random.integers(len(kind.choices))]
    if kind.log:
        low, high = math.log(kind.low), math.log(kind.high)
        value = math.exp(random.uniform(low, high))
        return round(value) if isinstance(kind, Int) else value
    step = kind.step or (kind.high - kind.low) / 1000
    value = kind.low + step * int(random.integers(round((kind.high - kind.low) / step) + 1))
    return value if isinstance(kind, Int) else float(value)
