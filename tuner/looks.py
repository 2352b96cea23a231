"""looks.jsonl: every look at the test part, a line before it happens, by whoever takes it.

A part that is looked at again and again, for one candidate after the other, has become a second
validation part; so the report counts. Two controllers at once may note one look twice, which
counts once; a torn line is made good by the trial that it was about.
"""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from jobs import files
from jobs.contract import CONFIRM, trains_the_search
from tuner.trial import Trial

_NAME = "looks.jsonl"
BASELINES = "baselines"  # who looked, where it was no model of the winner's


def note(
    run: Path, part: str, trial: int | None = None, of: int | None = None, seed: int | None = None
) -> None:
    """Write down that `part` is about to be looked at: by a trial, with the model of another."""
    who = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
    files.append(run / _NAME, {"part": part, "trial": trial, "of": of, "seed": seed, **who})


def lines(run: Path, trials: Sequence[Trial]) -> list[str]:
    """How often the test part was looked at, and for how many candidates, in words."""
    noted = files.read_lines(run / _NAME)
    known = {(look["of"], look["part"]) for look in noted if look.get("of") is not None}
    known |= {(t.of, t.part) for t in trials if not trains_the_search(t.part)}
    if not known:
        return []
    root = {t.number: t.of for t in trials if t.part.startswith(CONFIRM)}
    chosen = {root.get(of, of) for of, _ in known}
    baselines = sum(look["part"] == BASELINES for look in noted)
    whom = "the winner" if len(chosen) == 1 else f"{len(chosen)} candidates"
    often = f"{len(known)} × for {whom}, {baselines} × for the baselines"
    text = f"The test part was looked at {often} (looks.jsonl)"
    if len(chosen) == 1:
        return [f"{text}."]
    return [f"Warning: {text[0].lower()}{text[1:]}: who is chosen by it is no longer tested by it."]
