"""Agreement of two bands of contacts, distance by distance.

Contacts fall a hundredfold within 1 Mb, so a correlation over all pixels mostly measures that both maps know the decay.
Everything here is computed per diagonal, pooled over the pixels of all regions, and then averaged over diagonals. A pixel
counts where both bands have a value. A correlation is undefined (NaN, printed "n/a") where too few pixels count or one of the
maps is constant.

Two conventions are in print. Ours: masked pixels count nowhere, diagonals from ``min_diagonal`` on, at least
:data:`MIN_PIXELS` of them. ``as-published``: all offsets, and a missing contact is a contact of 0 (:func:`as_published`).

Source: Yang et al. 2023, doi:10.1186/s13059-023-02934-9 ("computed as a function of genomic distance from the diagonal").
"""

from dataclasses import dataclass

import numpy as np

from epizarr.metrics.moments import PairMoments, RankMoments

#: A diagonal with fewer valid pixels has no correlation in an evaluation: chance would rule it.
MIN_PIXELS = 100


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


def score_by_distance(prediction: np.ndarray, observed: np.ndarray, *, min_pixels: int = 2) -> DistanceScores:
    """Score a band against another, each column on its own.

    Parameters
    ----------
    prediction, observed
        Bands of equal shape (rows, diagonal), NaN where a pixel does not count. Rows of several regions may be stacked.
    min_pixels
        A diagonal with fewer pixels has no correlation; its errors count all the same.

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
    one_block = np.zeros(len(observed), dtype=np.int64)
    pairs = PairMoments.of_rows(prediction, observed, one_block, 1)
    return scores_of(pairs, RankMoments.of_columns(prediction, observed, one_block, 1), min_pixels=min_pixels)


def scores_of(pairs: PairMoments, ranks: RankMoments, *, min_pixels: int = 2) -> DistanceScores:
    """Scores by distance from the moments (block, diagonal) of a band and another, all blocks pooled."""
    every = np.ones((1, len(pairs.n)))
    pooled = pairs.weighted(every)
    return DistanceScores(
        pooled.n[0].astype(np.int64),
        pooled.pearson(min_pixels)[0],
        ranks.spearman(every, min_pixels)[0],
        pooled.squared_error[0],
    )


def score_by_chromosome(
    prediction: np.ndarray, observed: np.ndarray, chrom: np.ndarray, *, min_pixels: int = MIN_PIXELS
) -> dict[int, DistanceScores]:
    """Score each chromosome on its own, as :func:`score_by_distance` does.

    Parameters
    ----------
    prediction, observed
        Bands of equal shape (rows, diagonal), NaN where a pixel does not count.
    chrom
        Code of each row's chromosome, int (rows).
    min_pixels
        A diagonal with fewer pixels has no correlation.

    Returns
    -------
    Scores by chromosome code, in ascending order.
    """
    codes = [int(code) for code in np.unique(chrom)]
    return {
        code: score_by_distance(prediction[chrom == code], observed[chrom == code], min_pixels=min_pixels)
        for code in codes
    }


def as_published(
    prediction: np.ndarray, observed: np.ndarray, on_chromosome: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn two bands into what the published evaluation compares: every pixel on a chromosome, missing ones as 0.

    A model that knows where bins are unmappable gains by it: compare only with scores that were made in the same way.

    Parameters
    ----------
    prediction, observed
        Bands of equal shape (rows, diagonal), unmasked and from diagonal 0 on; NaN becomes 0.
    on_chromosome
        Which pixels lie on a chromosome, bool (rows, diagonal): :func:`epizarr.bands.band_on_chromosome`. Others stay NaN.

    Returns
    -------
    Both bands, float64, for :func:`score_by_distance`.
    """
    filled_prediction, filled_observed = (
        np.where(on_chromosome, np.nan_to_num(np.asarray(band, dtype=np.float64), nan=0.0), np.nan)
        for band in (prediction, observed)
    )
    return filled_prediction, filled_observed


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def skill(mse: float, reference_mse: float) -> float:
    """Share of the reference's squared error that a map removes, ``1 - mse / reference_mse``; NaN if the reference has none.

    1 is perfect, 0 as good as the reference, negative is worse.
    """
    return 1.0 - mse / reference_mse if reference_mse > 0 else float("nan")
