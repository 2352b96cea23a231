"""Workers as Slurm jobs. submitit submits, and nothing else: Slurm itself is asked what lives.

submitit's own watching gives up on jobs that Slurm runs again, and waits for ever where there is
no accounting; its pickles are read by its own jobs only, in a folder that only their owner can
write.
"""

import math
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import submitit

from jobs import container, files, mps, slurm, submissions, trust
from jobs.contract import END, NOTE, SUBMITTED, Claim
from jobs.executor import Slots, SubmitError, unready
from jobs.folder import RunFolder
from jobs.logs import tidy
from jobs.reasons import NO_TRACE

_ARRAY = 1000  # jobs an array; Slurm's default MaxArraySize is 1001
_GONE_AFTER = 600.0  # seconds without a sign of a submission after which its files are tidied
_ASK_OFTEN, _ASK_RARELY = 10.0, 60.0  # seconds between two questions to Slurm
_SIGNAL = 90  # seconds before the time limit at which a worker is told
_TOO_MANY = re.compile(  # for the queue, or for one array: a site's MaxArraySize is its own
    r"QOSMax|AssocMax|AssocGrp|QOSGrp|MaxSubmit|job submit limit|Invalid job array", re.IGNORECASE
)
_HELD = "launch failed requeued held"  # Slurm never starts such a job by itself …
_REPLACED = 10  # … so others take their place; but where all end so, it is no use
_UNKNOWN = re.compile(
    r"Socket timed out|Unable to contact|Connection refused|timed out|temporarily|Resource temp",
    re.IGNORECASE,
)


@final
class Cluster:
    """A run's workers in Slurm's queue, under the job name `tn-<run id>`.

    `options` are sbatch's own, by their long names; `per_job` workers share a job's GPU; `image`
    is a container that they run in, if any.
    """

    shared = True
    tick = 2.0  # of which most look at files only: see _ask
    capacity = 100_000  # Slurm's limits are Slurm's to say

    def __init__(
        self,
        folder: RunFolder,
        run_id: str,
        options: Mapping[str, Any],
        per_job: int,
        lost_after: float | None = None,
        *,
        image: str = "",
    ) -> None:
        self.folder = folder
        self.name = slurm.job_name(run_id)
        self.options = options
        self.per_job = per_job
        self._python = container.python(image, folder.path)
        self._rows: Sequence[slurm.Row] = ()  # the last answer
        self._ask_at = 0.0  # when the next one is due
        self._heard = 0.0  # when it came
        self._pause = _ASK_OFTEN
        self._rarely = max(_ASK_OFTEN, min(_ASK_RARELY, lost_after or _ASK_RARELY))
        self._full_until = 0.0  # when it is worth asking for more jobs again
        self._said = ""  # sbatch's last complaint: one line each is enough
        self._submitted_at = -math.inf
        self._full = submissions.Full(folder, per_job)
        self._excluded: tuple[str, ...] = ()  # nodes that take no further job of ours

    def slots(self) -> Slots | None:
        """What Slurm says of this run's jobs: one squeue."""
        rows = self._ask()
        if rows is None:
            return None
        holding = [row for row in rows if row.state in slurm.WAITING_OR_RUNNING]
        held = sum(row.reason == _HELD for row in holding)
        running = sum(row.state == "RUNNING" for row in holding)
        # Heard of before Slurm is asked again; who trains one short trial a job has to wait.
        recent = time.monotonic() - self._submitted_at < _ASK_OFTEN
        full = 0 if recent else self._full.among(holding)
        jobs = (
            len(holding)
            - min(held, _REPLACED)
            - full
            + submissions.unseen(self.folder, {row.comment for row in rows})
        )
        pending = (row.reason for row in holding if row.state == "PENDING")
        reasons = sorted({*pending} - {"None", ""})  # not looked at yet
        alive = {(row.job, row.restart) for row in rows if row.state in slurm.ALIVE}
        # The count rises with the wish to requeue, while the old process may still be there.
        alive |= {(row.job, row.restart - 1) for row in rows if row.state == "COMPLETING"}
        queued = jobs - (running - full)
        return Slots(
            jobs * self.per_job, frozenset(alive), ", ".join(reasons), queued * self.per_job
        )

    def submit(self, workers: int) -> None:
        """Queue jobs for so many workers, as arrays.

        A full queue, or a Slurm that does not answer, means wait: the next tick tries again.
        Raises SubmitError where sbatch says that it will never take such a job.
        """
        if time.monotonic() < self._full_until:
            return
        self._leave_out_black_holes()
        jobs = size = -(-workers // self.per_job)
        while jobs > 0 and (size := min(size, jobs, _ARRAY)) > 0:
            error = self._submit_array(size)
            if not error:
                jobs -= size
            elif _TOO_MANY.search(error):
                size //= 2  # fewer may fit
            elif self._excluded:
                self._excluded = ()  # too few nodes are left without them
            else:
                raise SubmitError(error)
        if jobs > 0:
            self._full_until = time.monotonic() + self._rarely

    def why(self, claim: Claim) -> str:
        """Slurm's word for the end of a claim's job, from the queue or from accounting."""
        word = slurm.ended_as(claim.job, claim.restart)
        for row in self._rows:
            if row.job == claim.job and not word:
                word = "REQUEUED" if row.restart > claim.restart else row.state
        return word if word and slurm.has_word_for_end(word) else NO_TRACE

    def tidy(self) -> None:
        """Remove what ended workers left, but for the newest logs of failed ones."""
        queued = self._queued()
        others = [name for name in submissions.names(self.folder) if name not in queued]
        working = {n for n in others if not self._has_ended(n) and not self._is_gone(n)}
        tidy(self.folder, queued | working)

    def failing(self, since: float) -> str:
        """The error of the last three submissions if none brought a ready worker."""
        return unready(self.folder, self._queued(), since)

    def leave(self) -> None:
        """Queued and running jobs stay: the next controller adopts them."""

    def _leave_out_black_holes(self) -> None:
        """A node that fails every job within a second would eat them all."""
        found = submissions.black_holes(self.folder)
        for host in found.keys() - set(self._excluded):
            print(f"node {host} is left out for an hour: {found[host]}", flush=True)
        self._excluded = tuple(sorted(found))

    def _submit_array(self, jobs: int) -> str:
        """Queue one array; returns why Slurm does not take it, or an empty string."""
        trust.check_run(self.folder.path)  # days after the start
        name = f"slurm-{secrets.token_hex(4)}"
        folder = self.folder.jobs / name
        self._ask_at = 0.0  # what was heard before does not know of these jobs
        self._submitted_at = time.monotonic()
        files.make_folder(folder)
        files.write_once(
            folder / NOTE, {"jobs": jobs, "per_job": self.per_job, "time": time.time()}
        )
        try:
            with _clean_environment():
                array = self._executor(folder, name).map_array(
                    run_job, [str(self.folder.path)] * jobs, [name] * jobs, [self.per_job] * jobs
                )
        except submitit.core.utils.FailedJobError as error:
            return self._refused(folder, str(error))
        files.write_once(folder / SUBMITTED, {"job": array[0].job_id.split("_")[0]})
        return ""

    def _refused(self, folder: Path, error: str) -> str:
        lines = [line for line in error.splitlines() if not line.startswith("Try ")]
        said = [line for line in lines if "sbatch: error" in line]
        text = (said or lines or [""])[-1].replace("sbatch: error: ", "")
        if text != self._said:
            print(f"sbatch: {text}", flush=True)
        self._said = text
        if _UNKNOWN.search(error):
            return ""  # it may have been taken all the same: the intent stays and counts
        files.remove_folder(folder)
        return error if _TOO_MANY.search(error) else text

    def _executor(self, folder: Path, name: str) -> submitit.SlurmExecutor:
        executor = submitit.SlurmExecutor(folder=folder, python=f"{self._python} -m jobs.guard")
        options = dict(self.options)
        if self._excluded:
            given = [str(options["exclude"])] if "exclude" in options else []
            options["exclude"] = ",".join([*given, *self._excluded])
        environment = slurm.PROJECT / "slurm" / "env.sh"
        executor.update_parameters(
            job_name=self.name,
            array_parallelism=_ARRAY,  # submitit's default lets 256 run at once
            comment=name,
            time=None,  # the partition's own limit, unless the study names one
            wckey=None,  # sites refuse unknown ones
            signal_delay_s=_SIGNAL,
            setup=[f"source {shlex.quote(str(environment))}"] if environment.exists() else None,
            additional_parameters={"no-requeue": True, **options},
        )
        return executor

    def _ask(self) -> Sequence[slurm.Row] | None:
        """Slurm's answer, an old one while nothing was submitted and nothing moves.

        An old answer is safe: it can only show jobs alive that have ended since.
        """
        if time.monotonic() < self._ask_at:
            return self._rows
        rows = slurm.queue(self.name)
        if rows is not None:
            unchanged = rows == self._rows
            self._pause = min(2 * self._pause, self._rarely) if unchanged else _ASK_OFTEN
            self._ask_at = time.monotonic() + self._pause
            self._rows, self._heard = rows, time.time()
            submissions.adopt(self.folder, rows)
            submissions.note_silent_ends(self.folder, rows)
        return rows

    def _queued(self) -> set[str]:
        return {row.comment for row in self._rows if row.state in slurm.ALIVE}

    def _has_ended(self, name: str) -> bool:
        """Whether every job of a submission wrote how it ended."""
        folder = self.folder.jobs / name
        ends = [end for end in files.names(folder) if end.endswith(END)]
        jobs = int((files.read(folder / NOTE) or {}).get("jobs", 0))
        return len(ends) >= jobs * self.per_job > 0

    def _is_gone(self, name: str) -> bool:
        """Whether Slurm has lacked a submission for so long that its last jobs were killed."""
        if not self._ask_at:
            return False  # the last answer is older than the newest submission
        note = self.folder.jobs / name / "gone.json"
        if note.name not in files.names(note.parent):
            files.write_once(note, {"time": time.time()})
        return self._heard - submissions.written(note) > _GONE_AFTER


def run_job(run: str, submission: str, workers: int) -> None:
    """What a job does: train in this process, or in several that share the job's GPU."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # comes at once in a short job; see Leaving
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers that share cores must not fight
    if workers == 1:
        from jobs.worker import work  # noqa: PLC0415 - the controller submits without torch

        work(run, submission)
        return
    command = [sys.executable, "-m", "jobs.worker", run, "--submission", submission]
    with mps.shared() as environment:
        processes = [subprocess.Popen(command, env=environment) for _ in range(workers)]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm tells every process of the job itself
        failed = [process.returncode for process in processes if process.wait() != 0]
    if len(failed) == workers:
        raise RuntimeError(f"all {workers} workers of this job failed: {failed}")


@contextmanager
def _clean_environment() -> Iterator[None]:
    """submitit hands its own environment to sbatch: for that moment it is the allowed one."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(slurm.environment(before))
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
