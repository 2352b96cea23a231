"""The results of searches: read, averaged, and compared with a paired hierarchical bootstrap."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np

from tests.bench import tables
from tests.bench.arms import PEERS

MARGIN = 0.02  # regret by which no peer may be ahead
LEVEL = 0.05  # of all the one-sided intervals of a table together
_RESAMPLES = 10_000


class Key(NamedTuple):
    """What tells one search from another."""

    arm: str
    label: str
    table: str
    mode: str
    seed: int


Pairs = Mapping[str, np.ndarray]  # table → differences, (seed,)
Cells = dict[tuple[str, int], float]  # (table, seed) → regret


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """Our regret less a peer's, on the tables and seeds that both have: above 0 it is ahead."""

    peer: str
    searches: int
    ours: float
    theirs: float
    upper: float  # one-sided end of the difference, at Holm's level for its place
    p: float  # of "ahead by more than MARGIN", adjusted


def read(path: Path) -> list[tuple[Key, dict[str, float]]]:
    """All searches of a results file with their regrets and cost; none without the file."""
    lines = path.read_text().splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines]
    return [
        (Key(*(entry[name] for name in Key._fields)), entry["regret"] | _cost(entry))
        for entry in entries
    ]


def report(found: Sequence[tuple[Key, dict[str, float]]], names: Sequence[str], ours: str) -> str:
    """Mean regret an arm, and the arm `ours` beside each peer, as Markdown."""
    found = [(key, entry) for key, entry in found if key.table in names]
    modes = sorted({key.mode for key, _ in found}, reverse=True)
    return "\n\n".join(text for mode in modes for text in _mode(found, mode, ours))


def bootstrap(pairs: Pairs, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled differences, (resample,): tables first, then seeds of each."""
    values = list(pairs.values())
    drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    means = np.empty(drawn.shape)
    for i, differences in enumerate(values):
        seeds = rng.integers(len(differences), size=(int((drawn == i).sum()), len(differences)))
        means[drawn == i] = differences[seeds].mean(axis=1)
    return means.mean(axis=1)


def compare(ours: Cells, peers: Mapping[str, Cells]) -> list[Comparison]:
    """Our arm beside each peer that shares a search with it, in the order of their p (Holm)."""
    rng = np.random.default_rng(0)
    shared = {name: cells for name, cells in peers.items() if ours.keys() & cells.keys()}
    resampled = {name: bootstrap(_pairs(ours, cells), rng) for name, cells in shared.items()}
    raw = {name: float((means >= MARGIN).mean()) for name, means in resampled.items()}
    ranked, adjusted, made = sorted(raw, key=lambda name: raw[name]), 0.0, []
    for rank, name in enumerate(ranked):
        left = len(ranked) - rank
        adjusted = min(1.0, max(adjusted, left * raw[name]))
        upper = float(np.quantile(resampled[name], 1 - LEVEL / left))
        both = sorted(ours.keys() & shared[name].keys())
        means = [_mean({cell: cells[cell] for cell in both}) for cells in (ours, shared[name])]
        made.append(Comparison(name, len(both), *means, upper, adjusted))
    return made


def _cost(entry: Mapping[str, float]) -> dict[str, float]:
    return {"cpu": entry["cpu"] / entry["asks"]}


def _pairs(ours: Cells, theirs: Cells) -> Pairs:
    by_table: dict[str, list[float]] = {}
    for table, seed in sorted(ours.keys() & theirs.keys()):
        by_table.setdefault(table, []).append(ours[table, seed] - theirs[table, seed])
    return {table: np.array(values) for table, values in by_table.items()}


def _mean(cells: Cells) -> float:
    """The mean over tables of the mean over seeds."""
    by_table: dict[str, list[float]] = {}
    for (table, _), value in cells.items():
        by_table.setdefault(table, []).append(value)
    return float(np.mean([np.mean(values) for values in by_table.values()]))


def _mode(found: Sequence[tuple[Key, dict[str, float]]], mode: str, ours: str) -> Iterator[str]:
    kept = [(key, entry) for key, entry in found if key.mode == mode]
    names = sorted({f"{key.arm}@{key.label}" for key, _ in kept})
    reads = [name for name in kept[0][1] if name != "cpu"]
    cells = {
        (name, read): {
            (key.table, key.seed): entry[read]
            for key, entry in kept
            if f"{key.arm}@{key.label}" == name
        }
        for name in names
        for read in (*reads, "cpu")
    }
    yield _means(mode, names, reads, cells)
    chosen = [name for name in names if ours in (name, _arm(name))]
    for read in reads if chosen else ():
        peers = {name: cells[name, read] for name in names if _arm(name) in PEERS}
        yield _comparisons(mode, read, chosen[-1], compare(cells[chosen[-1], read], peers))


def _arm(name: str) -> str:
    return name.partition("@")[0]


def _means(
    mode: str,
    names: Iterable[str],
    reads: Sequence[str],
    cells: Mapping[tuple[str, str], Cells],
) -> str:
    groups = {"together": (tables.HPOLIB, tables.NETWORKS, "formula")}
    groups |= {tables.HPOLIB: (tables.HPOLIB,), tables.NETWORKS: (tables.NETWORKS,)}
    heads = [f"{group} {read}" for group in groups for read in reads]
    rows = [
        [name, str(len(cells[name, reads[0]])), f"{_mean(cells[name, 'cpu']):.3f}"]
        + [_part(cells[name, read], of) for of in groups.values() for read in reads]
        for name in names
    ]
    return f"### {mode}: mean regret\n" + _table(["arm", "searches", "CPU s/ask", *heads], rows)


def _part(cells: Cells, families: Sequence[str]) -> str:
    kept = {cell: value for cell, value in cells.items() if tables.family(cell[0]) in families}
    return f"{_mean(kept):.4f}" if kept else "–"


def _comparisons(mode: str, read: str, ours: str, found: Sequence[Comparison]) -> str:
    heads = ["peer", "searches", "ours", "peer's", "ours − peer's", "upper end", "p(> .02)"]
    rows = [
        [
            *(c.peer, str(c.searches), f"{c.ours:.4f}", f"{c.theirs:.4f}"),
            *(f"{c.ours - c.theirs:+.4f}", f"{c.upper:+.4f}", f"{c.p:.3f}"),
        ]
        for c in found
    ]
    return f"### {mode}, {read} results: {ours} beside each\n" + _table(heads, rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
