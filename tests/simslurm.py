"""A Slurm in memory: it queues workers, forgets, answers wrongly, and runs jobs twice."""

import dataclasses
from types import SimpleNamespace

import submitit

from jobs.slurm import Row

NODES = ("n1", "n2", "n3")
LIMIT = 4 * 3600.0  # seconds a job


@dataclasses.dataclass
class Job:
    """A job as the queue knows it; `actor` is its newest process."""

    id: str
    comment: str
    state: str = "PENDING"
    restart: int = 0
    actor: object = None


class Slurm:
    """The queue, and what sbatch, squeue and sacct say; `start` makes a job's process."""

    def __init__(self, world, start):
        self.world = world
        self.start = start
        self.jobs = {}
        self.submitted = 0
        self.delay = 300.0  # seconds that a job may wait

    def executor(self, folder, name):
        """What submitit is to the cluster executor."""
        return SimpleNamespace(map_array=lambda _, runs, *rest: self.sbatch(len(runs), name))

    def sbatch(self, n, comment):
        """Queue an array; it may fail, and submit all the same."""
        world = self.world
        world.step("sbatch", comment)
        fails = world.strikes("sbatch")
        world.troubles += fails
        if fails and world.random.random() < 0.5:
            raise submitit.core.utils.FailedJobError("sbatch: error: Socket timed out")
        array = [self._queue(f"{self.submitted}_{i}", comment) for i in range(n)]
        self.submitted += n
        if fails:
            raise submitit.core.utils.FailedJobError("sbatch: error: Socket timed out")
        world.after("sbatch")
        return [SimpleNamespace(job_id=job.id) for job in array]

    def squeue(self, name):
        """My jobs; or no answer, or a wrong one."""
        self.world.step("squeue")
        rows = [Row(j.id, j.state, j.restart, j.comment, "", "") for j in self.jobs.values()]
        if self.world.strikes("squeue"):
            self.world.troubles += 1
            return self.world.random.choice((None, [], rows[: len(rows) // 2]))
        return rows

    def sacct(self, job, restart):
        """Accounting does not know everything."""
        return self.world.random.choice(("", "NODE_FAIL"))

    def ended(self, actor):
        """A process has ended: its job completes, and is forgotten."""
        for job in list(self.jobs.values()):
            if job.actor is actor:
                self._complete(job)

    def of(self, actor):
        """The job of a process."""
        return next(job for job in self.jobs.values() if job.actor is actor)

    def vanish(self, job):
        """The job is gone from the queue; its process may live on, on a node cut off."""
        job.actor = None
        self.jobs.pop(job.id, None)

    def requeue(self, job):
        """The job runs again under the same id; its process may live on."""
        job.actor, job.state = None, "PENDING"
        job.restart += 1
        self.world.at(self._wait(), lambda: self._start(job))

    def _queue(self, id_, comment):
        job = self.jobs[id_] = Job(id_, comment)
        self.world.at(self._wait(), lambda: self._start(job))
        return job

    def _wait(self):
        return self.world.random.random() * self.delay

    def _start(self, job):
        if job.id not in self.jobs or job.actor is not None:
            return
        job.state = "RUNNING"
        job.actor = actor = self.start(job, self.world.random.choice(NODES))
        self.world.at(LIMIT - 90, lambda: self._tell(actor))
        self.world.at(LIMIT, lambda: self.world.kill(actor))
        if not self.world.quiet and self.world.random.random() < self.world.faults.node:
            self.world.at(self.world.random.random() * 400, lambda: self._node_fails(job, actor))

    def _tell(self, actor):
        actor.word = actor.word or "SIGUSR2"

    def _node_fails(self, job, actor):
        """Preempted, killed, or cut off from Slurm while the process goes on."""
        if job.actor is not actor or self.world.quiet:
            return
        random = self.world.random
        self.world.troubles += 1
        if random.random() < 0.3:
            actor.word = actor.word or "SIGTERM"
        elif random.random() < 0.5:
            self.world.kill(actor)
        random.choice((self.vanish, self.requeue))(job)

    def _complete(self, job):
        job.actor, job.state = None, "COMPLETING"
        self.world.at(30 * self.world.random.random(), lambda: self._forget(job))

    def _forget(self, job):
        if job.state == "COMPLETING":
            self.jobs.pop(job.id, None)
