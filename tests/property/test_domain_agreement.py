"""Matching of boundaries and comparison of partitions against the plainest way to compute them."""

from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from epizarr.domains.boundaries import count_matches, domain_agreement, domain_labels
from epizarr.genome import Assembly

GRID = Assembly.from_table("test", [("chr1", 3000), ("chr2", 950)]).bins(100)
places = st.lists(st.integers(0, 40), max_size=10).map(np.array)


@st.composite
def partitions(draw) -> pd.DataFrame:
    """Domains of both chromosomes that share no bin, with and without gaps between."""
    rows = []
    for chrom, n in (("chr1", 30), ("chr2", 10)):
        edges = sorted(draw(st.sets(st.integers(0, n), max_size=8)))
        kept = draw(st.lists(st.booleans(), min_size=len(edges), max_size=len(edges)))
        pairs = zip(edges, edges[1:], kept, strict=False)
        rows += [(chrom, a * 100, min(b * 100, GRID.assembly.length(chrom))) for a, b, keep in pairs if keep]
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


@given(places, places, st.integers(0, 4))
def test_count_matches__is_the_largest_matching(found, true, tolerance):
    if not len(found) or not len(true):
        assert count_matches(found, true, tolerance) == 0
        return
    close = np.abs(found[:, None] - true[None, :]) <= tolerance
    assert count_matches(found, true, tolerance) == close[linear_sum_assignment(close, maximize=True)].sum()


@given(partitions(), partitions())
def test_domain_agreement__equals_a_count_over_all_pairs_of_bins(one, other):
    a, b = domain_labels(one, GRID), domain_labels(other, GRID)
    both = np.flatnonzero((a >= 0) & (b >= 0))
    in_both = in_either = 0
    for n, i in enumerate(both):
        for j in both[:n]:
            in_both += a[i] == a[j] and b[i] == b[j]
            in_either += a[i] == a[j] or b[i] == b[j]
    got = domain_agreement(one, other, GRID)
    assert got.n_bins == len(both)
    assert got.jaccard == pytest.approx(in_both / in_either if in_either else np.nan, nan_ok=True)
    shared = [
        ((a[both] == x) & (b[both] == y), (a[both] == x), (b[both] == y)) for x in set(a[both]) for y in set(b[both])
    ]
    variation = sum(
        -s.mean() * (np.log2(s.mean() / x.mean()) + np.log2(s.mean() / y.mean())) for s, x, y in shared if s.any()
    )
    assert got.variation_of_information == pytest.approx(variation if len(both) else np.nan, nan_ok=True, abs=1e-12)


@given(partitions(), partitions())
def test_domain_agreement__is_symmetric_and_perfect_with_itself(one, other):
    forward, backward = (astuple(domain_agreement(*pair, GRID)) for pair in ((one, other), (other, one)))
    assert forward == pytest.approx(backward, nan_ok=True, abs=1e-12)
    itself = domain_agreement(one, one, GRID)
    assert itself.variation_of_information == pytest.approx(0, abs=1e-12) or not itself.n_bins
    assert itself.jaccard == 1 or np.isnan(itself.jaccard)
