"""Windows of the scored regions that a report draws: chosen by rule, so that nobody picks them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epizarr.evaluate.maps import Maps, region_rows
from epizarr.genome import Region

#: Width of a drawn window, and how many there are at most.
WINDOW_BP, N_WINDOWS = 5_000_000, 4


@dataclass(frozen=True)
class Window:
    """Bins ``[lo, hi)`` to draw, of a region ``[first, end)`` (bin ids)."""

    lo: int
    hi: int
    first: int
    end: int


def pick_windows(maps: Maps, regions: Sequence[Region], n_windows: int, window_bp: int) -> list[Window]:
    """Choose windows by rule: their middles are evenly spaced over the good bins of the regions, strung together.

    Parameters
    ----------
    maps
        For the grid and the bad bins.
    regions
        Regions to draw from.
    n_windows
        At most so many; fewer where the good bins do not fill that many.
    window_bp
        Width; a shorter region is one window.

    Returns
    -------
    Windows in order, without repeats.
    """
    good = [
        rows.lo + np.flatnonzero(maps.good_bins(rows)[: rows.hi - rows.lo]) for rows in region_rows(maps.grid, regions)
    ]
    bins = np.concatenate(good)
    extents = [maps.grid.region_extent(region, "contained") for region in regions]
    width = max(window_bp // maps.binsize, 1)
    wanted = max(1, min(n_windows, len(bins) // width)) if len(bins) else 0
    chosen = set()
    for index in range(wanted):
        middle = int(bins[int((index + 0.5) / wanted * len(bins))])
        first, end = next((a, b) for a, b in extents if a <= middle < b)
        lo = max(min(middle - width // 2, end - width), first)
        chosen.add((lo, min(lo + width, end), first, end))
    return [Window(*place) for place in sorted(chosen)]
