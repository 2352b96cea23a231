"""The place a worker runs in: which job, node and device, and until when."""

import math
import os
import socket
import time
from dataclasses import dataclass

import psutil

from jobs import slurm
from jobs.contract import Claim


@dataclass(frozen=True, slots=True)
class Slot:
    """One worker's place; `deadline` in seconds since the epoch, infinite where there is none."""

    job: str
    restart: int
    submission: str
    host: str
    device: str
    deadline: float
    began: float = 0.0  # when this job, or this process, began, in seconds since the epoch
    submitted: float = 0.0  # when it was handed to Slurm; 0 where it was not, or nobody knows

    @classmethod
    def here(cls, submission: str, submitted: float = 0.0) -> "Slot":
        """The slot of this process, from Slurm's environment or from the process itself.

        `submitted` is when its submission was: what Slurm runs again has waited since its end.
        """
        env = os.environ
        # A local worker may live in somebody's interactive job: that job is not its own.
        in_slurm = submission.startswith("slurm-")
        restart = int(env.get("SLURM_RESTART_COUNT", "0")) if in_slurm else 0
        return cls(
            job=slurm.own_job() if in_slurm else local_job(os.getpid()),
            restart=restart,
            submission=submission,
            host=env.get("SLURMD_NODENAME", socket.gethostname()) if in_slurm else "localhost",
            device=env.get("CUDA_VISIBLE_DEVICES", ""),
            deadline=slurm.own_end() if "SLURM_JOB_ID" in env else math.inf,
            began=_began(in_slurm),
            submitted=submitted if in_slurm and not restart else 0.0,
        )

    def claim(self, number: int, attempt: int) -> Claim:
        """The word that this slot trains an attempt."""
        return Claim(
            number=number,
            attempt=attempt,
            job=self.job,
            restart=self.restart,
            submission=self.submission,
            host=self.host,
            device=self.device,
            pid=os.getpid(),
            time=time.time(),
            submitted=self.submitted,
            began=self.began,
        )


def _began(in_slurm: bool) -> float:
    """When the job began, by Slurm from version 23 on; else this process."""
    if in_slurm and "SLURM_JOB_START_TIME" in os.environ:
        return float(os.environ["SLURM_JOB_START_TIME"])
    return psutil.Process().create_time()


def local_job(pid: int) -> str:
    """A process's id with its start time, since process ids are used again.

    Raises psutil.NoSuchProcess where there is no such process.
    """
    return f"{pid}-{psutil.Process(pid).create_time():.2f}"
