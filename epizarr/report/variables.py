"""Figure of one region in several variables of a contacts group, each on the colour scale that suits what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from epizarr.genome import Assembly, Region
from epizarr.report.figures import MapWindow, draw_map
from epizarr.report.scales import fit_scale, scale_kind
from epizarr.schema import TARGET_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

_DPI = 150
#: What the values of each kind of scale are.
_LABELS = {"log": "contacts", "linear": "observed / expected", "diverging": "score"}


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
        values, kind = bands[name].transpose("bin", "diagonal").values, scale_kind(name)
        scale = fit_scale(kind, [values], _LABELS[kind])
        draw_map(axis, scale.drawn(values), window, scale.colours(), scale.norm())
        axis.set_xlim(window.start / 1e6, window.end / 1e6)
        axis.tick_params(labelbottom=row == len(chosen) - 1, labelsize=8)
        axis.text(
            0.008, 0.93, name, transform=axis.transAxes, va="top", fontsize=10, weight="bold",
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.0},
        )  # fmt: skip
        bar = figure.colorbar(axis.images[0], cax=figure.add_subplot(layout[row, 1]), extend="both")
        bar.set_label(scale.label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        if row == 0:
            axis.set_title(window.region, fontsize=11, loc="left")
    axis.set_xlabel(f"{chrom} (Mb)", fontsize=9)
    return figure
