"""How a run is doing: a bar on a terminal, a display in a notebook, plain lines in a log."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO, final

from tqdm import tqdm

from jobs.contract import SEARCH, State, trains_the_search
from tuner import confirm, notebook
from tuner.controller import Status
from tuner.live import seconds_left
from tuner.study import Study
from tuner.trial import Trial, counts
from tuner.units import amount

_SHARE = 20  # parts of the time, of which one at most goes into showing
_LINE_EVERY = 60.0  # seconds between two lines of a log in which nothing has changed


@final
class Progress:
    """Shows best-so-far, running, waiting, failed and the time left."""

    def __init__(self, study: Study, stream: TextIO) -> None:
        self.study = study
        self.stream = stream
        self.card = notebook.card(study)
        self.bar = (
            tqdm(total=study.n_trials, file=stream, unit="trial", dynamic_ncols=True,
                 bar_format="{desc} {bar} {n_fmt}/{total_fmt}{postfix}")
            if stream.isatty() and self.card is None else None
        )  # fmt: skip
        self._shown: object = None
        self._at = 0.0
        self._next = 0.0  # not before is there another word

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, status: Status) -> None:
        """Show a tick, if it says something new; a large run's rarer, as that takes time."""
        began = time.monotonic()
        if began < self._next and not (status.finished or status.stopped):
            return
        self._show(status)
        self._next = began + _SHARE * (time.monotonic() - began)

    def _show(self, status: Status) -> None:
        done = _count(status.trials)
        if self.card is not None:
            words, left = describe(self.study, status), _left(self.study, status)
            self.card.study = self.study
            self.card.show(status.trials, done, words, left)
        elif self.bar is not None:
            self.bar.n, self.bar.total = done, self.study.n_trials
            self.bar.set_description_str(self.study.name, refresh=False)
            words, left = describe(self.study, status), _left(self.study, status)
            self.bar.set_postfix_str(f"{words}  {left}")
        elif (news := _news(status)) != self._shown or time.monotonic() - self._at > _LINE_EVERY:
            self._shown, self._at = news, time.monotonic()
            words, left = describe(self.study, status), _left(self.study, status)
            line = f"{time.strftime('%H:%M:%S')} {self.study.name} {done}/{self.study.n_trials}"
            print(f"{line}  {words}  {left}".rstrip(), file=self.stream, flush=True)


def describe(study: Study, status: Status) -> str:
    """One line: best so far, running, waiting, failed, and why jobs are queued."""
    states = counts(status.trials)
    words = [
        _best(study, status.trials),
        f"{states[State.RUNNING]} running",
        f"{states[State.WAITING]} waiting",
    ]
    if states[State.PRUNED]:
        words.append(f"{states[State.PRUNED]} pruned")
    if states[State.FAIL]:
        words.append(f"{states[State.FAIL]} failed")
    if status.spent:
        words.append(f"{amount(status.spent.total)} of {study.gpu_hours:g} {status.spent.unit}")
    if again := confirm.progress(status.trials):
        words.append(again)
    if [t for t in status.trials if not trains_the_search(t.part) and not t.state.finished]:
        words.append("testing the winner")
    if status.slots is None:
        words.append("Slurm does not answer")
    elif status.slots.waiting_for:
        words.append(f"queued: {status.slots.waiting_for}")
    return "  ".join(words)


def _best(study: Study, trials: Sequence[Trial]) -> str:
    if found := confirm.confirmed(study, trials):
        return f"best {found} (#{found.trial.number}, confirmed)"
    won = confirm.winner(study, trials)
    return "best –" if won is None or won.value is None else f"best {won.value:.6g} (#{won.number})"


def _news(status: Status) -> object:
    """What is worth a line of a log: results, and a change of Slurm's mood."""
    finished = len([t for t in status.trials if t.state.finished])
    return finished, status.slots is None, status.slots and status.slots.waiting_for


def _count(trials: Sequence[Trial]) -> int:
    return len([t for t in trials if t.part == SEARCH and t.state.finished])


def _left(study: Study, status: Status) -> str:
    """The time left of the search."""
    seconds = seconds_left(study, status.trials)
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    after = " of the search" if study.confirm else ""
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} left{after}"
