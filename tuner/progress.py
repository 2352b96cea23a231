"""How a run is doing: a bar on a terminal, plain lines in a log."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO, final

from tqdm import tqdm

from jobs.contract import SEARCH, State
from tuner.controller import Status
from tuner.plan import best
from tuner.study import Study
from tuner.trial import Trial

_LINE_EVERY = 60.0  # seconds between two lines of a log in which nothing has changed


@final
class Progress:
    """Shows best-so-far, running, waiting, failed and the time left."""

    def __init__(self, study: Study, stream: TextIO) -> None:
        self.study = study
        self.stream = stream
        self.bar = (
            tqdm(total=study.n_trials, file=stream, unit="trial", dynamic_ncols=True,
                 bar_format="{desc} {bar} {n_fmt}/{total_fmt}{postfix}")
            if stream.isatty() else None
        )  # fmt: skip
        self._shown: object = None
        self._at = 0.0

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
        """Show a tick, if it says something new."""
        words = describe(self.study, status)
        if self.bar is not None:
            self.bar.n = _count(status.trials)
            self.bar.set_description_str(self.study.name, refresh=False)
            self.bar.set_postfix_str(f"{words}  {_left(self.study, status)}")
        elif (news := _news(status)) != self._shown or time.monotonic() - self._at > _LINE_EVERY:
            self._shown, self._at = news, time.monotonic()
            done = f"{_count(status.trials)}/{self.study.n_trials}"
            line = f"{time.strftime('%H:%M:%S')} {self.study.name} {done}  {words}"
            print(f"{line}  {_left(self.study, status)}".rstrip(), file=self.stream, flush=True)


def describe(study: Study, status: Status) -> str:
    """One line: best so far, running, waiting, failed, and why jobs are queued."""
    counts = {state: sum(t.state is state for t in status.trials) for state in State}
    won = best(study, status.trials)
    words = [
        "best –" if won is None or won.value is None else f"best {won.value:.6g} (#{won.number})",
        f"{counts[State.RUNNING]} running",
        f"{counts[State.WAITING]} waiting",
    ]
    if counts[State.PRUNED]:
        words.append(f"{counts[State.PRUNED]} pruned")
    if counts[State.FAIL]:
        words.append(f"{counts[State.FAIL]} failed")
    if any(t.part != SEARCH and not t.state.finished for t in status.trials):
        words.append("testing the winner")
    if status.slots is None:
        words.append("Slurm does not answer")
    elif status.slots.waiting_for:
        words.append(f"queued: {status.slots.waiting_for}")
    return "  ".join(words)


def _news(status: Status) -> object:
    """What is worth a line of a log: results, and a change of Slurm's mood."""
    finished = sum(t.state.finished for t in status.trials)
    return finished, status.slots is None, status.slots and status.slots.waiting_for


def _count(trials: Sequence[Trial]) -> int:
    return sum(t.part == SEARCH and t.state.finished for t in trials)


def _left(study: Study, status: Status) -> str:
    """The time left, if trials go on to take as long and as many run at once."""
    seconds = [t.seconds for t in status.trials if t.seconds and t.part == SEARCH]
    running = sum(t.state is State.RUNNING for t in status.trials)
    todo = study.n_trials - _count(status.trials)
    if not seconds or not running or todo <= 0:
        return ""
    minutes, rest = divmod(int(todo * sum(seconds) / len(seconds) / running), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} left"
