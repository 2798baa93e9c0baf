"""Maps on other grids: the mean of a map's pixels over the pixels of another grid, weighted by the area they share.

Bins are given by their edges in bp, so that a grid may begin anywhere and its last bin may be cut by a chromosome's end. A map is
piecewise constant: a pixel of the new grid is the mean of the map's values over its area. What is missing counts neither in the
sum nor in the area, and a pixel of which less than :data:`MIN_SHARE` is known is missing itself.
"""

import numpy as np
from scipy import sparse

#: Share of a pixel's area that has to have a value.
MIN_SHARE = 0.5
#: What sums of shares may lack by rounding.
_ROUNDING = 1e-9


def overlap_shares(source_edges: np.ndarray, target_edges: np.ndarray) -> sparse.csr_array:
    """Share of each target bin that each source bin covers, float64 (target bin, source bin).

    Parameters
    ----------
    source_edges, target_edges
        Increasing edges in bp of n and m adjacent bins, (n + 1) and (m + 1).
    """
    source, target = np.asarray(source_edges, dtype=np.int64), np.asarray(target_edges, dtype=np.int64)
    shape = (len(target) - 1, len(source) - 1)
    first, end = max(source[0], target[0]), min(source[-1], target[-1])
    cuts = np.union1d(source, target)
    cuts = cuts[(cuts >= first) & (cuts <= end)]
    if len(cuts) < 2:
        return sparse.csr_array(shape, dtype=np.float64)
    # No edge of either grid lies inside a piece, so that it is of one bin of each.
    row = np.searchsorted(target, cuts[:-1], side="right") - 1
    column = np.searchsorted(source, cuts[:-1], side="right") - 1
    share = np.diff(cuts) / np.diff(target)[row]
    return sparse.csr_array((share, (row, column)), shape=shape)


class AreaMean:
    """Mean of any number of maps, each on its own grid, over the pixels of one square.

    Where maps overlap, each counts by the area that it covers. Memory: two float64 squares of the target, and two of a map that
    is added.

    Parameters
    ----------
    edges
        Edges in bp of the square's n bins, (n + 1).
    """

    def __init__(self, edges: np.ndarray) -> None:
        self.edges = np.asarray(edges, dtype=np.int64)
        n_bins = len(self.edges) - 1
        self._total = np.zeros((n_bins, n_bins))
        self._share = np.zeros((n_bins, n_bins))

    def add(self, square: np.ndarray, edges: np.ndarray) -> None:
        """Lay a map over the square.

        Parameters
        ----------
        square
            Symmetric map (bin, bin), NaN where a pixel is missing.
        edges
            Edges in bp of its bins.

        Raises
        ------
        ValueError
            If the map is not a square of that many bins.
        """
        n_bins = len(edges) - 1
        if square.shape != (n_bins, n_bins):
            raise ValueError(f"a map of shape {square.shape} does not have the {n_bins} bins of its edges.")
        shares = overlap_shares(edges, self.edges)
        known = ~np.isnan(square)
        self._total += _both_sides(shares, np.where(known, square, 0.0))
        self._share += _both_sides(shares, known.astype(np.float64))

    def values(self) -> np.ndarray:
        """Means so far, float64 (bin, bin); NaN where less than :data:`MIN_SHARE` of a pixel's area has a value."""
        enough = self._share >= MIN_SHARE - _ROUNDING
        return np.divide(self._total, self._share, out=np.full(self._total.shape, np.nan), where=enough)


def regrid_square(square: np.ndarray, source_edges: np.ndarray, target_edges: np.ndarray) -> np.ndarray:
    """One map on another grid; see :class:`AreaMean`.

    Parameters
    ----------
    square
        Symmetric map (bin, bin), NaN where a pixel is missing.
    source_edges, target_edges
        Edges in bp of its bins and of those that are wanted.

    Returns
    -------
    float64 (bin, bin) on the target's bins.

    Examples
    --------
    >>> regrid_square(np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([0, 10, 20]), np.array([0, 20]))
    array([[2.]])
    """
    mean = AreaMean(target_edges)
    mean.add(square, source_edges)
    return mean.values()


def symmetric_square(square: np.ndarray) -> np.ndarray:
    """Make a map symmetric, float64: the mean of both triangles, or the only one that holds anything.

    Networks' outputs are symmetric up to rounding or not quite. A triangle off the main diagonal that is all zeros or missing was
    left out by whoever wrote the file.
    """
    square = np.array(square, dtype=np.float64)
    everywhere = np.ones(square.shape, dtype=bool)
    if not np.nan_to_num(np.tril(square, -1)).any():
        square[~np.triu(everywhere)] = np.nan
    elif not np.nan_to_num(np.triu(square, 1)).any():
        square[~np.tril(everywhere)] = np.nan
    known = ~np.isnan(square)
    filled = np.where(known, square, 0.0)
    number = known.astype(np.int64) + known.T
    return np.divide(filled + filled.T, number, out=np.full(square.shape, np.nan), where=number > 0)


def square_from_triangle(values: np.ndarray, first_diagonal: int) -> np.ndarray:
    """Symmetric square from its upper triangle, row by row, from a diagonal on: how Akita's output is stored.

    Parameters
    ----------
    values
        Vector of n · (n + 1) / 2 values.
    first_diagonal
        Diagonals before it are missing.

    Returns
    -------
    float64 (n + first_diagonal, n + first_diagonal), NaN before ``first_diagonal``.

    Raises
    ------
    ValueError
        If no triangle has so many values.
    """
    n = int((np.sqrt(8 * len(values) + 1) - 1) / 2)
    if n * (n + 1) // 2 != len(values):
        raise ValueError(f"{len(values):,} values are no upper triangle: n · (n + 1) / 2 are.")
    side = n + first_diagonal
    square = np.full((side, side), np.nan)
    row, column = np.triu_indices(side, first_diagonal)
    square[row, column] = square[column, row] = values
    return square


def _both_sides(shares: sparse.csr_array, square: np.ndarray) -> np.ndarray:
    """``shares · square · sharesᵀ`` of a symmetric square."""
    return np.asarray(shares @ (shares @ square).T)
