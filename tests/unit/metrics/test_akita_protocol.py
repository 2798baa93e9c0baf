"""Pooling, per-region correlation and the paired test."""

import numpy as np
import pytest
from scipy import stats

from epizarr.metrics.akita_protocol import compare_predictors, pearson_of_region, pool_square


def test_pool_square__averages_valid_pixels():
    square = np.arange(16.0).reshape(4, 4)
    square[0, 0] = np.nan
    square[2:, 2:] = np.nan
    np.testing.assert_array_equal(pool_square(square), [[10 / 3, 4.5], [10.5, np.nan]])


def test_pool_square__refuses_what_does_not_divide():
    with pytest.raises(ValueError, match="multiples"):
        pool_square(np.zeros((5, 5)))


def test_pearson_of_region__counts_each_pixel_once_from_the_second_diagonal():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 12, 12))
    y[3, 7] = np.nan
    pairs = [(x[i, j], y[i, j]) for i in range(12) for j in range(i + 2, 12) if (i, j) != (3, 7)]
    assert pearson_of_region(x, y) == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1])


def test_compare_predictors__is_the_signed_rank_test():
    rng = np.random.default_rng(1)
    first = rng.normal(0.6, 0.1, 42)
    second = first + rng.normal(0.02, 0.05, 42)
    found = compare_predictors([*first, np.nan], [*second, 1.0])
    assert found.n_regions == 42
    assert found.p_value == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found.median_difference == pytest.approx(np.median(first - second))


def test_compare_predictors__equal_scores_have_no_p_value():
    found = compare_predictors([0.5, 0.6], [0.5, 0.6])
    assert (found.n_regions, found.median_difference) == (2, 0.0)
    assert np.isnan(found.p_value)
