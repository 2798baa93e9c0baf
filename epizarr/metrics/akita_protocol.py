"""Comparison with Akita on its own terms (Fig. 3C, S7 and S10 of Yang et al. 2023): per-region Pearson, paired test.

Both predictors are scored on the same regions, those of a BED (:func:`epizarr.io.bed.read_intervals`), after Akita's target
transform (:mod:`epizarr.normalize.akita`), each against the truth on its own grid: Akita's maps of 2,048-bp bins are averaged to
4,096 bp first, which is near the 5 kb of the other. Pixels from the second diagonal on count, as in Akita's targets. Several cell
types' predictions are made one predictor, for a cell type that Akita does not know, by
:func:`epizarr.metrics.specificity.mean_map`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wilcoxon

from epizarr.metrics.moments import PairMoments

#: First diagonal of a target that counts.
MIN_DIAGONAL = 2


def pool_square(square: np.ndarray, factor: int = 2) -> np.ndarray:
    """Average the valid pixels of each ``factor`` × ``factor`` block of a map.

    Parameters
    ----------
    square
        Map of one region, (bin, bin), NaN where a pixel is missing; its side a multiple of ``factor``.
    factor
        Bins that make one.

    Returns
    -------
    float64 (bin / factor, bin / factor), NaN where a block has no valid pixel.
    """
    n = len(square)
    if square.shape != (n, n) or n % factor:
        raise ValueError(
            f"a map of shape {square.shape} cannot be pooled by {factor}: its sides must be equal multiples."
        )
    blocks = square.astype(np.float64).reshape(n // factor, factor, n // factor, factor)
    known = (~np.isnan(blocks)).sum(axis=(1, 3))
    total = np.nan_to_num(blocks, nan=0.0).sum(axis=(1, 3))
    return np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)


def pearson_of_region(prediction: np.ndarray, observed: np.ndarray, min_diagonal: int = MIN_DIAGONAL) -> float:
    """Pearson correlation over the upper triangle of two maps of one region; NaN where undefined.

    Parameters
    ----------
    prediction, observed
        Squares of equal shape after the target's transform, NaN where a pixel does not count.
    min_diagonal
        First diagonal that counts.
    """
    if prediction.shape != observed.shape:
        raise ValueError(f"prediction has shape {prediction.shape} and observed {observed.shape}; both must be equal.")
    upper = np.triu_indices(len(observed), min_diagonal)
    pair = [square[upper][:, None] for square in (prediction, observed)]
    moments = PairMoments.of_rows(pair[0], pair[1], np.zeros(len(pair[0]), dtype=np.int64), 1)
    return float(moments.pearson()[0, 0])


@dataclass(frozen=True)
class PairedComparison:
    """Two predictors on the same regions.

    Parameters
    ----------
    n_regions
        Regions where both have a score.
    median_difference
        Median of first - second.
    p_value
        Two-sided Wilcoxon signed-rank test; NaN where all differences are 0 or there is no region.
    """

    n_regions: int
    median_difference: float
    p_value: float


def compare_predictors(first: Sequence[float], second: Sequence[float]) -> PairedComparison:
    """Compare per-region scores of two predictors by Wilcoxon's signed-rank test, regions without one of the scores left out."""
    pair = np.array([first, second], dtype=np.float64)
    difference = np.subtract(*pair[:, ~np.isnan(pair).any(axis=0)])
    if not difference.any():
        return PairedComparison(len(difference), 0.0 if len(difference) else float("nan"), float("nan"))
    return PairedComparison(len(difference), float(np.median(difference)), float(wilcoxon(difference).pvalue))
