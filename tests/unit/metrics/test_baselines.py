"""Baselines against plain loops and ordinary least squares."""

import numpy as np
import pytest

from epizarr.metrics.baselines import (
    PixelMoments,
    fit_insulation,
    fit_ridge,
    fit_training_mean,
    pixel_features,
)

N, K, T = 120, 8, 2


@pytest.fixture
def tracks() -> np.ndarray:
    return np.random.default_rng(3).gamma(1.0, 1.0, (T, N + K - 1))


@pytest.fixture
def target(tracks) -> np.ndarray:
    """Contact that falls with the second track between the bins, and rises with the first at both bins."""
    x = pixel_features(tracks, N, K)
    noise = np.random.default_rng(4).normal(0, 0.1, (N, K))
    return 1.0 + 0.3 * np.arange(K) + 0.5 * x[..., 0] + 0.4 * x[..., T] - 2.0 * x[..., 2 * T + 1] + noise


def _between(track: np.ndarray, i: int, k: int) -> float:
    """Mean from the middle of bin i to the middle of bin i + k, by adding up half bins."""
    halves = [(b, 1 if b in (i, i + k) else 2) for b in range(i, i + k + 1)]
    known = [(track[b], w) for b, w in halves if not np.isnan(track[b])]
    return sum(v * w for v, w in known) / sum(w for _, w in known)


def test_pixel_features__agree_with_a_loop(tracks):
    tracks[1, 17] = np.nan
    x = pixel_features(tracks, N, K)
    for i, k in [(0, 1), (5, 3), (14, 7), (N - 1, K - 1), (16, 4)]:
        expected = [*tracks[:, i], *tracks[:, i + k], *(_between(track, i, k) for track in tracks)]
        np.testing.assert_allclose(x[i, k], expected, rtol=1e-9)


def test_pixel_features__main_diagonal_is_the_bin_itself(tracks):
    x = pixel_features(tracks, N, K)[:, 0]
    np.testing.assert_array_equal(x, np.concatenate([tracks, tracks, tracks])[:, :N].T)


def test_pixel_features__nothing_measured_is_nan():
    x = pixel_features(np.full((1, 4), np.nan), 2, 3)
    assert np.isnan(x).all()


def test_pixel_features__refuses_wrong_number_of_bins(tracks):
    with pytest.raises(ValueError, match="need 128"):
        pixel_features(tracks, N + 1, K)


def test_pixel_moments__blocks_add_up(tracks, target):
    target[3:9, 2] = np.nan
    tracks[0, 40] = np.nan
    x = pixel_features(tracks, N, K)
    whole = PixelMoments.of_block(x, target)
    parts = PixelMoments.total(PixelMoments.of_block(x[a:b], target[a:b]) for a, b in [(0, 50), (50, 51), (51, N)])
    for name in ("n", "y", "yy", "x", "xy", "xx", "n_target", "y_target"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)


def test_pixel_moments__squared_error_is_that_of_the_pixels(tracks, target):
    x = pixel_features(tracks, N, K)
    slope, intercept = np.random.default_rng(5).normal(size=(K, 3 * T)), np.arange(K, dtype=float)
    direct = np.square(target - intercept - np.einsum("nkf,kf->nk", x, slope)).sum()
    assert PixelMoments.of_block(x, target).squared_error(slope, intercept) == pytest.approx(direct)


def test_fit_training_mean__is_the_mean_of_each_diagonal(tracks, target):
    target[:30, 4] = np.nan
    x = pixel_features(tracks, N, K)
    predicted = fit_training_mean(PixelMoments.of_block(x, target)).predict(x)
    np.testing.assert_allclose(predicted, np.broadcast_to(np.nanmean(target, axis=0), (N, K)), rtol=1e-6)


def test_fit_training_mean__counts_pixels_without_tracks(tracks, target):
    tracks[:, 10] = np.nan
    x = pixel_features(tracks, N, K)
    np.testing.assert_allclose(fit_training_mean(PixelMoments.of_block(x, target)).mean, target.mean(axis=0))


def test_fit_insulation__is_the_least_squares_line(tracks, target):
    x = pixel_features(tracks, N, K)
    fit = fit_insulation(PixelMoments.of_block(x, target), track=1, n_tracks=T)
    for k in range(K):
        line = np.polyfit(x[:, k, 2 * T + 1], target[:, k], 1)
        np.testing.assert_allclose(fit.predict(x)[:, k], np.polyval(line, x[:, k, 2 * T + 1]), rtol=1e-5)


def test_fit_ridge__recovers_a_linear_rule(tracks, target):
    x = pixel_features(tracks, N, K)
    half = N // 2
    train, held_out = (PixelMoments.of_block(x[rows], target[rows]) for rows in (slice(0, half), slice(half, N)))
    error = np.square(fit_ridge(train, held_out).predict(x[half:]) - target[half:]).mean()
    assert error < 1.3 * 0.1**2


def test_fit_ridge__of_each_diagonals_own_without_penalty_is_least_squares(tracks, target):
    x = pixel_features(tracks, N, K)[:, 1:]  # at k = 0 the three kinds of features are the same
    moments = PixelMoments.of_block(x, target[:, 1:])
    predicted = fit_ridge(moments, moments, penalties=[1e-12], degrees=[None]).predict(x)
    for k in range(K - 1):
        design = np.column_stack([np.ones(N), x[:, k]])
        fitted = design @ np.linalg.lstsq(design, target[:, k + 1], rcond=None)[0]
        np.testing.assert_allclose(predicted[:, k], fitted, rtol=1e-4, atol=1e-4)


def test_fit_ridge__chooses_on_validation_not_on_training(tracks, target):
    """With as many noise features as rows, the smallest penalty fits training best and validation worst."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 40, 1, 60))
    y = rng.normal(size=(2, 40, 1))
    train, validation = (PixelMoments.of_block(a, b) for a, b in zip(x, y, strict=True))
    chosen = fit_ridge(train, validation, penalties=[1e-9, 1e3], degrees=[0])
    assert "relative penalty 1000" in chosen.about


def test_fit_ridge__missing_signal_is_not_zero_signal(tracks, target):
    """A pixel without tracks gets the mean of its diagonal, not the value at signal 0."""
    x = pixel_features(tracks, N, K)
    moments = PixelMoments.of_block(x, target)
    fit = fit_ridge(moments, moments)
    np.testing.assert_allclose(fit.predict(np.full_like(x, np.nan))[0], target.mean(axis=0), rtol=1e-5)


def test_fit_ridge__refuses_no_pixels(tracks, target):
    x = pixel_features(tracks, N, K)
    moments = PixelMoments.of_block(x, target)
    empty = PixelMoments.of_block(x, np.full_like(target, np.nan))
    with pytest.raises(ValueError, match="no pixel"):
        fit_ridge(moments, empty)


def test_fits__unseen_diagonal_has_no_prediction(tracks, target):
    target[:, 3] = np.nan
    x = pixel_features(tracks, N, K)
    moments = PixelMoments.of_block(x, target)
    for fit in (fit_training_mean(moments), fit_insulation(moments, 1, T), fit_ridge(moments, moments)):
        assert np.isnan(fit.predict(x)).all(axis=0).tolist() == [k == 3 for k in range(K)]
