"""Masks and expected values against the plainest way to compute them."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from epizarr.genome import Assembly
from epizarr.ingest.masks import bad_bins, covered_bp, good_diagonal_sums

ASSEMBLY = Assembly.from_table("toy", [("chr1", 237), ("chr2", 61), ("chr3", 100)])


@st.composite
def interval_tables(draw):
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        chrom, length = draw(st.sampled_from(list(ASSEMBLY)))
        start = draw(st.integers(0, length - 1))
        rows.append((chrom, start, draw(st.integers(start + 1, length))))
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def per_base(grid, intervals):
    covered = np.zeros(grid.n_bins, dtype=int)
    for chrom, length in grid.assembly:
        is_in = np.zeros(length, dtype=int)
        for row in intervals[intervals["chrom"] == chrom].itertuples():
            is_in[row.start : row.end] = 1
        first, last = grid.chrom_extent(chrom)
        for b in range(first, last):
            covered[b] = is_in[(b - first) * grid.binsize : (b - first + 1) * grid.binsize].sum()
    return covered


@given(interval_tables(), st.integers(1, 120), st.data())
def test_covered_bp__agrees_with_counting_bases(intervals, binsize, data):
    grid = ASSEMBLY.bins(binsize)
    lo = data.draw(st.integers(0, grid.n_bins - 1))
    hi = data.draw(st.integers(lo + 1, grid.n_bins))
    np.testing.assert_array_equal(covered_bp(grid, intervals, lo, hi), per_base(grid, intervals)[lo:hi])


@given(interval_tables(), st.integers(1, 120))
def test_bad_bins__follow_contacts_and_half_the_bin(intervals, binsize):
    grid = ASSEMBLY.bins(binsize)
    marginals = np.where(np.arange(grid.n_bins) % 3, 1.0, 0.0)
    _, start, end = grid.locate(np.arange(grid.n_bins))
    expected = (marginals == 0) | (2 * per_base(grid, intervals) >= end - start)
    np.testing.assert_array_equal(bad_bins(grid, marginals, intervals), expected)


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_good_diagonal_sums__agree_with_a_loop(n, k, ignored, seed):
    rng = np.random.default_rng(seed)
    band = np.where(rng.random((n, k)) < 0.2, np.nan, rng.random((n, k)))
    good = rng.random(n + k - 1) < 0.8
    sums, numbers = good_diagonal_sums(band, good, ignored)
    for d in range(k):
        valid = [band[i, d] for i in range(n) if d >= ignored and good[i] and good[i + d] and not np.isnan(band[i, d])]
        assert (numbers[d], np.isclose(sums[d], sum(valid))) == (len(valid), True)
