"""Knight-Ruiz balancing and vanilla coverage on maps small enough to know the answer."""

import numpy as np
import pytest

from epizarr.errors import BalancingError
from epizarr.normalize.cis_map import CisMap, CisMapBuilder
from epizarr.normalize.kr import balance_kr, balance_vc
from epizarr.normalize.scales import scale_as_hicexplorer, scale_to_raw_sum


def map_of(square) -> CisMap:
    square = np.asarray(square, dtype=float)
    bin1, bin2 = np.nonzero(np.triu(square))
    builder = CisMapBuilder("chr1", len(square))
    builder.add(bin1, bin2, square[bin1, bin2])
    return builder.build()


def full_square(n: int, seed: int = 0) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).integers(5, 20, (n, n))).astype(float)
    return upper + np.triu(upper, 1).T


# The map


def test_cis_map__multiplies_as_the_square_does():
    square, x = full_square(9), np.linspace(-1, 2, 9)
    np.testing.assert_allclose(map_of(square).multiply(x), square @ x)


def test_cis_map__does_not_depend_on_the_pieces():
    square = full_square(9)
    bin1, bin2 = np.nonzero(np.triu(square))
    builder = CisMapBuilder("chr1", 9)
    order = np.random.default_rng(1).permutation(len(bin1))
    for some in np.array_split(order, 4):
        # Types as the readers give them.
        builder.add(bin1[some], bin2[some], square[bin1[some], bin2[some]].astype(np.int32))
    found, whole = builder.build(), map_of(square)
    np.testing.assert_array_equal(found.above.toarray(), whole.above.toarray())
    np.testing.assert_array_equal(found.diagonal, whole.diagonal)
    assert (found.n_pixels, found.above.indices.dtype, found.above.data.dtype) == (45, np.int32, np.float64)


def test_cis_map__counts_no_pixel_without_a_count():
    builder = CisMapBuilder("chr1", 3)
    builder.add(np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([0, 0, 4]))
    assert builder.build().n_pixels == 1


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_cis_map__refuses_what_is_no_count(value):
    with pytest.raises(BalancingError, match=r"chr1: pixel \(1, 2\) holds .*raw counts"):
        CisMapBuilder("chr1", 3).add(np.array([0, 1]), np.array([0, 2]), np.array([1.0, value]))


@pytest.mark.parametrize(("bin1", "bin2"), [(2, 1), (-1, 1), (1, 3)])
def test_cis_map__refuses_pixels_that_are_not_in_its_triangle(bin1, bin2):
    with pytest.raises(ValueError, match="bin1 <= bin2 < 3"):
        CisMapBuilder("chr1", 3).add(np.array([bin1]), np.array([bin2]), np.array([1.0]))


# KR


def test_kr__of_two_bins_is_the_closed_form():
    a, b, d = 6.0, 2.0, 3.0
    # x1 (a x1 + b x2) = x2 (b x1 + d x2) = 1 gives (x1 / x2)^2 = d / a.
    found = balance_kr(map_of([[a, b], [b, d]]), tol=1e-12)
    np.testing.assert_allclose(found.weights[0] / found.weights[1], np.sqrt(d / a), rtol=1e-12)


def test_kr__of_one_bin_leaves_the_count():
    found = balance_kr(map_of([[7.0]]), tol=1e-12)
    np.testing.assert_allclose(found.weights, [1.0], rtol=1e-12)


def test_kr__of_an_empty_chromosome_drops_every_bin():
    found = balance_kr(CisMapBuilder("chrY", 3).build())
    assert np.isnan(found.weights).all()
    assert (found.n_dropped, found.converged, found.n_products) == (3, True, 0)


def test_kr__drops_bins_without_contacts_and_nothing_else():
    square = np.zeros((6, 6))
    kept = np.array([0, 2, 3, 5])
    square[np.ix_(kept, kept)] = full_square(4)
    found = balance_kr(map_of(square))
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(found.weights)), kept)
    np.testing.assert_allclose(found.weights[kept], balance_kr(map_of(full_square(4))).weights, rtol=1e-9)
    assert found.n_dropped == 2


def test_kr__reaches_the_tolerance_it_reports():
    cis_map = map_of(full_square(12))
    rough, fine = balance_kr(cis_map, tol=1e-3), balance_kr(cis_map, tol=1e-11)
    assert rough.converged
    assert fine.converged
    assert fine.residual <= 1e-11 < rough.residual <= 1e-3
    assert rough.n_iterations < fine.n_iterations
    assert rough.n_products < fine.n_products


def test_kr__divisive_vector_is_the_inverse():
    found = balance_kr(map_of([[4.0, 0, 2], [0, 0, 0], [2, 0, 9]]))
    np.testing.assert_array_equal(found.divisive, 1 / found.weights)
    assert np.isnan(found.divisive[1])


def test_kr__drops_a_bin_whose_value_vanishes_and_fits_again():
    # x1 x2 3 = 1 and x2 (3 x1 + 5 x2) = 1 cannot both hold: x2 goes to 0 and x1 to infinity, its divisive value to 0.
    found = balance_kr(map_of([[0, 3], [3, 5]]))
    assert (np.isnan(found.weights).tolist(), found.n_rounds) == ([True, False], 2)
    np.testing.assert_allclose(found.weights[1], 1.0, rtol=1e-6)


@pytest.mark.parametrize(("n_leaves", "n_rounds"), [(1, 2), (2, 3), (4, 5)])
def test_kr__drops_the_lowest_row_sums_until_a_fit_succeeds(n_leaves, n_rounds):
    # Leaves have no contact but with bin 0. A single one would take up all of bin 0's row sum: its divisive value runs to 0,
    # and it is dropped for that. With more the fit fails: of 40-odd row sums, the 1st to 4th percentile take one, the 10th
    # four.
    n = 40
    square = np.zeros((n + n_leaves, n + n_leaves))
    square[:n, :n] = full_square(n)
    square[0, n:] = square[n:, 0] = 1 + np.arange(n_leaves)
    found = balance_kr(map_of(square))
    assert np.flatnonzero(np.isnan(found.weights)).tolist() == list(range(n, n + n_leaves))
    assert found.n_rounds == n_rounds


def test_kr__of_a_map_without_one_names_the_chromosome_and_says_what_to_do():
    star = np.zeros((30, 30))
    star[0, 1:] = star[1:, 0] = np.arange(1, 30)
    with pytest.raises(
        BalancingError, match=r"chr1 has no Knight-Ruiz balancing: 29 pixels.*30 of 30.*Use coarser bins"
    ):
        balance_kr(map_of(star))


def test_kr__of_a_map_whose_bins_all_fall_away_is_an_error_too():
    # Three ends of equal sums: every percentile takes all of them, and the hub alone has no contact.
    star = np.zeros((4, 4))
    star[0, 1:] = star[1:, 0] = 2
    with pytest.raises(BalancingError, match="has no Knight-Ruiz balancing"):
        balance_kr(map_of(star))


def test_kr__gives_up_after_the_products_it_is_allowed():
    with pytest.raises(BalancingError, match="5 fits"):
        balance_kr(map_of(full_square(12)), max_products=3)


# VC and scales


@pytest.mark.parametrize(("sqrt", "power"), [(False, 1.0), (True, 0.5)])
def test_vc__divides_by_row_sums(sqrt, power):
    square = full_square(8)
    square[3], square[:, 3] = 0, 0
    weights = balance_vc(map_of(square), sqrt=sqrt)
    good = np.arange(8) != 3
    divisive = 1 / weights[good]
    sums = square.sum(axis=1)[good] ** power
    np.testing.assert_allclose(divisive / divisive[0], sums / sums[0], rtol=1e-12)
    assert np.isnan(weights[3])


@pytest.mark.parametrize(
    "balance",
    [lambda m: balance_kr(m).weights, balance_vc, lambda m: balance_vc(m, sqrt=True)],
    ids=["kr", "vc", "sqrt"],
)
def test_juicers_scale__keeps_the_sum_over_valid_bins(balance):
    square = full_square(10)
    square[4], square[:, 4] = 0, 0
    weights = np.nan_to_num(balance(map_of(square)))
    np.testing.assert_allclose(weights @ square @ weights, square.sum(), rtol=1e-12)


def test_scale_to_raw_sum__leaves_out_contacts_of_dropped_bins():
    square = full_square(5)
    weights = scale_to_raw_sum(map_of(square), np.array([1.0, 2.0, np.nan, 1.0, 1.0]))
    good = [0, 1, 3, 4]
    assert np.isnan(weights[2])
    inner = square[np.ix_(good, good)]
    np.testing.assert_allclose(weights[good] @ inner @ weights[good], inner.sum(), rtol=1e-12)


def test_vc__of_an_empty_chromosome_is_missing():
    assert np.isnan(balance_vc(CisMapBuilder("chrY", 3).build())).all()


def test_hicexplorers_scale__gives_divisive_factors_the_mean_one():
    weights = np.array([0.5, np.nan, 0.25, 2.0])
    scaled = scale_as_hicexplorer(weights)
    np.testing.assert_allclose(np.nanmean(1 / scaled), 1.0)
    np.testing.assert_allclose(scaled, weights * scaled[0] / weights[0])
    assert np.isnan(scale_as_hicexplorer(np.full(3, np.nan))).all()
