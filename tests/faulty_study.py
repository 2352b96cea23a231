"""Studies of `tests.functions:faulty` on a real Slurm: each trial meets the fault it names."""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import pytest

from tests.slurm_cluster import Cluster, wait_for

STUDY = """
direction = "minimize"
n_trials = {n_trials}
sampler = "random"
train = "tests.functions:faulty"
[fixed]
epochs = {epochs}
seconds = {seconds}
[space]
x = {{ type = "float", low = 0, high = 1 }}
fault = {{ type = "categorical", choices = {faults} }}
{points}
[jobs]
executor = "slurm"
n_workers = {n_workers}
device = "cpu"
grace = 6
lost_after = {lost_after}
[jobs.slurm]
mem = "2G"
{slurm}
"""


@final
class FaultyStudy:
    """A study with a trial for each fault, and what became of it."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        faults: list[str],
        *,
        n_workers: int,
        epochs: int = 12,
        seconds: float = 0.25,
        lost_after: int = 10,
        **slurm: str | bool,
    ) -> None:
        self.cluster = cluster
        self.faults = faults
        self.controllers: list[subprocess.Popen[str]] = []
        self.epochs = epochs
        self.run = cluster.project / "runs" / name
        self.log = cluster.project / f"{name}.log"  # what its controllers say
        self.file = cluster.project / "jobs" / f"{name}.toml"
        points = [
            f'[[enqueue]]\nx = {(1 + i) / (1 + len(faults)):.3f}\nfault = "{fault}"'
            for i, fault in enumerate(faults)
        ]
        choices = json.dumps([*dict.fromkeys([*faults, "never"])])
        options = "\n".join(f"{key} = {json.dumps(value)}" for key, value in slurm.items())
        text = STUDY.format(
            n_trials=len(faults), epochs=epochs, seconds=seconds, faults=choices,
            points="\n".join(points), n_workers=n_workers, lost_after=lost_after, slurm=options,
        )  # fmt: skip
        self.file.write_text(text)
        self.file.chmod(0o644)

    def start(self, **env: str) -> subprocess.Popen[str]:
        """Start a controller as the ordinary user, or go on with the run."""
        command = ["python", "-m", "tuner.run", str(self.file.relative_to(self.cluster.project))]
        with self.log.open("a") as log:
            controller = subprocess.Popen(
                self.cluster.command(command, env), cwd=self.cluster.project,
                stdout=log, stderr=log, text=True,
            )  # fmt: skip
        self.controllers.append(controller)
        return controller

    def pid(self) -> int:
        """The controller that gave the last sign of life."""
        return int(self.sign().get("pid", 0))

    def sign(self) -> dict[str, Any]:
        """The last sign of life."""
        path = self.run / "controller.json"
        return read(path) if path.exists() else {}

    def wait_for_another(self, controller: subprocess.Popen[str], before: int) -> None:
        """Wait until a new controller gives its sign of life."""

        def begun() -> bool:
            assert controller.poll() in (None, 0), self.log.read_text()
            return self.pid() != before or self.finished()

        wait_for(begun, 90)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the controller that gave the last sign of life a signal."""
        os.kill(self.pid(), number)

    def wake(self, pid: int) -> None:
        """Continue a stopped controller; runuser, which began it, stops with it."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        for controller in self.controllers:
            controller.send_signal(signal.SIGCONT)

    def finished(self) -> bool:
        """Whether a controller has brought the run to its end."""
        return "end" in self.sign()

    def results(self) -> list[dict[str, Any]]:
        """The outcomes that are published, by number."""
        return [read(path) for path in sorted(self.run.glob("done/*/*.result.json"))]

    def of(self, fault: str) -> dict[str, Any]:
        """The outcome of the trial that met a fault."""
        (found,) = [r for r in self.results() if r["params"]["fault"] == fault]
        return found

    def claims(self) -> list[dict[str, Any]]:
        """The claims of trials that are not finished, as far as they can be read."""
        found = [read(path) for path in sorted(self.run.glob("open/*.claim.json"))]
        return [claim for claim in found if claim]

    def claim(self, fault: str) -> dict[str, Any]:
        """The newest claim of the trial that meets a fault; empty where there is none."""
        number = self.faults.index(fault)
        return next((c for c in reversed(self.claims()) if c["number"] == number), {})

    def wait_for_epochs(self, fault: str, epochs: int = 3) -> dict[str, Any]:
        """Wait until the trial that meets a fault has so many epochs, and return its claim."""
        number = self.faults.index(fault)

        def trained() -> bool:
            lines = [p.read_text().split("\n") for p in self.run.glob(f"open/{number:06d}.*.jsonl")]
            return any(len(found) > epochs for found in lines)

        wait_for(trained, 120)
        return self.claim(fault)

    def whole(self, x: float) -> float:
        """The value of a trial that was never interrupted."""
        value = 0.0
        for step in range(self.epochs):
            value = 0.9 * value + x * step
        return value

    def check(self) -> None:
        """Each trial has one outcome; values and curves are as if nothing had ever happened."""
        found = self.results()
        assert [r["number"] for r in found] == list(range(len(self.faults)))
        assert [r for r in found if not self.is_whole(r)] == []

    def is_whole(self, result: dict[str, Any]) -> bool:
        """Whether a complete trial's value and curve are those of one that nothing happened to."""
        if result["state"] != "COMPLETE":
            return True
        steps = [metrics["step"] for metrics in result["curve"]]
        right = result["value"] == pytest.approx(self.whole(result["params"]["x"]))
        explained = len(result["lost"]) == result["attempts"] - 1
        return bool(right and steps == list(range(self.epochs)) and explained)

    def wait(self, seconds: float) -> None:
        """Wait until a controller has brought the run to its end."""
        end = time.monotonic() + seconds
        while not self.finished():
            assert time.monotonic() < end, f"after {seconds} s:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.2)


def read(path: Path) -> dict[str, Any]:
    """A JSON file; empty while it cannot be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def kill_controllers(study: FaultyStudy, rng: random.Random, times: int) -> int:
    """kill -9 of a study's controllers at random moments, each followed by a new one."""
    killed = 0
    while True:
        before = study.pid()
        controller = study.start()
        study.wait_for_another(controller, before)
        time.sleep(rng.uniform(0, 6))  # the moment is what is random
        if killed == times or study.finished():
            return killed
        study.kill()
        controller.wait()
        killed += 1
