"""Where to look next: the point of the highest expected improvement over a mixed space."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import erfcx, log_ndtr

from tuner.encoding import Array, Encoding
from tuner.gaussian import Posterior

_DRAWN = 1000  # candidates from all over the space …
_NEAR = 500  # … and from around the best known points
_BEST_POINTS = 10  # around which
_SCALES = (0.02, 0.1, 0.3)  # standard deviations of what is added to places there
_CHANGED = 0.3  # chance of a place there to change
_CLIMBERS = 5  # candidates that are improved
_ROUNDS = 8  # of moves of one parameter, at most
_TRIES = 12  # values of a continuous parameter that a round tries
_C1, _C2 = math.log(2 * math.pi) / 2, math.log(math.pi / 2) / 2


def most_promising(
    posterior: Posterior, encoding: Encoding, best: float, told: Array, rng: np.random.Generator
) -> Array:
    """Places of high expected improvement over a loss `best`, (n, parameter), the highest first.

    `told` are the known places, the best first, (m, parameter). Candidates are scored as they will
    be trained; then a few climb, by moves of one parameter and along the gradient.
    """
    candidates = np.vstack([encoding.draw(_DRAWN, rng), _around(encoding, told, rng)])
    scores = _scores(posterior, encoding, best, candidates)
    order = np.argsort(-scores, kind="stable")
    start = _distinct(candidates[order], _CLIMBERS)
    climbed = _climb(posterior, encoding, best, start, rng)
    everything = np.vstack([climbed, candidates[order]])
    scores = np.concatenate([_scores(posterior, encoding, best, climbed), scores[order]])
    ranked: Array = everything[np.argsort(-scores, kind="stable")]
    return ranked


def log_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """The logarithm of the expected improvement below `best`, exact far from it too.

    Ament et al. 2023, equation 9.
    """
    z = (best - mean) / deviation
    return np.log(deviation) + _log_h(z)


def _log_h(z: Array) -> Array:
    """log(φ(z) + z Φ(z))."""
    out = np.empty_like(z)
    near = z > -1.0
    middle = ~near & (z > -1e6)
    far = z <= -1e6
    zn, zm, zf = z[near], z[middle], z[far]
    out[near] = np.log(np.exp(-(zn**2) / 2 - _C1) + zn * np.exp(log_ndtr(zn)))
    inner = np.log(erfcx(-zm / math.sqrt(2.0)) * np.abs(zm)) + _C2
    out[middle] = -(zm**2) / 2 - _C1 + np.log(-np.expm1(np.minimum(inner, -1e-15)))
    out[far] = -(zf**2) / 2 - _C1 - 2 * np.log(np.abs(zf))
    return out


def _scores(posterior: Posterior, encoding: Encoding, best: float, places: Array) -> Array:
    return log_improvement(*posterior.expect(encoding.columns(places)), best)


def _around(encoding: Encoding, told: Array, rng: np.random.Generator) -> Array:
    """Places near the best known ones, (n, parameter)."""
    known = told[:_BEST_POINTS]
    places = known[rng.integers(len(known), size=_NEAR)]
    scale = rng.choice(_SCALES, size=(_NEAR, 1))
    changed = rng.random(places.shape) < _CHANGED
    moved = places + changed * scale * rng.standard_normal(places.shape)
    drawn = encoding.draw(_NEAR, rng)
    for i, category in enumerate(encoding.categories):
        if category:
            moved[:, i] = np.where(changed[:, i], drawn[:, i], places[:, i])
    return encoding.rounded(moved)


def _distinct(places: Array, n: int) -> Array:
    """The first `n` different rows."""
    _, first = np.unique(places[: 20 * n], axis=0, return_index=True)
    rows: Array = places[np.sort(first)[:n]]
    return rows


def _climb(
    posterior: Posterior, encoding: Encoding, best: float, start: Array, rng: np.random.Generator
) -> Array:
    """Each place after moves that improve it, one parameter at a time, then along the gradient."""
    places = start.copy()
    scores = _scores(posterior, encoding, best, places)
    for _ in range(_ROUNDS):
        moves, owner = _moves(encoding, places, rng)
        tried = _scores(posterior, encoding, best, moves)
        better = False
        for k in range(len(places)):
            mine = np.flatnonzero(owner == k)
            top = mine[np.argmax(tried[mine])]
            if tried[top] > scores[k] + 1e-9:
                places[k], scores[k], better = moves[top], tried[top], True
        if not better:
            break
    if not encoding.continuous:
        return places
    return np.vstack([places, _ascend(posterior, encoding, best, places)])


def _moves(
    encoding: Encoding, places: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.intp]]:
    """Every place with one parameter changed, and whose move each is."""
    rows, owners = [], []
    for i in range(len(encoding.parameters)):
        for k, place in enumerate(places):
            values = _tries(place[i], rng) if i in encoding.continuous else encoding.values(i)
            moved = np.repeat(place[None], len(values), axis=0)
            moved[:, i] = values
            rows.append(moved)
            owners.append(np.full(len(values), k))
    return encoding.rounded(np.vstack(rows)), np.concatenate(owners)


def _tries(place: float, rng: np.random.Generator) -> Array:
    """Values of a continuous parameter: some near, some anywhere."""
    near = place + rng.standard_normal(_TRIES // 2) * np.geomspace(0.01, 0.2, _TRIES // 2)
    return np.concatenate([near, rng.random(_TRIES - _TRIES // 2)])


def _ascend(posterior: Posterior, encoding: Encoding, best: float, places: Array) -> Array:
    """The places moved along the continuous parameters to where the improvement is highest."""
    free = encoding.continuous
    columns = [int(np.flatnonzero(encoding.of == i)[0]) for i in free]

    def badness(u: Array, fixed: Array) -> tuple[float, Array]:
        x = fixed.copy()
        x[columns] = u
        mean, deviation, by_mean, by_deviation = posterior.slopes(x)
        z = np.array([(best - mean) / deviation])
        log_h = _log_h(z)
        steep = float(np.exp(log_ndtr(z) - log_h)[0])
        slope = (by_deviation - steep * (by_mean + z[0] * by_deviation)) / deviation
        return -float(np.log(deviation) + log_h[0]), -slope[columns]

    moved = places.copy()
    for k, fixed in enumerate(encoding.columns(places)):
        found = minimize(
            badness, places[k, free], (fixed,), "L-BFGS-B", jac=True,
            bounds=[(0.0, 1.0)] * len(free), options={"maxiter": 20},
        )  # fmt: skip
        moved[k, free] = found.x
    return encoding.rounded(moved)
