"""A Gaussian process: the most probable Matérn kernel for some points, and what it expects."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, lapack, solve_triangular
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]

# A-priori medians and standard deviations of the logarithms of a kernel's values.
_LENGTH, _LENGTH_SPREAD = 0.4, 0.75  # times the root of the parameters (Hvarfner et al. 2024)
_NOISE, _NOISE_SPREAD = 0.01, 1.5
_AMPLITUDE_SPREAD = 1.0
_BOUNDS = ((1e-2, 1e2), (1e-5, 1.0), (5e-2, 5e1))  # of lengths, noise, amplitude
_ROOT5 = math.sqrt(5.0)
_JITTER = 1e-8


@dataclass(frozen=True, slots=True)
class Kernel:
    """Matérn 5/2 with a length scale a parameter; `of` says whose each column of a point is."""

    lengths: Array  # (parameter,)
    noise: float  # a variance, as the amplitude
    amplitude: float
    of: NDArray[np.intp]  # (column,)

    def between(self, a: Array, b: Array) -> Array:
        """Covariances of points without their noise, (n, column), (m, column) → (n, m)."""
        covariances: Array = self.amplitude * _matern(np.sqrt(self._squares(a, b)))
        return covariances

    def slopes(self, x: Array, points: Array) -> Array:
        """The gradient of a point's covariances by its columns, (column,), (n, column) → same."""
        distance = np.sqrt(self._squares(x[None], points))[0]
        steep = self.amplitude * _steepness(distance)[:, None]
        slopes: Array = -steep * (x - points) / self.lengths[self.of] ** 2
        return slopes

    def _squares(self, a: Array, b: Array) -> Array:
        a, b = a / self.lengths[self.of], b / self.lengths[self.of]
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2.0 * a @ b.T
        positive: Array = np.maximum(squares, 0.0)
        return positive


def fit(points: Array, losses: Array, of: NDArray[np.intp]) -> Kernel:
    """The kernel of the highest posterior density, from two fixed starts.

    By likelihood alone a few points are explained by one or two parameters, and while trials are
    pending nothing corrects that; so the logarithms are normal a priori, and length scales grow
    with the root of the number of parameters (Hvarfner et al. 2024). `losses` are standardised.
    """
    parameters = int(of.max()) + 1
    squares = _squares_by_parameter(points, of, parameters)
    center = np.log([*[_LENGTH * math.sqrt(parameters)] * parameters, _NOISE, 1.0])
    spread = np.array([*[_LENGTH_SPREAD] * parameters, _NOISE_SPREAD, _AMPLITUDE_SPREAD])
    bounds = np.log([*[_BOUNDS[0]] * parameters, *_BOUNDS[1:]])
    starts = [center, center + np.array([*[-1.0] * parameters, 2.0, 0.0])]
    with threadpool_limits(1):  # products are small: threads would only wait for each other
        found = [
            minimize(
                _badness, start, (squares, losses, center, spread), "L-BFGS-B", jac=True,
                bounds=bounds, options={"maxiter": 50},
            )
            for start in starts
        ]  # fmt: skip
    best = min(found, key=lambda result: float(result.fun))
    values = np.exp(best.x)
    return Kernel(values[:parameters], float(values[-2]), float(values[-1]), of)


@dataclass(frozen=True, slots=True)
class Posterior:
    """What a kernel expects after some points; `weights`: the inverse covariance times losses."""

    kernel: Kernel
    points: Array  # (n, column)
    factor: Array  # (n, n), lower Cholesky
    weights: Array  # (n,)

    @classmethod
    def after(cls, kernel: Kernel, points: Array, losses: Array) -> "Posterior":
        """The posterior of points with standardised losses, (n, column) and (n,)."""
        covariance = kernel.between(points, points)
        covariance[np.diag_indices_from(covariance)] += kernel.noise + _JITTER
        factor: Array = cholesky(covariance, lower=True)
        weights: Array = cho_solve((factor, True), losses)
        return cls(kernel, points, factor, weights)

    def believe(self, point: Array) -> "Posterior":
        """The posterior after one more point, (column,), that is as good as expected.

        Kriging believer (Ginsbourger 2010). What is expected nowhere changes: only the doubt
        shrinks, so a lie costs one row of the Cholesky factor.
        """
        row = solve_triangular(self.factor, self._with(point[None])[0], lower=True)
        corner = self.kernel.amplitude + self.kernel.noise + _JITTER - float(row @ row)
        n = len(self.points)
        factor = np.zeros((n + 1, n + 1))
        factor[:n, :n], factor[n, :n] = self.factor, row
        factor[n, n] = math.sqrt(max(corner, _JITTER))
        points, weights = np.vstack([self.points, point]), np.append(self.weights, 0.0)
        return replace(self, points=points, factor=factor, weights=weights)

    def expect(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noiseless loss, (m, column) → (m,), (m,)."""
        covariances = self._with(points)
        reduced = solve_triangular(self.factor, covariances.T, lower=True)
        variance = self.kernel.amplitude - (reduced**2).sum(0)
        return covariances @ self.weights, np.sqrt(np.maximum(variance, 1e-12))

    def slopes(self, x: Array) -> tuple[float, float, Array, Array]:
        """Mean, deviation and the gradients of both at one point, (column,)."""
        covariances, slopes = self._with(x[None])[0], self.kernel.slopes(x, self.points)
        solved = cho_solve((self.factor, True), covariances)
        deviation = math.sqrt(max(self.kernel.amplitude - float(covariances @ solved), 1e-12))
        mean = float(covariances @ self.weights)
        return mean, deviation, self.weights @ slopes, -(solved @ slopes) / deviation

    def _with(self, points: Array) -> Array:
        return self.kernel.between(points, self.points)


def _squares_by_parameter(points: Array, of: NDArray[np.intp], parameters: int) -> Array:
    """Squared distances along each parameter, (parameter, n · n)."""
    squares = np.zeros((parameters, len(points) ** 2))
    for column, parameter in enumerate(of):
        x = points[:, column]
        squares[parameter] += ((x[:, None] - x) ** 2).ravel()
    return squares


def _badness(
    theta: Array, squares: Array, losses: Array, center: Array, spread: Array
) -> tuple[float, Array]:
    """The negative log posterior of a kernel's logarithms, up to a constant, and its gradient.

    Rasmussen and Williams 2006, equations 5.8 and 5.9.
    """
    n = len(losses)
    values = np.exp(theta)
    inverse_squares, noise, amplitude = values[:-2] ** -2, values[-2], values[-1]
    distance = np.sqrt(inverse_squares @ squares)  # (n · n,)
    covariance = amplitude * _matern(distance).reshape(n, n)
    noisy = covariance.copy()
    noisy[np.diag_indices(n)] += noise + _JITTER
    factor, failed = lapack.dpotrf(noisy, lower=1)
    if failed:
        return 1e10, np.zeros_like(theta)
    weights = cho_solve((factor, True), losses)
    half, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(half) + np.tril(half, -1).T
    pull = np.outer(weights, weights) - inverse
    steep = amplitude * _steepness(distance)
    by_length = (squares @ (pull.ravel() * steep)) * inverse_squares / 2
    by_noise, by_amplitude = noise * np.trace(pull) / 2, float((pull * covariance).sum()) / 2
    z = (theta - center) / spread
    likelihood = -losses @ weights / 2 - np.log(np.diag(factor)).sum()
    gradient = np.array([*by_length, by_noise, by_amplitude]) - z / spread
    return float(z @ z / 2 - likelihood), -gradient


def _matern(distance: Array) -> Array:
    """Matérn 5/2 of a scaled distance."""
    scaled = _ROOT5 * distance
    value: Array = (1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled)
    return value


def _steepness(distance: Array) -> Array:
    """Minus the derivative of Matérn 5/2 by its distance, over the distance."""
    scaled = _ROOT5 * distance
    value: Array = 5.0 / 3.0 * (1.0 + scaled) * np.exp(-scaled)
    return value
