"""Correlations by distance against scipy, and what is undefined."""

import numpy as np
import pytest
from scipy import stats

from epizarr.metrics.correlation import mean_defined, score_by_distance, skill


@pytest.fixture
def bands() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    observed = rng.gamma(2.0, 1.0, (300, 6)).astype(np.float32)
    prediction = (observed + rng.normal(0, 1, observed.shape)).round(1).astype(np.float32)  # rounded: ties
    observed[rng.random(observed.shape) < 0.2] = np.nan
    prediction[rng.random(observed.shape) < 0.1] = np.nan
    return prediction, observed


def _pairs(prediction: np.ndarray, observed: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    both = ~(np.isnan(prediction[:, k]) | np.isnan(observed[:, k]))
    return prediction[both, k].astype(float), observed[both, k].astype(float)


@pytest.mark.parametrize(("name", "reference"), [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)])
def test_score_by_distance__agrees_with_scipy(bands, name, reference):
    scores = score_by_distance(*bands)
    expected = [reference(*_pairs(*bands, k)).statistic for k in range(6)]
    np.testing.assert_allclose(getattr(scores, name), expected, rtol=1e-12)


def test_score_by_distance__sums_squares_over_common_pixels(bands):
    scores = score_by_distance(*bands)
    pairs = [_pairs(*bands, k) for k in range(6)]
    assert scores.n_pixels.tolist() == [len(x) for x, _ in pairs]
    assert scores.mse == pytest.approx(np.mean(np.concatenate([(x - y) ** 2 for x, y in pairs])))


def test_score_by_distance__constant_map_is_undefined():
    observed = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    constant = np.full_like(observed, 0.1)  # 0.1 has no exact float: its variance is not exactly 0
    scores = score_by_distance(constant, observed)
    assert np.isnan(scores.pearson).all()
    assert np.isnan(scores.spearman).all()
    assert np.isnan(scores.mean_pearson)


def test_score_by_distance__one_pixel_is_undefined():
    scores = score_by_distance(np.array([[1.0], [np.nan]]), np.array([[2.0], [3.0]]))
    assert scores.n_pixels[0] == 1
    assert np.isnan(scores.pearson[0])


def test_score_by_distance__mean_skips_undefined_diagonals():
    observed = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    scores = score_by_distance(observed * 2, observed)
    assert scores.mean_pearson == pytest.approx(1.0)


def test_score_by_distance__refuses_unequal_shapes():
    with pytest.raises(ValueError, match="shape"):
        score_by_distance(np.zeros((3, 2)), np.zeros((3, 3)))


def test_mean_defined__of_nothing_is_nan():
    assert np.isnan(mean_defined(np.array([np.nan, np.nan])))


@pytest.mark.parametrize(("mse", "expected"), [(0.0, 1.0), (2.0, 0.0), (3.0, -0.5)])
def test_skill__is_share_of_error_removed(mse, expected):
    assert skill(mse, 2.0) == expected


def test_skill__without_reference_error_is_undefined():
    assert np.isnan(skill(1.0, 0.0))
