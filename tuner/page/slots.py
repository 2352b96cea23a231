"""The slots of a run over time: which waited, started and trained what, and for how long."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from markupsafe import Markup

from tuner.page import svg, words
from tuner.page.charts import KINDS
from tuner.page.svg import Frame, Scale
from tuner.trial import Trial

_LANES = 60  # slots that are drawn
_SAME = 1e-3  # seconds that two trainings of one slot may overlap
_KEY = {
    "queued": "in the queue",
    "starting": "start-up",
    "complete": "complete",
    "pruned": "pruned",
    "failed": "failed",
    "lost": "lost",
    "running": "running",
    "after": "after the search",
}


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch of a slot's time, in seconds since the epoch."""

    kind: str  # of _KEY
    begin: float
    end: float
    said: str


@dataclass(slots=True)
class Stay:
    """What one worker of a job did, one thing after the other; times 0 where they are not known."""

    place: tuple[str, str]  # host and device
    submitted: float
    began: float  # in whole seconds on Slurm: of a job that did not wait, before it was submitted
    trained: list[Spell] = field(default_factory=list)

    @property
    def spells(self) -> Iterator[Spell]:
        """The queue, the start-up, and the trainings, as far as they are known."""
        first = self.trained[0].begin
        began = min(self.began or first, first)
        if self.submitted and self.submitted < began:
            said = f"waited {words.duration(began - self.submitted)} in the queue"
            yield Spell("queued", self.submitted, began, said)
        if began < first:
            said = f"{words.duration(first - began)} until its first trial began"
            yield Spell("starting", began, first, said)
        yield from self.trained

    @property
    def begin(self) -> float:
        """When it was submitted, as far as that is known."""
        return next(self.spells).begin

    @property
    def end(self) -> float:
        """When its last training ended; for how long it waited for more is not known."""
        return self.trained[-1].end


def lanes(trials: Sequence[Trial], now: float) -> list[list[Stay]]:
    """The stays of workers by slot: one at a time, and on the same device where one is free."""
    found: list[list[Stay]] = []
    for stay in sorted(_stays(trials, now), key=lambda stay: stay.begin):
        free = [lane for lane in found if lane[-1].end <= stay.begin + _SAME and _suits(lane, stay)]
        if free:
            max(free, key=lambda lane: (lane[-1].place == stay.place, lane[-1].end)).append(stay)
        else:
            found.append([stay])
    return sorted(found, key=lambda lane: (lane[0].place, lane[0].begin))


def _suits(lane: Sequence[Stay], stay: Stay) -> bool:
    """Slots go from node to node with their jobs; of older runs only devices are known."""
    return bool(stay.began) or lane[-1].place == stay.place


def end_of(trial: Trial, now: float) -> float:
    """When a trial's last attempt ended, or now."""
    return (trial.started or 0.0) + trial.seconds if trial.seconds is not None else now


def slots(trials: Sequence[Trial], now: float) -> tuple[Markup, str]:
    """What each slot did when, and in words how much of its time was training."""
    rows = lanes(trials, now)
    if not rows:
        return Markup(""), ""
    begin = min(lane[0].begin for lane in rows)
    end = max(stay.end for lane in rows for stay in lane)
    shown = rows[:_LANES]
    note = f" The first {len(shown)} are drawn." if len(rows) > len(shown) else ""
    each = min(24.0, max(7.0, 300 / len(shown)))
    frame = Frame(1040, 72 + each * len(shown), left=110, top=8, bottom=64)
    unit, size = words.span_unit(end - begin)
    x = Scale(0, max(1e-9, (end - begin) / size), *frame.x)
    drawn = [(i, spell) for i, lane in enumerate(shown) for stay in lane for spell in stay.spells]
    bars = [
        _bar(s, x((s.begin - begin) / size), x((s.end - begin) / size), frame.top + i * each, each)
        for i, s in drawn
    ]
    step = -(-len(shown) // max(1, int(each * len(shown) / 13)))
    y = [(frame.top + (i + 0.5) * each, _name(lane, i)) for i, lane in enumerate(shown)][::step]
    kinds = {spell.kind for _, spell in drawn}
    entries = [(kind, word) for kind, word in _KEY.items() if kind in kinds]
    since = "submission" if any(stay.submitted for lane in rows for stay in lane) else "start"
    return frame.chart(
        frame.axes(x.ticks(8), [], f"{unit} since the first {since}"),
        *(svg.text(frame.left - 7, at + 3.5, name, text_anchor="end") for at, name in y),
        *bars,
        svg.key(entries, frame.left + 5, frame.height - 8),
        label="Timeline of slots",
        wide=True,
    ), _words(rows, end - begin) + note


def _words(rows: Sequence[Sequence[Stay]], span: float) -> str:
    """How the time of the slots was used."""
    stays = [stay for lane in rows for stay in lane]
    took = {kind: _took(stays, kind) for kind in _KEY}
    waits = [max(0.0, s.began - s.submitted) for s in stays if s.submitted and s.began]
    training = sum(took.values()) - took["queued"] - took["starting"] - took["lost"]
    lost = f", lost attempts {words.duration(took['lost'])}" if took["lost"] else ""
    said = f"{words.count(len(rows), 'slot')} over {words.duration(span)}. "
    if not all(stay.began for stay in stays):
        share = training / max(1e-9, span * len(rows))
        return said + f"Training {share:.0%} of it{lost}; when jobs began is not recorded."
    held = max(1e-9, sum(stay.end - stay.began for stay in stays))
    parts = {"training": training, "lost": took["lost"], "start-up": took["starting"]}
    parts["between trials"] = held - sum(parts.values())
    shares = words.listing(f"{name} {part / held:.0%}" for name, part in parts.items() if part > 0)
    said += f"Of the time from a job's start to the end of its last trial: {shares}."
    if waits:
        said += f" In the queue a job waited {words.duration(median(waits))} in the median, "
        said += f"{words.duration(max(waits))} at most."
    return said


def _took(stays: Sequence[Stay], kind: str) -> float:
    return sum(s.end - s.begin for stay in stays for s in stay.spells if s.kind == kind)


def _stays(trials: Sequence[Trial], now: float) -> list[Stay]:
    """The attempts by the worker that trained them; those of an unnamed job stand alone."""
    attempts = sorted(_attempts(trials, now), key=lambda attempt: attempt[1].begin)
    of: dict[tuple[Any, ...], list[Stay]] = {}
    for place, spell in attempts:
        names = (place["job"] or spell, place["host"], place["device"], place["began"])
        same = of.setdefault(names, [])
        free = [stay for stay in same if stay.end <= spell.begin + _SAME]
        if not free:
            at = (place["host"], place["device"])
            same.append(Stay(at, place["submitted"], place["began"]))
        chosen = max(free, key=lambda stay: stay.end, default=same[-1])
        chosen.trained.append(spell)
    return [stay for same in of.values() for stay in same]


def _attempts(trials: Sequence[Trial], now: float) -> Iterator[tuple[Mapping[str, Any], Spell]]:
    """Every attempt whose time is known: where it was, and when."""
    unknown = {"job": "", "host": "", "device": "", "submitted": 0.0, "began": 0.0}
    for t in trials:
        for lost in t.tries:
            if begin := lost.get("time"):
                end = begin + lost["seconds"]
                took = words.duration(lost["seconds"])
                said = f"trial {t.number}, lost after {took}: {lost['reason']}"
                yield {**unknown, **lost}, Spell("lost", begin, end, said)
        if t.started:
            kind = KINDS.get(t.state, "running") if t.part == "search" else "after"
            end = end_of(t, now)
            said = f"trial {t.number}, {words.duration(end - t.started)}"
            place = {name: getattr(t, name) for name in unknown}
            yield place, Spell(kind, t.started, end, said)


def _name(lane: Sequence[Stay], i: int) -> str:
    """The device of a slot, or its number where it went from one to another."""
    places = {stay.place for stay in lane}
    return words.cut(" ".join(lane[0].place).strip(), 15) if len(places) == 1 else f"slot {i + 1}"


def _bar(spell: Spell, left: float, right: float, y: float, height: float) -> Markup:
    thin = spell.kind == "queued"
    return svg.el(
        "rect",
        svg.el("title", spell.said),
        x=left + 0.3,
        y=y + (height / 2 - 1.5 if thin else 1),
        width=max(0.8, right - left - 0.6),
        height=3.0 if thin else height - 2,
        class_=spell.kind,
    )
