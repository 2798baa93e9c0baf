"""SSIM against its formula on one square, and what a shuffled map scores."""

import numpy as np
import pytest

from epizarr.bands import band_from_square
from epizarr.metrics.similarity import shuffle_diagonals, structural_similarity, value_range


def _map(seed: int, n: int = 60, n_diagonals: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(n) / 5)
    square = np.add.outer(waves, waves) + 0.05 * rng.normal(size=(n, n))
    return band_from_square((square + square.T) / 2, n_diagonals)


def test_structural_similarity__is_the_formula_on_one_square():
    rng = np.random.default_rng(0)
    x, y = (np.full((7, 13), np.nan) for _ in range(2))
    # Pixel (3, 9) is the middle of rows 0 to 6 and columns 6 to 12: every diagonal of its square is 0 to 12.
    squares = rng.normal(size=(2, 7, 7))
    for i in range(7):
        for j in range(7):
            x[i, 6 + j - i], y[i, 6 + j - i] = squares[:, i, j]
    found, n_squares = structural_similarity(x, y, 2.0)
    a, b = squares.reshape(2, 49)
    c1, c2 = 0.02**2, 0.06**2
    above = (2 * a.mean() * b.mean() + c1) * (2 * np.cov(a, b)[0, 1] + c2)
    below = (a.mean() ** 2 + b.mean() ** 2 + c1) * (a.var(ddof=1) + b.var(ddof=1) + c2)
    assert n_squares == 1
    assert found == pytest.approx(above / below, rel=1e-10)


def test_structural_similarity__of_a_map_with_itself_is_1_and_a_shuffled_one_is_below():
    band = _map(0)
    data_range = value_range(band)
    assert structural_similarity(band, band, data_range)[0] == pytest.approx(1.0)
    like = structural_similarity(_map(1), band, data_range)[0]
    shuffled = structural_similarity(shuffle_diagonals(_map(1)), band, data_range)[0]
    assert shuffled + 0.3 < like < 1


def test_structural_similarity__squares_with_a_missing_pixel_do_not_count():
    band = _map(0)
    holed = band.copy()
    holed[30, 10] = np.nan
    whole, fewer = (structural_similarity(b, band, 1.0)[1] for b in (band, holed))
    assert whole - 98 <= fewer < whole


def test_structural_similarity__nothing_to_compare_is_undefined():
    found, n_squares = structural_similarity(np.full((9, 9), np.nan), np.zeros((9, 9)), 1.0)
    assert np.isnan(found)
    assert n_squares == 0


def test_structural_similarity__refuses_a_range_of_0():
    with pytest.raises(ValueError, match="data_range"):
        structural_similarity(np.zeros((3, 3)), np.zeros((3, 3)), 0.0)


def test_shuffle_diagonals__keeps_values_and_holes():
    band = _map(2)
    shuffled = shuffle_diagonals(band)
    np.testing.assert_array_equal(np.isnan(shuffled), np.isnan(band))
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(band, axis=0))
    assert not np.array_equal(shuffled, band, equal_nan=True)
