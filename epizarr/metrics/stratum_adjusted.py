"""HiCRep's stratum-adjusted correlation coefficient (SCC) of two bands.

Both maps are smoothed with the mean of the (2h + 1)² square around each pixel; the coefficient is the mean of the strata's (that
is, the diagonals') Pearson correlations, weighted with n (1 + 1/n) / 12: pixels times the variance of their ranks. Pixels that
are 0 in both smoothed maps are left out, as in the original.

What differs from the original: a missing pixel is missing, in the mean of its neighbours and in the strata, where it reads as 0
there; and diagonals whose squares reach past the band are left out (:func:`n_strata`), so that a wider band gives the same strata
and more of them.

Source: Yang et al. 2017, doi:10.1101/gr.220640.117; weights and edges as in the Python port hicrep 0.2.6, whose values it gives
where nothing is missing.
"""

from collections.abc import Iterable

import numpy as np

from epizarr.metrics.moments import PairMoments
from epizarr.metrics.neighbourhoods import rectangle_sums


def smooth(band: np.ndarray, h: int) -> np.ndarray:
    """Mean of the valid pixels of the (2h + 1)² square around each pixel of one region's band; NaN stays NaN.

    Diagonals from ``K - 2h`` on depend on the band's width.
    """
    if h == 0:
        return band
    total, number = rectangle_sums(band, (-h, h), (-h, h))
    return np.where(np.isnan(band), np.nan, total / np.maximum(number, 1))


def n_strata(n_diagonals: int, h: int) -> int:
    """Diagonals of a band whose squares of half width ``h`` lie in the band."""
    if n_diagonals <= 2 * h:
        raise ValueError(
            f"a band of {n_diagonals} diagonals is too narrow to be smoothed with h = {h}, which needs more than {2 * h}; take a "
            "smaller h."
        )
    return n_diagonals - 2 * h


def stratum_moments(prediction: np.ndarray, observed: np.ndarray, h: int) -> PairMoments:
    """Moments of one region's smoothed bands, arrays (1, diagonal).

    Regions are pooled with :meth:`PairMoments.total`; :func:`stratum_adjusted_correlation` makes the coefficient of it.

    Parameters
    ----------
    prediction, observed
        Bands of one region in linear contacts, (row, diagonal), NaN where a pixel does not count.
    h
        Half width of the smoothing; the original chooses it by replicates, such as 20 at 10 kb and 5 at 40 kb for whole maps.
    """
    kept = n_strata(observed.shape[1], h)
    both = ~(np.isnan(prediction) | np.isnan(observed))
    maps = [smooth(np.where(both, band, np.nan), h)[:, :kept] for band in (prediction, observed)]
    nothing = (maps[0] == 0) & (maps[1] == 0)
    smoothed = [np.where(nothing, np.nan, band) for band in maps]
    return PairMoments.of_rows(smoothed[0], smoothed[1], np.zeros(len(observed), dtype=np.int64), 1)


def stratum_adjusted_correlation(parts: Iterable[PairMoments], min_diagonal: int = 1, min_pixels: int = 3) -> float:
    """SCC of some regions together; NaN if no stratum has a correlation.

    Parameters
    ----------
    parts
        From :func:`stratum_moments`, one a region, in any order.
    min_diagonal
        First stratum that counts.
    min_pixels
        Strata with fewer pixels are left out.
    """
    pooled = PairMoments.total(list(parts))
    correlation, n = pooled.pearson(min_pixels)[0, min_diagonal:], pooled.n[0, min_diagonal:]
    known = ~np.isnan(correlation)
    weight = (n[known] + 1) / 12
    return float(weight @ correlation[known] / weight.sum()) if known.any() else float("nan")
