"""R's spline basis and knots."""

import numpy as np
import pytest

from epizarr.normalize.distance_basis import count_based_knots, spline_columns, uniform_knots


def cox_de_boor(x, t, i, degree):
    """B-spline i at x by the textbook recursion, closed at the right end."""
    if degree == 0:
        return float(t[i] <= x < t[i + 1] or (x == t[-1] and t[i] < t[i + 1] == t[-1]))
    left = (x - t[i]) / (t[i + degree] - t[i]) if t[i + degree] > t[i] else 0
    right = (t[i + degree + 1] - x) / (t[i + degree + 1] - t[i + 1]) if t[i + degree + 1] > t[i + 1] else 0
    return left * cox_de_boor(x, t, i, degree - 1) + right * cox_de_boor(x, t, i + 1, degree - 1)


def test_spline_columns__are_b_splines_without_the_first():
    x = np.array([0, 10, 25, 30, 77, 100])
    knots = np.array([25.0, 60.0])
    t = np.array([0, 0, 0, 0, 25, 60, 100, 100, 100, 100.0])
    expected = [[cox_de_boor(value, t, i, 3) for i in range(1, 6)] for value in x]
    found = spline_columns(x, knots, (0, 100))
    np.testing.assert_allclose(found, expected, atol=1e-14)
    np.testing.assert_array_equal(found[0], 0)
    assert found[-1, -1] == 1


@pytest.mark.parametrize("n_knots", [1, 3, 5])
def test_uniform_knots__are_quantiles_of_all_rows(n_knots):
    distance, n_rows = np.array([30, 0, 10, 20, 10]), np.array([4, 7, 0, 3, 5])
    probabilities = np.linspace(0, 1, n_knots + 2)[1:-1]
    expected = np.quantile(np.repeat(distance, n_rows), probabilities)
    np.testing.assert_allclose(uniform_knots(distance, n_rows, n_knots), expected)


def test_count_based_knots__lie_where_the_counts_are():
    # Shares 0.5, 0.75, 0.9, 1: 0.25 lies before the first distance, 0.5 and 0.75 are met exactly.
    distance, counts = np.array([0, 10, 20, 30, 40]), np.array([10.0, 5, 3, 2, 0])
    np.testing.assert_allclose(
        count_based_knots(distance, counts, 3), [0, (0 * 10 + 10 * 5) / 15, (10 * 5 + 20 * 3) / 8]
    )
    # Shares 0.1, 0.9, 1: 0.25, 0.5 and 0.75 all lie between the first and second distance.
    np.testing.assert_array_equal(count_based_knots(np.array([5, 15, 25]), np.array([1.0, 8, 1]), 3), [15])
