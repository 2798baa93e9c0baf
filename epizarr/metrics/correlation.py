"""Agreement of two bands of contacts, distance by distance.

Contacts fall a hundredfold within 1 Mb, so a correlation over all pixels mostly measures that both maps know the decay.
Everything here is computed per diagonal, pooled over the pixels of all regions, and then averaged over diagonals. A pixel
counts where both bands have a value. A correlation is undefined (NaN, printed "n/a") where fewer than two pixels count or
one of the maps is constant.

Source: PUBLISHED_EPIPHANY, section 5 ("computed per genomic distance and averaged over distances").
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


@dataclass(frozen=True)
class DistanceCorrelations:
    """Correlations at each diagonal, of one map with another or as a ceiling of that.

    Parameters
    ----------
    n_pixels
        Pixels that counted, int64 (diagonal).
    pearson, spearman
        Correlation coefficients, float64 (diagonal), NaN where undefined.
    """

    n_pixels: np.ndarray
    pearson: np.ndarray
    spearman: np.ndarray

    @property
    def mean_pearson(self) -> float:
        """Mean of ``pearson`` over the diagonals where it is defined; NaN if it is nowhere."""
        return mean_defined(self.pearson)

    @property
    def mean_spearman(self) -> float:
        """Mean of ``spearman`` over the diagonals where it is defined; NaN if it is nowhere."""
        return mean_defined(self.spearman)


@dataclass(frozen=True)
class DistanceScores(DistanceCorrelations):
    """Scores of one map against another at each diagonal.

    Parameters
    ----------
    n_pixels, pearson, spearman
        See :class:`DistanceCorrelations`.
    squared_error
        Sum of squared differences, float64 (diagonal).
    """

    squared_error: np.ndarray

    @property
    def mse(self) -> float:
        """Mean squared error over all pixels of all diagonals; NaN if there are none."""
        total = int(self.n_pixels.sum())
        return float(self.squared_error.sum()) / total if total else float("nan")


def score_by_distance(prediction: np.ndarray, observed: np.ndarray) -> DistanceScores:
    """Score a band against another, each column on its own.

    Parameters
    ----------
    prediction, observed
        Bands of equal shape (rows, diagonal), NaN where a pixel does not count. Rows of several regions may be stacked.

    Returns
    -------
    One score a column. Ties share their mean rank in ``spearman``.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> observed = np.array([[1.0, 5.0], [2.0, 4.0], [3.0, np.nan]])
    >>> score_by_distance(observed**2, observed).spearman
    array([1., 1.])
    """
    if prediction.shape != observed.shape:
        raise ValueError(f"prediction has shape {prediction.shape} and observed {observed.shape}; both must be equal.")
    n_diagonals = observed.shape[1]
    n_pixels = np.zeros(n_diagonals, dtype=np.int64)
    pearson, spearman = np.full(n_diagonals, np.nan), np.full(n_diagonals, np.nan)
    squared_error = np.zeros(n_diagonals)
    for k in range(n_diagonals):
        x, y = prediction[:, k].astype(np.float64), observed[:, k].astype(np.float64)
        both = ~(np.isnan(x) | np.isnan(y))
        x, y = x[both], y[both]
        n_pixels[k] = len(x)
        squared_error[k] = np.square(x - y).sum()
        # Asked of the values, not of their variance: rounding gives a constant column a variance above 0.
        if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
            continue
        pearson[k] = _pearson(x, y)
        spearman[k] = _pearson(rankdata(x), rankdata(y))
    return DistanceScores(n_pixels, pearson, spearman, squared_error)


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def skill(mse: float, reference_mse: float) -> float:
    """Share of the reference's squared error that a map removes, ``1 - mse / reference_mse``; NaN if the reference has none.

    1 is perfect, 0 as good as the reference, negative is worse.
    """
    return 1.0 - mse / reference_mse if reference_mse > 0 else float("nan")
