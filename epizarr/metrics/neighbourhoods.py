"""Sums over rectangles of the map around every pixel of a band, and the squares around some of them; no square matrix is made.

A rectangle holds the pixels (i + a, j + b) for ranges of a and b around pixel (i, j), as it lies in the symmetric map: one that
reaches across the main diagonal sees the mirrored pixels there. What lies off the band's rows or past its last diagonal is
missing.
Give the rows of ONE region: rows that are neighbours in the array are taken for neighbours on the chromosome.
"""

import numpy as np

from epizarr.bands import shift_columns

#: First and LAST offset of one side of a rectangle.
Side = tuple[int, int]


def rectangle_sums(band: np.ndarray, first: Side, second: Side) -> tuple[np.ndarray, np.ndarray]:
    """Sum the valid pixels of a rectangle around each pixel.

    Parameters
    ----------
    band
        Rows of one region, (row, diagonal), NaN where a pixel does not count.
    first, second
        First and last offset a of the first bin, and b of the second.

    Returns
    -------
    Sums and numbers of valid pixels, float64 (row, diagonal): pixel (i, i + k) has those of (i + a, i + k + b). Values depend on
    the band's width where ``k + b - a`` reaches its last diagonal.

    Examples
    --------
    >>> sums, number = rectangle_sums(np.array([[1.0, 2.0], [3.0, np.nan]]), (0, 0), (-1, 1))
    >>> sums, number
    (array([[3., 3.],
           [5., 3.]]), array([[2., 2.],
           [2., 1.]]))
    """
    (a0, a1), (b0, b1) = first, second
    wide = _widened(band, max(0, a1 - b0), max(0, b1 - a0))
    known = ~np.isnan(wide)
    values = np.where(known, wide, 0.0)
    total, number = (_rectangles(part.astype(np.float64), band.shape, first, second) for part in (values, known))
    return total, number


def _widened(band: np.ndarray, below: int, above: int) -> np.ndarray:
    """Band on diagonals ``-below`` to ``K - 1 + above``: pixel (i, i - m) is (i - m, i), those past the last are NaN."""
    n_rows, n_diagonals = band.shape
    wide = np.full((n_rows, below + n_diagonals + above), np.nan)
    wide[:, below : below + n_diagonals] = band
    n_mirrored = min(below, n_diagonals - 1)
    mirrored = shift_columns(band, -np.arange(n_mirrored + 1))
    wide[:, below - n_mirrored : below] = mirrored[:, :0:-1]
    return wide


def _rectangles(wide: np.ndarray, shape: tuple[int, int], first: Side, second: Side) -> np.ndarray:
    (a0, a1), (b0, b1) = first, second
    n_rows, n_diagonals = shape
    below = max(0, a1 - b0)
    # Column c of `along` is diagonal c - a1: the sum over b of pixels (r, r + c - a1 + b).
    width = n_diagonals + a1 - a0
    along = np.zeros((n_rows, width))
    for b in range(b0, b1 + 1):
        along += wide[:, below - a1 + b : below - a1 + b + width]
    total = np.zeros(shape)
    for a in range(a0, a1 + 1):  # row i + a, diagonal k - a
        lo, hi = max(0, -a), min(n_rows, n_rows - a)
        if lo < hi:
            total[lo:hi] += along[lo + a : hi + a, a1 - a : a1 - a + n_diagonals]
    return total


def gather_squares(band: np.ndarray, row: np.ndarray, diagonal: np.ndarray, half_width: int) -> np.ndarray:
    """Squares of the map around some pixels.

    Parameters
    ----------
    band
        Rows of one region, (row, diagonal).
    row, diagonal
        Pixels in the middles, int (pixel).
    half_width
        Bins from the middle to the side.

    Returns
    -------
    float64 (pixel, 2h + 1, 2h + 1): element (h + a, h + b) is pixel (i + a, j + b), mirrored below the main diagonal; NaN where
    the band has none.
    """
    row, diagonal = np.asarray(row, dtype=np.int64), np.asarray(diagonal, dtype=np.int64)
    offset = np.arange(-half_width, half_width + 1)
    one = row[:, None, None] + offset[None, :, None]
    other = (row + diagonal)[:, None, None] + offset[None, None, :]
    low, k = np.minimum(one, other), np.abs(other - one)
    inside = (low >= 0) & (low < band.shape[0]) & (k < band.shape[1])
    found = band[np.where(inside, low, 0), np.where(inside, k, 0)].astype(np.float64)
    return np.where(inside, found, np.nan)
