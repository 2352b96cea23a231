"""How good are the points: regret on tables, for our samplers and for the peers.

python -m tests.bench.regret --arms gp,random,optuna-tpe --tables claim --seeds 0:5
python -m tests.bench.regret --table --tables claim
"""

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from tests.bench import arms, scores, search, tables
from tests.bench.scores import Key

READ = (50, 100)  # results after which the regret is read


def main(argv: list[str] | None = None) -> int:
    """Run what is missing in the results, or print what is there."""
    options = _parser().parse_args(argv)
    names = tables.names(options.tables)
    if options.table:
        print(scores.report(scores.read(options.results), names, options.default))
        return 0
    there = {key for key, _ in scores.read(options.results)}
    for key in _wanted(options, names):
        if key not in there:
            _measure(key, options.results)
    return 0


def _wanted(options: argparse.Namespace, names: tuple[str, ...]) -> Iterator[Key]:
    """Seeds vary slowest: whenever the run is cut off, the arms have paired seeds."""
    first, _, end = options.seeds.partition(":")
    modes = search.SLOTS if options.mode == "both" else (options.mode,)
    for seed in range(int(first), int(end)):
        for arm in options.arms.split(","):
            for mode in modes:
                for name in names:
                    label = arms.label(arm) if arm in arms.PEERS else options.label
                    yield Key(arm, label or arms.label(arm), name, mode, seed)


def _measure(key: Key, results: Path) -> None:
    """One search, appended to the results; an arm that raises is shown and has no score."""
    try:
        found = search.run(key.arm, tables.load(key.table), key.mode, key.seed)
    except Exception:
        print(f"{key}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
        return
    entry = {**key._asdict(), "regret": {str(n): found.regrets[n - 1] for n in READ}}
    entry |= {"cpu": found.cpu, "asks": found.asks, "curve": found.regrets}
    with results.open("a") as file:
        file.write(json.dumps(entry) + "\n")
    shown = " ".join(f"{value:.4f}" for value in entry["regret"].values())
    print(*key, shown, f"{found.cpu:.1f} s", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.regret", description=__doc__)
    parser.add_argument("--arms", default="gp", help="names, with commas between them")
    parser.add_argument("--tables", default="claim", help="tune, claim, all, or one name")
    parser.add_argument("--mode", default="both", choices=[*search.SLOTS, "both"])
    parser.add_argument("--seeds", default="0:5", help="first:end")
    parser.add_argument("--results", type=Path, default=Path("regret.jsonl"))
    parser.add_argument("--label", help="the version of our arms (default: a hash of tuner/)")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--default", default="gp", help="arm, or arm@label, beside each peer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
