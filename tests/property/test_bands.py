"""Band, stripes, pixels and square are the same contacts; a mirrored chromosome gives mirrored contacts."""

import dask.array as da
import numpy as np
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from epizarr import bands
from tests.strategies import grids, squares


def concatenated(square_list, n_diagonals):
    """Bands of several chromosomes along one genome-wide bin axis."""
    return np.concatenate([bands.band_from_square(s, n_diagonals) for s in square_list])


@given(squares(), st.integers(1, 30))
def test_stripes_from_band__agrees_with_square_matrix(square, n_diagonals):
    n = len(square)
    stripes = bands.gather_stripes(bands.band_from_square(square, n_diagonals), 0, n, n_diagonals)
    for m in range(n):
        for k in range(n_diagonals):
            i, j = m - -(-k // 2), m + k // 2
            wanted = square[i, j] if i >= 0 and j < n else np.nan
            np.testing.assert_equal(stripes[m, k], wanted)


@given(st.lists(squares(), min_size=1, max_size=3), st.integers(1, 12), st.integers(1, 9))
def test_band_from_stripes__undoes_stripes_from_band_for_any_chunking(square_list, n_diagonals, chunk):
    values = concatenated(square_list, n_diagonals)
    eager = xr.DataArray(values, dims=("bin", "diagonal"))
    lazy = xr.DataArray(da.from_array(values, chunks=(chunk, -1)), dims=("bin", "diagonal"))
    stripes = bands.stripes_from_band(lazy)
    np.testing.assert_array_equal(stripes.values, bands.stripes_from_band(eager).values)
    np.testing.assert_array_equal(bands.band_from_stripes(stripes).values, values)


@given(st.lists(squares(), min_size=2, max_size=3), st.integers(1, 12))
def test_stripes_from_band__never_crosses_a_chromosome_end(square_list, n_diagonals):
    together = bands.stripes_from_band(xr.DataArray(concatenated(square_list, n_diagonals), dims=("bin", "diagonal")))
    alone = [bands.gather_stripes(bands.band_from_square(s, n_diagonals), 0, len(s), n_diagonals) for s in square_list]
    np.testing.assert_array_equal(together.values, np.concatenate(alone))


@given(squares(), st.integers(1, 30), st.data())
def test_gather_stripes__a_piece_with_margin_equals_the_whole(square, n_diagonals, data):
    n = len(square)
    lo = data.draw(st.integers(0, n - 1))
    hi = data.draw(st.integers(lo + 1, n))
    band = bands.band_from_square(square, n_diagonals)
    first = max(0, lo - bands.stripe_margins(n_diagonals)[0])
    piece = bands.gather_stripes(band[first:hi], lo - first, hi - lo, n_diagonals)
    np.testing.assert_array_equal(piece, bands.gather_stripes(band, 0, n, n_diagonals)[lo:hi])


@given(squares(), st.integers(1, 30), st.data())
def test_scatter_stripes__a_piece_with_margin_equals_the_whole(square, n_diagonals, data):
    n = len(square)
    lo = data.draw(st.integers(0, n - 1))
    hi = data.draw(st.integers(lo + 1, n))
    band = bands.band_from_square(square, n_diagonals)
    stripes = bands.gather_stripes(band, 0, n, n_diagonals)
    last = min(n, hi + n_diagonals // 2)
    np.testing.assert_array_equal(bands.scatter_stripes(stripes[:last], lo, hi - lo, n_diagonals), band[lo:hi])


@given(squares(), st.integers(1, 12), st.integers(0, 100))
def test_band_from_pixels__undoes_pixels_from_band(square, n_diagonals, first_bin):
    band = bands.band_from_square(square, n_diagonals)
    bin1, bin2, value = bands.pixels_from_band(band, first_bin)
    again = bands.band_from_pixels(bin1, bin2, value, n_bins=len(band), n_diagonals=n_diagonals, first_bin=first_bin)
    np.testing.assert_array_equal(again, np.nan_to_num(band))


@given(squares(), st.integers(1, 30))
def test_square_from_band__undoes_band_from_square_within_the_band(square, n_diagonals):
    again = bands.square_from_band(bands.band_from_square(square, n_diagonals))
    distance = np.abs(np.subtract.outer(np.arange(len(square)), np.arange(len(square))))
    np.testing.assert_array_equal(again, np.where(distance < n_diagonals, square, np.nan))


@given(squares(), st.integers(1, 30))
def test_mirror_band__equals_band_of_mirrored_chromosome(square, n_diagonals):
    mirrored = bands.mirror_band(bands.band_from_square(square, n_diagonals))
    np.testing.assert_array_equal(mirrored, bands.band_from_square(square[::-1, ::-1], n_diagonals))


@given(squares(max_bins=40), st.integers(1, 12), st.data())
def test_mirror_stripes__equals_stripes_of_mirrored_chromosome_inside_it(square, n_offsets, data):
    n = len(square)
    lo = data.draw(st.integers(0, n - 1))
    hi = data.draw(st.integers(lo + 1, n))
    stripes = bands.gather_stripes(bands.band_from_square(square, n_offsets), lo, hi - lo + 1, n_offsets)
    there = bands.gather_stripes(bands.band_from_square(square[::-1, ::-1], n_offsets), n - hi, hi - lo, n_offsets)
    np.testing.assert_array_equal(bands.mirror_stripes(stripes), there)


@given(grids(), st.integers(1, 20))
def test_band_on_chromosome__agrees_with_bin_table(grid, n_diagonals):
    mask = bands.band_on_chromosome(grid, 0, grid.n_bins, n_diagonals)
    code = grid.chrom_code(np.arange(grid.n_bins))
    for i in range(grid.n_bins):
        for k in range(n_diagonals):
            assert mask[i, k] == (i + k < grid.n_bins and code[i + k] == code[i])


@given(st.integers(1, 30), st.integers(1, 12), st.integers(-10, 35), st.integers(1, 20))
def test_stripe_on_chromosome__is_where_stripes_have_values(n_chrom_bins, n_offsets, first, n_bins):
    band = bands.band_from_square(np.ones((n_chrom_bins, n_chrom_bins)), n_offsets)
    stripes = bands.gather_stripes(band, first, n_bins, n_offsets)
    mask = bands.stripe_on_chromosome(first, n_bins, n_chrom_bins, n_offsets)
    np.testing.assert_array_equal(mask, ~np.isnan(stripes))


@given(squares(), st.integers(1, 12), st.integers(0, 3), st.integers(0, 2**31))
def test_balance_band__agrees_with_dense_outer_product(square, n_diagonals, ignore, seed):
    n = len(square)
    weight = np.random.default_rng(seed).random(n)
    weight[::5] = np.nan
    padded = np.concatenate([weight, np.full(n_diagonals - 1, np.nan)])
    band = bands.balance_band(bands.band_from_square(square, n_diagonals), padded, ignore)
    wanted = bands.band_from_square(square * np.outer(weight, weight), n_diagonals)
    wanted[:, :ignore] = np.nan
    np.testing.assert_allclose(band, wanted, rtol=1e-12)


@given(squares(), st.integers(1, 12), st.integers(0, 3), st.integers(0, 2**31))
def test_mask_band__more_bad_bins_never_give_fewer_missing(square, n_diagonals, min_diagonal, seed):
    rng = np.random.default_rng(seed)
    band = bands.band_from_square(square, n_diagonals)
    good = rng.random(len(band) + n_diagonals - 1) < 0.8
    fewer = good & (rng.random(len(good)) < 0.8)
    once, twice = (bands.mask_band(band, g, min_diagonal) for g in (good, fewer))
    assert np.isnan(twice[np.isnan(once)]).all()
    keep = ~np.isnan(once)
    i, k = np.nonzero(keep)
    assert good[i].all()
    assert good[i + k].all()
    assert (k >= min_diagonal).all()
    np.testing.assert_array_equal(once[keep], band[keep])


@given(squares(), st.integers(1, 8), st.integers(1, 30))
def test_mean_of_runs__is_the_mean_of_what_is_known(square, n_diagonals, factor):
    stripes = bands.gather_stripes(bands.band_from_square(square, n_diagonals), 0, len(square), n_diagonals)
    means = bands.mean_of_runs(stripes, factor)
    assert means.shape == (-(-len(square) // factor), n_diagonals)
    for run, row in enumerate(means):
        for k, mean in enumerate(row):
            known = [v for v in stripes[run * factor : (run + 1) * factor, k] if not np.isnan(v)]
            np.testing.assert_allclose(mean, np.mean(known) if known else np.nan, rtol=1e-12)


@given(squares(), st.integers(1, 30), st.integers(1, 9))
def test_coarsen_band__means_and_sums_are_those_of_the_square(square, n_diagonals, factor):
    band = bands.band_from_square(square, n_diagonals)
    near = bands.square_from_band(band)
    mean = bands.coarsen_band(band, factor, "mean")
    total = bands.coarsen_band(band, factor, "sum")
    upper = np.where(np.tri(len(square), dtype=bool).T, near, np.nan)
    for row in range(len(mean)):
        for k in range(mean.shape[1]):
            a, b = slice(row * factor, (row + 1) * factor), slice((row + k) * factor, (row + k + 1) * factor)
            known = near[a, b][~np.isnan(near[a, b])]
            once = upper[a, b][~np.isnan(upper[a, b])]
            np.testing.assert_allclose(mean[row, k], known.mean() if known.size else np.nan, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(total[row, k], once.sum() if once.size else np.nan, rtol=1e-9, atol=1e-9)
