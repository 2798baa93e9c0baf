"""Structural similarity (SSIM) of two bands, which means something only beside that of a shuffled map.

SSIM compares means, variances and covariances in small squares. Maps after O/E are near their mean almost everywhere, so that any
two maps of the same decay are "similar": a map whose pixels were permuted within each diagonal tells how much of a value is that.

Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861, with uniform 7 × 7 squares, K1 = 0.01 and K2 = 0.03.
"""

import numpy as np

from epizarr.metrics.neighbourhoods import rectangle_sums

HALF_WIDTH = 3
_K1, _K2 = 0.01, 0.03


def structural_similarity(
    prediction: np.ndarray, observed: np.ndarray, data_range: float, *, half_width: int = HALF_WIDTH
) -> tuple[float, int]:
    """Mean SSIM over the squares of one region that lie in the band and miss no pixel.

    Parameters
    ----------
    prediction, observed
        Bands of one region after the target's transform, (row, diagonal), NaN where a pixel does not count.
    data_range
        Range of the values, above 0: the same for every predictor. :func:`value_range` of the observed map gives one.
    half_width
        Of a square, in bins.

    Returns
    -------
    SSIM and the number of squares behind it, to weight regions with; NaN and 0 where there is none.
    """
    if not data_range > 0:
        raise ValueError(f"data_range must be positive, not {data_range}.")
    both = ~(np.isnan(prediction) | np.isnan(observed))
    x, y = (np.where(both, band, np.nan).astype(np.float64) for band in (prediction, observed))
    side = (-half_width, half_width)
    n_pixels = (2 * half_width + 1) ** 2
    sums = []
    for values in (x, y, x * x, y * y, x * y):
        total, number = rectangle_sums(values, side, side)
        sums.append(total / n_pixels)
    whole = number == n_pixels
    if not whole.any():
        return float("nan"), 0
    mean_x, mean_y, xx, yy, xy = (total[whole] for total in sums)
    unbiased = n_pixels / (n_pixels - 1)
    var_x, var_y, cov = (unbiased * (s - m) for s, m in ((xx, mean_x**2), (yy, mean_y**2), (xy, mean_x * mean_y)))
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    similarity = above / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(similarity.mean()), int(whole.sum())


def value_range(observed: np.ndarray) -> float:
    """Range of a map between its 0.1th and 99.9th percentile; NaN without a value."""
    known = observed[~np.isnan(observed)]
    return float(np.subtract(*np.percentile(known, [99.9, 0.1]))) if len(known) else float("nan")


def shuffle_diagonals(band: np.ndarray, seed: int = 0) -> np.ndarray:
    """Permute the valid pixels within each diagonal: the same values and decay, no structure. NaN stays where it is.

    Parameters
    ----------
    band
        Band (row, diagonal).
    seed
        Of the permutation.
    """
    rng = np.random.default_rng(seed)
    shuffled = band.copy()
    for k in range(band.shape[1]):
        known = np.flatnonzero(~np.isnan(band[:, k]))
        shuffled[known, k] = band[rng.permutation(known), k]
    return shuffled
