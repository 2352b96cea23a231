"""scikit-optimize's one home: the model of a search, what it proposes, and the plots made of it."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from skopt import Optimizer
from skopt import space as dims
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import WhiteKernel
from skopt.plots import plot_convergence, plot_evaluations, plot_objective
from skopt.utils import cook_estimator, create_result, normalize_dimensions

from jobs.contract import State
from tuner.space import Categorical, Float, Int, Parameter, Space
from tuner.trial import Trial

__all__ = [
    "Surrogate",
    "importance",
    "plot_convergence",
    "plot_evaluations",
    "plot_objective",
    "robust",
    "to_result",
]

Array = NDArray[np.float64]
MOST = 300  # points in the exact model: its cost grows with their cube
_FAILED = 0.9  # the quantile of the finished losses that a failed trial counts as
_SPAN = 3.0  # losses are clipped at median + 3 (median − best), as in HEBO (Cowen-Rivers 2022)
_BATCHES, _DRAWS = 10, 500  # of the importances


def robust(trials: Sequence[Trial]) -> list[tuple[Trial, float]]:
    """Finished trials with their losses, clipped above; failed ones at a high quantile.

    A diverged training says "not here" and not "a million times worse": left as it is, it would
    flatten everything else.
    """
    values = np.array([t.value for t in trials if _has_value(t)], float)
    if not len(values):
        return []
    median = np.median(values)
    cap = median + _SPAN * (median - values.min()) if median > values.min() else values.max()
    failed = np.quantile(np.minimum(values, cap), _FAILED)
    losses = [(t, min(float(t.value or 0.0), cap) if _has_value(t) else failed) for t in trials]
    return [(t, float(loss)) for t, loss in losses if t.state.finished]


@final
class Surrogate:
    """A Gaussian process on the finished trials; its kernel is fitted once, here.

    Needs at least two finished trials with a value. `seed` decides the restarts of the fit.
    """

    def __init__(self, space: Space, trials: Sequence[Trial], seed: int) -> None:
        self.space = space
        self.dimensions = normalize_dimensions([_dimension(p) for p in space.parameters.values()])
        told = _bounded(robust(trials))
        self.points = [_encode(space, trial.params) for trial, _ in told]
        losses = np.array([loss for _, loss in told])
        self.mean, self.scale = losses.mean(), losses.std() or 1.0
        self.losses = list((losses - self.mean) / self.scale)
        self.model = _fit(self.dimensions, self.points, self.losses, seed)

    def believe(self, params: Sequence[Mapping[str, Any]]) -> None:
        """Take pending points for finished ones, at the loss that the model expects of them.

        Kriging believer (Ginsbourger 2010): a point in work attracts no second one. The kernel
        stays as it was fitted, so a lie costs no fit.
        """
        points = [_encode(self.space, p) for p in params]
        if points:
            with _quiet():
                expected = self.model.predict(self.dimensions.transform(points))
            self.points += points
            self.losses += [float(loss) for loss in expected]

    def ask(self, seed: int) -> dict[str, Any]:
        """The point of the highest expected improvement that was neither told nor is believed."""
        optimizer = Optimizer(
            self.dimensions,
            _frozen(self.model),
            n_initial_points=1,
            acq_func="EI",
            acq_optimizer="lbfgs",
            random_state=seed,
        )
        with _quiet():
            optimizer.tell(self.points, self.losses)
            point = optimizer.ask()
        params = _decode(self.space, point)
        known = {_key(_decode(self.space, p)) for p in self.points}
        return params if _key(params) not in known else self._untried(optimizer, known, seed)

    def expect(self, params: Sequence[Mapping[str, Any]]) -> Array:
        """The loss that the model expects at some points, (n,), in the trials' own units."""
        encoded = self.dimensions.transform([_encode(self.space, p) for p in params])
        with _quiet():
            expected: Array = self.model.predict(encoded) * self.scale + self.mean
        return expected

    def _untried(self, optimizer: Any, known: set[Any], seed: int) -> dict[str, Any]:
        """The best of some random points that are new; any point where the space is used up."""
        draws = np.random.default_rng(seed).random((_DRAWS, len(self.space.parameters)))
        new = {_key(p): p for u in draws if _key(p := self.space.from_unit(u)) not in known}
        candidates = list(new.values()) or [self.space.from_unit(draws[0])]
        model = optimizer.models[-1]
        points = self.dimensions.transform([_encode(self.space, p) for p in candidates])
        with _quiet():
            mean, deviation = model.predict(points, return_std=True)
        return candidates[int(np.argmin(mean - deviation))]


def to_result(space: Space, trials: Sequence[Trial], seed: int) -> Any:
    """The search as a scikit-optimize OptimizeResult, in real units; failed trials are left out.

    `trials` hold losses. Where a parameter was inactive it stands at the middle of its range. The
    model is fitted on the losses as `robust` sees them. Raises ValueError without a finished one.
    """
    done = [trial for trial in trials if _has_value(trial)]
    if not done:
        raise ValueError("no trial is finished")
    real = dims.Space([_real(p, name) for name, p in space.parameters.items()])
    normalised = normalize_dimensions(real.dimensions)
    filled = [[_filled(space, t.params)[name] for name in space.parameters] for t in done]
    told = _bounded(robust(done))
    points = [[_filled(space, t.params)[name] for name in space.parameters] for t, _ in told]
    model = _fit(normalised, points, [loss for _, loss in told], seed)
    values = [t.value for t in done]
    rng = np.random.RandomState(seed)
    specs = {"args": {"dimensions": real.dimensions}, "function": "base_minimize"}
    return create_result(filled, values, normalised, rng, specs=specs, models=[model])


def importance(result: Any) -> dict[str, tuple[float, float]]:
    """Each parameter's share of the surrogate's variance, alone and with others: mean, error.

    Total-effect Sobol index, Jansen's estimator (Saltelli 2010, table 2 f), of the model of an
    OptimizeResult; the error is the standard deviation over batches of random points.
    """
    model, real = result.models[-1], result.space
    rng = np.random.RandomState(0)
    shares = []
    for _ in range(_BATCHES):
        one, two = (real.rvs(_DRAWS, random_state=rng) for _ in range(2))
        base = _predict(model, real, one)
        spread = max(float(base.var()), 1e-12)
        moved = [[[*a[:i], b[i], *a[i + 1 :]] for a, b in zip(one, two, strict=True)]
                 for i in range(real.n_dims)]  # fmt: skip
        effects = [((base - _predict(model, real, m)) ** 2).mean() / (2 * spread) for m in moved]
        shares.append(effects)
    means, errors = np.mean(shares, axis=0), np.std(shares, axis=0)
    names = [d.name for d in real.dimensions]
    return {n: (float(m), float(e)) for n, m, e in zip(names, means, errors, strict=True)}


def _fit(space: dims.Space, points: list[Any], losses: Sequence[float], seed: int) -> Any:
    model = cook_estimator("GP", space=space, random_state=seed, noise="gaussian")
    model.set_params(n_restarts_optimizer=1, normalize_y=True)
    with _quiet():
        return model.fit(space.transform(points), losses)


def _frozen(model: Any) -> Any:
    """The same model for other points: its kernel is not fitted again."""
    signal = model.kernel_.k1 if isinstance(model.kernel_.k2, WhiteKernel) else model.kernel_
    noise = WhiteKernel(model.noise_, noise_level_bounds="fixed")
    return GaussianProcessRegressor(signal + noise, optimizer=None, normalize_y=True, noise=None)


def _predict(model: Any, space: dims.Space, points: list[Any]) -> Array:
    with _quiet():
        predicted: Array = model.predict(space.transform(points))
    return predicted


def _bounded(told: list[tuple[Trial, float]]) -> list[tuple[Trial, float]]:
    """At most MOST trials: the best third, and the newest of the others."""
    if len(told) <= MOST:
        return told
    by_loss = sorted(told, key=lambda pair: (pair[1], pair[0].number))
    best, rest = by_loss[: MOST // 3], by_loss[MOST // 3 :]
    newest = sorted(rest, key=lambda pair: -pair[0].number)[: MOST - len(best)]
    return sorted(best + newest, key=lambda pair: pair[0].number)


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


def _encode(space: Space, params: Mapping[str, Any]) -> list[Any]:
    return [_place(space.parameters[name], v) for name, v in _filled(space, params).items()]


def _place(parameter: Parameter, value: Any) -> Any:
    match parameter:
        case Float(step=None) | Int(log=True):
            return value
        case Categorical():
            return parameter.index(value)
    return round((value - parameter.low) / (parameter.step or 1))


def _decode(space: Space, point: Sequence[Any]) -> dict[str, Any]:
    pairs = zip(space.parameters.items(), point, strict=True)
    params = {name: _value(parameter, x) for (name, parameter), x in pairs}
    return {name: params[name] for name in space.active(params)}


def _value(parameter: Parameter, x: Any) -> Any:
    match parameter:
        case Float(low=low, high=high, step=None):
            return min(max(float(x), low), high)
        case Int(log=True):
            return int(x)
        case Categorical(choices=choices):
            return choices[int(x)]
    return parameter.from_unit((int(x) + 0.5) / (parameter.size or 1))


def _filled(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Params with the middle of the range where a parameter is inactive."""
    middle = {name: p.from_unit(0.5) for name, p in space.parameters.items()}
    return {**middle, **params}


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(params.items()))


def _has_value(trial: Trial) -> bool:
    finite = trial.value is not None and np.isfinite(trial.value)
    return trial.state in (State.COMPLETE, State.PRUNED) and bool(finite)


@contextmanager
def _quiet() -> Iterator[None]:
    """scikit-optimize warns of length scales at their bounds, which is what bounds are for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
