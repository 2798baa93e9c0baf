"""The ceiling of a score: how well a map can be predicted at all, judged by how well its replicates agree.

What two replicates do not share is noise, which no prediction can know. Let r be their correlation at one distance (classical
test theory calls it the *reliability* of a replicate). Then

- another experiment of the same depth scores r against a replicate;
- the noise-free map, the best prediction there is, scores sqrt(r) against a replicate;
- the two replicates merged, or an experiment of their joint depth, have the reliability 2r / (1 + r): the Spearman-Brown
  formula n r / (1 + (n - 1) r) with n = 2 (Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910,
  doi:10.1111/j.2044-8295.1910.tb00207.x).

All of it is exact for Pearson's coefficient if the replicates' noises are uncorrelated with the signal and each other and of
equal variance, as those of Poisson counts of equal depth are: there r = Var(λ) / (Var(λ) + E(λ)) over the pixels of a distance,
λ the expected count. Replicates of unequal depth do not meet this; thin the deeper one (:mod:`epizarr.thinning`) first.
For Spearman's coefficient the same formulas are customary and approximate.
"""

from typing import Literal, get_args

import numpy as np

from epizarr.metrics.correlation import DistanceCorrelations, score_by_distance

Depth = Literal["replicate", "merged"]
Best = Literal["experiment", "truth"]


def replicate_ceiling(
    first: np.ndarray, second: np.ndarray, *, depth: Depth = "merged", best: Best = "truth"
) -> DistanceCorrelations:
    """Ceiling of the correlation with an observed map, from its two replicates.

    Parameters
    ----------
    first, second
        Bands of the replicates, of equal shape (rows, diagonal) and, for the formulas to hold, of equal depth. NaN where a
        pixel does not count; a pixel counts where both have a value. Rows of several regions may be stacked.
    depth
        What a prediction is scored against: one ``"replicate"``, or both ``"merged"`` (Spearman-Brown, n = 2).
    best
        Whose score is the ceiling: a second ``"experiment"`` of that depth (the reliability itself), or the noise-free
        ``"truth"`` (its square root). A good prediction may pass the first, none should pass the second but by chance.

    Returns
    -------
    Ceilings by diagonal. With ``depth="replicate", best="experiment"`` they are the correlations of the replicates as they are.
    Replicates that correlate negatively share no signal: their ceiling of the truth is 0, and what Spearman-Brown makes of
    them is cut off at -1.

    Raises
    ------
    ValueError
        If the shapes differ, or an option is unknown.

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
    scores = score_by_distance(first, second)
    pearson, spearman = (_ceiling(r, depth, best) for r in (scores.pearson, scores.spearman))
    return DistanceCorrelations(scores.n_pixels, pearson, spearman)


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


def _ceiling(reliability: np.ndarray, depth: Depth, best: Best) -> np.ndarray:
    r = spearman_brown(reliability, 2) if depth == "merged" else reliability
    return np.sqrt(np.maximum(r, 0)) if best == "truth" else r
