"""Significant interactions: how well a predicted map finds the pixels that stand out in the true one.

True interactions are pixels whose true value reaches a threshold (HiC-DC+'s Z of 2 or 3, or O/E of 2); the predicted value is the
score that ranks all pixels. Two forms:

- :func:`ranking_scores` is exact over every threshold: pixels are sorted, 4 bytes each, and equal predictions count as one step;
- :class:`ThresholdCounts` count, block by block, what each of a few thresholds finds. They add up, and give the curves that the
  paper draws over :data:`PAPER_THRESHOLDS`: those of the prediction as far as these thresholds tell its values apart.

Area under the precision-recall curve is the average precision, sum of (recall step × precision), without interpolation between
points (Davis & Goadrich 2006, doi:10.1145/1143844.1143874, on why not).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

#: Thresholds on the predicted value that Yang et al. 2023 draw curves over: 0.5 to 3.5 in steps of 0.1.
PAPER_THRESHOLDS = tuple(np.arange(5, 36) / 10)
#: Codes of :func:`outcomes`.
MISSING, TRUE_NEGATIVE, TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = -1, 0, 1, 2, 3


@dataclass(frozen=True)
class RankingScores:
    """Areas under the curves; NaN without a positive or (ROC) without a negative pixel.

    Parameters
    ----------
    n_positive, n_negative
        Pixels that are and are not true interactions.
    auroc, aupr
        Area under the ROC curve, and average precision. A random score gives 0.5, and the share of positives.
    """

    n_positive: int
    n_negative: int
    auroc: float
    aupr: float


def ranking_scores(prediction: np.ndarray, observed: np.ndarray, threshold: float) -> RankingScores:
    """Score a map as a finder of the pixels where the true map is at least ``threshold``, over all thresholds of its own.

    Parameters
    ----------
    prediction, observed
        Maps of equal shape, NaN where a pixel does not count.
    threshold
        Least true value of an interaction.

    Examples
    --------
    >>> ranking_scores(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 3.0, 3.0]), 2.0)
    RankingScores(n_positive=2, n_negative=2, auroc=0.75, aupr=0.8333333333333333)
    """
    if prediction.shape != observed.shape:
        raise ValueError(f"prediction has shape {prediction.shape} and observed {observed.shape}; both must be equal.")
    both = ~(np.isnan(prediction) | np.isnan(observed))
    is_true = both & (observed >= threshold)
    positive, negative = np.sort(prediction[is_true]), np.sort(prediction[both & ~is_true])
    n_positive, n_negative = len(positive), len(negative)
    if not n_positive:
        return RankingScores(0, n_negative, float("nan"), float("nan"))
    # The curves bend only where a positive pixel is passed: its distinct values, from the highest, are all that is needed.
    value, first, number = np.unique(positive, return_index=True, return_counts=True)
    below = np.searchsorted(negative, value, side="left")
    beaten = (below + np.searchsorted(negative, value, side="right")) / 2
    auroc = float(number @ beaten) / n_positive / n_negative if n_negative else float("nan")
    found = n_positive - first
    precision = found / (found + n_negative - below)
    return RankingScores(n_positive, n_negative, auroc, float(number @ precision / n_positive))


@dataclass(frozen=True)
class ThresholdCounts:
    """Pixels that each threshold on the predicted value finds, int64 (class, diagonal): class c holds those that exactly the c
    lowest of the thresholds find.

    Parameters
    ----------
    positive, negative
        True interactions, and the others.
    """

    positive: np.ndarray
    negative: np.ndarray

    @classmethod
    def of_rows(
        cls,
        prediction: np.ndarray,
        observed: np.ndarray,
        threshold: float,
        thresholds: Sequence[float] = PAPER_THRESHOLDS,
    ) -> "ThresholdCounts":
        """Count the pixels of some rows of two bands.

        Parameters
        ----------
        prediction, observed
            Bands of equal shape (row, diagonal), NaN where a pixel does not count.
        threshold
            Least true value of an interaction.
        thresholds
            On the predicted value, ascending; a pixel is found if its value is at least the threshold.
        """
        edges = np.asarray(thresholds, dtype=np.float64)
        if not len(edges) or (np.diff(edges) <= 0).any():
            raise ValueError(f"thresholds must ascend, not {list(thresholds)}.")
        n_diagonals = observed.shape[1]
        both = ~(np.isnan(prediction) | np.isnan(observed))
        group = np.searchsorted(edges, prediction[both], side="right") * n_diagonals + np.nonzero(both)[1]
        is_true = observed[both] >= threshold
        size = (len(edges) + 1) * n_diagonals
        counts = [np.bincount(group[chosen], minlength=size).reshape(-1, n_diagonals) for chosen in (is_true, ~is_true)]
        return cls(counts[0], counts[1])

    @classmethod
    def total(cls, parts: Sequence["ThresholdCounts"]) -> "ThresholdCounts":
        """Add up counts over the same thresholds; at least one part."""
        return cls(**{f.name: np.sum([getattr(part, f.name) for part in parts], axis=0) for f in fields(cls)})

    def curves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """True-positive rate, false-positive rate and precision of all diagonals together, float64 (threshold).

        Thresholds from the highest to the lowest, and last one that finds every pixel. Precision is NaN where none is found.
        """
        positive, negative = (np.cumsum(c.sum(axis=1)[::-1]).astype(np.float64) for c in (self.positive, self.negative))
        found = positive + negative
        precision = np.divide(positive, found, out=np.full(len(found), np.nan), where=found > 0)
        rates = [c / c[-1] if c[-1] else np.full(len(c), np.nan) for c in (positive, negative)]
        return rates[0], rates[1], precision

    def scores(self) -> RankingScores:
        """Areas under the curves: those of the prediction if values between two neighbouring thresholds are taken for equal."""
        recall, fall_out, precision = self.curves()
        auroc = np.trapezoid(np.append(0.0, recall), np.append(0.0, fall_out))
        aupr = np.nansum(np.diff(recall, prepend=0.0) * precision) if self.positive.any() else np.nan
        return RankingScores(int(self.positive.sum()), int(self.negative.sum()), float(auroc), float(aupr))


def outcomes(prediction: np.ndarray, observed: np.ndarray, threshold: float, cutoff: float) -> np.ndarray:
    """Binarised map with false positives and negatives.

    Parameters
    ----------
    prediction, observed
        Maps of equal shape, NaN where a pixel does not count.
    threshold
        Least true value of an interaction.
    cutoff
        Least predicted value of an interaction.

    Returns
    -------
    int8, one of :data:`MISSING`, :data:`TRUE_NEGATIVE`, :data:`TRUE_POSITIVE`, :data:`FALSE_POSITIVE`, :data:`FALSE_NEGATIVE`.
    """
    is_true, is_found = observed >= threshold, prediction >= cutoff
    code = np.select(
        [np.isnan(observed) | np.isnan(prediction), is_true & is_found, is_found, is_true],
        [MISSING, TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE],
        TRUE_NEGATIVE,
    )
    return code.astype(np.int8)
