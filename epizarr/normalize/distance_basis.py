"""Functions of genomic distance for a regression: R's ``bs`` splines, where their knots lie, and the logarithm.

All take distances D with how many rows lie at each, since all pairs of a diagonal share one.
"""

import numpy as np
from scipy.interpolate import BSpline

DEGREE = 3


def uniform_knots(distance: np.ndarray, n_rows: np.ndarray, n_knots: int) -> np.ndarray:
    """Interior knots at equally spaced quantiles (R's type 7) of the distances of all rows, as ``bs(df=)`` places them.

    Parameters
    ----------
    distance, n_rows
        Distances in bp, in any order and with repeats, and the number of rows at each; not all 0.
    n_knots
        How many.
    """
    order = np.argsort(distance, kind="stable")
    ends = np.cumsum(n_rows[order])
    position = (ends[-1] - 1) * np.arange(1, n_knots + 1) / (n_knots + 1)
    low = np.floor(position)
    left, right = (
        distance[order][np.searchsorted(ends, rank, side="right")].astype(np.float64)
        for rank in (low, np.ceil(position))
    )
    return left + (position - low) * (right - left)


def count_based_knots(distance: np.ndarray, counts: np.ndarray, n_knots: int) -> np.ndarray:
    """Interior knots at equally spaced quantiles of the counts' distances, each once; dense where the counts are.

    Parameters
    ----------
    distance, counts
        Distances in bp, in any order and with repeats, and the sum of the counts at each; distances without counts are
        left out.
    n_knots
        At most how many: on real maps most coincide.

    Notes
    -----
    HiC-DC+'s ``.weighted_quantile``: with c the share of the counts up to each distance, the knot at p is the mean, weighted by
    counts, of the last distance with c <= p and the next, but the latter alone if c < p at the former.
    """
    values, inverse = np.unique(distance, return_inverse=True)
    weight = np.bincount(inverse, weights=counts)
    values, weight = values[weight > 0], weight[weight > 0]
    if len(values) == 0:
        return np.empty(0)
    share = np.cumsum(weight) / weight.sum()
    knots = []
    for p in np.arange(1, n_knots + 1) / (n_knots + 1):
        low = max(int(np.searchsorted(share, p, side="right")) - 1, 0)
        high = min(int(np.searchsorted(share, p, side="right")), len(values) - 1)
        if share[low] < p:
            knots.append(float(values[high]))
        else:
            pair = [low, high]
            knots.append(float(np.average(values[pair], weights=weight[pair])))
    return np.unique(knots)


def spline_columns(distance: np.ndarray, knots: np.ndarray, boundary: tuple[float, float]) -> np.ndarray:
    """Cubic B-splines of R's ``bs(D, knots, Boundary.knots)``, shape (distance, len(knots) + 3).

    The first basis function is dropped, as ``bs`` without intercept does, so that all are 0 at the left boundary.

    Parameters
    ----------
    distance
        In bp, within the boundary.
    knots
        Interior knots, increasing, strictly within the boundary.
    boundary
        Least and largest distance.
    """
    ends = np.repeat(np.asarray(boundary, dtype=np.float64), DEGREE + 1)
    t = np.concatenate([ends[: DEGREE + 1], knots, ends[DEGREE + 1 :]])
    basis: np.ndarray = BSpline.design_matrix(distance.astype(np.float64), t, DEGREE).toarray()
    return basis[:, 1:]


def log_column(distance: np.ndarray) -> np.ndarray:
    """``log2(D + 1)``, shape (distance, 1)."""
    return np.log2(distance + 1.0)[:, None]
