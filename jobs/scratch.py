"""Where a worker finds data that are larger than memory, prepared for all workers of its node."""

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import final

from jobs import doors, files, trust

FOLDER = "prepared"  # in a run's folder; a cache that may be removed at any time


@final
class Prepared:
    """A folder of prepared data: the run's own, or one in TUNER_SCRATCH, a disk of the node.

    One process prepares, others wait for it; where the disk knows no locks each may prepare, and
    the first counts.
    """

    def __init__(self, run: Path) -> None:
        place = os.environ.get("TUNER_SCRATCH")
        self._root = Path(place) / f"tuner-{os.geteuid()}" if place else run / FOLDER

    def __call__(self, name: str, pieces: Callable[[], Iterable[tuple[str, bytes]]]) -> Path:
        """The folder `name`, filled if it is not there; raises OSError, trust.Untrusted."""
        files.make_folder(self._root)
        trust.check_run(self._root)
        doors.close(self._root)
        folder = self._root / name
        if name not in files.names(self._root):
            with files.alone(self._root / "lock"):
                files.sweep_folders(self._root)
                if name not in files.names(self._root):
                    self._fill(folder, pieces())
        return folder

    def _fill(self, folder: Path, pieces: Iterable[tuple[str, bytes]]) -> None:
        print(f"preparing the data in {folder}", flush=True)
        try:
            files.fill(folder, pieces)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            remedy = f"no room to prepare the data in {self._root}; name a disk in TUNER_SCRATCH"
            raise OSError(error.errno, remedy) from error
