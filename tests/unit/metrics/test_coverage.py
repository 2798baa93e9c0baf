"""Depth and decay in closed form."""

import numpy as np
import pytest

from epizarr.bands import band_from_square
from epizarr.metrics.coverage import MERGED_BINS, decay_exponent, deep_share, supported_binsize, touching_sums


@pytest.fixture
def square() -> np.ndarray:
    half = np.triu(np.random.default_rng(0).poisson(3.0, (9, 9))).astype(float)
    return half + np.triu(half, 1).T


def test_touching_sums__are_the_row_sums_of_the_symmetric_map(square):
    np.testing.assert_allclose(touching_sums(band_from_square(square, 9))[:9], square.sum(axis=1))


def test_touching_sums__count_both_ends_of_every_contact(square):
    ends = touching_sums(band_from_square(square, 9), diagonal_twice=True)
    assert ends.sum() == 2 * np.triu(square).sum()


def test_touching_sums__missing_counts_as_nothing():
    assert touching_sums(np.array([[1.0, np.nan], [3.0, 4.0]])).tolist() == [1.0, 7.0, 4.0]


def test_touching_sums__pieces_add_up(square):
    band = band_from_square(square, 4)
    whole, total = touching_sums(band), np.zeros(12)
    total[:8] += touching_sums(band[:5])
    total[5:12] += touching_sums(band[5:])
    np.testing.assert_allclose(total, whole)


@pytest.mark.parametrize(("n_merged", "share"), [(1, 1 / 5), (2, 2 / 3), (4, 1.0)])
def test_deep_share__leaves_out_bins_without_a_contact(n_merged, share):
    ends = np.array([1000.0, 0, 500, 499, 1, 999, 0, 0])  # by two: 1000, 999, 1000, 0; by four: 1999, 1000
    assert deep_share([ends], n_merged) == pytest.approx(share)


def test_deep_share__does_not_merge_across_chromosomes():
    assert deep_share([np.full(3, 600.0), np.full(1, 600.0)], 2) == pytest.approx(1 / 3)


def test_deep_share__of_an_empty_map_is_undefined():
    assert np.isnan(deep_share([np.zeros(5)], 1))


@pytest.mark.parametrize(("n_ends", "supported"), [(1000, 10_000), (999, 20_000), (100, 100_000), (10, 1_000_000)])
def test_supported_binsize__is_the_smallest_with_a_thousand_contacts(n_ends, supported):
    assert supported_binsize([np.full(400, float(n_ends))], 10_000) == supported


def test_supported_binsize__four_in_five_bins_suffice():
    ends = np.full(100, 1000.0)
    ends[:20] = 1
    assert supported_binsize([ends], 10_000) == 10_000
    ends[20] = 1
    assert supported_binsize([ends], 10_000) > 10_000


@pytest.mark.parametrize("n_ends", [0.0, 1000 / MERGED_BINS[-1] - 1])
def test_supported_binsize__of_a_map_too_thin_is_none(n_ends):
    assert supported_binsize([np.full(400, n_ends)], 10_000) is None


@pytest.mark.parametrize("exponent", [-1.0, -0.7, 0.5])
def test_decay_exponent__recovers_a_power_law(exponent):
    k = np.arange(50)
    expected = np.where(k > 0, 7.0 * np.maximum(k, 1.0) ** exponent, 1e6)
    assert decay_exponent(expected, np.full(50, 100)) == pytest.approx(exponent)


def test_decay_exponent__leaves_out_thin_diagonals_and_those_below_the_first():
    k = np.arange(50.0)
    expected = 1 / np.maximum(k, 1)
    expected[:3], expected[40:] = 100, 100
    n_valid = np.where(k < 40, 100, 5)
    assert decay_exponent(expected, n_valid, min_diagonal=3) == pytest.approx(-1)


def test_decay_exponent__is_undefined_without_contacts():
    assert np.isnan(decay_exponent(np.full(50, np.nan), np.zeros(50)))
