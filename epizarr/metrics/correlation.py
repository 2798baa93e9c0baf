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
class DistanceScores:
    """Scores of one map against another at each diagonal.

    Parameters
    ----------
    n_pixels
        Pixels that counted, int64 (diagonal).
    pearson, spearman
        Correlation coefficients, float64 (diagonal), NaN where undefined.
    squared_error
        Sum of squared differences, float64 (diagonal).
    """

    n_pixels: np.ndarray
    pearson: np.ndarray
    spearman: np.ndarray
    squared_error: np.ndarray

    @property
    def mean_pearson(self) -> float:
        """Mean of ``pearson`` over the diagonals where it is defined; NaN if it is nowhere."""
        return mean_defined(self.pearson)

    @property
    def mean_spearman(self) -> float:
        """Mean of ``spearman`` over the diagonals where it is defined; NaN if it is nowhere."""
        return mean_defined(self.spearman)

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


@dataclass
class PairMoments:
    """Pearson and squared error per diagonal of bands that pass by block after block.

    Memory is a few numbers a diagonal. Blocks are merged by their means and centred sums, so that the result does not
    suffer from cancellation and agrees with :func:`score_by_distance` up to rounding, whatever the blocks. A rank
    correlation cannot be had this way.

    Source: Chan, Golub & LeVeque, *The American Statistician* 37:242 (1983).
    """

    n_pixels: np.ndarray
    mean: np.ndarray
    centred: np.ndarray
    squared_error: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray

    @classmethod
    def empty(cls, n_diagonals: int) -> "PairMoments":
        """Return the moments of no pixels."""
        return cls(
            np.zeros(n_diagonals, dtype=np.int64),
            np.zeros((2, n_diagonals)),
            np.zeros((3, n_diagonals)),
            np.zeros(n_diagonals),
            np.full((2, n_diagonals), np.inf),
            np.full((2, n_diagonals), -np.inf),
        )

    def add(self, prediction: np.ndarray, observed: np.ndarray) -> None:
        """Take in one block of both bands, shape (rows, diagonal), NaN where a pixel does not count."""
        pair = np.stack([prediction, observed]).astype(np.float64)
        both = ~np.isnan(pair).any(axis=0)
        n = both.sum(axis=0)
        mean = np.where(both, pair, 0.0).sum(axis=1) / np.maximum(n, 1)
        x, y = np.where(both, pair - mean[:, None, :], 0.0)
        total = self.n_pixels + n
        shift = mean - self.mean
        share = n / np.maximum(total, 1)
        between = np.stack([shift[0] ** 2, shift[1] ** 2, shift[0] * shift[1]]) * (self.n_pixels * share)
        self.centred += np.stack([(x * x).sum(axis=0), (y * y).sum(axis=0), (x * y).sum(axis=0)]) + between
        self.mean += shift * share
        self.n_pixels = total
        self.squared_error += np.where(both, np.square(pair[0] - pair[1]), 0.0).sum(axis=0)
        self.lowest = np.minimum(self.lowest, np.where(both, pair, np.inf).min(axis=1, initial=np.inf))
        self.highest = np.maximum(self.highest, np.where(both, pair, -np.inf).max(axis=1, initial=-np.inf))

    @property
    def pearson(self) -> np.ndarray:
        """Pearson correlation of each diagonal, NaN where undefined."""
        defined = (self.n_pixels > 1) & (self.lowest < self.highest).all(axis=0)
        scale = np.sqrt(self.centred[0] * self.centred[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(defined & (scale > 0), np.clip(self.centred[2] / scale, -1.0, 1.0), np.nan)

    @property
    def mean_pearson(self) -> float:
        """Mean of ``pearson`` over the diagonals where it is defined; NaN if it is nowhere."""
        return mean_defined(self.pearson)

    @property
    def mse(self) -> float:
        """Mean squared error over all pixels of all diagonals; NaN if there are none."""
        total = int(self.n_pixels.sum())
        return float(self.squared_error.sum()) / total if total else float("nan")


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def skill(mse: float, reference_mse: float) -> float:
    """Share of the reference's squared error that a map removes, ``1 - mse / reference_mse``; NaN if the reference has none.

    1 is perfect, 0 as good as the reference, negative is worse.
    """
    return 1.0 - mse / reference_mse if reference_mse > 0 else float("nan")
