"""The ceiling of a score: how well a map can be predicted at all, judged by how well its replicates agree.

What two replicates do not share is noise, which no prediction can know. Let r be their correlation at one distance (classical
test theory calls it the *reliability* of a replicate). Then

- another experiment of the same depth scores r against a replicate;
- the noise-free map, the best prediction there is, scores sqrt(r) against a replicate;
- n replicates merged, or an experiment of their joint depth, have the reliability n r / (1 + (n - 1) r), which is
  2r / (1 + r) for two: the Spearman-Brown formula (Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910,
  doi:10.1111/j.2044-8295.1910.tb00207.x).

All of it is exact for Pearson's coefficient if the replicates' noises are uncorrelated with the signal and each other and of
equal variance, as those of Poisson counts of equal depth are: there r = Var(λ) / (Var(λ) + E(λ)) over the pixels of a distance,
λ the expected count. Replicates of unequal depth do not meet this: the formulas then give somewhat less than the merged map's
reliability (with depths a and b the correlation is the geometric mean of their reliabilities, and the logarithm of λ / (1 + λ)
is concave). Thin the deeper one (:mod:`epizarr.thinning`) first.
For Spearman's coefficient the same formulas are customary and approximate: about right for log-normal expected counts, and too
high where most pixels hardly differ and few stand out, for noise shuffles the ranks of all the others.
"""

from itertools import combinations
from typing import Literal, get_args

import numpy as np

from epizarr.metrics.correlation import DistanceCorrelations, score_by_distance

Depth = Literal["replicate", "merged"]
Best = Literal["experiment", "truth"]


def replicate_ceiling(
    *replicates: np.ndarray, depth: Depth = "merged", best: Best = "truth", min_pixels: int = 2
) -> DistanceCorrelations:
    """Ceiling of the correlation with an observed map, from its replicates.

    Parameters
    ----------
    replicates
        Bands of at least two replicates, of equal shape (rows, diagonal) and, for the formulas to hold, of equal depth. NaN
        where a pixel does not count; a pixel counts where all have a value. Rows of several regions may be stacked. Of more
        than two, r is the mean over all pairs.
    depth
        What a prediction is scored against: one ``"replicate"``, or all ``"merged"`` (Spearman-Brown, n their number).
    best
        Whose score is the ceiling: a second ``"experiment"`` of that depth (the reliability itself), or the noise-free
        ``"truth"`` (its square root). A good prediction may pass the first, none should pass the second but by chance.
    min_pixels
        A diagonal with fewer pixels has no ceiling.

    Returns
    -------
    Ceilings by diagonal, NaN where a pair's correlation is undefined. With ``depth="replicate", best="experiment"`` they are
    the correlations of the replicates as they are. Replicates that correlate negatively share no signal: their ceiling of the
    truth is 0, and what Spearman-Brown makes of them is cut off at -1.

    Raises
    ------
    ValueError
        If there are fewer than two replicates, the shapes differ, or an option is unknown.

    Examples
    --------
    >>> a = np.array([[1.0], [2.0], [3.0], [4.0]])
    >>> b = np.array([[2.0], [1.0], [4.0], [3.0]])
    >>> replicate_ceiling(a, b, depth="replicate", best="experiment").pearson
    array([0.6])
    >>> replicate_ceiling(a, b, depth="merged", best="experiment").pearson
    array([0.75])
    """
    if depth not in get_args(Depth) or best not in get_args(Best):
        raise ValueError(
            f"depth must be one of {get_args(Depth)} and best of {get_args(Best)}, not {depth!r}, {best!r}."
        )
    if len(replicates) < 2:
        raise ValueError(f"a ceiling needs at least two replicates, not {len(replicates)}.")
    if len({band.shape for band in replicates}) > 1:
        raise ValueError(f"replicates have the shapes {[band.shape for band in replicates]}; all must be equal.")
    counts = ~np.any([np.isnan(band) for band in replicates], axis=0)
    common = [np.where(counts, band, np.nan) for band in replicates]
    pairs = [score_by_distance(first, second, min_pixels=min_pixels) for first, second in combinations(common, 2)]
    n_fold = len(replicates) if depth == "merged" else 1
    pearson, spearman = (
        ceiling_of(np.mean([getattr(pair, name) for pair in pairs], axis=0), n_fold, best)
        for name in ("pearson", "spearman")
    )
    return DistanceCorrelations(pairs[0].n_pixels, pearson, spearman)


def spearman_brown(reliability: np.ndarray, n_fold: float) -> np.ndarray:
    """Reliability at ``n_fold`` times the depth, ``n r / (1 + (n - 1) r)``, by the Spearman-Brown formula.

    Parameters
    ----------
    reliability
        Correlation r of two replicates, in [-1, 1], any shape; NaN stays NaN.
    n_fold
        How many times the depth of one replicate, above 0: 2 for two merged, 0.5 for half of one.

    Returns
    -------
    Reliabilities, float64. For r far below 0 the formula leaves [-1, 1] and means nothing; cut off at -1.
    """
    if not n_fold > 0:
        raise ValueError(f"n_fold must be positive, not {n_fold}.")
    r = np.asarray(reliability, dtype=np.float64)
    below = 1 + (n_fold - 1) * r
    stepped = np.divide(n_fold * r, below, out=np.full_like(r, -1.0), where=below != 0)
    # At or past the pole, which lies at a negative r wherever there is one, the formula jumps to +inf.
    return np.where((r < 0) & (below <= 0), -1.0, np.maximum(stepped, -1.0))


def ceiling_of(reliability: np.ndarray, n_fold: float, best: Best = "truth") -> np.ndarray:
    """Ceiling that follows from the correlation of two replicates; for :func:`replicate_ceiling` of maps that are added up.

    Parameters
    ----------
    reliability, n_fold
        As for :func:`spearman_brown`; of several pairs of replicates, their mean.
    best
        As for :func:`replicate_ceiling`.

    Returns
    -------
    Ceilings, float64, NaN where the reliability is.
    """
    r = spearman_brown(reliability, n_fold)
    return np.sqrt(np.maximum(r, 0)) if best == "truth" else r
