"""scikit-optimize's one home: the model of a search, what it proposes, and the plots made of it."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from skopt import Optimizer
from skopt import space as dims
from skopt.learning import GaussianProcessRegressor
from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from skopt.plots import plot_convergence, plot_evaluations, plot_objective
from skopt.utils import create_result, normalize_dimensions

from jobs.contract import State
from tuner.losses import bounded, has_value, robust
from tuner.space import Categorical, Float, Int, Parameter, Space, identity
from tuner.trial import Trial

__all__ = [
    "Surrogate",
    "importance",
    "plot_convergence",
    "plot_evaluations",
    "plot_objective",
    "to_result",
]

_AMPLITUDE, _LENGTH, _NOISE = 1.0, 0.75, 1.5  # standard deviations of a kernel's logarithms
_MEDIAN_LENGTH = 0.4  # of a length scale in one dimension; it grows with their root (Hvarfner 2024)
_CANDIDATES = 2000  # random points that are compared before the best few are improved
_BATCHES, _DRAWS = 10, 200  # of random points, for the importances


@final
class Surrogate:
    """A Gaussian process on the finished trials, one of which has a value; fitted once, here."""

    def __init__(self, space: Space, trials: Sequence[Trial]) -> None:
        self.space = space
        self.dimensions = normalize_dimensions([_dimension(p) for p in space.parameters.values()])
        told = bounded(robust(trials))
        self.points = [self._encode(trial.params) for trial, _ in told]
        losses = np.array([loss for _, loss in told])
        self.losses: list[float] = ((losses - losses.mean()) / (losses.std() or 1.0)).tolist()
        self.known = {identity(trial.params) for trial in trials if trial.state.finished}
        self.model = _fit(self.dimensions, self.points, self.losses)

    def believe(self, params: Sequence[Mapping[str, Any]]) -> None:
        """Take pending points for finished ones, at the loss that the model expects of them.

        Kriging believer (Ginsbourger 2010): a point in work attracts no second one. The kernel
        stays as it was fitted, so a lie costs no fit.
        """
        for point in map(self._encode, params):
            # alone: BLAS rounds by how many rows it gets, and a replay must be exact
            expected = self.model.predict(self.dimensions.transform([point]))
            self.points.append(point)
            self.losses.append(float(expected[0]))
        self.known |= {identity(p) for p in params}

    def ask(self, seed: int) -> dict[str, Any]:
        """The point of the highest expected improvement that is neither told nor believed."""
        optimizer = Optimizer(
            self.dimensions,
            _frozen(self.model),
            n_initial_points=1,
            acq_func="EI",
            acq_optimizer_kwargs={"n_points": _CANDIDATES},
            random_state=seed,
        )
        with _quiet():
            optimizer.tell(self.points, self.losses)
            params = self._decode(optimizer.ask())
        if identity(params) not in self.known:
            return params
        new = self.space.untried(self.known, seed)
        return self._most_promising(optimizer.models[-1], new) if new else params

    def _most_promising(self, model: Any, candidates: list[dict[str, Any]]) -> dict[str, Any]:
        points = self.dimensions.transform([self._encode(p) for p in candidates])
        with _quiet():
            mean, deviation = model.predict(points, return_std=True)
        return candidates[int(np.argmin(mean - deviation))]

    def _encode(self, params: Mapping[str, Any]) -> list[Any]:
        filled = self.space.filled(params).items()
        return [self.space.parameters[name].place(value) for name, value in filled]

    def _decode(self, point: Sequence[Any]) -> dict[str, Any]:
        pairs = zip(self.space.parameters.items(), point, strict=True)
        return self.space.only_active({name: p.at(x) for (name, p), x in pairs})


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
    model = _frozen(_fit(real, points, losses), normalize=True)  # of no class of ours
    return create_result(
        [list(space.filled(trial.params).values()) for trial in done],
        [trial.value for trial in done],
        real,
        np.random.RandomState(seed),
        specs={"args": {"dimensions": real.dimensions}, "function": "base_minimize"},
        models=[model.fit(real.transform(points), losses)],
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


@final
class _Posterior(GaussianProcessRegressor):  # type: ignore[misc]
    """A Gaussian process with the most probable kernel: its logarithms are normal a priori.

    The kernel's first values are the medians. By likelihood alone a few points are explained by
    one or two parameters, and while trials are pending nothing corrects that: on Hartmann's
    function in six dimensions, with 40 points and 8 workers, the regret was 1.38 ± .14 by
    likelihood and .64 ± .18 so (10 seeds). Optuna's GPSampler and BoTorch have priors too.
    """

    def log_marginal_likelihood(
        self, theta: Any, eval_gradient: bool = False, clone_kernel: bool = True
    ) -> Any:
        """The logarithm of likelihood times prior, (), and its gradient, (n_parameters,)."""
        found = super().log_marginal_likelihood(theta, eval_gradient, clone_kernel)
        spread = np.array([_AMPLITUDE, *[_LENGTH] * (len(theta) - 2), _NOISE])
        z = (theta - self.kernel.theta) / spread
        if eval_gradient:
            return found[0] - z @ z / 2, found[1] - z / spread
        return found - z @ z / 2


def _fit(space: dims.Space, points: list[Any], losses: Sequence[float]) -> Any:
    """A Gaussian process on points: Matérn 5/2, a length scale a column of the unit cube."""
    columns = space.transformed_n_dims
    lengths = np.full(columns, _MEDIAN_LENGTH * np.sqrt(columns))
    matern = Matern(lengths, [(0.05, 50.0)] * columns, nu=2.5)
    kernel = ConstantKernel(1.0, (0.05, 50.0)) * matern + WhiteKernel(0.01, (1e-5, 1.0))
    model = _Posterior(kernel, normalize_y=True, noise="gaussian")
    with _quiet():
        return model.fit(space.transform(points), losses)


def _frozen(model: Any, normalize: bool = False) -> Any:
    """scikit-optimize's own model, for any points, with the kernel that was fitted for some."""
    kernel = model.kernel_.k1 + WhiteKernel(model.noise_, noise_level_bounds="fixed")
    return GaussianProcessRegressor(kernel, optimizer=None, normalize_y=normalize, noise="gaussian")


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
