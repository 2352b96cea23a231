"""The page that shows several runs beside each other: what it says, put into its template."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from markupsafe import Markup

from tuner import beside, compare
from tuner.beside import Entry, Group
from tuner.page import overlay, words
from tuner.page.build import policy, template
from tuner.results import metric
from tuner.style import NOTHING

_HERE = Path(__file__).parent
_MOST = 8  # groups at the head of the page


@dataclass(frozen=True, slots=True)
class Fact:
    """A group at the head of the page: large what it reached, and of how many."""

    class_: str
    label: str
    big: str
    small: str


def build(entries: Sequence[Entry]) -> bytes:
    """Runs that can be compared, as one HTML document that loads nothing and runs nothing."""
    css = Markup("".join((_HERE / name).read_text() for name in ("page.css", "beside.css")))
    found = beside.groups(entries)
    classes = {id(e): overlay.look(i) for i, group in enumerate(found) for e in group.entries}
    said = beside.verdict(found)
    study = entries[0].study
    units = {str(entry.spent["unit"]) for entry in entries}
    head = [c.replace("searched", f"searched {metric(study)}") for c in compare.HEAD]
    given = {
        "css": css,
        "csp": policy(css, ""),
        "title": words.cut(" and ".join(_names(found)), 120),
        "subtitle": _subtitle(entries),
        "facts": _facts(found, said),
        "sentences": said.sentences,
        "nothing": NOTHING,
        "band_note": _band_note(found),
        "over_trials": overlay.over_trials(found),
        "unit": next(iter(units)) if len(units) == 1 else "hours",
        "hours_note": "What the trials of the search took by their own clocks, lost attempts "
        "included; start-up, waiting in the queue and confirmation are not. On other devices "
        "an hour is another one.",
        "over_hours": overlay.over_hours(found) if len(units) == 1 else Markup(""),
        "hours_empty": NOTHING
        if len(units) == 1
        else "Some have spent hours of GPUs and some of slots without: there is no common axis.",
        "values": overlay.values(found),
        "values_note": "A ring is the best value of a search, the luckiest of many. Where the "
        "best were trained again, small dots are the winner's fresh seeds, the large one is their "
        "mean and the bar its 95 % interval.",
        "head": head,
        "rows": [(classes[id(e)], compare.rows([e])[0]) for e in _by_group(found)],
        "labels": [words.cut(group.name, 40) for group in found],
        "differences": [
            [key, *("–" if v is None else words.cut(words.value(v), 80) for v in row)]
            for key, row in beside.differences(found)
        ],
    }
    return str(template("beside.html.j2").render(given)).encode()


def _by_group(found: Sequence[Group]) -> list[Entry]:
    return [entry for group in found for entry in group.entries]


def _names(found: Sequence[Group]) -> list[str]:
    names = [words.cut(group.name, 40) for group in found]
    return names if len(names) <= 3 else [names[0], f"{len(names) - 1} others"]


def _subtitle(entries: Sequence[Entry]) -> str:
    study = entries[0].study
    data = f" on {study.data['source']}" if "source" in study.data else ""
    what = f"{words.count(len(entries), 'run')}: {study.direction} {metric(study)}{data}"
    return f"{what} · written {words.moment(time.time())} UTC"


def _facts(found: Sequence[Group], said: beside.Verdict) -> list[Fact]:
    """The groups with a value, the best first."""
    facts = []
    for group in said.ranked[:_MOST]:
        values = group.finals(said.again)
        big = words.number(fmean(values), 5)
        study, one = group.entries[0].study, group.entries[0].confirmed
        if len(values) > 1:
            big += f" ± {words.number(stdev(values) / len(values) ** 0.5, 2)}"
            small = f"{metric(study)}, the mean of {len(values)} searches"
        elif said.again and one:
            big = str(one)
            small = f"{metric(study)}, winner's mean over {words.count(len(one.values), 'seed')}"
        else:
            done = max(len(entry.ended) for entry in group.entries)
            small = f"best {metric(study)} seen in {words.count(done, 'trial')}"
        facts.append(Fact(overlay.look(found.index(group)), group.label, big, small))
    return facts


def _band_note(found: Sequence[Group]) -> str:
    if all(len(group.entries) == 1 for group in found):
        return "Each line is one run: another seed of the same search would take another way."
    return (
        "Runs of the same settings with different seeds are one line, their median, and a band "
        "from the worst to the best of them, as far as all of them go."
    )
