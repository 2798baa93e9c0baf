"""A figure of predicted uncertainty: error against predicted standard deviation, and coverage of intervals by distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from epizarr.report.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 150


def uncertainty_figure(results: Mapping[str, xr.Dataset], *, title: str = "", coverage: float = 0.9) -> Figure:
    """Draw predictors beside each other: are their standard deviations the size of their errors, do their intervals hold?

    Parameters
    ----------
    results
        What :func:`epizarr.evaluate.assess_uncertainty` returned for each predictor, by name, on the same regions.
    title
        Line above the panels.
    coverage
        Coverage whose course over distance is drawn; must be one of the wanted ones.

    Returns
    -------
    Three panels: root mean square error against predicted standard deviation (the grey line: equal); measured against wanted
    coverage over all distances; coverage by distance. Standard deviations taken for those of a normal distribution are dashed,
    those multiplied by conformal factors solid.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(11.5, 4.0), dpi=_DPI)
    reliability, overall, by_distance = figure.subplots(1, 3)
    colours = dict(zip(results, COLOURS * 2, strict=False))
    styles = {"normal": "--", "conformal": "-"}
    for name, found in results.items():
        reliability.plot(found["predicted_sd"], found["error"], marker="o", ms=3, lw=1.2, color=colours[name])
        for kind, style in styles.items():
            of_kind = found.sel(kind=kind)
            overall.plot(
                found["wanted"], of_kind["mean_coverage"], style, marker="o", ms=3, lw=1.2, color=colours[name]
            )
            counted = of_kind["coverage"].sel(wanted=coverage)
            by_distance.plot(found["distance"] / 1e6, counted, style, lw=1.1, color=colours[name])
    top = max(float(max(r["predicted_sd"].max(), r["error"].max())) for r in results.values()) * 1.05
    reliability.plot([0, top], [0, top], color="#999999", lw=0.8, zorder=1)
    reliability.set(
        xlim=(0, top), ylim=(0, top), xlabel="predicted standard deviation", ylabel="root mean square error"
    )
    reliability.locator_params(nbins=5)
    wanted = np.unique(np.concatenate([r["wanted"].values for r in results.values()]))
    overall.plot([0, 1], [0, 1], color="#999999", lw=0.8, zorder=1)
    overall.set(xlim=(wanted[0] - 0.05, 1), ylim=(0, 1.02), xlabel="wanted coverage", ylabel="measured coverage")
    by_distance.axhline(coverage, color="#999999", lw=0.8, zorder=1)
    by_distance.set(xlim=(0, None), ylim=(0, 1.02), xlabel="distance (Mb)")
    by_distance.set_ylabel(f"measured coverage of {coverage:.0%} intervals")
    for axis in (reliability, overall, by_distance):
        axis.tick_params(labelsize=8)
        axis.xaxis.label.set_fontsize(9)
        axis.yaxis.label.set_fontsize(9)
        axis.grid(color="#e6e8eb", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    handles = [Line2D([], [], color=colours[name], lw=2, label=name) for name in results]
    handles += [
        Line2D([], [], color="#555555", ls=style, lw=1.2, label=label)
        for style, label in (("--", "as predicted, taken for normal"), ("-", "conformal"))
    ]
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 6), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10, x=0.06, ha="left", weight="bold")
    figure.subplots_adjust(left=0.06, right=0.985, top=0.9, bottom=0.24, wspace=0.27)
    return figure
