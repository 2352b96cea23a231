"""The controller's part of early stopping: it reads how far trials are, and says what rungs ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jobs import files, rungs
from jobs.contract import SEARCH, State, View
from jobs.folder import RunFolder
from jobs.rungs import Rungs
from models.split import Dataset
from tuner import asha
from tuner.study import Study
from tuner.trial import Trial

_READS = 100  # running trials that are looked at in a tick: a shared disk has other users

Losses = tuple[float | None, ...]  # at each rung; None where a trial was not


@dataclass(frozen=True, slots=True)
class _Seen:
    """A running trial's curve as it was last read: its file, when that was written, its losses."""

    file: tuple[str, float | None]
    losses: Losses


@final
class Pruner:
    """Publishes what the rungs of a study ask for; `off` says why it does not, though asked to.

    What it remembers saves reading, and changes no answer.
    """

    def __init__(self, folder: RunFolder, study: Study, data: Dataset | None) -> None:
        table = study.to_table()
        self.folder = folder
        self.off = asha.off(table, study.pruner, data)
        self.rungs = None if self.off else Rungs.of(table, study.pruner)
        self._factor = int(study.pruner.get("reduction_factor", rungs.FACTOR))
        self._finished: dict[int, Losses] = {}
        self._running: dict[int, _Seen] = {}  # the least lately looked at first

    def publish(self, trials: Sequence[Trial], view: View) -> None:
        """Let the workers know what their trials must have reached by now."""
        if self.rungs is None:
            return
        search = [trial for trial in trials if trial.part == SEARCH]
        self._follow([t.number for t in search if t.state is State.RUNNING], view)
        reached = [self._losses(self.rungs, t) for t in search if t.state.finished]
        reached += [seen.losses for seen in self._running.values()]
        rungs.publish(self.folder.path, asha.losses(reached, self.rungs.epochs, self._factor))

    def _losses(self, where: Rungs, trial: Trial) -> Losses:
        """A finished trial's losses; who ended well before a rung is there with its best."""
        if trial.number not in self._finished:
            complete = trial.state is State.COMPLETE
            self._finished[trial.number] = where.losses(trial.curve, complete)
        return self._finished[trial.number]

    def _follow(self, running: Sequence[int], view: View) -> None:
        """Look at running trials that are not past the last rung, some in a tick, in turn."""
        self._running = {n: seen for n, seen in self._running.items() if n in set(running)}
        climbing = [n for n, seen in self._running.items() if None in seen.losses]
        due = [*(n for n in running if n not in self._running), *climbing]
        for number in due[:_READS]:
            self._running[number] = self._read(number, view, self._running.pop(number, None))

    def _read(self, number: int, view: View, before: _Seen | None) -> _Seen:
        assert self.rungs is not None  # `publish` has asked
        path = self.folder.of(number, "metrics", view.claims[number])
        listed = path.name in view.files[number]
        file = (path.name, files.modified(path) if listed else None)
        if before is not None and before.file == file:
            return before
        return _Seen(file, self.rungs.losses(files.read_lines(path) if listed else ()))
