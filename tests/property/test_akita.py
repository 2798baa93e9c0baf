"""The tiling of Akita's windows: no cut of the chromosome changes a value, and every pixel lies inside its window."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from epizarr import bands
from epizarr.normalize import akita


@st.composite
def maps(draw, min_bins: int = 9, max_bins: int = 60):
    """Raw counts and balanced contacts of one chromosome, with bad bins."""
    n = draw(st.integers(min_bins, max_bins))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    upper = np.triu(rng.poisson(30 / (1 + distance)))
    counts = (upper + np.triu(upper, 1).T).astype(float)
    weight = rng.uniform(0.5, 2, n)
    weight[rng.random(n) < draw(st.sampled_from([0.0, 0.1, 0.6]))] = np.nan
    return counts, counts * np.outer(weight, weight)


def rows_of(squares, lo, hi, n_diagonals):
    n_bins = len(squares[0])
    first, last = akita.rows_needed(lo, hi, n_bins, n_diagonals)
    length = akita.window_length(n_bins, n_diagonals)
    counts, balanced = (bands.band_from_square(square, length)[first:last] for square in squares)
    return akita.akita_band_rows(counts, balanced, lo, hi, n_bins=n_bins, n_diagonals=n_diagonals)


@given(maps(), st.integers(5, 16), st.data())
def test_akita_band_rows__do_not_depend_on_the_cut_into_blocks(squares, n_diagonals, data):
    n_bins = len(squares[0])
    cuts = sorted(data.draw(st.sets(st.integers(1, n_bins - 1), max_size=4)))
    edges = [0, *cuts, n_bins]
    blocks = [rows_of(squares, lo, hi, n_diagonals) for lo, hi in zip(edges[:-1], edges[1:], strict=True)]
    np.testing.assert_array_equal(np.concatenate(blocks), rows_of(squares, 0, n_bins, n_diagonals))


@given(st.integers(1, 500), st.integers(1, 40), st.data())
def test_windows_of_pixels__hold_their_pixels_and_are_the_nearest(n_bins, n_diagonals, data):
    lo = data.draw(st.integers(0, n_bins - 1))
    hi = data.draw(st.integers(lo + 1, min(n_bins, lo + 60)))
    length = akita.window_length(n_bins, n_diagonals)
    starts = akita.window_starts(n_bins, n_diagonals)
    windows = akita._windows_of_pixels(lo, hi, n_bins, n_diagonals)
    i, k = np.arange(lo, hi)[:, None], np.arange(n_diagonals)[None, :]
    on_chromosome = i + k < n_bins
    np.testing.assert_array_equal(windows >= 0, on_chromosome)
    start = starts[windows]
    assert ((start <= i) & (i + k < start + length))[on_chromosome].all()
    distances = np.abs(starts + length / 2 - (i + k / 2 + 0.5)[..., None])
    np.testing.assert_array_equal(windows[on_chromosome], distances.argmin(axis=-1)[on_chromosome])
    first, last = akita.rows_needed(lo, hi, n_bins, n_diagonals)
    assert (first, last) == (start[on_chromosome].min(), start[on_chromosome].max() + length)
    assert lo - first <= 2 * n_diagonals
    assert last - hi <= 2 * n_diagonals


@given(st.integers(1, 5), st.sampled_from([8, 16]), st.integers(0, 2**32 - 1))
def test_akita_band_rows__mirror_where_windows_do(n_steps, n_diagonals, seed):
    # 2K is a power of two and K divides the chromosome; pixels as near to one window as to the next are left out.
    n_bins = (n_steps + 1) * n_diagonals
    rng = np.random.default_rng(seed)
    distance = np.abs(np.subtract.outer(np.arange(n_bins), np.arange(n_bins)))
    upper = np.triu(rng.poisson(30 / (1 + distance)))
    counts = (upper + np.triu(upper, 1).T).astype(float)
    weight = rng.uniform(0.5, 2, n_bins)
    weight[rng.integers(n_bins, size=2)] = np.nan
    squares = counts, counts * np.outer(weight, weight)
    there = rows_of([square[::-1, ::-1] for square in squares], 0, n_bins, n_diagonals)
    here = bands.mirror_band(rows_of(squares, 0, n_bins, n_diagonals))
    twice = 2 * np.arange(n_bins)[:, None] + np.arange(n_diagonals) + 1  # midpoint × 2
    is_tie = (
        (twice % (2 * n_diagonals) == n_diagonals) & (twice > 2 * n_diagonals) & (twice < 2 * (n_bins - n_diagonals))
    )
    np.testing.assert_allclose(np.where(is_tie, 0, here), np.where(is_tie, 0, there), atol=1e-9)


@given(maps(min_bins=30), st.integers(8, 12), st.data())
def test_akita_band_rows__depend_on_nothing_outside_their_window(squares, n_diagonals, data):
    # A changed contact changes no pixel of a window that does not hold it.
    n_bins = len(squares[0])
    i = data.draw(st.integers(0, n_bins - 1))
    j = data.draw(st.integers(i, n_bins - 1))
    changed = [square.copy() for square in squares]
    for square in changed:
        square[i, j] += 5
        square[j, i] = square[i, j]
    windows = akita._windows_of_pixels(0, n_bins, n_bins, n_diagonals)
    starts = akita.window_starts(n_bins, n_diagonals)[windows]
    holds_it = (starts <= i) & (j < starts + akita.window_length(n_bins, n_diagonals))
    before, after = (rows_of(pair, 0, n_bins, n_diagonals) for pair in (squares, changed))
    np.testing.assert_array_equal(before[~holds_it], after[~holds_it])
