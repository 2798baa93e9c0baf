"""The bin size that a depth supports, on marginals for which it is plain."""

import math

import numpy as np
import pytest

from epizarr.metrics.resolution import share_of_deep_bins, supported_binsize

NAN = float("nan")


@pytest.mark.parametrize("each", [1, 3, 99, 100, 333, 500, 999, 1000, 5000])
def test_supported_binsize__of_an_even_map_is_1000_over_the_contacts_of_a_bin(each):
    # Long enough that the bin at the end, which may be short, is less than a fifth of all.
    marginals = [np.full(8000, float(each))]
    assert supported_binsize(marginals, 10_000, max_binsize=10**8) == 10_000 * math.ceil(1000 / each)


@pytest.mark.parametrize(("n_deep", "wanted"), [(80, 5000), (79, 10_000)])
def test_supported_binsize__needs_four_bins_in_five(n_deep, wanted):
    # No two bins without contacts are neighbours: every pair has a deep one.
    contacts = np.zeros(100)
    contacts[np.arange(n_deep) * 100 // n_deep] = 1000
    assert supported_binsize([contacts], 5000) == wanted


def test_supported_binsize__counts_bins_without_contacts():
    assert supported_binsize([np.repeat([2000.0, 0.0], [75, 25])], 1000, max_binsize=9000) is None


def test_supported_binsize__counts_all_chromosomes_together():
    chroms = [np.full(60, 1000.0), np.full(40, 500.0)]
    assert supported_binsize(chroms, 1000) == 2000
    assert supported_binsize(chroms[:1], 1000) == 1000


def test_supported_binsize__takes_other_thresholds():
    assert supported_binsize([np.full(100, 10.0)], 1000, min_contacts=30) == 3000
    assert supported_binsize([np.repeat([2000.0, 0.0], [50, 50])], 1000, min_share=0.5) == 1000


def test_supported_binsize__may_not_grow_past_its_end():
    marginals = [np.full(100, 300.0)]
    assert supported_binsize(marginals, 1000, max_binsize=4000) == 4000
    assert supported_binsize(marginals, 1000, max_binsize=3999) is None


def test_supported_binsize__of_nothing_covered_is_none():
    assert supported_binsize([np.full(5, NAN)], 1000) is None
    assert supported_binsize([], 1000) is None


@pytest.mark.parametrize("wrong", [{"min_share": 0}, {"min_share": 1.1}, {"min_contacts": 0}])
def test_supported_binsize__refuses_thresholds_that_mean_nothing(wrong):
    with pytest.raises(ValueError, match="min_share"):
        supported_binsize([np.ones(5)], 1000, **wrong)


def test_share_of_deep_bins__sums_from_the_first_bin_and_keeps_a_short_last_one():
    # Sums of two: 1100, 900, and 1000 of a bin alone.
    assert share_of_deep_bins([np.array([600.0, 500, 450, 450, 1000])], 2) == pytest.approx(2 / 3)


def test_share_of_deep_bins__does_not_sum_across_chromosomes():
    assert share_of_deep_bins([np.array([600.0]), np.array([600.0])], 2) == 0


def test_share_of_deep_bins__leaves_out_what_is_not_covered():
    assert share_of_deep_bins([np.array([NAN, 1000, 2000, 0])]) == pytest.approx(2 / 3)
    assert share_of_deep_bins([np.array([NAN, 1000, 2000, 0])], 2) == 1
    assert math.isnan(share_of_deep_bins([np.array([NAN])]))


def test_share_of_deep_bins__passes_over_an_empty_chromosome():
    assert share_of_deep_bins([np.zeros(0), np.array([1000.0])]) == 1
