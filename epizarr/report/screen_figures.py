"""Figure of a screen: what each interval does to the map, along the genome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from epizarr.genome import Assembly

_DPI = 150
_SHADES = ("#3b6ea5", "#8fb0d3")
_LOST, _GAINED = "#b2182b", "#1b7837"
#: Intervals that are named in the figure.
_N_NAMED = 8


def screen_figure(table: pd.DataFrame, assembly: Assembly, *, null_mean: np.ndarray, title: str) -> Figure:
    """Draw the intervals of a screen along the genome: mean size of the change above, change of the insulation below.

    Parameters
    ----------
    table
        :func:`epizarr.screen.screen_table`.
    assembly
        Its assembly; chromosomes without an interval are left out.
    null_mean
        Mean change of the random intervals; a line shows their 95th percentile, if there are any.
    title
        Headline.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    chroms = [chrom for chrom in assembly.chrom_names if (table["chrom"] == chrom).any()]
    lengths = dict(assembly)
    if len(chroms) == 1:  # a region: what lies off it would be empty
        offset, ticks, labels = {chroms[0]: 0.0}, None, None
    else:
        edges = np.concatenate([[0], np.cumsum([lengths[chrom] for chrom in chroms])])
        offset = dict(zip(chroms, edges[:-1].tolist(), strict=True))
        ticks, labels = (edges[:-1] + edges[1:]) / 2e6, chroms
    x = (table["chrom"].map(offset) + (table["start"] + table["end"]) / 2).to_numpy(dtype=float) / 1e6
    shade = np.array([_SHADES[chroms.index(chrom) % 2] for chrom in table["chrom"]])
    figure = Figure(figsize=(10, 5.6), dpi=_DPI)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.12})
    status = table["boundary_change"].to_numpy()
    for axis, column, label in (
        (above, "mean_abs_change", "mean |change| of the contacts\n(network's scale)"),
        (below, "insulation_change", "change of the insulation\nat the interval (log2)"),
    ):
        y = table[column].to_numpy()
        axis.vlines(x, 0, y, colors=shade, linewidth=0.7)
        axis.scatter(x, y, c=shade, s=9, zorder=3)
        for value, colour in ((-1, _LOST), (1, _GAINED)):
            axis.scatter(x[status == value], y[status == value], c=colour, s=16, zorder=4)
        axis.axhline(0, color="#777777", linewidth=0.5)
        axis.set_ylabel(label, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    known = null_mean[~np.isnan(null_mean)]
    handles = [
        Line2D([], [], marker="o", linestyle="", color=colour, markersize=4, label=text)
        for colour, text in ((_LOST, "a boundary is lost"), (_GAINED, "a boundary is gained"))
    ]
    if len(known):
        level = float(np.percentile(known, 95))
        above.axhline(level, color="#333333", linewidth=0.8, linestyle="--")
        handles.append(
            Line2D([], [], color="#333333", linewidth=0.8, linestyle="--", label="95 % of random intervals lie below")
        )
    top = table["mean_abs_change"].max()
    above.set_ylim(0, 1.22 * top if top > 0 else 1)
    named: list[float] = []
    least = 0.06 * (np.ptp(x) or 1.0)  # names side by side would overlap
    for place, height in enumerate(table["mean_abs_change"].tolist()):
        if height > 0 and len(named) < _N_NAMED and all(abs(x[place] - other) > least for other in named):
            named.append(float(x[place]))
            above.annotate(
                str(table["name"].iloc[place]),
                (x[place], height),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=6.5,
            )
    above.legend(handles=handles, fontsize=7, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1.0))
    above.set_title(title, fontsize=10, loc="left")
    if ticks is not None:
        below.set_xticks(ticks, labels)
    below.set_xlabel("" if ticks is not None else f"{chroms[0]} (Mb)", fontsize=9)
    return figure
