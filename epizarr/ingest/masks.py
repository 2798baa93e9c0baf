"""Which bins are bad, and what is expected at each distance: pure functions on one piece of the genome at a time."""

import numpy as np
import pandas as pd

from epizarr.bands import mask_band
from epizarr.genome import BinGrid, Region
from epizarr.transforms import diagonal_sums

#: What ``bad_bin`` is made from; recorded with the group.
BAD_BIN_RULE = "no cis contact in the whole input, or at least 50 % of the bin blacklisted"
MAX_BLACKLISTED = 0.5


def covered_bp(grid: BinGrid, intervals: pd.DataFrame, lo: int, hi: int) -> np.ndarray:
    """Bases of each bin that intervals cover, each base counted once.

    Parameters
    ----------
    grid
        Bins.
    intervals
        Columns ``chrom``, ``start``, ``end`` (bp, half-open), on the grid's assembly. They may overlap.
    lo, hi
        Bins ``[lo, hi)`` (bin ids).

    Returns
    -------
    Covered bases, int64 (hi − lo).
    """
    covered = np.zeros(hi - lo, dtype=np.int64)
    for chrom, first, last in grid.extents(lo, hi):
        piece = grid.extent_region(first, last)
        inside = intervals[
            (intervals["chrom"] == chrom) & (intervals["end"] > piece.start) & (intervals["start"] < piece.end)
        ]
        for start, end in _merged(inside):
            # An interval fills the bins it overlaps, but for what hangs over at its two ends.
            start, end = max(start, piece.start), min(end, piece.end)
            a, b = grid.region_extent(Region(chrom, start, end))
            bins = grid.extent_region(a, b)
            widths = np.full(b - a, grid.binsize, dtype=np.int64)
            widths[-1] = bins.end - bins.start - (b - a - 1) * grid.binsize
            widths[0] -= start - bins.start
            widths[-1] -= bins.end - end
            covered[a - lo : b - lo] += widths
    return covered


def _merged(intervals: pd.DataFrame) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(zip(intervals["start"].tolist(), intervals["end"].tolist(), strict=True)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def bad_bins(grid: BinGrid, marginals: np.ndarray, intervals: pd.DataFrame) -> np.ndarray:
    """Bins that are masked everywhere (:data:`BAD_BIN_RULE`), bool (bins of the genome).

    Parameters
    ----------
    grid
        Bins of the genome.
    marginals
        Raw cis contacts of each bin over its whole chromosome, (bins); 0 or NaN where there are none.
    intervals
        Blacklist, columns ``chrom``, ``start``, ``end``.
    """
    _, start, end = grid.locate(np.arange(grid.n_bins))
    blacklisted = covered_bp(grid, intervals, 0, grid.n_bins) >= MAX_BLACKLISTED * (end - start)
    return ~(np.nan_to_num(marginals) > 0) | blacklisted


def good_diagonal_sums(band: np.ndarray, good: np.ndarray, ignore_diags: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of valid pixels of each diagonal of some band rows.

    Parameters
    ----------
    band
        Rows of a band, float (n, K), NaN where missing.
    good
        Bool of bins i, i + 1, … of the first row on, length n + K − 1.
    ignore_diags
        Diagonals below this have no valid pixel.

    Returns
    -------
    Sums, float64 (K), and numbers, int64 (K). A pixel is valid if it is not NaN and both of its bins are good.
    """
    return diagonal_sums(mask_band(band, good, ignore_diags))
