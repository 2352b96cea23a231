"""The Python of a job: this one, or the one in an image, through apptainer."""

import shlex
import sys
from pathlib import Path

from jobs import slurm


def python(image: str, folder: Path) -> str:
    """The shell's words for Python in a job that reads and writes `folder`.

    In an image it sees the folder, the project and where the command was typed, under the same
    paths; what else it shall see is said by APPTAINER_BIND in slurm/env.sh. `--nv` gives it the
    GPU, and costs a line of the log where there is none.
    """
    if not image:
        return shlex.quote(sys.executable)
    binds = [f"--bind={path}" for path in _seen(folder)]
    return shlex.join(["apptainer", "exec", "--nv", *binds, image, "python3"])


def unfit(image: str, folder: Path) -> str:
    """Why an image cannot be used, or an empty string; an address is taken as it is."""
    if image and "://" not in image and not Path(image).exists():
        return f"no file {image}"
    odd = [path for path in _seen(folder) if set(str(path)) & set(":,")]
    return f"apptainer cannot bind {odd[0]}: it has a : or a ," if image and odd else ""


def _seen(folder: Path) -> list[Path]:
    return list(dict.fromkeys((folder, slurm.PROJECT, Path.cwd())))
