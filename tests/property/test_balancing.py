"""What holds for every balanced map, and that KR, ICE and the plain fixed-point iteration are one thing."""

import cooler
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.io.balance import IceParameters, balance_ice
from epizarr.io.contacts import open_contacts_file
from epizarr.normalize.cis_map import CisMap, CisMapBuilder
from epizarr.normalize.kr import balance_kr, balance_vc


@st.composite
def counts(draw, max_bins: int = 25) -> np.ndarray:
    """Symmetric counts with a main diagonal, so that a balanced form exists, and some bins without contacts."""
    n = draw(st.integers(1, max_bins))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bias = np.exp(rng.normal(0, 0.5, n))
    mean = (
        draw(st.sampled_from([0.3, 3.0, 50.0]))
        * bias
        * bias[:, None]
        / (1 + np.abs(np.subtract.outer(range(n), range(n))))
    )
    upper = np.triu(rng.poisson(mean)).astype(float)
    upper[np.diag_indices(n)] += 1
    empty = rng.random(n) < draw(st.sampled_from([0.0, 0.2]))
    upper[empty], upper[:, empty] = 0, 0
    return upper + np.triu(upper, 1).T


def map_of(square: np.ndarray) -> CisMap:
    bin1, bin2 = np.nonzero(np.triu(square))
    builder = CisMapBuilder("chr1", len(square))
    builder.add(bin1, bin2, square[bin1, bin2])
    return builder.build()


def up_to_scale(weights: np.ndarray) -> np.ndarray:
    return weights / np.exp(np.nanmean(np.log(weights))) if np.isfinite(weights).any() else weights


def fixed_point(square: np.ndarray) -> np.ndarray:
    """x <- x / root(row sum): slow, and plainly right where it stands still."""
    x = np.ones(len(square))
    for _ in range(20_000):
        sums = x * (square @ x)
        if np.abs(sums - 1).max() < 1e-11:
            return x
        x /= np.sqrt(sums)
    raise AssertionError("the fixed-point iteration did not come to rest")


@given(counts())
def test_kr__rows_sum_to_one_up_to_juicers_scale(square):
    cis_map = map_of(square)
    found = balance_kr(cis_map)
    sums = cis_map.balanced_row_sums(found.weights)
    good = ~np.isnan(found.weights)
    np.testing.assert_array_equal(np.isnan(sums), ~good)
    # Juicer's scale: the raw total over valid bins, shared out among them.
    share = square[np.ix_(good, good)].sum() / max(good.sum(), 1)
    np.testing.assert_allclose(sums[good] / share, 1, atol=2e-6)
    assert found.n_dropped == (~good).sum()


@settings(max_examples=40)
@given(counts(), st.randoms(use_true_random=False))
def test_kr__does_not_depend_on_the_order_of_bins(square, random):
    order = np.arange(len(square))
    random.shuffle(order)
    plain, mixed = balance_kr(map_of(square)).weights, balance_kr(map_of(square[np.ix_(order, order)])).weights
    np.testing.assert_allclose(mixed, plain[order], rtol=1e-5)


@settings(max_examples=40)
@given(counts(max_bins=12))
def test_kr__agrees_with_the_fixed_point_iteration(square):
    weights = balance_kr(map_of(square), tol=1e-10).weights
    good = ~np.isnan(weights)
    if good.any():
        expected = fixed_point(square[np.ix_(good, good)])
        np.testing.assert_allclose(up_to_scale(weights[good]), up_to_scale(expected), rtol=1e-6)


@settings(max_examples=40)
@given(counts(), st.sampled_from([2.0, 0.5, 1e4]))
def test_balancing__of_scaled_counts_has_the_same_weights(square, factor):
    # On Juicer's scale, where the sum is kept.
    for balance in (lambda m: balance_kr(m).weights, balance_vc):
        np.testing.assert_allclose(balance(map_of(square * factor)), balance(map_of(square)), rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ice_of_cis_without_ignored_diagonals__is_proportional_to_kr(tmp_path, seed):
    rng = np.random.default_rng(seed)
    n = 40
    bias = np.exp(rng.normal(0, 0.4, n))
    mean = 300 * bias * bias[:, None] / (1 + np.abs(np.subtract.outer(range(n), range(n))))
    upper = np.triu(1 + rng.poisson(mean))
    bin1, bin2 = np.nonzero(upper)
    pixels = pd.DataFrame({"bin1_id": bin1, "bin2_id": bin2, "count": upper[bin1, bin2]})
    path = tmp_path / "a.cool"
    cooler.create_cooler(str(path), cooler.binnify(pd.Series({"chr1": n * 1000}), 1000), pixels)
    parameters = IceParameters(extent="cis", ignore_diags=0, min_nnz=0, mad_max=0, tol=1e-9, max_iters=1000)
    ice = balance_ice(open_contacts_file(path, 1000), parameters).weights["chr1"]
    kr = balance_kr(map_of(upper + np.triu(upper, 1).T)).weights
    np.testing.assert_allclose(up_to_scale(ice), up_to_scale(kr), rtol=1e-5)
