"""What must hold whatever happens: promises 1 to 5 of the design, watched at every step."""

import dataclasses
import hashlib
from pathlib import Path

from jobs import files
from jobs.contract import State
from jobs.folder import RunFolder
from tests.simdisk import STALE
from tests.simfaults import PromiseError
from tuner import store
from tuner.plan import MAX_BARREN
from tuner.space import Space

RUN = Path("/run")
EPOCHS, RUNG = 3, 2
SPACE = Space.from_table({"x": {"type": "float", "low": 0, "high": 1}})


class Promises:
    """Watches a world and its disk; made before the product is patched."""

    def __init__(self, world, disk, study):
        self.world = world
        self.disk = disk
        self.study = study
        self.trainings = []  # (number, attempt, actor's name)
        self.published = {}  # number → what its writer was told is the accepted result
        self.result_since = {}  # number → when
        self.swept = []  # (name, inode) that were in open/
        self._claimed_at = {}
        self._proposed = set()
        self._owed = {}  # worker's name → the attempt that it claimed and has not begun
        self._claim, self._publish, self._look = (
            RunFolder.claim, RunFolder.publish, RunFolder.look
        )  # fmt: skip
        disk.guard = self.guard
        disk.linked = self.linked

    def has_result(self, number):
        """Whether a trial is finished."""
        return number in self.result_since

    def is_open(self, name):
        """Whether a file is in open/."""
        return self.disk.content(RUN / "open" / name) is not None

    def trains(self, claim):
        """One process an attempt, and none for a trial whose result everybody can see."""
        key, who = (claim.number, claim.attempt), self.world.running.name
        since = self.result_since.get(claim.number, float("inf"))
        visible = since + STALE < self._claimed_at[who]
        others = [name for *attempt_, name in self.trainings if tuple(attempt_) == key]
        if visible:
            self.world.fail(f"{who} trains {key}, which has had its result for a minute")
        if others and since > self._claimed_at[who]:
            self.world.fail(f"{who} trains {key} beside {others}")
        self._owed.pop(who, None)
        self.trainings.append((*key, who))

    def guard(self, path, inode):
        """A result never goes away, and neither does anything of an unfinished trial."""
        name = path.rpartition("/")[2]
        if name.startswith(files.DRAFT):
            return
        if "/done/" in path:
            self.world.fail(f"a result is taken away or replaced: {path}")
        if path.startswith(f"{RUN}/open/0"):
            kind = name.split(".")[-2]
            if kind in ("proposal", "claim", "lost") and not self.has_result(int(name[:6])):
                self.world.fail(f"{name} is swept before its trial has a result")
            self.swept.append((name, inode))

    def claim(self, folder, claim):
        """RunFolder.claim, and when it was."""
        won = self._claim(folder, claim)
        self._claimed_at[self.world.running.name] = self.world.now
        return won

    def publish(self, folder, result):
        """RunFolder.publish: one writer a trial is told that its result counts."""
        won = self._publish(folder, result)
        self.result_since.setdefault(result.number, self.world.now)
        if won and self.published.setdefault(result.number, result) is not result:
            self.world.fail(f"two results of trial {result.number} were accepted")
        return won

    def look(self, folder):
        """A trial that moves is seen twice, never nowhere: but for listings of another time."""
        known = set(self._proposed)
        view = self._look(folder)
        unseen = known - view.finished - view.proposed
        if unseen and not self.world.faults.stale:
            self.world.fail(f"a look does not see the trials {sorted(unseen)}")
        return view

    def linked(self, name):
        """Note who made which file first."""
        if name.endswith(".result.json"):
            self.result_since.setdefault(int(name[:6]), self.world.now)
        elif name.endswith(".proposal.json"):
            self._proposed.add(int(name[:6]))
        elif name.endswith(".claim.json"):
            number, attempt_, *_ = name.split(".")
            self.settled(self.world.running)
            self._owed[self.world.running.name] = (int(number), int(attempt_))

    def settled(self, actor):
        """Who claims an attempt trains it, unless the trial goes on or ended elsewhere."""
        number, attempt_ = self._owed.pop(actor.name, (None, None))
        if number is None or self.has_result(number):
            return
        if not self.is_open(f"{number:06d}.{attempt_}.lost.json"):
            self.world.fail(f"{actor.name} claimed {(number, attempt_)} and does not train it")

    def check_end(self, folder, submitted):
        """What must hold when all have ended; returns how many trials were pruned."""
        size, n_trials = len(folder.look().finished), self.study.n_trials
        results = [folder.result(n) for n in range(max(size, n_trials))]
        expect(None not in results, "a trial has no result")
        self._check_confirmed(results[:n_trials], results[n_trials:])
        for number, result in self.published.items():
            expect(results[number] == result, f"the accepted result of {number} is another now")
        for result in results:
            self._check_result(result)
        self._check_replay(results[:n_trials])
        phases = 1 + bool(self.study.confirm)  # workers may leave while the last of one is trained
        allowed = phases * self.study.jobs.n_workers + 8 + 4 * self.world.troubles
        expect(submitted <= allowed, f"{submitted} jobs; {allowed} allowed")
        return sum(result.state is State.PRUNED for result in results)

    def _check_confirmed(self, searched, again):
        """The best complete ones of the search, each once with each fresh seed; nothing else."""
        how, complete = self.study.confirm, [r for r in searched if r.state is State.COMPLETE]
        top = sorted(complete, key=lambda r: (r.value, r.number))[: how.top if how else 0]
        wanted = [(r.number, f"confirm:{k}") for k in range(how.seeds if how else 0) for r in top]
        found = [(r.of, r.part) for r in again]
        expect(found == wanted, f"beside the search {found} was trained, and not {wanted}")
        for result in again:
            expect(result.params == searched[result.of].params, "a fresh seed has another point")
            expect(result.state is not State.PRUNED, "a fresh seed was pruned")
        seeds = {r.seed for r in (*searched, *again)}
        expect(len(seeds) == len(searched) + len(again), "a fresh seed was used before")

    def _check_result(self, result):
        """What was trained, from the first epoch to the last; FAIL only for used-up attempts."""
        if result.state is State.FAIL:
            expect(result.attempts > MAX_BARREN, f"trial {result.number} failed: {result.reason}")
            return
        pruned = result.state is State.PRUNED
        expect(self.study.pruner or not pruned, f"trial {result.number} was pruned unasked")
        values = [0.0]
        for _ in range(RUNG if pruned else EPOCHS):
            values.append(values[-1] + result.params["x"])
        value = values[1] if pruned else values[-1]  # its best so far
        expect(result.value == value, f"trial {result.number} has a wrong value")
        curve = [(m["step"], m["value"]) for m in sorted(result.curve, key=lambda m: m["step"])]
        expect(curve == list(enumerate(values[1:])), f"trial {result.number}'s curve: {curve}")

    def _check_replay(self, results):
        """Promise 4: same trials told and pending, same point."""
        trials = store.Store(RUN).trials()[: len(results)]
        for trial, result in zip(trials, results, strict=True):
            known = [
                dataclasses.replace(t, state=State.WAITING, value=None)
                if t.number in result.pending else t
                for t in trials[: trial.number]
            ]  # fmt: skip
            asked = suggest(SPACE, known, 1, 0, 0)
            expect(asked == [trial.params], f"the proposal of trial {trial.number} is no replay")


def suggest(space, trials, n, seed, n_initial):
    """A sampler whose point depends on all that it was told, and on what is pending."""
    known = [(t.number, t.state.finished, t.value, t.params["x"]) for t in trials]
    points = []
    for _ in range(n):
        digest = hashlib.sha256(repr(known).encode()).digest()
        x = int.from_bytes(digest[:4], "big") / 2**32
        known.append((len(known), False, None, x))
        points.append({"x": x})
    return points


def expect(holds, promise):
    """Raise PromiseError where a promise does not hold."""
    if not holds:
        raise PromiseError(promise)
