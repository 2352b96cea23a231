"""The page from a run: every part of it, put into the template under a strict policy."""

import base64
import hashlib
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.contract import State
from tuner import again, confirm
from tuner.known import known
from tuner.page import charts, rows, slots, space, winner, words
from tuner.results import metric, searched, stopped_early
from tuner.status import condition
from tuner.store import Store
from tuner.style import NOTHING, TOO_FEW
from tuner.surrogate import Model
from tuner.trial import Trial

if TYPE_CHECKING:
    from tuner.report import Tested

_HERE = Path(__file__).parent
_METRICS = 12  # that have a chart of their own
_DEPENDENT = 12  # parameters whose partial dependence is drawn


def build(
    store: Store,
    trials: Sequence[Trial],
    test: "Tested",
    spent: Mapping[str, Any],
    model: Model | None,
) -> bytes:
    """The report as one HTML document that loads nothing; `spent` is the budget's table."""
    css, js = (Markup((_HERE / name).read_text()) for name in ("page.css", "page.js"))
    given = {
        **_head(store, trials),
        **_answer(store, trials, test, spent),
        **_asked(store),
        **_search(store, trials, test, spent),
        **_model(store, trials, model),
        **_run(store, trials, spent),
        "css": css,
        "js": js,
        "csp": policy(css, js),
        "metric": metric(store.study),
    }
    return str(template("page.html.j2").render(given)).encode()


def policy(css: str, js: str) -> str:
    """A Content-Security-Policy that allows this style and this script, and nothing else."""
    style, script = (
        base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (css, js)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def template(name: str) -> Any:
    """A template of this folder, which escapes whatever it is given."""
    loader = PackageLoader("tuner.page", "")
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        finalize=words.visible,
        trim_blocks=True,
    ).get_template(name)


def _head(store: Store, trials: Sequence[Trial]) -> dict[str, Any]:
    states = Counter(t.state.value.lower() for t in searched(trials))
    counts = words.listing(f"{n} {state.replace('fail', 'failed')}" for state, n in states.items())
    now = words.moment(time.time())
    state = condition(store, store.last_sign())
    return {
        "name": store.study.name,
        "subtitle": f"{state} · {counts or 'no trial yet'} · written {now} UTC",
        "footer": "One file, which loads nothing and sends nothing. Links lead to the run's other "
        "files as long as it lies in the run's folder report/.",
    }


def _answer(
    store: Store, trials: Sequence[Trial], test: "Tested", spent: Mapping[str, Any]
) -> dict[str, Any]:
    won = confirm.winner(store.study, trials)
    hours = words.number(spent["total"], 3)
    lines = [f"No test score: {test.missing}."] if test.missing else []
    return {
        "facts": winner.facts(store, trials, test, hours, spent["unit"]),
        "sentences": winner.sentences(store, trials, test),
        "confirmed": winner.confirmed(store, trials),
        "params": [(k, words.value(v)) for k, v in won.params.items()] if won else [],
        "again": again.lines(store, won) if won else (),
        "test_lines": [test.verdict.sentence, *lines] if test.verdict else lines,
        "test_charts": winner.errs(store, trials, test),
    }


def _asked(store: Store) -> dict[str, Any]:
    study = store.study
    budget = f" or {words.number(study.gpu_hours)} hours" if study.gpu_hours else ""
    asked = (
        f"{study.direction.capitalize()} {metric(study)} of {study.train} in {study.n_trials} "
        f"trials{budget}, asked of {study.sampler}; "
        f"the first {study.n_initial} are spread over the space."
    )
    fixed = [(k, words.cut(words.value(v), 200)) for k, v in {**study.fixed, **study.data}.items()]
    return {"asked": asked, "space": rows.space(study), "fixed": fixed}


def _search(
    store: Store, trials: Sequence[Trial], test: "Tested", spent: Mapping[str, Any]
) -> dict[str, Any]:
    study = store.study
    baselines = " The baselines are scored on the test part alone, so they stand there."
    shares = known(study, trials)
    saved = stopped_early(study, trials, store.last_sign().get("pruner_off"))
    note = [f"{saved}." if saved else ""]
    if shares:
        note.append(
            f"The sampler knew {shares.when_asked:.0%} of the earlier results when it asked for a"
            " point."
        )
    won = confirm.winner(study, trials)
    shown = charts.shown_curves(study, trials)
    names = charts.metrics_of(study, shown)
    with_curve = sum(len(t.curve) > 0 for t in searched(trials))
    thinned = "" if len(shown) == with_curve else f" of {with_curve}: the best 50, others spread"
    drawn_of = words.count(len(shown), "trial") + thinned
    drawn = [(name, charts.curves(shown, name, won, i)) for i, name in enumerate(names[:_METRICS])]
    return {
        "history": charts.history(study, trials),
        "history_note": " ".join(n for n in note if n),
        "history_legend": "Far outliers stand at the border. A dot leads to its trial's row."
        + (baselines if test.verdict else ""),
        "progress": charts.progress(study, trials, spent["unit"]),
        "nothing": NOTHING,
        "curves": drawn,
        "curves_note": f"Every reported metric over its steps; {drawn_of}.",
    }


def _model(store: Store, trials: Sequence[Trial], model: Model | None) -> dict[str, Any]:
    """What needs a model of the search; it is fitted on at most 300 trials."""
    study = store.study
    complete = sum(t.state is State.COMPLETE for t in searched(trials))
    names = list(study.space.parameters)
    found: dict[str, Any] = {
        "importance": None,
        "dependence": [],
        "maps": [],
        "too_few": TOO_FEW,
        "model_note": "",
    }
    if model and model.shares:
        result, shares = model.result, model.shares
        names = sorted(names, key=lambda name: -shares[name][0])
        found |= {
            "importance": space.importance(shares),
            "dependence": space.dependence(study, result, names[:_DEPENDENT]),
            "maps": space.maps(study, result, names),
            "model_note": "By a Gaussian process fitted to at most 300 complete trials, "
            "the best and the newest. It says what the search has seen, not what causes it.",
        }
    n = min(complete, space.LINES)
    first = (
        f"the {space.MOST} most important parameters"
        if len(names) > space.MOST
        else "all parameters"
    )
    return found | {
        "slices": space.slices(study, trials),
        "pairs": space.pairs(study, trials, names),
        "pairs_note": f"{first.capitalize()}, at most {space.PAIRED} trials. Below the diagonal "
        "the stronger the blue, the better (rank by value); above it, the later asked.",
        "parallel": space.parallel(study, trials, names),
        "parallel_note": f"{first.capitalize()}; {n} of {complete} complete trials, the best fifth "
        "strongest. Where a parameter does not apply, the line runs below its axis.",
    }


def _run(store: Store, trials: Sequence[Trial], spent: Mapping[str, Any]) -> dict[str, Any]:
    chart, said = slots.slots(trials, _now(trials))
    table = rows.rows(store, trials)
    every = len(searched(trials))
    return {
        "slots": chart,
        "slots_note": said,
        "unit": spent["unit"],
        "costs": rows.costs(spent),
        "cost_note": f"{words.number(spent['total'], 3)} {spent['unit']}, by {spent['by']}.",
        "failures": rows.failures(trials),
        "columns": rows.columns(store.study),
        "rows": table,
        "states": sorted({row.state for row in table}),
        "origin": _origin(store, trials),
        "trials_note": ""
        if len(table) == every
        else f"The newest {len(table)} of {every}; all are in the CSV.",
    }


def _now(trials: Sequence[Trial]) -> float:
    """The time to which running trials are drawn."""
    running = any(t.state is State.RUNNING for t in trials)
    return time.time() if running else max((slots.end_of(t, 0.0) for t in trials), default=0.0)


def _origin(store: Store, trials: Sequence[Trial]) -> list[tuple[str, str]]:
    run = store.run
    given = {
        "run": store.id,
        "began": f"{words.moment(store.began())} UTC",
        "seed of the study": store.study.seed,
        "git commit": commit() or "none",
        "data": run["study"].get("data", {}).get("source", "none"),
        "data hash": run["study"].get("data_hash") or "none of a file of the study's own",
        **run.get("versions", {}),
    }
    if won := confirm.winner(store.study, trials):
        given |= {"winner": f"trial {won.number}", "seed of the winner": won.seed}
    return [(key, str(value)) for key, value in given.items()]


@cache
def commit() -> str:
    """The git commit of this code; empty where it is no checkout."""
    command = ["git", "-C", str(_HERE), "rev-parse", "--short=12", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
