"""Scores of each 2-Mb submatrix along the diagonal (Fig. 3A of Yang et al. 2023): squared error, and correlation of insulation.

A submatrix is what a 2-Mb stretch of rows holds of the band: pixels whose first bin lies in it. Insulation scores are given, not
computed here (:mod:`epizarr.domains`), one a bin; what the windows of a score are is the caller's choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epizarr.metrics.moments import PairMoments

WIDTH_BP = 2_000_000
#: A submatrix with fewer bins that have a score in both maps has no insulation correlation.
MIN_BINS = 20


@dataclass(frozen=True)
class Submatrices:
    """Scores of each stretch of rows, arrays (submatrix).

    Parameters
    ----------
    lo, hi
        Rows ``[lo, hi)``, int64.
    mse
        Mean squared error over the valid pixels, NaN where there is none.
    insulation
        Pearson correlation of the insulation scores of prediction and truth, NaN where undefined.
    """

    lo: np.ndarray
    hi: np.ndarray
    mse: np.ndarray
    insulation: np.ndarray


def cut_rows(extents: Sequence[tuple[int, int]], n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the rows ``[lo, hi)`` of regions into stretches of ``n_bins``; what is left over at a region's end is left out."""
    lo = np.concatenate([np.zeros(0, np.int64), *(np.arange(a, b - n_bins + 1, n_bins) for a, b in extents)])
    return lo.astype(np.int64), lo.astype(np.int64) + n_bins


def score_submatrices(
    prediction: np.ndarray,
    observed: np.ndarray,
    insulation: tuple[np.ndarray, np.ndarray],
    extents: Sequence[tuple[int, int]],
    n_bins: int,
) -> Submatrices:
    """Score the submatrices of some regions.

    Parameters
    ----------
    prediction, observed
        Bands of equal shape (row, diagonal), NaN where a pixel does not count.
    insulation
        Insulation score of each row's bin in both maps, (row), NaN where there is none.
    extents
        Rows ``[lo, hi)`` of each region; a submatrix lies in one of them.
    n_bins
        Bins of a submatrix: 2 Mb / binsize.
    """
    lo, hi = cut_rows(extents, n_bins)
    mse, correlation = np.full(len(lo), np.nan), np.full(len(lo), np.nan)
    for index, (first, last) in enumerate(zip(lo, hi, strict=True)):
        part = slice(int(first), int(last))
        error = np.square(prediction[part].astype(np.float64) - observed[part])
        n = (~np.isnan(error)).sum()
        mse[index] = np.nansum(error) / n if n else np.nan
        correlation[index] = correlate(insulation[0][part], insulation[1][part])
    return Submatrices(lo, hi, mse, correlation)


def correlate(x: np.ndarray, y: np.ndarray, min_bins: int = MIN_BINS) -> float:
    """Pearson correlation of two scores by bin where both have a finite value; NaN with fewer than ``min_bins``."""
    finite = np.isfinite(x) & np.isfinite(y)
    pair = [np.where(finite, values, np.nan)[:, None] for values in (x, y)]
    return float(PairMoments.of_rows(pair[0], pair[1], np.zeros(len(x), dtype=np.int64), 1).pearson(min_bins)[0, 0])
