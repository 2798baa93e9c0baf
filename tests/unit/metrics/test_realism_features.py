import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epizarr.metrics.realism import ColumnScale
from epizarr.metrics.realism_features import frechet_distance, scaled_distance, window_features

RNG = np.random.default_rng(7)


def sample_of(mean: np.ndarray, covariance: np.ndarray, n: int) -> np.ndarray:
    """A sample that has this mean and covariance exactly."""
    raw = RNG.normal(size=(n, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance__of_independent_gaussians_is_the_closed_form():
    mean, sd = np.array([[1.0, -2.0, 0.0], [4.0, -2.0, 1.0]]), np.array([[1.0, 2.0, 3.0], [2.0, 0.5, 3.0]])
    samples = [sample_of(m, np.diag(s**2), 50) for m, s in zip(mean, sd, strict=True)]
    wanted = np.square(mean[0] - mean[1]).sum() + np.square(sd[0] - sd[1]).sum()
    assert frechet_distance(*samples) == pytest.approx(wanted)


def test_frechet_distance__of_correlated_gaussians_is_that_of_their_square_roots():
    from scipy.linalg import sqrtm

    factors = RNG.normal(size=(2, 4, 4))
    one, two = (factor @ factor.T + np.eye(4) for factor in factors)
    samples = [sample_of(np.zeros(4), c, 60) for c in (one, two)]
    wanted = np.trace(one + two - 2 * sqrtm(one @ two).real)
    assert frechet_distance(*samples) == pytest.approx(wanted)


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_frechet_distance__is_zero_to_itself_and_symmetric(seed, n):
    a, b = np.random.default_rng(seed).normal(size=(2, n, 5))  # fewer windows than features, too
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-6)


def test_frechet_distance__takes_equal_numbers_and_two_windows():
    with pytest.raises(ValueError, match="as many windows of each map"):
        frechet_distance(np.zeros((5, 2)), np.zeros((4, 2)))
    assert np.isnan(frechet_distance(np.zeros((1, 2)), np.zeros((1, 2))))


def test_scaled_distance__has_no_units_and_leaves_out_constant_features():
    a, b = RNG.normal(size=(2, 30, 3))
    a[:, 2] = b[:, 2] = 5.0
    assert scaled_distance(a, b) == pytest.approx(scaled_distance(a * [3, 0.1, 1], b * [3, 0.1, 1]))
    assert scaled_distance(b, b) == pytest.approx(0, abs=1e-9)


def test_window_features__see_mean_spread_and_roughness():
    windows = RNG.normal(size=(6, 60, 50))
    scale = ColumnScale(np.zeros(50), np.ones(50))
    plain = window_features(windows, scale)
    assert plain.shape == (6, 25)
    assert np.isfinite(plain).all()
    np.testing.assert_allclose((window_features(windows + 2, scale) - plain)[:, :4], 2, rtol=1e-5)
    np.testing.assert_allclose((window_features(3 * windows, scale) - plain)[:, 4:8], np.log(3), atol=1e-3)
    smooth = (windows[:, :-2] + windows[:, 1:-1] + windows[:, 2:]) / np.sqrt(3)
    assert (window_features(smooth, scale)[:, 8:12] < plain[:, 8:12] - 0.5).all()
    np.testing.assert_allclose(window_features(smooth, scale)[:, 12:16], plain[:, 12:16], atol=0.4)


def test_window_features__of_a_map_without_detail_or_pixels_are_finite():
    scale = ColumnScale(np.ones(20), np.ones(20))
    for windows in (np.ones((2, 40, 20)), np.full((2, 40, 20), np.nan)):
        assert np.isfinite(window_features(windows, scale)).all()


def test_window_features__stand_on_standardised_maps():
    windows = RNG.normal(size=(3, 40, 40))
    shift, factor = np.linspace(1, 9, 40), np.linspace(0.5, 2, 40)
    one = window_features(windows, ColumnScale(np.zeros(40), np.ones(40)))
    np.testing.assert_allclose(window_features(windows * factor + shift, ColumnScale(shift, factor)), one, atol=1e-4)


def test_window_features__without_a_window_have_no_distance():
    none = window_features(np.zeros((0, 40, 20)), ColumnScale(np.zeros(20), np.ones(20)))
    assert np.isnan(scaled_distance(none, none))


def test_window_features__of_many_windows_are_those_of_each():
    windows, scale = RNG.normal(size=(70, 20, 12)), ColumnScale(np.zeros(12), np.ones(12))
    each = [window_features(window[None], scale)[0] for window in windows]
    np.testing.assert_allclose(window_features(windows, scale), each, rtol=1e-6, atol=1e-9)
