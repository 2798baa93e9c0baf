"""Mean contacts by distance in some regions of some cell types."""

from collections.abc import Sequence

import numpy as np

from epizarr.bands import mask_band
from epizarr.genome import BinGrid, Region
from epizarr.io.layout import group_path
from epizarr.io.places import Place
from epizarr.io.store_read import read_region
from epizarr.transforms import diagonal_sums, mean_of_sums

#: Band rows read at a time.
_ROWS = 8192


def mean_by_distance(
    store: Place,
    cell_types: Sequence[str],
    regions: Sequence[Region],
    variable: str,
    grid: BinGrid,
    n_diagonals: int,
    min_diagonal: int = 0,
) -> np.ndarray:
    """Mean of a variable over the pixels of each diagonal, all cell types and regions pooled, without bad bins.

    Parameters
    ----------
    store, cell_types, variable
        Measured contacts, at least ``n_diagonals`` diagonals of each.
    regions
        A pixel counts if both of its bins lie wholly in one of them.
    grid, n_diagonals
        Bins and diagonals.
    min_diagonal
        First diagonal that counts.

    Returns
    -------
    float64 (diagonal), NaN where no pixel counts.
    """
    total, number = np.zeros(n_diagonals), np.zeros(n_diagonals, dtype=np.int64)
    for cell_type in cell_types:
        group = group_path("contacts", cell_type, grid.binsize)
        for region in regions:
            first, last = grid.region_extent(region, "contained")
            if first == last:
                continue
            bad = read_region(store, group, "bad_bin", {"bin": slice(first, last)})
            # Bins past the region are not good: its pixels have both ends in it.
            good = np.append(~bad, np.zeros(n_diagonals - 1, dtype=bool))
            for lo in range(first, last, _ROWS):
                hi = min(lo + _ROWS, last)
                band = read_region(store, group, variable, {"bin": slice(lo, hi), "diagonal": slice(0, n_diagonals)})
                part = mask_band(band, good[lo - first : hi - first + n_diagonals - 1], min_diagonal)
                block_total, block_number = diagonal_sums(part)
                total += block_total
                number += block_number
    return mean_of_sums(total, number)
