"""Does a prediction know what sets one cell type apart from another?

A map of another cell type at the same place is a strong predictor, for most of the structure is shared. What is asked here is
what it cannot know:

- the skill over copying it, or over the training cell types' mean: :func:`epizarr.metrics.correlation.skill` with that map's MSE;
- the correlation of predicted with true differences, distance by distance (:func:`score_differences`), beside the ceiling that
  replicates of both cell types give (:func:`difference_ceiling`);
- whether the prediction for A is nearer to the truth of A than to that of B, region by region (:func:`identify`);
- the regions that differ most in TRUTH (:func:`rank_by_difference`): ranked by a prediction, or by its errors, any method would
  choose its own examples.

All maps are bands of equal shape (row, diagonal) after the target's transform, NaN where a pixel does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epizarr.metrics.ceiling import replicate_ceiling
from epizarr.metrics.correlation import (
    MIN_PIXELS,
    DistanceCorrelations,
    DistanceScores,
    mean_defined,
    score_by_distance,
)
from epizarr.metrics.submatrices import correlate, cut_rows


def mean_map(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of some maps, such as those of the training cell types or one predictor's for several, float64.

    Of the maps that have a value: a pixel that none has is NaN.
    """
    known = np.sum([~np.isnan(one) for one in maps], axis=0)
    total = np.sum([np.nan_to_num(one, nan=0.0).astype(np.float64) for one in maps], axis=0)
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)


def score_differences(
    predicted: tuple[np.ndarray, np.ndarray], true: tuple[np.ndarray, np.ndarray], *, min_pixels: int = MIN_PIXELS
) -> DistanceScores:
    """Score the predicted difference A - B against the true one, where all four maps have a value.

    Parameters
    ----------
    predicted, true
        Maps of cell types A and B. Copying one for both predicts no difference, which has no correlation (NaN).
    min_pixels
        A diagonal with fewer pixels has no correlation.
    """
    return score_by_distance(predicted[0] - predicted[1], true[0] - true[1], min_pixels=min_pixels)


def difference_ceiling(
    replicates: Sequence[tuple[np.ndarray, np.ndarray]], *, min_pixels: int = MIN_PIXELS
) -> DistanceCorrelations:
    """What the noise-free difference would score against the measured one.

    Parameters
    ----------
    replicates
        Pairs of one replicate of A and one of B; each replicate in one pair.
    min_pixels
        A diagonal with fewer pixels has no ceiling.

    Returns
    -------
    As :func:`epizarr.metrics.ceiling.replicate_ceiling`, for the merged maps.
    """
    return replicate_ceiling(*(a - b for a, b in replicates), min_pixels=min_pixels)


@dataclass(frozen=True)
class Identification:
    """Squared errors of one prediction against two truths, arrays (region).

    Parameters
    ----------
    lo, hi
        Rows ``[lo, hi)``, int64.
    own, other
        Mean squared error against the truth of its own cell type and of the other; NaN where no pixel counts.
    """

    lo: np.ndarray
    hi: np.ndarray
    own: np.ndarray
    other: np.ndarray

    @property
    def is_right(self) -> np.ndarray:
        """1 where the own truth is nearer, 0 where it is not, 0.5 for a tie, NaN where no pixel counts; float64 (region)."""
        known = ~(np.isnan(self.own) | np.isnan(self.other))
        return np.where(known, (self.own < self.other) + 0.5 * (self.own == self.other), np.nan)

    @property
    def share_right(self) -> float:
        """Mean of :attr:`is_right` over the regions; 0.5 is chance. NaN without a region."""
        return mean_defined(self.is_right)


def identify(
    prediction: np.ndarray, own: np.ndarray, other: np.ndarray, extents: Sequence[tuple[int, int]], n_bins: int
) -> Identification:
    """Ask in each 2-Mb region to which of two truths a prediction is nearer.

    Parameters
    ----------
    prediction
        Map of cell type A.
    own, other
        Truths of A and B. Pixels count where all three maps have a value.
    extents
        Rows ``[lo, hi)`` of the regions scored.
    n_bins
        Bins of a region: 2 Mb / binsize.
    """
    lo, hi = cut_rows(extents, n_bins)
    return Identification(lo, hi, _errors(prediction, own, other, lo, hi), _errors(prediction, other, own, lo, hi))


def rank_by_difference(
    true: tuple[np.ndarray, np.ndarray], extents: Sequence[tuple[int, int]], n_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank the 2-Mb regions by how much the true maps of two cell types differ, most first.

    Returns
    -------
    Rows ``lo`` and ``hi`` of the regions and the mean squared difference there, arrays (region); regions without a common pixel
    are left out, ties stand in order of position.
    """
    lo, hi = cut_rows(extents, n_bins)
    difference = _errors(true[0], true[1], true[1], lo, hi)
    order = np.argsort(-difference, kind="stable")
    order = order[~np.isnan(difference[order])]
    return lo[order], hi[order], difference[order]


def insulation_agreement(
    first: np.ndarray, second: np.ndarray, extents: Sequence[tuple[int, int]], n_bins: int
) -> np.ndarray:
    """Correlation of the insulation scores of two cell types in each 2-Mb region (Fig. S11A, of truth against predictions).

    Parameters
    ----------
    first, second
        Insulation score of each row's bin in cell types A and B, both measured or both predicted, (row), NaN where there is none.
    extents
        Rows ``[lo, hi)`` of the regions scored.
    n_bins
        Bins of a region.

    Returns
    -------
    Correlations, float64 (region), NaN where undefined.
    """
    parts = [slice(int(a), int(b)) for a, b in zip(*cut_rows(extents, n_bins), strict=True)]
    return np.array([correlate(first[part], second[part]) for part in parts], dtype=np.float64)


def _errors(x: np.ndarray, y: np.ndarray, also: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Mean squared difference in each stretch of rows, over the pixels where ``also`` has a value too."""
    errors = np.full(len(lo), np.nan)
    for index, (first, last) in enumerate(zip(lo, hi, strict=True)):
        part = slice(int(first), int(last))
        squared = np.square(x[part].astype(np.float64) - y[part])
        known = squared[~(np.isnan(squared) | np.isnan(also[part]))]
        errors[index] = known.mean() if len(known) else np.nan
    return errors
