"""How honest predicted standard deviations and intervals are: coverage by distance, and error against predicted error.

Pure functions on bands in units of the transformed target; a pixel counts where all bands of a call have a value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm


def gaussian_factor(coverage: float) -> float:
    """Standard deviations that a share ``coverage`` of a normal distribution lies within.

    Examples
    --------
    >>> round(gaussian_factor(0.95), 3)
    1.96
    """
    return float(norm.ppf(0.5 + coverage / 2))


def coverage_by_distance(scores: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the pixels whose interval holds the truth.

    Parameters
    ----------
    scores
        Errors in predicted standard deviations (row, diagonal), NaN where a pixel does not count
        (:func:`epizarr.calibration.error_scores`).
    factors
        Half-width of the intervals in standard deviations (coverage, diagonal). Infinite intervals hold everything.

    Returns
    -------
    Pixels inside (coverage, diagonal) and pixels that count (diagonal), int64. Where a factor is NaN no pixel is inside.
    """
    inside = np.stack([np.count_nonzero(scores <= row, axis=0) for row in factors])
    return inside.astype(np.int64), np.count_nonzero(~np.isnan(scores), axis=0).astype(np.int64)


@dataclass(frozen=True)
class ReliabilityCurve:
    """Error of pixels that are thought equally uncertain.

    Parameters
    ----------
    predicted_sd, error
        Root mean square of predicted standard deviations and of errors in each bin, float64. Honest ones are equal.
    n_pixels
        Pixels of each bin, int64.
    """

    predicted_sd: np.ndarray
    error: np.ndarray
    n_pixels: np.ndarray


def reliability_curve(
    truth: Sequence[np.ndarray], mean: Sequence[np.ndarray], sd: Sequence[np.ndarray], n_bins: int = 12
) -> ReliabilityCurve:
    """Bin pixels by predicted standard deviation, as many in each bin, and compare it with their errors.

    Parameters
    ----------
    truth, mean, sd
        Bands of equal shapes, one a region, NaN where a pixel does not count.
    n_bins
        Number of bins; fewer where there are fewer pixels.

    References
    ----------
    Levi et al. 2022, Sensors 22:5540 (error-based calibration of regression).
    """
    together = [np.concatenate([np.ravel(band) for band in bands]).astype(np.float64) for bands in (truth, mean, sd)]
    known = ~np.isnan(np.sum(together, axis=0))
    truth_, mean_, sd_ = (values[known] for values in together)
    order = np.argsort(sd_, kind="stable")
    squares, errors = np.square(sd_[order]), np.square((truth_ - mean_)[order])
    parts = [part for part in np.array_split(np.arange(len(order)), n_bins) if len(part)]
    return ReliabilityCurve(
        predicted_sd=np.sqrt([squares[part].mean() for part in parts]),
        error=np.sqrt([errors[part].mean() for part in parts]),
        n_pixels=np.array([len(part) for part in parts], dtype=np.int64),
    )


def gaussian_nll(truth: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> tuple[float, int]:
    """Sum the negative log-likelihoods under normal distributions, in nats without log(2π)/2, and count the pixels."""
    variance = np.square(sd, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        nll = 0.5 * (np.log(variance) + np.square(np.subtract(truth, mean, dtype=np.float64)) / variance)
    known = ~np.isnan(nll)
    return float(nll[known].sum()), int(known.sum())
