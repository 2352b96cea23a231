"""`python -m tuner.doctor STUDY`: whether a study will run, before a GPU-hour is spent."""
# PYTHON_ARGCOMPLETE_OK

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs import files, slurm
from jobs.executor import gpus_here
from jobs.orders import GRACE
from models.large import LargeSeries
from models.series import Series
from tuner import cli, errand, ours, study
from tuner.errand import Errand
from tuner.forecast import LARGEST, MIDDLE, forecast, points, trainings
from tuner.page.words import count
from tuner.space import BadInput
from tuner.study import Study
from tuner.units import amount, duration

_EXAMPLE = "jobs/pm25.toml --executor slurm"
_PATIENCE = 600.0  # seconds that the canary may wait in the queue
_SKEW = 5.0  # seconds between two clocks that harm nobody
_FILES_A_WORKER, _FILES_OF_ALL = 10, 1000  # beside one a trial: README, "What a run is on disk"
_NAMED = 6  # columns that are named one by one
_FULL = 0.9  # of a memory, beyond which the next larger batch will not fit
_REMEDIES = {  # sbatch's words → what to change under [jobs.slurm]
    r"account|association": "name yours (`sacctmgr show assoc user=$USER`): account = …",
    r"partition": "name one that `sinfo -s` lists: partition = …",
    r"qos": "name one of yours (`sacctmgr show assoc user=$USER format=qos`): qos = …",
    r"time limit": "stay below the partition's (`sinfo -o '%P %l'`): time = …",
    r"gres|node configuration|node count": "ask for what a node has (`sinfo -o '%P %G %c %m'`)",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; the remedy where it is not as it should be."""

    what: str
    text: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """✓ or ✗, and for a ✗ what to do."""
        mark, then = ("✗", f"\n    → {self.remedy}") if self.remedy else ("✓", "")
        return f"{mark} {self.what:<10} {self.text}{then}"


def examine(wanted: Study, runs: Path, patience: float) -> Iterator[Finding]:
    """Look at everything, cheapest first; a canary is not sent where it could not come back."""
    yield _study(wanted)
    yield from _data(wanted)
    here = list(_host(wanted))
    yield from here
    if any(finding.remedy for finding in here):
        return
    try:
        with errand.throw_away(wanted, runs) as run:
            yield from _disk(wanted, run.path)
            yield from _home(
                wanted, errand.send(run, str(wanted.train), points(wanted.space), patience)
            )
    except BadInput as error:
        yield Finding("folder", f"{runs}: {error.problem}", error.remedy)


def _study(wanted: Study) -> Finding:
    wanted.check_train()
    drawn = f"{count(len(wanted.space.parameters), 'parameter')} by {wanted.sampler}"
    return Finding("study", f"{wanted.name}: {wanted.n_trials} trials of {drawn}")


def _data(wanted: Study) -> Iterator[Finding]:
    ours.check_data(wanted)
    data = wanted.load_data()
    ours.check(wanted, data)
    if data is None:
        yield Finding("data", f"none named: {wanted.train} brings its own")
    elif isinstance(data, LargeSeries):
        yield Finding("data", "larger than memory: the first worker prepares it, once")
    else:
        parts = data.splits("search")[0]
        held = f", {len(parts.validation.rows)} to choose by" if parts.validation else ""
        folds = len(data.splits("search"))
        often = f", in each of {folds} folds" if folds > 1 else ""
        yield Finding("data", f"{len(parts.train.rows)} items to learn from{held}{often}")
    if isinstance(data, LargeSeries | Series):
        yield Finding("columns", _seen(*data.columns))


def _seen(target: str, *others: str) -> str:
    """What a forecast sees: who looks for a column of words, or of dates, finds it missing."""
    named = ", ".join(["itself", *map(repr, others[:_NAMED])])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"{target!r} is forecast from {named}{more}"


def _host(wanted: Study) -> Iterator[Finding]:
    """This host, and what Slurm says to a job of this study."""
    if wanted.jobs.executor == "local":
        gpus = gpus_here()
        yield Finding("host", f"workers on this machine: {len(gpus) or 'no'} GPUs")
        return
    if missing := slurm.missing():
        remedy = "log in to the cluster, or use --executor local"
        yield Finding("slurm", f"no {', '.join(missing)} on PATH", remedy)
        return
    taken, said = slurm.rehearsal(wanted.jobs.slurm)
    yield Finding("slurm", f"sbatch --test-only: {said}", "" if taken else _remedy(said))
    accounts = "sacct answers" if slurm.keeps_accounts() else (
        "nobody keeps accounts: GPU-hours are the trials' own times, ends are told by the queue"
    )  # fmt: skip
    yield Finding("accounting", accounts)


def _disk(wanted: Study, run: Path) -> Iterator[Finding]:
    """The folder as this host sees it."""
    began = time.perf_counter()
    linked = files.write_once(run / "probe.json", {})
    taken = files.write_once(run / "probe.json", {})
    took = time.perf_counter() - began
    skew = time.time() - files.server_now(run)
    if linked and not taken:
        yield Finding("folder", f"hard links, rename and fsync work: {500 * took:.0f} ms a file")
    else:
        remedy = "choose another disk: --runs here, then --folder of tuner.run"
        yield Finding("folder", "two hosts could claim one trial: hard links do not work", remedy)
    yield _clock("this host", skew)
    yield _room(wanted, run)


def _clock(whose: str, skew: float) -> Finding:
    text = f"{whose} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the file server"
    return Finding("clock", text, "ask your admin for NTP" if abs(skew) > _SKEW else "")


def _room(wanted: Study, run: Path) -> Finding:
    """What is free on the disk, and whether a quota is used up already."""
    free = os.statvfs(run)
    need = wanted.n_trials + _FILES_A_WORKER * wanted.jobs.n_workers + _FILES_OF_ALL
    inodes = f"{free.f_favail:,} files" if free.f_files else "files without a limit"
    text = f"{free.f_bavail * free.f_frsize / 1e9:.1f} GB and {inodes} are free; "
    short = bool(free.f_files) and free.f_favail < need
    over = _over_quota(run)
    return Finding(
        "room", f"{text}the study needs up to {need:,} files{over and f'; {over}'}",
        "remove old runs, or pack them (python -m tuner.pack)" if short or over else "",
    )  # fmt: skip


def _over_quota(run: Path) -> str:
    """What used up quotas say: `quota -q` knows those of NFS and local disks, `lfs` Lustre's."""
    said = _said("quota", "-q")
    lustre = _said("lfs", "quota", "-q", "-u", str(os.geteuid()), str(run))
    return said or (f"lfs quota: {lustre}" if "*" in lustre else "")  # * stands at what is over


def _said(*command: str) -> str:
    """What a command says, on one line; empty where it is not here, or does not answer."""
    try:
        said = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " ".join(said.stdout.split())


def _home(wanted: Study, seen: Errand) -> Iterator[Finding]:
    """What the canary found where trials will be trained."""
    found = seen.found
    if seen.failed:
        yield Finding("canary", seen.failed, "mend that, then ask again")
    if not found:
        return
    if not seen.failed:
        yield Finding("canary", f"a job of this study ran, {seen.waited:.0f} s after it was sent")
    device = found["gpu"] or "the CPU"
    yield Finding("python", f"{found['python']}, torch {found['torch']} on {device}")
    yield _clock("the node", found["skew"])
    yield _lag(wanted, seen)
    for name in (MIDDLE, LARGEST):
        if name in found:
            yield from _point(wanted, name, found)


def _lag(wanted: Study, seen: Errand) -> Finding:
    """How late files show, against how long the study waits for them."""
    jobs, there = wanted.jobs, seen.found["late"]
    grace = GRACE[jobs.executor] if jobs.grace is None else jobs.grace
    if there is None:
        return Finding("disk", "a file of this host was never seen by the node", "ask your admin")
    text = f"files show after {seen.late or 0:.1f} s here and {there:.1f} s on the node"
    late = max(there, seen.late or 0.0) > grace
    return Finding("disk", text, f"raise jobs.grace, which is {grace:g} s" if late else "")


def _point(wanted: Study, name: str, found: Mapping[str, Any]) -> Iterator[Finding]:
    """What one point takes, and the study if all were like it."""
    point, took = points(wanted.space)[name], found[name]
    cost = forecast(wanted, point, took["epoch_seconds"])
    each = f"{duration(took['epoch_seconds'])} an epoch, {duration(cost.trial_seconds)} a trial"
    unit = "GPU-hours" if found["gpu"] else "slot-hours"
    text = f"{each}; {trainings(wanted)} such trainings: {amount(cost.hours, 2)} {unit}"
    yield Finding(name, f"{text}, {duration(cost.seconds)} with {wanted.jobs.n_workers} workers")
    k = wanted.jobs.workers_per_gpu
    for kind, used, there in (
        ("GPU", took.get("device_bytes", 0), found["gpu_bytes"]),
        ("host", took.get("host_bytes", 0), found["host_limit"]),
    ):
        if there and used:
            text = f"{used * k / 1e9:.1f} of {there / 1e9:.1f} GB of {kind} memory"
            remedy = "lower the largest batch_size or model, or workers_per_gpu"
            yield Finding("memory", text, remedy if used * k > _FULL * there else "")


def _remedy(said: str) -> str:
    known = (then for word, then in _REMEDIES.items() if re.search(word, said, re.IGNORECASE))
    return next(known, "change what it names under [jobs.slurm]")


def main() -> int:
    """Look at a study, its data, this host, Slurm, and a small job, before a GPU-hour is spent.

    Exit code 0 where all is well, 1 where something is not, 2 for bad input.
    """
    parser = cli.parser("doctor", main.__doc__, _EXAMPLE)
    parser.add_argument("study", type=Path, help="the study file, such as jobs/pm25.toml")
    parser.add_argument("--executor", choices=("local", "slurm"), help="where workers will run")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the run will lie")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument(
        "--wait", type=float, default=_PATIENCE, help="seconds that its job may wait in the queue"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = cli.parse(parser)
    settings = list(arguments.settings)
    if arguments.executor:
        settings.append(f'jobs.executor="{arguments.executor}"')
    found = []
    with cli.guarded(arguments.study):
        wanted = study.read(arguments.study, settings)
        for finding in examine(wanted, arguments.runs.absolute(), arguments.wait):
            found.append(finding)
            if not arguments.json:
                print(finding.line, flush=True)
    if arguments.json:
        json.dump([asdict(finding) for finding in found], sys.stdout, indent=2)
        print()
    return int(any(finding.remedy for finding in found))


if __name__ == "__main__":
    raise SystemExit(main())
