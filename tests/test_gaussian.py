"""The Gaussian process: gradients against differences, lies against a fit, telling lengths."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tuner import gaussian
from tuner.gaussian import Kernel, Posterior

pytestmark = pytest.mark.fast
OF = np.array([0, 1, 2, 2])  # the third parameter has two columns


@pytest.fixture
def points():
    """Forty points, (40, 4)."""
    return np.random.default_rng(0).random((40, 4))


@pytest.fixture
def losses(points):
    """Losses that depend on the first parameter much, on the second little, not on the third."""
    raw = np.sin(6 * points[:, 0]) + 0.3 * points[:, 1]
    return (raw - raw.mean()) / raw.std()


@pytest.fixture
def posterior(points, losses):
    """With the kernel that was found."""
    return Posterior.after(gaussian.fit(points, losses, OF), points, losses)


def test_the_slope_of_the_fit_is_the_slope(points, losses):
    """Analytic against differences, at a point that is no optimum."""
    squares = gaussian._squares_by_parameter(points, OF, 3)
    center, spread = np.log([0.7, 0.7, 0.7, 0.01, 1.0]), np.array([0.7, 0.7, 0.7, 1.5, 1.0])
    theta = center + np.array([0.3, -0.2, 0.5, 0.4, -0.3])
    arguments = (squares, losses, center, spread)
    slope = approx_fprime(theta, lambda t: gaussian._badness(t, *arguments)[0], 1e-6)
    assert gaussian._badness(theta, *arguments)[1] == pytest.approx(slope, abs=1e-3)


def test_a_parameter_that_says_nothing_gets_a_long_scale(posterior):
    """The one that matters most gets the shortest."""
    first, second, third = posterior.kernel.lengths
    assert first < second
    assert first < third


def test_few_points_move_the_kernel_little(points, losses):
    """The prior holds where three points could be explained by anything."""
    lengths = gaussian.fit(points[:3], losses[:3], OF).lengths
    assert lengths == pytest.approx(np.full(3, gaussian._LENGTH * np.sqrt(3)), rel=0.5)


def test_the_same_points_give_the_same_kernel(points, losses):
    """Both starts are fixed."""
    one, two = (gaussian.fit(points, losses, OF) for _ in range(2))
    assert one.lengths.tolist() == two.lengths.tolist()


def test_what_is_known_is_expected_and_beside_it_almost(points, losses, posterior):
    """And the doubt grows with the distance."""
    mean, deviation = posterior.expect(points)
    assert mean == pytest.approx(losses, abs=0.1)
    _, far = posterior.expect(np.full((1, 4), 3.0))
    assert far[0] > 3 * deviation.max()


def test_the_slopes_of_what_is_expected_are_slopes(posterior):
    """Analytic against differences."""
    x = np.array([0.31, 0.52, 0.73, 0.14])
    mean, deviation, by_mean, by_deviation = posterior.slopes(x)
    assert (mean, deviation) == pytest.approx([v[0] for v in posterior.expect(x[None])])
    for slope, which in ((by_mean, 0), (by_deviation, 1)):
        differences = approx_fprime(x, lambda u, k=which: posterior.expect(u[None])[k][0], 1e-6)
        assert slope == pytest.approx(differences, abs=1e-4)


def test_a_lie_is_what_telling_the_expected_loss_would_be(points, losses, posterior):
    """One row of the factor instead of a new one."""
    x, anywhere = np.full(4, 0.4), np.random.default_rng(1).random((9, 4))
    expected = posterior.expect(x[None])[0]
    told = Posterior.after(
        posterior.kernel, np.vstack([points, x]), np.concatenate([losses, expected])
    )
    lied = posterior.believe(x)
    assert np.array(lied.expect(anywhere)) == pytest.approx(np.array(told.expect(anywhere)))
    assert lied.expect(anywhere)[0] == pytest.approx(posterior.expect(anywhere)[0])
    assert (lied.expect(anywhere)[1] < posterior.expect(anywhere)[1]).all()


def test_the_same_point_twice_breaks_nothing():
    """A covariance that is nearly singular still has a factor."""
    kernel = Kernel(np.ones(1), noise=0.0, amplitude=1.0, of=np.array([0]))
    points = np.array([[0.5], [0.5], [0.5]])
    posterior = Posterior.after(kernel, points, np.array([0.0, 1.0, -1.0])).believe(points[0])
    assert np.isfinite(posterior.expect(points)).all()
