"""HiC-DC+'s values do not depend on how a chromosome is cut into blocks, and a mirrored chromosome gives the mirrored ones."""

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.bands import mirror_band
from epizarr.normalize.hicdcplus import HicdcplusSettings, PairGeometry, PairRows, evaluate, fit_hicdcplus

N_BINS = 90
SETTINGS = HicdcplusSettings(max_distance=120, max_result_distance=120, sample_fraction=0.7)


def make_rows(length):
    rng = np.random.default_rng(length)
    geometry = PairGeometry(length, 10, 120)
    features = {"gc": rng.uniform(0.3, 0.6, N_BINS), "len": rng.uniform(1, 9, N_BINS) * (rng.random(N_BINS) > 0.1)}
    counts = np.full((N_BINS, geometry.n_diagonals), np.nan)
    for k in range(geometry.n_diagonals):
        counts[: N_BINS - k, k] = rng.poisson(rng.gamma(2, 10 / (k + 1), N_BINS - k))
    return PairRows("chr1", geometry, counts, features)


@cache
def fitted(length):
    rows = make_rows(length)
    return rows, fit_hicdcplus(rows, SETTINGS, seed=1)[0]


@settings(max_examples=30)
@given(st.sampled_from([900, 897, 891]), st.lists(st.integers(1, N_BINS - 1), max_size=4), st.integers(1, 15))
def test_evaluate__blocks_give_what_the_whole_gives(length, cuts, n_diagonals):
    rows, model = fitted(length)
    counts = np.full((N_BINS, n_diagonals), 2.0)
    whole = evaluate(model, counts, rows.features)
    edges = sorted({0, *cuts, N_BINS})
    for first, last in zip(edges, edges[1:], strict=False):
        block = evaluate(model, counts[first:last], rows.features, first=first)
        for found, expected in zip(block, whole, strict=True):
            np.testing.assert_array_equal(found, expected[first:last])


@settings(max_examples=15)
@given(st.integers(0, 2**31))
def test_fit_hicdcplus__mirrored_chromosome_gives_the_mirrored_values(seed):
    """Full bins only: a short last bin would come first in the mirror."""
    rows, _ = fitted(900)
    sample = np.random.default_rng(seed).random(rows.counts.shape) < 0.6
    for k in range(rows.geometry.n_diagonals):
        sample[: N_BINS - k, k] &= rows.is_row(k)
        sample[N_BINS - k :, k] = False
    features = {name: values[::-1] for name, values in rows.features.items()}
    mirrored = PairRows("chr1", rows.geometry, mirror_band(rows.counts), features)
    mirrored_sample = mirror_band(sample.astype(float)) == 1
    model, _ = fit_hicdcplus(rows, SETTINGS, sample=sample)
    mirrored_model, _ = fit_hicdcplus(mirrored, SETTINGS, sample=mirrored_sample)
    found = evaluate(mirrored_model, mirrored.counts, features).zscore
    np.testing.assert_allclose(found, mirror_band(evaluate(model, rows.counts, rows.features).zscore), atol=1e-7)
