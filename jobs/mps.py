"""NVIDIA's MPS for the workers of a job that share its GPU: their kernels then run at once."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_PROGRAM = "nvidia-cuda-mps-control"
_PATIENCE = 30.0  # seconds for the daemon to start, or to end


@contextmanager
def shared() -> Iterator[dict[str, str]]:
    """The environment of workers that share a GPU, with a daemon of the job's own if it can be.

    Without one, or where it does not start, the GPU takes turns between them: slower, not wrong.
    """
    plain = dict(os.environ)
    if not plain.get("CUDA_VISIBLE_DEVICES") or shutil.which(_PROGRAM) is None:
        yield plain
        return
    # On the node, and short: the name of a socket has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as place:
        own = {**plain, "CUDA_MPS_PIPE_DIRECTORY": place, "CUDA_MPS_LOG_DIRECTORY": place}
        if problem := _tell(own, "-d"):
            print(f"workers share the GPU without MPS: {problem}", flush=True)
            yield plain
            return
        try:
            yield own
        finally:
            _tell(own, said="quit\n")


def _tell(environment: dict[str, str], *words: str, said: str = "") -> str:
    """Call the control program; returns why it failed, or an empty string."""
    try:
        answer = subprocess.run(
            [_PROGRAM, *words], input=said, env=environment, check=False, capture_output=True,
            text=True, timeout=_PATIENCE,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if answer.returncode == 0 else answer.stderr.strip() or f"exit {answer.returncode}"
