"""Rectangles and squares on the band against the square matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.bands import band_from_square
from epizarr.metrics.neighbourhoods import gather_squares, rectangle_sums
from tests.strategies import squares

SIDES = st.tuples(st.integers(-4, 4), st.integers(0, 4)).map(lambda t: (t[0], t[0] + t[1]))


def _known_square(square: np.ndarray, n_diagonals: int) -> np.ndarray:
    n = len(square)
    far = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) >= n_diagonals
    return np.where(far, np.nan, square)


@settings(deadline=None, max_examples=60)
@given(square=squares(max_bins=14), n_diagonals=st.integers(1, 8), first=SIDES, second=SIDES)
def test_rectangle_sums__agree_with_the_square_matrix(square, n_diagonals, first, second):
    n = len(square)
    total, number = rectangle_sums(band_from_square(square, n_diagonals), first, second)
    pad = 10 + n_diagonals
    padded = np.pad(_known_square(square, n_diagonals), pad, constant_values=np.nan)
    for i in range(n):
        for k in range(min(n_diagonals, n - i)):
            rows = slice(pad + i + first[0], pad + i + first[1] + 1)
            part = padded[rows, pad + i + k + second[0] : pad + i + k + second[1] + 1]
            assert total[i, k] == pytest.approx(np.nansum(part))
            assert number[i, k] == (~np.isnan(part)).sum()


@settings(deadline=None, max_examples=40)
@given(square=squares(max_bins=14), n_diagonals=st.integers(1, 8), half_width=st.integers(0, 4), data=st.data())
def test_gather_squares__agree_with_the_square_matrix(square, n_diagonals, half_width, data):
    n = len(square)
    row = data.draw(st.integers(0, n - 1))
    k = data.draw(st.integers(0, min(n_diagonals, n - row) - 1))
    got = gather_squares(band_from_square(square, n_diagonals), np.array([row]), np.array([k]), half_width)
    padded = np.pad(_known_square(square, n_diagonals), half_width, constant_values=np.nan)
    side = 2 * half_width + 1
    np.testing.assert_array_equal(got[0], padded[row : row + side, row + k : row + k + side])
