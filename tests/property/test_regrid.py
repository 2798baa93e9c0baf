"""Properties of means by area: what any resampling of a map to another grid must keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from epizarr.regrid import AreaMean, overlap_shares, regrid_square, square_from_triangle, symmetric_square

VALUES = st.one_of(st.floats(0.125, 1000, width=32), st.just(np.nan))


@st.composite
def edges(draw, max_bins: int = 7) -> np.ndarray:
    """Edges of adjacent bins, not all of one width, beginning anywhere."""
    widths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=max_bins))
    return draw(st.integers(0, 60)) + np.concatenate([[0], np.cumsum(widths)])


@st.composite
def maps(draw) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric map with holes, and its edges."""
    bins = draw(edges())
    n = len(bins) - 1
    upper = draw(hnp.arrays(np.float64, (n, n), elements=VALUES))
    return np.triu(upper) + np.triu(upper, 1).T, bins


@given(maps())
def test_regrid_square__is_identity_on_the_same_grid(case):
    square, bins = case
    np.testing.assert_array_equal(regrid_square(square, bins, bins), square)


@given(edges(), edges(), st.floats(0.125, 1000))
def test_regrid_square__constants_stay_constant(source, target, value):
    n = len(source) - 1
    out = regrid_square(np.full((n, n), value), source, target)
    np.testing.assert_allclose(out[~np.isnan(out)], value, rtol=1e-12)
    covered = np.minimum(target[1:], source[-1]) - np.maximum(target[:-1], source[0])
    share = np.clip(covered / np.diff(target), 0, None)
    np.testing.assert_array_equal(np.isnan(out), np.outer(share, share) < 0.5 - 1e-9)


@given(maps(), edges())
def test_regrid_square__mirrored_in_is_mirrored_out(case, target):
    square, source = case
    length = int(max(source[-1], target[-1]))
    out = regrid_square(square, source, target)
    mirrored = regrid_square(square[::-1, ::-1], (length - source)[::-1], (length - target)[::-1])
    np.testing.assert_allclose(mirrored[::-1, ::-1], out, rtol=1e-9)


@given(maps(), edges(), st.data())
def test_regrid_square__missing_never_becomes_a_number(case, target, data):
    """More NaN in is no less NaN out, and nothing comes of nothing."""
    square, source = case
    out = regrid_square(square, source, target)
    fewer = square.copy()
    i, j = (data.draw(st.integers(0, len(square) - 1)) for _ in range(2))
    fewer[i, j] = fewer[j, i] = np.nan
    assert not (np.isnan(out) & ~np.isnan(regrid_square(fewer, source, target))).any()
    assert np.isnan(regrid_square(np.full_like(square, np.nan), source, target)).all()


@given(maps(), edges())
def test_regrid_square__agrees_with_every_base_pair(case, target):
    """A plain mean over a map drawn with a pixel a base pair."""
    square, source = case
    end = int(max(source[-1], target[-1]))
    of_base = np.full(end, -1)
    of_base[source[0] : source[-1]] = np.repeat(np.arange(len(square)), np.diff(source))
    padded = np.pad(square, (0, 1), constant_values=np.nan)
    drawn = padded[np.ix_(of_base, of_base)]
    out = regrid_square(square, source, target)
    for i, (a, b) in enumerate(zip(target, target[1:], strict=False)):
        for j, (c, d) in enumerate(zip(target, target[1:], strict=False)):
            cells = drawn[a:b, c:d]
            known = ~np.isnan(cells)
            if known.mean() < 0.5:
                assert np.isnan(out[i, j])
            else:
                assert out[i, j] == pytest.approx(cells[known].mean(), rel=1e-9)


def test_area_mean__overlapping_maps_are_averaged():
    mean = AreaMean(np.array([0, 10, 20, 30]))
    mean.add(np.full((2, 2), 1.0), np.array([0, 10, 20]))
    mean.add(np.full((2, 2), 3.0), np.array([10, 20, 30]))
    np.testing.assert_array_equal(mean.values(), [[1, 1, np.nan], [1, 2, 3], [np.nan, 3, 3]])


def test_overlap_shares__of_8192_in_10000():
    shares = overlap_shares(8192 * np.arange(4), 10_000 * np.arange(3)).toarray()
    np.testing.assert_allclose(shares, [[0.8192, 0.1808, 0], [0, 0.6384, 0.3616]])


@pytest.mark.parametrize("keep", [np.triu, np.tril])
def test_symmetric_square__takes_the_triangle_that_is_there(keep):
    square = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    np.testing.assert_array_equal(symmetric_square(keep(square)), square)
    half = np.where(keep(np.ones((3, 3))) > 0, square, np.nan)
    np.testing.assert_array_equal(symmetric_square(half), square)
    skewed = square + np.triu(np.ones((3, 3)), 1)
    np.testing.assert_array_equal(symmetric_square(skewed), square + 0.5 * (1 - np.eye(3)))


def test_square_from_triangle__undoes_triu_indices():
    """Akita: 448 bins from the second diagonal on."""
    n_values = len(np.triu_indices(448, 2)[0])
    square = square_from_triangle(np.arange(n_values, dtype=float), 2)
    assert square.shape == (448, 448)
    np.testing.assert_array_equal(square[np.triu_indices(448, 2)], np.arange(n_values))
    assert np.isnan(np.diagonal(square, 1)).all()
    with pytest.raises(ValueError, match="no upper triangle"):
        square_from_triangle(np.zeros(n_values + 1), 2)
