"""`python -m tests.soak --kills 200`: a study on a real Slurm under random faults, and its count.

Starts a throw-away cluster of its own (root and Debian's Slurm packages), and kills workers,
controllers and daemons at random moments until so many are dead; then the study may end.
"""

import argparse
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, final

from tests.faulty_study import FaultyStudy, read
from tests.slurm_cluster import PORT, Cluster, a_cluster, rows, wait_for, why_not

_PAUSE = 3.0  # seconds at most between two faults
_LATEST = 900.0  # seconds after the last fault until the study has to be over
# How often each fault is drawn.
_WEIGHTS = {
    "kill -9 of a worker": 8,
    "kill -9 of a controller": 4,
    "stop of a controller": 1,
    "requeue": 2,
    "scancel": 1,
    "preemption": 1,
    "kill -9 of slurmd": 1,
    "kill -9 of slurmctld": 1,
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a soak found; `twice` counts attempts beyond the first by the reason they ended for."""

    seed: int
    faults: Counter[str]
    asked: int
    found: int
    duplicates: int
    lost: int
    wrong: int  # values or curves that are not those of a trial that was never interrupted
    twice: Counter[str]
    unexplained: list[str]  # attempts that were lost although nothing was done to their job
    wasted: float  # seconds of training that no checkpoint had saved
    trained: float  # seconds of training in all accepted attempts

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}",
            f"kills: {self.faults.total()}",
            *(f"  {n:4} × {kind}" for kind, n in self.faults.most_common()),
            f"results asked: {self.asked}  found: {self.found}  duplicates: {self.duplicates}"
            f"  lost: {self.lost}  wrong: {self.wrong}",
            f"attempts beyond the first: {self.twice.total()}",
            *(f"  {n:4} × {why}" for why, n in self.twice.most_common()),
            f"  not explained by a kill: {self.unexplained or 0}",
            f"wasted: {self.wasted:.0f} s of training, beside {self.trained:.0f} s that counted",
        ]
        return "\n".join(lines)

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        broken = self.asked - self.found, self.duplicates, self.lost, self.wrong
        return not any(broken) and not self.unexplained


@final
@dataclass
class Soak:
    """One study under random faults."""

    cluster: Cluster
    seed: int
    kills: int
    faults: Counter[str] = field(default_factory=Counter)
    struck: set[str] = field(default_factory=set)  # jobs that something was done to
    ended: dict[str, float] = field(default_factory=dict)  # lost attempts: seconds wasted
    unexplained: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.n_trials = 4 * self.kills + 8  # about as many as are trained meanwhile
        self.study = FaultyStudy(
            self.cluster, "soak", ["never"] * self.n_trials, n_workers=8, epochs=40, seconds=0.25,
            requeue=True,
        )  # fmt: skip

    def run(self) -> Report:
        """Strike so many times, then let the study end."""
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        while self.faults.total() < self.kills and not self.study.finished():
            self._see_to_a_controller()
            time.sleep(self.rng.uniform(0, _PAUSE))
            (kind,) = self.rng.choices(kinds, weights)
            with suppress(ProcessLookupError, AssertionError):  # it ended in between
                self.faults[kind] += self._strike(kind)
            self._note_losses()
        end = time.monotonic() + _LATEST
        while not self.study.finished() and time.monotonic() < end:
            self._see_to_a_controller()
            self._note_losses()
            time.sleep(0.5)
        return self._report()

    def _strike(self, kind: str) -> bool:
        """Do it; False where there is nobody to do it to."""
        if kind.endswith(("slurmd", "slurmctld")):
            return self._kill_daemon(kind)
        if kind.endswith("controller"):
            return self._strike_controller(kind)
        claims = self.study.claims()
        if not claims:
            return False
        victim = self.rng.choice(claims)
        self.struck.add(victim["job"])
        actions: dict[str, Callable[[], Any]] = {
            "kill -9 of a worker": lambda: os.kill(victim["pid"], signal.SIGKILL),
            "requeue": lambda: self.cluster.run(["scontrol", "requeue", victim["job"]]),
            "scancel": lambda: self.cluster.run(["scancel", victim["job"]]),
            "preemption": lambda: self._preempt(victim["host"]),
        }
        actions[kind]()
        return True

    def _strike_controller(self, kind: str) -> bool:
        pid = self.study.pid()
        if kind.startswith("kill"):
            self.study.kill()
            self.study.controllers[-1].wait(30)
            return True
        self.study.kill(signal.SIGSTOP)
        time.sleep(self.rng.uniform(1, 8))
        self.study.wake(pid)
        return True

    def _preempt(self, node: str) -> None:
        options = ["--partition=hi", f"--nodelist={node}", "--exclusive", "--wrap", "sleep 1"]
        job = self.cluster.sbatch(*options)
        self._strike_all_on(node)
        wait_for(lambda: self.cluster.squeue("-j", job, "--states=RUNNING,COMPLETED"), 60)
        self._strike_all_on(node)  # those too that began in between

    def _strike_all_on(self, node: str) -> None:
        self.struck |= {r["JobArrayID"] for r in self.cluster.squeue() if r["NodeList"] == node}

    def _kill_daemon(self, kind: str) -> bool:
        name = self.rng.choice(["n1", "n2", "n3", "n4"]) if kind.endswith("slurmd") else "slurmctld"
        self._strike_all_on(name)
        if name == "slurmctld":
            self._strike_unsaved()
        os.kill(self.cluster.pids()[name], signal.SIGKILL)
        time.sleep(self.rng.uniform(0, 3))
        self.cluster.up()
        if drained := self.cluster.admin("sinfo", "-h", "-t", "drain", "-o", "%N").strip():
            # Slurm drains a node on which a job's first copy was left over; an administrator would
            self.cluster.admin("scontrol", "update", f"NodeName={drained}", "State=RESUME")
        return True

    def _strike_unsaved(self) -> None:
        """Jobs that slurmctld has not written down yet: killed now, it forgets and ends them."""
        saved = (self.cluster.folder / "state" / "job_state").stat().st_mtime
        fields = ("JobArrayID", "StartTime")
        form = ",".join(f"{field}:|" for field in fields)
        for row in rows(self.cluster.run(["squeue", "-h", "-r", "-O", form]), fields):
            start = row["StartTime"]
            if start == "N/A" or datetime.fromisoformat(start).timestamp() > saved - 1:
                self.struck.add(row["JobArrayID"])

    def _see_to_a_controller(self) -> None:
        if all(c.poll() is not None for c in self.study.controllers):
            before = self.study.pid()
            self.study.wait_for_another(self.study.start(), before)

    def _note_losses(self) -> None:
        """Lost attempts, before their trial ends and they are swept."""
        for path in self.study.run.glob("open/*.lost.json"):
            attempt = path.name.removesuffix(".lost.json")
            claim, lost = read(path.with_name(f"{attempt}.claim.json")), read(path)
            if attempt in self.ended or not claim or not lost:
                continue
            saved = path.with_name(f"{attempt}.checkpoint.pt")
            metrics = path.with_name(f"{attempt}.metrics.jsonl")
            with suppress(OSError):
                since = saved.stat().st_mtime if saved.exists() else claim["time"]
                last = metrics.stat().st_mtime if metrics.exists() else claim["time"]
                self.ended[attempt] = max(0.0, last - since)
            if claim["job"] not in self.struck:
                self.unexplained.add(f"{attempt} ({lost['reason']}, job {claim['job']})")

    def _report(self) -> Report:
        found = self.study.results()
        numbers = Counter(result["number"] for result in found)
        wanted = set(range(self.n_trials))
        return Report(
            seed=self.seed,
            faults=+self.faults,
            asked=self.n_trials,
            found=len(numbers),
            duplicates=numbers.total() - len(numbers),
            lost=len(wanted - numbers.keys()),
            wrong=sum(not self.study.is_whole(result) for result in found),
            twice=Counter(why for result in found for why in result["lost"]),
            unexplained=sorted(self.unexplained),
            wasted=sum(self.ended.values()),
            trained=sum(result["seconds"] or 0.0 for result in found),
        )


def main() -> int:
    """Soak a study, and print what became of it; exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser("python -m tests.soak", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    if reason := why_not():
        print(reason)
        return 2
    print(f"seed {arguments.seed}", flush=True)
    with a_cluster(f"tuner-soak-{os.getpid()}", PORT) as cluster:
        cluster.give_project()
        report = Soak(cluster, arguments.seed, arguments.kills).run()
        log = Path(f"soak-{arguments.seed}.log")
        log.write_text(Path(cluster.project / "soak.log").read_text())
    print(report, f"\nwhat its controllers said: {log}")
    return 0 if report.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
