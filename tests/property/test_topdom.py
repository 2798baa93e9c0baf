"""TopDom on the band against its description on square matrices, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from epizarr import topdom, topdom_domains
from epizarr.bands import band_from_square
from epizarr.domains.topdom import bin_signal, local_extrema, topdom_bins
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares, random_square

seeds = st.integers(0, 2**32 - 1)


def slow_signal(a: np.ndarray, w: int) -> list[float]:
    n = len(a)
    signal = []
    for i in range(n):
        known = [a[r, c] for r in range(max(0, i - w + 1), i + 1) for c in range(i + 1, min(n, i + w + 1))]
        known = [x for x in known if not np.isnan(x)]
        signal.append(sum(known) / len(known) if known else np.nan)
    return signal


def slow_pvalues(a: np.ndarray, w: int, regions: list[tuple[int, int]]) -> np.ndarray:
    """p-values from z-scored diagonals, by scipy's rank test."""
    n = len(a)
    z = np.full_like(a, np.nan)
    for k in range(1, min(2 * w, n - 1) + 1):
        d = np.diagonal(a, k)
        known = d[~np.isnan(d)]
        sd = known.std(ddof=1) if len(known) > 1 else 0.0
        for i in range(n - k):
            z[i, i + k] = (a[i, i + k] - known.mean()) / sd if sd > 1e-12 else np.nan
    p = np.ones(n)
    for lo, hi in regions:
        for i in range(lo, hi - 1):
            left, right = max(lo, i - w), min(hi - 1, i + w)
            across = z[max(lo, i - w + 1) : i + 1, i + 1 : right + 1].ravel()
            before = [z[r, c] for r in range(left, i + 1) for c in range(r + 1, i + 1)]
            after = [z[r, c] for r in range(i + 1, right + 1) for c in range(r + 1, right + 1)]
            x, y = across[~np.isnan(across)], np.array([*before, *after])
            y = y[~np.isnan(y)]
            if len(x) and len(y) and np.ptp(np.concatenate([x, y])) > 0:
                p[i] = mannwhitneyu(x, y, alternative="less", method="asymptotic", use_continuity=True).pvalue
    return p


@given(seeds, st.integers(2, 40), st.sampled_from([0.0, 0.15]), st.integers(1, 6))
@settings(max_examples=40)
def test_topdom_bins__equal_the_description_on_squares(seed, n, bad_share, window):
    square = random_square(np.random.default_rng(seed), n, bad_share)
    signal, _, pvalue, gap = (each[0] for each in topdom_bins(band_from_square(square, 2 * window), [window]))
    np.testing.assert_allclose(signal, slow_signal(square, window), rtol=1e-12, atol=1e-14)
    empty = [not (np.nan_to_num(square[i, max(0, i - window) : i + window + 1]) != 0).any() for i in range(n)]
    runs, start = [], None
    for i in range(n + 1):
        if i < n and not empty[i]:
            start = i if start is None else start
        elif start is not None:
            runs, start = [*runs, (start, i)], None
    runs = [(lo, hi) for lo, hi in runs if hi - lo > 3]
    in_run = np.zeros(n, dtype=bool)
    for lo, hi in runs:
        in_run[lo:hi] = True
    np.testing.assert_array_equal(gap, ~in_run)
    np.testing.assert_allclose(pvalue, slow_pvalues(square, window, runs), atol=1e-9)


@given(seeds, st.integers(3, 40), st.integers(1, 6))
def test_bin_signal__of_a_mirrored_chromosome_is_mirrored(seed, n, window):
    square = random_square(np.random.default_rng(seed), n)
    forward = bin_signal(band_from_square(square, 2 * window), window)[:-1]
    backward = bin_signal(band_from_square(square[::-1, ::-1], 2 * window), window)[:-1]
    np.testing.assert_allclose(backward[::-1], forward, rtol=1e-12)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=60), st.integers(-40, 40))
def test_local_extrema__are_extrema_and_do_not_depend_on_the_unit(heights, unit):
    signal = np.array(heights, dtype=float)
    found = local_extrema(signal)
    assert found.tolist() == local_extrema(signal * 2.0**unit).tolist()
    for i in np.flatnonzero(found):
        around = signal[max(0, i - 1) : i + 2]
        assert signal[i] == (around.max() if found[i] == 1 else around.min())


@pytest.fixture(scope="module")
def genome():
    rng = np.random.default_rng(3)
    squares = {"chr1": random_square(rng, 110), "chr2": np.zeros((30, 30)), "chr3": random_square(rng, 3, 0.0)}
    grid = Assembly.from_table("test", [("chr1", 10_950), ("chr2", 3_000), ("chr3", 260)]).bins(100)
    return grid, squares, band_from_squares(squares, 20)


def test_topdom__treats_each_chromosome_on_its_own(genome):
    grid, squares, band = genome
    got = topdom(band_array(band, grid), [3, 10])
    for chrom, square in squares.items():
        ours = got.isel(bin=got["chrom"] == chrom)
        for w in (3, 10):
            signal, extremum, pvalue, gap = (each[0] for each in topdom_bins(band_from_square(square, 2 * w), [w]))
            for name, alone in (("signal", signal), ("extremum", extremum), ("pvalue", pvalue), ("is_gap", gap)):
                np.testing.assert_array_equal(ours[name].sel(window=w), alone)


@settings(max_examples=4)
@given(st.integers(1, 150))
def test_topdom__is_the_same_for_any_chunks(genome, chunk):
    grid, _, band = genome
    whole = topdom(band_array(band, grid), [3, 10])
    assert whole.identical(topdom(band_array(band, grid).chunk({"bin": chunk, "diagonal": 7}), [3, 10]))


def test_topdom_domains__tile_every_chromosome(genome):
    grid, _, band = genome
    table = topdom_domains(topdom(band_array(band, grid), [3, 10]))
    for (_, chrom), rows in table.groupby(["window", "chrom"]):
        assert rows["start"].iloc[0] == 0
        assert rows["end"].iloc[-1] == grid.assembly.length(chrom)
        assert (rows["end"].to_numpy()[:-1] == rows["start"].to_numpy()[1:]).all()
        assert (rows["end"] > rows["start"]).all()
    assert set(table[table["chrom"] == "chr2"]["tag"]) == {"gap"}
