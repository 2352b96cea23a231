"""The slots of a run over time: which trained what, and how much of the time they did."""

from collections.abc import Sequence

from markupsafe import Markup

from tuner.page import svg, words
from tuner.page.charts import KINDS
from tuner.page.svg import Frame, Scale
from tuner.trial import Trial

_LANES = 60  # slots that are drawn


def lanes(trials: Sequence[Trial], now: float) -> list[list[Trial]]:
    """The trials by the slot that trained them: of one host and device, never two at once."""
    begun = sorted((t for t in trials if t.started), key=lambda t: t.started or 0.0)
    found: list[list[Trial]] = []
    for trial in begun:
        free = [lane for lane in found if _fits(lane[-1], trial, now)]
        if free:
            max(free, key=lambda lane: end_of(lane[-1], now)).append(trial)
        else:
            found.append([trial])
    return sorted(found, key=lambda lane: (lane[0].host, lane[0].device, lane[0].started))


def end_of(trial: Trial, now: float) -> float:
    """When a trial's last attempt ended, or now."""
    return (trial.started or 0.0) + trial.seconds if trial.seconds is not None else now


def _fits(last: Trial, trial: Trial, now: float) -> bool:
    same = (last.host, last.device) == (trial.host, trial.device)
    return same and end_of(last, now) <= (trial.started or 0.0) + 1e-3


def slots(trials: Sequence[Trial], now: float) -> tuple[Markup, str]:
    """When each slot trained what, and in words how much of the time it did."""
    rows = lanes(trials, now)
    if not rows:
        return Markup(""), ""
    begin = min(t.started or now for lane in rows for t in lane)
    end = max(end_of(t, now) for lane in rows for t in lane)
    busy = sum(end_of(t, now) - (t.started or now) for lane in rows for t in lane)
    share = busy / max(1e-9, (end - begin) * len(rows))
    said = (
        f"{words.count(len(rows), 'slot')}, training {share:.0%} of {words.duration(end - begin)}"
    )
    shown = rows[:_LANES]
    if len(rows) > len(shown):
        said += f"; the first {len(shown)} are drawn"
    each = min(18.0, max(7.0, 300 / len(shown)))
    frame = Frame(1040, 60 + each * len(shown), left=110)
    unit, size = words.span_unit(end - begin)
    x = Scale(0, max(1e-9, (end - begin) / size), *frame.x)
    bars = [
        _bar(t, x, (begin, size, now), frame.top + i * each, each)
        for i, lane in enumerate(shown)
        for t in lane
    ]
    step = -(-len(shown) // max(1, int(each * len(shown) / 13)))
    y = [
        (frame.top + (i + 0.5) * each, words.cut(f"{lane[0].host} {lane[0].device}".strip(), 15))
        for i, lane in enumerate(shown)
        if i % step == 0
    ]
    axes = frame.axes(x.ticks(8), y, f"{unit} since the first start")
    entries = [
        ("complete", "complete"),
        ("pruned", "pruned"),
        ("failed", "failed"),
        ("running", "running"),
        ("after", "after the search"),
    ]
    legend = svg.key(entries, 622, frame.height - 7)
    return frame.chart(axes, *bars, legend, label="Timeline of slots", wide=True), said


def _bar(
    trial: Trial, x: Scale, clock: tuple[float, float, float], y: float, height: float
) -> Markup:
    begin, size, now = clock
    left, right = (x((at - begin) / size) for at in (trial.started or now, end_of(trial, now)))
    kind = KINDS.get(trial.state, "running") if trial.part == "search" else "after"
    title = svg.el(
        "title",
        f"trial {trial.number}, {words.duration(end_of(trial, now) - (trial.started or now))}",
    )
    return svg.el(
        "rect",
        title,
        x=left + 0.3,
        y=y + 1,
        width=max(0.8, right - left - 0.6),
        height=height - 2,
        class_=kind,
    )
