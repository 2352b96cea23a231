"""The reconcile loop: look at the files, ask the executor once, plan, act.

Nothing that is needed later is kept in memory: a new controller goes on with the next tick.
"""

import dataclasses
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, final

from jobs import files
from jobs.contract import (
    ALIVE_WITHIN,
    ENQUEUED,
    SEARCH,
    Claim,
    Proposal,
    State,
    View,
    trains_the_search,
)
from jobs.executor import Executor, Slots, SubmitError
from jobs.reasons import CANCELLED, NO_TRACE, WITH_STUDY
from jobs.scratch import Prepared
from models.defaults import OURS
from tuner import looks, pace, samplers, warm
from tuner.afford import afford
from tuner.budget import Ledger, Spent
from tuner.confirm import TEST, Due
from tuner.digest import Digest
from tuner.plan import plan, used_up
from tuner.pruner import Pruner
from tuner.space import BadInput
from tuner.store import Store
from tuner.study import Study
from tuner.trial import Trial, counts

_GRACE_LOCAL, _GRACE_SHARED = 3.0, 120.0  # seconds before a dead worker's trial is given up
_UNREAD_TICKS = 90  # on a shared disk three times the minute that a file may be late
_PERIODS = 9  # newest ones, by whose median the stock is measured
_SAME_ERRORS = 3  # first results that all fail alike: the study is at fault, not the point


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """What one tick saw, for the progress line."""

    trials: Sequence[Trial]
    slots: Slots | None
    finished: bool = False
    stopped: str = ""  # why nothing more will happen
    spent: Spent | None = None  # where there is a budget


@final
class Controller:
    """Drives one run with one executor."""

    def __init__(self, store: Store, executor: Executor) -> None:
        self.store = store
        self.executor = executor
        self.digest = Digest(store.folder)
        self.ask = samplers.get(self.study.sampler)
        # Only a pruner looks into the splits: without one, large data wait for a worker.
        prunes = self.study.pruner.get("name", "none") != "none"
        scratch = Prepared(store.path) if prunes else None
        data = self.study.load_data(scratch) if self.study.train == OURS else None
        self.parts = data.parts() if data is not None else ()
        self._resumes = data is not None and data.resumes_search(TEST)
        self.ledger = Ledger(store)
        self.pruner = Pruner(store.folder, self.study, data)
        default = _GRACE_SHARED if executor.shared else _GRACE_LOCAL
        after = self.study.jobs.lost_after
        self._grace = default if after is None else after
        self._began = time.time()
        self._unread = 0  # ticks in a row
        self._periods: deque[float] = deque(maxlen=_PERIODS)
        self._topped_up: float | None = None  # when last
        self._pace = pace.UNMEASURED
        self._known = store.view().finished
        self._works = False  # some trial did not fail as all others did
        self._told: dict[int, Trial] = {}
        sign = store.last_sign()
        self._deaths: dict[str, tuple[float, str]] = sign.get("deaths", {})
        self._unattended = set(sign.get("unattended", ()))  # those that no controller saw die
        self._looked = False

    @property
    def study(self) -> Study:
        """The run's study, as its settings were at the last look."""
        return self.store.study

    def tick(self) -> Status:
        """One look and what follows from it."""
        self.store.reread()
        before = self.store.view()
        slots = self.executor.slots()
        view = self.store.view()
        self.store.sweep(view)
        if slots is not None:
            self._bury(before, slots, view)
        trials = self.store.trials(view)
        self.digest.extend(view.finished)
        spent = None if self.study.gpu_hours is None else self.ledger.spent(trials)
        self._sign(trials, spent, slots)
        self.pruner.publish(trials, view)
        stopped = self.store.folder.stopping() or self._hopeless(trials)
        if stopped:
            return Status(trials, slots, stopped=stopped)
        if self._unreadable(trials, view):
            return Status(trials, slots)
        workers = min(self.study.jobs.n_workers, self.executor.capacity)
        self._pace = pace.measured(self._periods, trials, workers)
        reach = afford(self.study, trials, spent, self.parts, time.time(), resumes=self._resumes)
        todo = plan(
            self.study, trials, slots, self.parts, self.executor.capacity,
            pace=self._pace, afford=reach,
        )  # fmt: skip
        if todo.hold != self.store.folder.held():
            self.store.hold(todo.hold)
        self._propose(todo.propose, trials, view)
        self._note_period()
        self._propose_due(todo.due, view)
        if todo.submit:
            try:
                self.executor.submit(todo.submit)
            except SubmitError as error:
                self.store.stop(f"sbatch refuses the workers: {error}")
        self.executor.tidy()
        self.store.keep_best(trials)
        return Status(trials, slots, finished=todo.finished, spent=spent)

    def get_ready(self, status: Status) -> None:
        """Import what later asks need, once workers are busy."""
        if any(trial.state is State.RUNNING for trial in status.trials):
            samplers.load(self.study.sampler)

    def pause(self) -> float:
        """Seconds until the next tick is due: the busier the workers, the fewer."""
        longest = self.executor.tick
        if self._unread:  # which is counted in ticks
            return longest
        workers = min(self.study.jobs.n_workers, self.executor.capacity)
        return pace.pause(longest, workers, self._pace)

    def _note_period(self) -> None:
        now = time.monotonic()
        if self._topped_up is not None:
            self._periods.append(now - self._topped_up)
        self._topped_up = now

    def _unreadable(self, trials: Sequence[Trial], view: View) -> bool:
        """Whether a listed file cannot be read, which makes the view an old one: plan nothing.

        Raises BadInput where it stays so.
        """
        missing = view.size > len(trials)
        self._unread = self._unread + 1 if missing else 0
        if self._unread > _UNREAD_TICKS:
            number = min(set(range(view.size)) - {trial.number for trial in trials})
            problem = f"holds a file of trial {number} that cannot be read"
            raise BadInput("", problem, "restore it, or start another run")
        return missing

    def _bury(self, before: View, slots: Slots, view: View) -> None:
        """Give up attempts whose job has ended without their result, after a grace.

        Only a claim that was there before the executor was asked, and still is, can be suspected:
        a result may come between.
        """
        running = set(before.numbers(State.RUNNING))
        claims = [claim for claim in self.store.claims(view) if claim.number in running]
        dead = [claim for claim in claims if (claim.job, claim.restart) not in slots.alive]
        now = files.server_now(self.store.folder.open) if dead else 0.0
        seen = {f"{claim.number}.{claim.attempt}": claim for claim in dead}
        if not self._looked:
            self._unattended |= seen.keys() - self._deaths.keys()
            self._looked = True
        # Slurm may have forgotten the job when the grace is over: its word is asked for at once.
        self._deaths = {
            key: self._deaths.get(key) or (now, self.executor.why(claim))
            for key, claim in seen.items()
        }
        for key, claim in seen.items():
            since, word = self._deaths[key]
            if now - max(since, self.store.newest_file(claim)) >= self._grace:
                self._give_up(claim, view, word, attended=key not in self._unattended)
        for number in view.numbers(State.WAITING):  # attempts that their workers gave up themselves
            if view.claims.get(number):
                self._fail_if_used_up(number, view)

    def _give_up(self, claim: Claim, view: View, first_word: str, *, attended: bool) -> None:
        now = self.executor.why(claim)
        reason = first_word if now in ("", NO_TRACE) else now
        if reason == CANCELLED and not attended:
            reason = WITH_STUDY
        attempts = self.store.attempts(view, claim.number)
        saved = self.store.folder.of(claim.number, "checkpoint", claim.attempt)
        if used_up([*attempts, (reason, saved.name in view.files[claim.number])]):
            self.store.fail(claim, reason)
        else:
            self.store.lose(claim, reason)

    def _fail_if_used_up(self, number: int, view: View) -> None:
        attempts = self.store.attempts(view, number)
        if used_up(attempts):
            self.store.fail(self.store.newest_claim(number, view), attempts[-1][0])

    def _propose(self, n: int, trials: Sequence[Trial], view: View) -> None:
        """Publish the next points: the study's own first, then the sampler's."""
        if n == 0:
            return
        study = self.study
        search = [trial for trial in trials if trial.part == SEARCH]
        pending = sorted(view.proposed - view.finished)
        tried = sum(t.origin == ENQUEUED for t in search) if study.enqueue else 0
        own = study.enqueue[tried:][:n]
        number = view.size
        for params in own:
            if not self._publish(number, dict(params), ENQUEUED, pending):
                return
            search.append(Trial(number=number, state=State.WAITING, params=params))
            pending.append(number)
            number += 1
        if n == len(own):
            return
        known = self.store.warm
        told = warm.told(known, self._as_losses(search), study.n_initial)
        initial = known.initial(study.n_initial)
        for params in self.ask(study.space, told, n - len(own), study.seed, initial):
            if not self._publish(number, params, study.sampler, pending):
                return  # another controller was faster: look again
            pending.append(number)
            number += 1

    def _publish(self, number: int, params: Any, origin: str, pending: list[int]) -> bool:
        seed = self.study.seed_of(number)
        return self.store.folder.propose(
            Proposal(number, params, seed, origin, pending=tuple(pending), time=time.time())
        )

    def _propose_due(self, due: Sequence[Due], view: View) -> None:
        """Publish what follows the search; a look at the test part is written down before it."""
        for number, each in enumerate(due, start=view.size):
            if not trains_the_search(each.part):
                looks.note(self.store.path, each.part, number, each.of, each.seed)
            proposal = Proposal(
                number, each.params, each.seed, each.part, part=each.part, of=each.of,
                time=time.time(),
            )  # fmt: skip
            if not self.store.folder.propose(proposal):
                return

    def _as_losses(self, search: Sequence[Trial]) -> Sequence[Trial]:
        """The search as a sampler wants it: less is better."""
        if self.study.direction == "minimize":
            return search
        told = self._told  # a cache: a hundred thousand trials are not turned anew each time
        for trial in search:
            if trial.value is not None and trial.number not in told:
                told[trial.number] = dataclasses.replace(trial, value=-trial.value)
        return [told.get(trial.number, trial) for trial in search]

    def _hopeless(self, trials: Sequence[Trial]) -> str:
        """Why going on would only waste GPU-hours, written down as the wish to stop."""
        done = () if self._works else (t for t in trials if t.state.finished)
        of_itself = (trial for trial in done if trial.reason != CANCELLED)
        new = [trial for trial in of_itself if trial.number not in self._known]
        reasons = {t.reason if t.state is State.FAIL else "" for t in new}
        self._works = self._works or len(reasons) > 1 or "" in reasons
        why = ""
        if len(new) >= _SAME_ERRORS and not self._works:
            why = f"the first {len(new)} trials all failed with: {reasons.pop()}"
        elif failing := self.executor.failing(self._began):
            why = f"three submissions in a row brought no working worker: {failing}"
        if why:
            self.store.stop(why)
        return why

    def _sign(self, trials: Sequence[Trial], spent: Spent | None, slots: Slots | None) -> None:
        self.store.sign_of_life(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "job": os.environ.get("SLURM_JOB_ID", ""),
                "time": time.time(),
                "trials": {state.value: n for state, n in counts(trials).items()},
                "deaths": self._deaths,
                "unattended": sorted(self._unattended & self._deaths.keys()),
                "within": max(ALIVE_WITHIN, 3 * max(self._periods, default=0.0)),
                "jobs": slots and slots.words,
                "spent": spent and spent.table(),
                "pruner_off": self.pruner.off,
            }
        )
