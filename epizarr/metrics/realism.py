"""How much a map looks like a measured one, whether or not it is the right one.

Correlation and squared error reward blur: the best map by squared error is a mean over all that is not known, and no experiment
gives such a map. The measures here ask whether maps could have come from the same source:

- the *spread* at each distance, relative to a measured map's (:func:`sd_ratio`), and the power of coarse and fine detail
  (:mod:`epizarr.metrics.spectrum`);
- a *classifier two-sample test* (Lopez-Paz and Oquab 2017, arXiv:1610.06545): a fresh classifier learns on some chromosomes to
  tell the map from the measured one, and is scored on others (:func:`two_sample_scores`). 0.5 is indistinguishable;
- the *Fréchet distance* of features of windows (:mod:`epizarr.metrics.realism_features`);
- a *perceptual score*: what a judge, such as the trained discriminator, says of each submatrix (:func:`score_windows`).

All work on windows of stripes (:mod:`epizarr.bands`) as the networks see them. Judges and classifiers are callables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

#: ``(maps, valid) -> scores``, (window, bin, offset) twice and (window): higher is more real, NaN where it does not judge.
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: Least share of valid pixels of a window.
MIN_VALID = 0.5


@dataclass(frozen=True)
class ClassifierProtocol:
    """How every classifier of the two-sample test is made and trained, whatever the predictor.

    Parameters
    ----------
    n_bins
        Bins of a window. A window has all offsets of the maps.
    channels, kernel
        Layers, as of :class:`epizarr.nn.DiscriminatorConfig`.
    n_steps, n_windows
        Steps of Adam, and windows of each map in a step: the same ones of both.
    lr, weight_decay
        Of Adam; the rate falls to 0 on a straight line.
    seed
        Of the weights and of the choice of windows. With one torch thread the result is the same on every run.
    """

    n_bins: int = 50
    channels: tuple[int, ...] = (8, 16, 16)
    kernel: int = 5
    n_steps: int = 120
    n_windows: int = 8
    lr: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class ColumnScale:
    """Mean and standard deviation of each offset, (offset); 0 and 1 where nothing is known or all values are equal."""

    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, stripes: Sequence[np.ndarray]) -> "ColumnScale":
        """Fit it on the stripes (bin, offset) of some regions; NaN is left out."""
        joined = np.concatenate(list(stripes)).astype(np.float64)
        known = ~np.isnan(joined)
        n = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, joined, 0).sum(axis=0) / n
        sd = np.sqrt(np.where(known, np.square(joined - mean), 0).sum(axis=0) / n)
        return cls(mean, np.where(sd > 1e-6 * np.abs(mean), sd, 1.0))

    def apply(self, stripes: np.ndarray) -> np.ndarray:
        """Standardise stripes (…, offset), float32; NaN becomes 0, the mean of its offset."""
        return np.nan_to_num((stripes - self.mean) / self.sd, nan=0.0).astype(np.float32)


def window_starts_of(stripes: np.ndarray, n_bins: int, step: int, min_valid: float = MIN_VALID) -> np.ndarray:
    """First rows of the windows that lie in some stripes and have enough valid pixels, int64.

    Parameters
    ----------
    stripes
        Stripes of one region, (bin, offset), NaN missing.
    n_bins, step
        Bins of a window, and from one window's first bin to the next one's. What is left over at the end is left out.
    min_valid
        Least share of valid pixels.
    """
    starts = np.arange(0, len(stripes) - n_bins + 1, step, dtype=np.int64)
    before = np.concatenate([[0], np.cumsum((~np.isnan(stripes)).sum(axis=1))])
    return starts[before[starts + n_bins] - before[starts] >= min_valid * n_bins * stripes.shape[1]]


def cut_windows(stripes: np.ndarray, starts: np.ndarray, n_bins: int) -> np.ndarray:
    """Windows of ``n_bins`` rows from each start, (window, bin, offset), a copy."""
    return stripes[np.asarray(starts, dtype=np.int64)[:, None] + np.arange(n_bins)]


def score_windows(stripes: np.ndarray, n_bins: int, score: Score, *, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Have a judge score every submatrix of a map, side by side (Fig. S3 of Yang et al. 2023).

    Parameters
    ----------
    stripes
        Stripes of one region as the judge knows them (the trained discriminator: transformed by its checkpoint's target
        transform), (bin, offset); NaN missing.
    n_bins
        Bins of a submatrix: 200 of 10 kb in the paper. What is left over at the region's end is not scored.
    score
        The judge.
    batch
        Windows that it is shown at a time.

    Returns
    -------
    First rows, int64, and scores, float64 (window); NaN where the judge does not judge.
    """
    starts = np.arange(0, len(stripes) - n_bins + 1, n_bins, dtype=np.int64)
    parts = [np.zeros(0)]
    for lo in range(0, len(starts), batch):
        maps = cut_windows(stripes, starts[lo : lo + batch], n_bins)
        valid = ~np.isnan(maps)
        parts.append(np.asarray(score(maps, valid), dtype=np.float64))
    return starts, np.concatenate(parts)


def two_sample_scores(
    real: np.ndarray, fake: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and area under the ROC curve of a classifier that was shown the same windows of two maps.

    Parameters
    ----------
    real, fake
        Its scores of each window of the measured and of the other map, (window): above 0 it takes it for measured.
    weights
        How often each window counts in each resample, (resample, window). Default: once, in one.

    Returns
    -------
    Accuracy and AUC, float64 (resample). A score of exactly 0, and two equal scores, are half right. NaN without a window.

    Raises
    ------
    ValueError
        If there are not as many real as fake windows: accuracy 0.5 would not be chance.

    Examples
    --------
    >>> two_sample_scores(np.array([2.0, 1.0]), np.array([-1.0, 1.0]))
    (array([0.75]), array([0.875]))
    """
    if real.shape != fake.shape:
        raise ValueError(f"{len(real)} windows of one map and {len(fake)} of the other; show the same windows of both.")
    weights = np.ones((1, len(real))) if weights is None else weights
    total = weights.sum(axis=1)
    is_right = (1 + (np.sign(real) - np.sign(fake)) / 2) / 2
    wins = (1 + np.sign(real[:, None] - fake[None, :])) / 2
    undefined = np.full(len(weights), np.nan)
    accuracy = np.divide(weights @ is_right, total, out=undefined.copy(), where=total > 0)
    auc = np.divide(((weights @ wins) * weights).sum(axis=1), total**2, out=undefined, where=total > 0)
    return accuracy, auc


def sd_ratio(band: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Spread of a map's values at each distance, relative to another's: below 1 too smooth, above 1 too noisy.

    A measured map's spread is signal and noise of its depth: compare with a map of the depth that the predictor was to imitate.

    Parameters
    ----------
    band, reference
        Maps of equal shape (row, diagonal), in the units in which maps are compared; pixels count where both have a value.

    Returns
    -------
    Ratio of the standard deviations, float64 (diagonal); NaN where fewer than two pixels count or the reference is constant.
    """
    if band.shape != reference.shape:
        raise ValueError(f"maps of shapes {band.shape} and {reference.shape}; both must be equal.")
    both = ~(np.isnan(band) | np.isnan(reference))
    n = both.sum(axis=0)
    spreads = []
    for values in (band, reference):
        known = np.where(both, values, 0).astype(np.float64)
        mean = known.sum(axis=0) / np.maximum(n, 1)
        spreads.append(np.sqrt(np.where(both, np.square(known - mean), 0).sum(axis=0) / np.maximum(n, 1)))
    # Rounding gives a constant column a spread just above 0.
    is_defined = (n >= 2) & (spreads[1] > 1e-12 * np.abs(mean))
    return np.divide(spreads[0], spreads[1], out=np.full(len(n), np.nan), where=is_defined)
