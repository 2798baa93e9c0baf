"""Figure of one region in several variables of a contacts group, each on the colour scale that suits what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from epizarr.genome import Assembly, Region
from epizarr.report.figures import MISSING_COLOUR, MapWindow, draw_map, fall_colours
from epizarr.schema import SIGNED_VARIABLES, TARGET_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

_DPI = 150
#: Variables that are ratios to what is expected at their distance; contacts span decades, these do not.
_RATIOS = ("hicdcplus_oe",)


def variables_figure(
    contacts: xr.Dataset,
    chrom: str,
    start: int,
    end: int,
    variables: Sequence[str] | None = None,
    *,
    reach_bp: int = 1_000_000,
) -> Figure:
    """Draw one region in several normalisations above each other.

    Contacts are drawn on a logarithmic scale, where 0 has the colour of the least; ratios on a linear one; scores of either
    sign (Z-scores, Akita's target) from blue over white (0) to red. Missing pixels are grey.

    Parameters
    ----------
    contacts
        A contacts group, as :func:`epizarr.open_contacts` gives it.
    chrom, start, end
        Region in bp.
    variables
        Which; all bands that may be trained on and are there by default.
    reach_bp
        Largest distance that is drawn.

    Raises
    ------
    ValueError
        If a variable is not there or none is.
    """
    from matplotlib.figure import Figure

    there = [name for name in TARGET_VARIABLES if name in contacts]
    chosen = list(there if variables is None else variables)
    missing = [name for name in chosen if name not in contacts]
    if missing or not chosen:
        raise ValueError(f"variables {missing or 'to draw'} are not in this group, which has {there}.")
    grid = Assembly.from_dataset(contacts).bins(int(contacts.attrs["binsize"]))
    first, last = grid.region_extent(Region(chrom, start, end))
    chrom_first, _ = grid.chrom_extent(chrom)
    n_diagonals = min(contacts.sizes["diagonal"], reach_bp // grid.binsize)
    margin = min(n_diagonals, first - chrom_first)
    bands = contacts[chosen].isel(bin=slice(first - margin, last), diagonal=slice(0, n_diagonals)).load()
    whole = grid.extent_region(first, last)
    window = MapWindow(str(whole), whole.start, whole.end, grid.binsize, margin, (), (), "")
    height = 1.75 * len(chosen) + 1.0
    figure = Figure(figsize=(10.0, height), dpi=_DPI)
    layout = figure.add_gridspec(
        len(chosen), 2, width_ratios=[1, 0.016], left=0.08, right=0.91, top=1 - 0.4 / height, bottom=0.5 / height,
        hspace=0.2, wspace=0.025,
    )  # fmt: skip
    for row, name in enumerate(chosen):
        axis = figure.add_subplot(layout[row, 0])
        values, norm, cmap, label = _scaled(name, bands[name].transpose("bin", "diagonal").values)
        draw_map(axis, values, window, cmap, norm)
        axis.set_xlim(window.start / 1e6, window.end / 1e6)
        axis.tick_params(labelbottom=row == len(chosen) - 1, labelsize=8)
        axis.text(
            0.008, 0.93, name, transform=axis.transAxes, va="top", fontsize=10, weight="bold",
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.0},
        )  # fmt: skip
        bar = figure.colorbar(axis.images[0], cax=figure.add_subplot(layout[row, 1]), extend="both")
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        if row == 0:
            axis.set_title(window.region, fontsize=11, loc="left")
    axis.set_xlabel(f"{chrom} (Mb)", fontsize=9)
    return figure


def _scaled(name: str, band: np.ndarray) -> tuple[np.ndarray, Any, Any, str]:
    """Values to draw, colour scale, colours and the label of a variable."""
    import matplotlib
    from matplotlib.colors import LogNorm, Normalize

    known = band[np.isfinite(band)]
    if name in SIGNED_VARIABLES:
        limit = float(np.percentile(np.abs(known), 98)) if known.size else 1.0
        cmap = matplotlib.colormaps["RdBu_r"].with_extremes(bad=MISSING_COLOUR)
        return band, Normalize(-(limit or 1.0), limit or 1.0), cmap, "score"
    if name in _RATIOS:
        upper = float(np.percentile(known, 99)) if known.size else 1.0
        return band, Normalize(0.0, upper or 1.0), fall_colours(), "observed / expected"
    positive = known[known > 0]
    low, high = np.percentile(positive, [2, 99.5]) if positive.size else (0.1, 1.0)
    low, high = float(low), float(max(high, low * 1.01))
    return np.maximum(band, low), LogNorm(low, high), fall_colours(), "contacts"
