"""HiCRep's coefficient against a slow one on square matrices."""

import numpy as np
import pytest

from epizarr.bands import band_from_square
from epizarr.metrics.similarity import shuffle_diagonals
from epizarr.metrics.stratum_adjusted import n_strata, smooth, stratum_adjusted_correlation, stratum_moments


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """Two counted maps of one region with domains, (bin, bin)."""
    rng = np.random.default_rng(1)
    n = 120
    distance = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    domain = np.cumsum(rng.random(n) < 0.08)
    rate = 20 / (1 + distance) * np.where(np.equal.outer(domain, domain), 3.0, 1.0)
    counted = []
    for _ in range(2):
        upper = np.triu(rng.poisson(rate))
        counted.append((upper + np.triu(upper, 1).T).astype(float))
    return counted[0], counted[1]


def _slow_scc(x: np.ndarray, y: np.ndarray, h: int, lo: int, hi: int) -> float:
    """Pixel by pixel, as the paper defines it, on whole matrices."""
    n = len(x)
    smoothed = []
    for square in (x, y):
        out = np.empty_like(square)
        for i in range(n):
            for j in range(n):
                out[i, j] = square[max(i - h, 0) : i + h + 1, max(j - h, 0) : j + h + 1].mean()
        smoothed.append(out)
    above = below = 0.0
    for k in range(lo, hi):
        a, b = (np.diagonal(square, k) for square in smoothed)
        keep = (a != 0) | (b != 0)
        a, b = a[keep], b[keep]
        rank_variance = np.var(np.arange(1, len(a) + 1) / len(a), ddof=1)
        above += len(a) * rank_variance * np.corrcoef(a, b)[0, 1]
        below += len(a) * rank_variance
    return above / below


@pytest.mark.parametrize("h", [0, 1, 3])
def test_stratum_adjusted__agrees_with_square_matrices(maps, h):
    bands = [band_from_square(square, 30) for square in maps]
    found = stratum_adjusted_correlation([stratum_moments(*bands, h)])
    assert found == pytest.approx(_slow_scc(*maps, h, 1, n_strata(30, h)), rel=1e-12)


def test_stratum_adjusted__wider_bands_give_the_same_strata(maps):
    narrow, wide = (stratum_moments(*(band_from_square(m, k) for m in maps), 2) for k in (20, 40))
    np.testing.assert_allclose(wide.pearson()[0, :16], narrow.pearson()[0], rtol=1e-12)


def test_stratum_adjusted__of_a_map_with_itself_is_1(maps):
    band = band_from_square(maps[0], 30)
    assert stratum_adjusted_correlation([stratum_moments(band, band, 2)]) == pytest.approx(1.0)


def test_stratum_adjusted__regions_in_any_order(maps):
    parts = [stratum_moments(*(band_from_square(m[s, s], 30) for m in maps), 1) for s in (slice(0, 50), slice(50, 120))]
    assert stratum_adjusted_correlation(parts) == pytest.approx(stratum_adjusted_correlation(parts[::-1]), rel=1e-12)


def test_stratum_adjusted__a_shuffled_map_has_none(maps):
    band = band_from_square(maps[0], 30)
    assert abs(stratum_adjusted_correlation([stratum_moments(shuffle_diagonals(band), band, 0)])) < 0.1


def test_smooth__missing_pixels_are_not_zeros():
    band = np.array(
        [[1.0, np.nan, 1.0], [np.nan, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, np.nan], [1.0, np.nan, np.nan]]
    )
    smoothed = smooth(band, 1)
    np.testing.assert_array_equal(np.isnan(smoothed), np.isnan(band))
    np.testing.assert_allclose(smoothed[~np.isnan(band)], 1.0)


def test_n_strata__refuses_a_narrow_band():
    with pytest.raises(ValueError, match="smaller h"):
        n_strata(10, 5)
