"""Akita's target on small windows: each stage against a plain loop or another library, then windows, ends and refusals."""

import numpy as np
import pytest
from scipy.interpolate import interpn
from scipy.signal import convolve2d

from epizarr import bands
from epizarr.errors import TransformError
from epizarr.normalize import akita


def make_map(n: int, seed: int = 0, depth: float = 40.0, bad: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Raw counts that fall off with distance, and balanced contacts with missing bins."""
    rng = np.random.default_rng(seed)
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    upper = np.triu(rng.poisson(depth / (1 + distance)))
    counts = (upper + np.triu(upper, 1).T).astype(float)
    weight = rng.uniform(0.05, 0.2, n)
    weight[list(bad)] = np.nan
    return counts, counts * np.outer(weight, weight)


# Stages


def coarsegrain_by_loops(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The same in plain loops over blocks, for windows whose length is a power of two."""
    valid = (~np.isnan(values)).astype(float)
    pyramid = [(np.nan_to_num(values), counts * valid, valid)]
    while len(pyramid[-1][0]) > 8:
        finer = pyramid[-1]
        m = len(finer[0]) // 2
        blocks = [[(slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)) for j in range(m)] for i in range(m)]
        pyramid.append(tuple(np.array([[a[block].sum() for block in row] for row in blocks]) for a in finer))
    for level in range(len(pyramid) - 1, 0, -1):
        total, _, number = pyramid[level]
        value, count, n_valid = pyramid[level - 1]
        for i, j in np.ndindex(total.shape):
            block = (slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
            if count[block].min() < 2:
                mean = total[i, j] / number[i, j] if number[i, j] else 0.0
                value[block] = mean * n_valid[block]
    return np.where(valid > 0, pyramid[0][0], np.nan)


def test_coarsegrain__agrees_with_plain_loops():
    counts, balanced = make_map(32, depth=10, bad=(4, 5, 17))
    clipped, _ = akita.clip_contacts(balanced)
    found = akita.coarsegrain(clipped, counts)
    np.testing.assert_allclose(found, coarsegrain_by_loops(clipped, counts), rtol=1e-12)
    assert (found != clipped)[~np.isnan(clipped)].any()


def test_coarsegrain__pads_a_window_of_another_length_at_its_end():
    counts, balanced = make_map(21, depth=10)
    wide = np.full((32, 32), np.nan)
    wide[:21, :21] = balanced
    found = akita.coarsegrain(balanced, counts)
    reads = np.pad(counts, (0, 11))
    np.testing.assert_allclose(found, coarsegrain_by_loops(wide, reads)[:21, :21], rtol=1e-12)


def test_coarsegrain__leaves_a_deep_map_alone():
    counts, balanced = make_map(16, depth=4000)
    np.testing.assert_array_equal(akita.coarsegrain(balanced, counts), balanced)


def test_coarsegrain__keeps_the_sum_of_a_map_without_missing_bins():
    counts, balanced = make_map(64, depth=5)
    np.testing.assert_allclose(akita.coarsegrain(balanced, counts).sum(), balanced.sum())


def test_coarsegrain__leaves_its_input_alone():
    counts, balanced = make_map(16, depth=5, bad=(3,))
    before = counts.copy(), balanced.copy()
    akita.coarsegrain(balanced, counts)
    np.testing.assert_array_equal(counts, before[0])
    np.testing.assert_array_equal(balanced, before[1])


def test_coarsegrain__refuses_a_missing_count_under_a_contact():
    counts, balanced = make_map(16)
    counts[3, 4] = np.nan
    with pytest.raises(ValueError, match="both must be of one map"):
        akita.coarsegrain(balanced, counts)


def test_clip_contacts__gives_near_diagonals_the_median():
    _, balanced = make_map(20, bad=(6,))
    clipped, median = akita.clip_contacts(balanced, 3)
    assert median == np.nanmedian(np.diagonal(balanced, 3))
    assert np.nanmax(clipped) == median
    for k in range(3):
        assert set(np.diagonal(clipped, k)[~np.isnan(np.diagonal(balanced, k))]) == {median}


def test_clip_contacts__knows_bad_bins_where_ignored_diagonals_are_missing():
    _, balanced = make_map(20, bad=(0, 6, 7))
    ignored = balanced.copy()
    akita.set_near_diagonals(ignored, np.nan, 2)
    np.testing.assert_array_equal(akita.clip_contacts(ignored)[0], akita.clip_contacts(balanced)[0])


def test_distance_class_edges__follow_the_factor():
    edges = akita.distance_class_edges(400)
    assert (edges[0], edges[1], edges[-1]) == (0, 1, 400)
    assert (np.diff(edges) >= 1).all()
    assert (np.diff(edges)[:20] == 1).all()
    far = edges[edges > 200]
    np.testing.assert_allclose(far[1:] / far[:-1], 1.03, atol=0.01)


def test_obs_over_exp__divides_each_class_by_its_mean():
    _, balanced = make_map(60, bad=(10, 31))
    found = akita.obs_over_exp(balanced)
    for c, (first, stop) in enumerate(zip(found.edges[:-1], found.edges[1:], strict=True)):
        pixels = np.concatenate([np.diagonal(balanced, k) for k in range(first, stop)])
        pixels = pixels[~np.isnan(pixels)]
        assert found.number[c] == len(pixels)
        for k in range(first, stop):
            wanted = np.diagonal(balanced, k) / (pixels.mean() if pixels.sum() else 1)
            np.testing.assert_allclose(np.diagonal(found.square, k), wanted)
            np.testing.assert_allclose(np.diagonal(found.square, -k), wanted)


def test_obs_over_exp__leaves_an_empty_class_as_it_is():
    square = np.ones((30, 30))
    square[0, 29] = square[29, 0] = 0
    assert akita.obs_over_exp(square).square[0, 29] == 0


def test_obs_over_exp__of_the_expected_is_one():
    distance = np.abs(np.subtract.outer(np.arange(25), np.arange(25)))
    np.testing.assert_allclose(akita.obs_over_exp(1.0 / (1 + distance)).square, 1.0)


def test_log_and_clip__limits_both_signs_of_a_logarithm():
    square = np.array([[0.0, np.e, 1e9], [np.nan, 1.0, 1e-9]])
    np.testing.assert_allclose(akita.log_and_clip(square), [[-2, 1, 2], [np.nan, 0, -2]])
    np.testing.assert_allclose(akita.log_and_clip(square, log=False, clip=5.0), [[0, np.e, 5], [np.nan, 1, 1e-9]])


@pytest.mark.parametrize("bad", [(), (5,), (0, 1, 7, 8, 9, 19)])
def test_interpolate_missing__agrees_with_scipy(bad):
    square = np.random.default_rng(1).normal(size=(20, 20))
    square[list(bad), :] = square[:, list(bad)] = np.nan
    good = np.setdiff1d(np.arange(-1, 21), bad)
    known = np.pad(square, 1)[np.ix_(good + 1, good + 1)]
    places = np.stack(np.meshgrid(np.arange(20), np.arange(20), indexing="ij"), axis=-1)
    wanted = interpn((good, good), known, places)
    np.testing.assert_allclose(akita.interpolate_missing(square), wanted, atol=1e-12)


def test_interpolate_missing__refuses_pixels_missing_besides_whole_bins():
    square = np.ones((12, 12))
    square[3, :] = square[:, 3] = np.nan
    square[7, 9] = np.nan
    with pytest.raises(TransformError, match="1 pixels are missing outside the 1 rows"):
        akita.interpolate_missing(square)


@pytest.mark.parametrize("sd", [1, 3])
def test_smooth__agrees_with_a_two_dimensional_convolution(sd):
    square = np.random.default_rng(2).normal(size=(30, 30))
    x = np.arange(-4 * sd, 4 * sd + 1)
    kernel = np.exp(-(x**2 + x[:, None] ** 2) / (2 * sd**2))
    wanted = convolve2d(square, kernel / kernel.sum(), mode="same", boundary="fill", fillvalue=0)
    np.testing.assert_allclose(akita.smooth(square, sd), wanted, atol=1e-12)


# A whole window


def test_akita_square__is_symmetric_without_missing_values_and_zero_near_the_diagonal():
    counts, balanced = make_map(48, depth=20, bad=(9, 10, 30))
    target = akita.akita_square(counts, balanced)
    assert np.isfinite(target).all()
    np.testing.assert_allclose(target, target.T, atol=1e-12)
    assert np.abs(target).max() <= 2
    for k in (-1, 0, 1):
        assert not np.diagonal(target, k).any()


def test_akita_square__does_not_depend_on_the_scale_of_the_weights():
    counts, balanced = make_map(48, depth=20, bad=(9,))
    np.testing.assert_allclose(
        akita.akita_square(counts, 7.3 * balanced), akita.akita_square(counts, balanced), atol=1e-12
    )


def test_akita_square__without_obsexp_is_balanced_times_100000():
    counts, balanced = make_map(16, depth=4000)
    parameters = akita.AkitaParameters(as_obsexp=False, log=False, clip=None)
    clipped, _ = akita.clip_contacts(balanced)
    again, _ = akita.clip_contacts(100_000 * clipped)
    np.testing.assert_allclose(akita.akita_square(counts, balanced, parameters), again)


def test_akita_square__without_log_is_one_near_the_diagonal():
    counts, balanced = make_map(16)
    target = akita.akita_square(counts, balanced, akita.AkitaParameters(log=False))
    np.testing.assert_array_equal(np.diagonal(target, 1), 1)
    assert target.min() >= 0


def test_akita_square__of_bad_bins_lies_between_their_neighbours():
    counts, balanced = make_map(48, bad=(20,))
    target = akita.akita_square(counts, balanced)
    np.testing.assert_allclose(target[20, 25:], (target[19, 25:] + target[21, 25:]) / 2)


@pytest.mark.parametrize("n", [1, 2, 8])
def test_akita_square__refuses_a_window_too_short_to_halve(n):
    with pytest.raises(TransformError):
        akita.akita_square(np.ones((n, n)), np.ones((n, n)))


def test_akita_square__refuses_a_map_whose_first_diagonal_is_mostly_empty():
    counts, balanced = make_map(40, depth=1)
    with pytest.raises(TransformError, match=r"median of diagonal 2 is 0 .* too sparse"):
        akita.akita_square(counts, balanced)


def test_akita_square__refuses_a_window_without_contacts():
    with pytest.raises(TransformError, match="40 of 40 bins have no balanced contact"):
        akita.akita_square(np.zeros((40, 40)), np.full((40, 40), np.nan))


@pytest.mark.parametrize(("n_bad", "is_computed"), [(20, True), (21, False)])
def test_akita_square__computes_up_to_one_half_of_bad_bins(n_bad, is_computed):
    counts, balanced = make_map(40, depth=400, bad=tuple(range(10, 10 + n_bad)))
    if is_computed:
        assert np.isfinite(akita.akita_square(counts, balanced)).all()
        return
    with pytest.raises(TransformError, match=r"21 of 40 bins.*50%"):
        akita.akita_square(counts, balanced)
    assert np.isfinite(akita.akita_square(counts, balanced, akita.AkitaParameters(max_bad_fraction=1))).all()


def test_akita_square__without_clip_refuses_an_infinite_logarithm():
    counts, balanced = make_map(64, depth=400)
    for square in (counts, balanced):
        square[:8, -8:] = square[-8:, :8] = 0  # empty up to the coarsest level
    with pytest.raises(TransformError, match="no finite logarithm"):
        akita.akita_square(counts, balanced, akita.AkitaParameters(clip=None))
    assert np.isfinite(akita.akita_square(counts, balanced)).all()


def test_akita_square__refuses_squares_of_two_shapes():
    with pytest.raises(ValueError, match="one shape"):
        akita.akita_square(np.ones((10, 10)), np.ones((12, 12)))


@pytest.mark.parametrize(
    "settings",
    [
        {"as_obsexp": False},
        {"as_obsexp": False, "log": False},
        {"clip": 0.0},
        {"clip": float("nan")},
        {"diagonal_offset": -1},
        {"smoothing_sd_bins": -1},
        {"max_bad_fraction": 1.5},
    ],
)
def test_akita_parameters__refuse_what_contradicts(settings):
    with pytest.raises(TransformError):
        akita.AkitaParameters(**settings)


# Windows along a chromosome


@pytest.mark.parametrize(
    ("n_bins", "starts"),
    [(100, [0, 10, 20, 30, 40, 50, 60, 70, 80]), (37, [0, 10, 17]), (20, [0]), (21, [0, 1]), (13, [0]), (1, [0])],
)
def test_window_starts__end_with_the_chromosome(n_bins, starts):
    assert akita.window_starts(n_bins, 10).tolist() == starts


def rows_of(counts, balanced, lo, hi, n_diagonals, **settings):
    """Band rows of a whole chromosome's squares, given just what is needed."""
    n_bins = len(counts)
    first, last = akita.rows_needed(lo, hi, n_bins, n_diagonals)
    length = akita.window_length(n_bins, n_diagonals)
    given = [bands.band_from_square(square, length)[first:last] for square in (counts, balanced)]
    parameters = akita.AkitaParameters(**settings)
    return akita.akita_band_rows(*given, lo, hi, n_bins=n_bins, n_diagonals=n_diagonals, parameters=parameters)


def test_akita_band_rows__take_each_pixel_from_the_window_with_the_nearest_centre():
    counts, balanced = make_map(67, bad=(25, 26))
    n_diagonals = 10
    found = rows_of(counts, balanced, 0, 67, n_diagonals)
    starts = [0, 10, 20, 30, 40, 47]
    squares = [akita.akita_square(counts[s : s + 20, s : s + 20], balanced[s : s + 20, s : s + 20]) for s in starts]
    for i in range(67):
        for k in range(n_diagonals):
            if i + k >= 67:
                assert np.isnan(found[i, k])
                continue
            # min() takes the first of equals.
            w = min(range(len(starts)), key=lambda w: abs(starts[w] + 10 - (i + 0.5 + k / 2)))
            assert found[i, k] == squares[w][i - starts[w], i + k - starts[w]]


def test_akita_band_rows__of_a_short_chromosome_are_one_window():
    counts, balanced = make_map(15)
    found = rows_of(counts, balanced, 0, 15, 10)
    np.testing.assert_array_equal(found, bands.band_from_square(akita.akita_square(counts, balanced), 10))


def test_akita_band_rows__of_a_tiny_chromosome_are_missing():
    counts, balanced = make_map(8)
    assert np.isnan(rows_of(counts, balanced, 0, 8, 10)).all()


def test_akita_band_rows__are_missing_where_a_window_cannot_be_computed():
    counts, balanced = make_map(80, bad=tuple(range(39, 62)))
    found = rows_of(counts, balanced, 0, 80, 10)
    # Windows from 40 (20 bad bins of 20), 30 and 50 (11 and 12) are not computed; the one from 60 has 2.
    centres = np.arange(80)[:, None] + 0.5 + np.arange(10) / 2
    on_chromosome = np.arange(80)[:, None] + np.arange(10) < 80
    is_missing = (centres > 35) & (centres <= 65)
    np.testing.assert_array_equal(np.isnan(found), is_missing | ~on_chromosome)


def test_akita_band_rows__never_give_a_target_of_zeros_on_an_empty_map():
    empty = np.zeros((50, 50))
    assert np.isnan(rows_of(empty, empty, 0, 50, 10)).all()
    assert np.isnan(rows_of(empty, np.full((50, 50), np.nan), 0, 50, 10)).all()


@pytest.mark.parametrize("settings", [{}, {"smoothing_sd_bins": 1}, {"log": False}, {"diagonal_offset": 3}])
def test_akita_band_rows__are_zero_below_the_first_diagonal(settings):
    counts, balanced = make_map(40)
    found = rows_of(counts, balanced, 0, 40, 10, **settings)
    offset = settings.get("diagonal_offset", 2)
    assert set(found[:39, :2].ravel()) <= {0.0, *found[38:39, 1]}
    assert not found[: 40 - offset, :offset].any()
    assert found[:30, offset:].all()


def test_akita_band_rows__accept_balanced_contacts_without_the_ignored_diagonals():
    counts, balanced = make_map(40, bad=(12, 13))
    ignored = balanced.copy()
    akita.set_near_diagonals(ignored, np.nan, 2)
    np.testing.assert_array_equal(rows_of(counts, ignored, 5, 30, 10), rows_of(counts, balanced, 5, 30, 10))


@pytest.mark.parametrize(("n_rows", "width"), [(19, 20), (20, 19)])
def test_akita_band_rows__refuse_a_band_that_does_not_hold_whole_windows(n_rows, width):
    band = np.ones((n_rows, width))
    with pytest.raises(ValueError, match=r"rows \[0, 20\) and 20 diagonals"):
        akita.akita_band_rows(band, band, 0, 5, n_bins=60, n_diagonals=10)


@pytest.mark.parametrize(("lo", "hi"), [(-1, 3), (3, 3), (0, 61)])
def test_rows_needed__refuses_rows_off_the_chromosome(lo, hi):
    with pytest.raises(ValueError, match="is needed"):
        akita.rows_needed(lo, hi, 60, 10)
