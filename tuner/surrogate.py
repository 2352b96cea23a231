"""scikit-optimize's one home: its own ask and tell, and the results that its plots show."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from skopt import Optimizer
from skopt import space as dims
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from skopt.utils import create_result, normalize_dimensions

from jobs.contract import State
from tuner import gaussian
from tuner.losses import bounded, has_value, robust
from tuner.space import Categorical, Float, Int, Parameter, Space
from tuner.trial import Trial

__all__ = [
    "Model",
    "ask",
    "importance",
    "model",
    "to_result",
]

_BATCHES, _DRAWS = 10, 200  # of random points, for the importances
_LEAST = 5  # complete trials before it is asked what matters


@dataclass(frozen=True, slots=True)
class Model:
    """A surrogate of a search; `shares` are its importances, none with too few trials."""

    result: Any  # a scikit-optimize OptimizeResult
    shares: Mapping[str, tuple[float, float]]


def model(space: Space, trials: Sequence[Trial], seed: int) -> Model | None:
    """The surrogate of a search whose values are losses; None before one has a value."""
    complete = [t for t in trials if t.state is State.COMPLETE]
    if not any(has_value(trial) for trial in complete):
        return None
    result = to_result(space, trials, seed)
    return Model(result, importance(result) if len(complete) >= _LEAST else {})


def ask(space: Space, trials: Sequence[Trial], seed: int) -> dict[str, Any]:
    """The next point of a `skopt.Optimizer` that is told all trials, one of which has a value.

    Pending trials are told as the lowest loss so far, the library's `cl_min`.
    """
    told = robust(trials)
    lie = min(loss for _, loss in told)
    pending = [(trial, lie) for trial in trials if not trial.state.finished]
    dimensions = [_dimension(parameter) for parameter in space.parameters.values()]
    optimizer = Optimizer(dimensions, n_initial_points=1, random_state=seed)
    with _quiet():
        optimizer.tell(
            [_encoded(space, trial.params) for trial, _ in (*told, *pending)],
            [loss for _, loss in (*told, *pending)],
        )
        point = optimizer.ask()
    pairs = zip(space.parameters.items(), point, strict=True)
    return space.only_active({name: p.at(x) for (name, p), x in pairs})


def to_result(space: Space, trials: Sequence[Trial], seed: int) -> Any:
    """The search as a scikit-optimize OptimizeResult, in real units; failed trials are left out.

    `trials` hold losses. Where a parameter was inactive it stands at the middle of its range. The
    model is fitted on the losses as `robust` sees them. Raises ValueError without a finished one.
    """
    done = [trial for trial in trials if trial.state is State.COMPLETE and has_value(trial)]
    if not done:
        raise ValueError("no trial is finished")
    real = normalize_dimensions([_real(p, name) for name, p in space.parameters.items()])
    told = bounded(robust(done))
    points = [list(space.filled(trial.params).values()) for trial, _ in told]
    losses = [loss for _, loss in told]
    return create_result(
        [list(space.filled(trial.params).values()) for trial in done],
        [trial.value for trial in done],
        real,
        np.random.RandomState(seed),
        specs={"args": {"dimensions": real.dimensions}, "function": "base_minimize"},
        models=[_model(real.transform(points).tolist(), losses, _owners(real))],
    )


def importance(result: Any) -> dict[str, tuple[float, float]]:
    """Each parameter's share of the surrogate's variance, alone and with others: mean, error.

    Total-effect Sobol index, Jansen's estimator (Saltelli 2010, table 2 f), of the model of an
    OptimizeResult; the error is the standard error over batches of random points.
    """
    space, rng = result.space, np.random.RandomState(0)
    shares = [_effects(result.models[-1], space, rng) for _ in range(_BATCHES)]
    means, errors = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(_BATCHES)
    names = [dimension.name for dimension in space.dimensions]
    return {n: (float(m), float(e)) for n, m, e in zip(names, means, errors, strict=True)}


def _effects(model: Any, space: dims.Space, rng: np.random.RandomState) -> list[float]:
    """Total effects from one batch of random points, (dimension,)."""
    one, two = (space.transform(space.rvs(_DRAWS, random_state=rng)) for _ in range(2))
    base = model.predict(one)
    spread = 2 * float(base.var()) or np.inf  # a model that is flat everywhere: no effects
    effects, begin = [], 0
    for dimension in space.dimensions:
        end = begin + dimension.transformed_size
        moved = one.copy()
        moved[:, begin:end] = two[:, begin:end]  # a category has a column a choice
        effects.append(float(((base - model.predict(moved)) ** 2).mean() / spread))
        begin = end
    return effects


def _model(points: list[list[float]], losses: Sequence[float], of: Sequence[int]) -> Any:
    """scikit-optimize's own model, of no class of ours, with the kernel that we find for it."""
    values = np.array(losses)
    standard = (values - values.mean()) / (values.std() or 1.0)
    found = gaussian.fit(np.array(points), standard, np.array(of))
    matern = Matern(found.lengths[found.of], nu=2.5)
    kernel = ConstantKernel(found.amplitude) * matern + WhiteKernel(found.noise)
    model = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True, noise="gaussian")
    with _quiet():
        return model.fit(points, losses)


def _owners(space: dims.Space) -> list[int]:
    """Whose each column of a transformed point is: a category has several."""
    widths = [dimension.transformed_size for dimension in space.dimensions]
    return [i for i, width in enumerate(widths) for _ in range(width)]


def _encoded(space: Space, params: Mapping[str, Any]) -> list[Any]:
    filled = space.filled(params).items()
    return [space.parameters[name].place(value) for name, value in filled]


def _dimension(parameter: Parameter) -> Any:
    """A dimension for the model: the place on the grid for a grid, so that steps are equal."""
    match parameter:
        case Float(step=None) | Int(log=True):
            return _real(parameter)
        case Categorical():
            return dims.Categorical(range(parameter.size))
    return dims.Integer(0, (parameter.size or 1) - 1)


def _real(parameter: Parameter, name: str | None = None) -> Any:
    """A dimension in real units."""
    if isinstance(parameter, Categorical):
        return dims.Categorical(parameter.choices, name=name)
    kind = dims.Real if isinstance(parameter, Float) else dims.Integer
    prior = "log-uniform" if parameter.log else "uniform"
    return kind(parameter.low, parameter.high, prior=prior, name=name)


@contextmanager
def _quiet() -> Iterator[None]:
    """scikit-optimize warns of length scales at their bounds, which is what bounds are for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
