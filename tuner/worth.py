"""Whether it is worth going on: what the next trials may improve, beside one training's noise.

The forecast is the mean of two simple ones. One takes the model-guided trials for draws in any
order: what the best of n is expected to gain over the best of n − m of them, exactly, by order
statistics. The other takes the search as it went: half of what its last m trials gained.

Calibrated by `python -m tests.bench.worth` on real searches by gp and mtpe, after 15 to 60 trials,
m = 10: the mean forecast over what the next ten trials gained on the mean is 1.2 in the median of
the cases and within a factor of two in 67 %, of three in 85 %; on tables that nothing was chosen on
1.0, 71 % and 92 %. It tells problems and stages apart (rank correlation .44) and not the lucky from
the unlucky search of one problem. What a Gaussian process expects of its own next ten points was
2.3 in the median, within two in 31 %, and in a tenth of the cases sixty times too much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jobs.contract import State
from tuner import confirm
from tuner.confirm import loss
from tuner.losses import bounded, has_value, robust
from tuner.results import metric, minimised, searched
from tuner.study import Study
from tuner.trial import Trial

Array = NDArray[np.float64]
MORE = 10  # trials that are forecast
_LEAST = 5  # complete trials beyond as many, before anything is said
_NEWEST = 100  # trials from which the surrogate tells the noise: its fit takes the cube of them
_WORTH, _HARDLY = 1.0, 0.3  # of the noise: from here it is worth it, below here it hardly is
_LIKE_OTHERS = ("random", "external")  # samplers whose first trials are like the later ones
_PARTS = {"a tenth": 0.1, "a fifth": 0.2, "a third": 1 / 3, "half": 0.5, "two thirds": 2 / 3}


@dataclass(frozen=True, slots=True)
class Worth:
    """What `more` trials may improve the best by, and a training's standard deviation by its seed.

    `gain` and `noise` are in the metric's units; `seeds` says that fresh seeds told the noise, and
    not the surrogate.
    """

    more: int
    gain: float
    noise: float
    seeds: bool

    @property
    def level(self) -> Literal["worth it", "may be worth it", "hardly worth it"]:
        """The gain beside the noise."""
        if self.gain >= _WORTH * self.noise > 0:
            return "worth it"
        return "may be worth it" if self.gain > _HARDLY * self.noise else "hardly worth it"


def worth(study: Study, trials: Sequence[Trial], more: int = MORE) -> Worth | None:
    """The forecast of a search; None while fewer than `more` and five trials are complete."""
    done = _by_end([t for t in searched(trials) if t.state.finished])
    losses = np.array([loss(study, t) for t in done])
    if np.isfinite(losses).sum() < more + _LEAST:
        return None
    worst = float(losses[np.isfinite(losses)].max())
    bounded_ = np.where(np.isfinite(losses), losses, worst)  # a failed trial improves nothing
    guided = np.array([_is_guided(study, t) for t in done])
    noise = _noise_of_seeds(study, trials)
    return Worth(
        more,
        gain(bounded_, bounded_[guided], more),
        _noise_of_surrogate(study, trials) if noise is None else noise,
        noise is not None,
    )


def gain(losses: Array, guided: Array, more: int) -> float:
    """What `more` trials may lower the best loss by.

    `losses`, (trial,), are all in the order of their ends, more than `more` of them, and `guided`
    those of the trials that the sampler chose by what it knew.
    """
    drawn = guided if len(guided) > more else losses
    last = float(losses[:-more].min() - losses.min())
    return (_of_draws(drawn, more) + last / 2) / 2


def lines(study: Study, trials: Sequence[Trial]) -> list[str]:
    """The forecast in a sentence; nothing where there is none."""
    found = worth(study, trials)
    return [_sentence(study, found)] if found else []


def document(study: Study, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """The forecast for best.json; None where there is none."""
    found = worth(study, trials)
    if found is None:
        return None
    return {
        "trials": found.more,
        "gain": found.gain,
        "noise": found.noise,
        "noise_from": "fresh seeds" if found.seeds else "surrogate",
        "level": found.level,
        "sentence": _sentence(study, found),
    }


def _sentence(study: Study, found: Worth) -> str:
    n = "Ten" if found.more == 10 else f"{found.more}"
    if found.gain == 0:
        return f"{n} more trials are not expected to improve {metric(study)}: {found.level}."
    text = f"{n} more trials may improve {metric(study)} by about {found.gain:.2g}"
    if found.noise == 0:
        return f"{text}, and another seed of a training changes nothing: {found.level}."
    by = "" if found.seeds else " as the surrogate sees it"
    share = f"{_share(found.gain / found.noise)} one training's seed noise"
    return f"{text}, {share} ({found.noise:.2g}{by}): {found.level}."


def _share(ratio: float) -> str:
    """A ratio in words."""
    if ratio < 0.07:
        return "next to nothing beside"
    if ratio < 0.8:
        return f"{min(_PARTS, key=lambda part: abs(_PARTS[part] - ratio))} of"
    return "about" if ratio < 1.5 else f"{ratio:.2g} times"


def _of_draws(values: Array, more: int) -> float:
    """The mean, over all subsets that lack `more` of the values, of their lowest, less the lowest.

    The i-th lowest of n is that of a subset of k with chance C(n − 1 − i, k − 1) / C(n, k).
    """
    n = len(values)
    k = max(1, n - more)
    chance, expected = k / n, 0.0
    lowest = np.sort(values)
    for i in range(n - k + 1):
        expected += chance * float(lowest[i] - lowest[0])
        chance *= (n - i - k) / (n - i - 1) if n - i > 1 else 0.0
    return expected


def _by_end(trials: Sequence[Trial]) -> list[Trial]:
    return sorted(trials, key=lambda t: ((t.started or 0.0) + (t.seconds or 0.0), t.number))


def _is_guided(study: Study, trial: Trial) -> bool:
    return study.sampler in _LIKE_OTHERS or trial.number >= study.n_initial


def _noise_of_seeds(study: Study, trials: Sequence[Trial]) -> float | None:
    """The deviation among the fresh seeds of a candidate, pooled; None with too few of them."""
    several = [one.values for one in confirm.ranking(study, trials) if len(one.values) > 1]
    return math.sqrt(fmean(map(variance, several))) if several else None


def _noise_of_surrogate(study: Study, trials: Sequence[Trial]) -> float:
    """What a Gaussian process does not explain of the newest trials, a standard deviation."""
    from tuner import gaussian  # noqa: PLC0415 - half a second that fresh seeds need not cost
    from tuner.encoding import Encoding  # noqa: PLC0415

    told = bounded(robust([t for t in minimised(study, trials) if _tells(t)]))[-_NEWEST:]
    encoding = Encoding(study.space)
    points = encoding.columns(np.array([encoding.places(t.params) for t, _ in told]))
    losses = np.array([value for _, value in told])
    spread = float(losses.std())
    if spread == 0:
        return 0.0
    kernel = gaussian.fit(points, (losses - losses.mean()) / spread, encoding.of)
    return math.sqrt(kernel.noise) * spread


def _tells(trial: Trial) -> bool:
    return trial.state is State.COMPLETE and has_value(trial)
