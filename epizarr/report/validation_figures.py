"""A picture of validation maps: prediction above, observed contacts below one axis, a panel a window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from epizarr.bands import scatter_stripes, stripe_margins
from epizarr.report.figures import colour_limits, rotate_band
from epizarr.report.scales import fall_colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 130
_PANEL_INCHES = 5.0


@dataclass(frozen=True)
class MapPair:
    """Two maps of one window.

    Parameters
    ----------
    title
        Cell type and region.
    start
        First bp of the window; may be negative where a window hangs over a chromosome's start.
    binsize
        Bin width in bp.
    prediction, observed
        Stripes (bin, offset) in the same units; NaN is masked and drawn grey.
    """

    title: str
    start: int
    binsize: int
    prediction: np.ndarray
    observed: np.ndarray


def mirrored_maps(prediction: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Turn two windows of stripes by 45 degrees and join them at the diagonal.

    Parameters
    ----------
    prediction, observed
        Stripes (bin, offset) of the same window.

    Returns
    -------
    Picture (distance, position), four samples a bin and axis: ``observed`` in the lower half, its longest distance first,
    ``prediction`` in the upper half, its longest distance last.
    """
    above, below = (_rotated(stripes) for stripes in (prediction, observed))
    return np.concatenate([below[::-1], above])


def _rotated(stripes: np.ndarray) -> np.ndarray:
    n_bins, n_offsets = stripes.shape
    # A stripe's pixels begin up to `margin` bins before its own bin: rows before the window fill its left corner.
    margin, _ = stripe_margins(n_offsets)
    band = scatter_stripes(stripes, -margin, n_bins + margin, n_offsets)
    return rotate_band(band, margin, n_bins)


def validation_figure(pairs: Sequence[MapPair], *, title: str, value_label: str) -> Figure:
    """Draw windows side by side, on the colour scale of all observed maps: it is the same for every epoch of a run.

    Parameters
    ----------
    pairs
        At least one window.
    title
        Line above the panels.
    value_label
        What the colours mean.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    n_bins, n_offsets = pairs[0].observed.shape
    # At this height a square of contacts is drawn as a square that stands on its corner.
    height = _PANEL_INCHES * float(np.clip(n_offsets / n_bins, 0.3, 1.2))
    gap, left, right = 0.6, 0.72, 1.15
    width = left + len(pairs) * _PANEL_INCHES + (len(pairs) - 1) * gap + right
    whole = height + 1.25
    figure = Figure(figsize=(width, whole), dpi=_DPI)
    grid = figure.add_gridspec(
        1,
        len(pairs),
        left=left / width,
        right=1 - right / width,
        top=1 - 0.72 / whole,
        bottom=0.53 / whole,
        wspace=gap / _PANEL_INCHES,
    )
    norm = Normalize(*colour_limits(np.concatenate([pair.observed.ravel() for pair in pairs])))
    cmap = fall_colours()
    for index, pair in enumerate(pairs):
        axis = figure.add_subplot(grid[0, index])
        start, reach = pair.start / 1e6, n_offsets * pair.binsize / 1e6
        end = start + n_bins * pair.binsize / 1e6
        axis.imshow(
            mirrored_maps(pair.prediction, pair.observed),
            origin="lower",
            aspect="auto",
            extent=(start, end, -reach, reach),
            cmap=cmap,
            norm=norm,
            interpolation="nearest",
        )
        axis.axhline(0, color="#444444", linewidth=0.8)
        for name, y, side in (("predicted", 0.975, "top"), ("observed", 0.025, "bottom")):
            axis.text(
                0.012, y, name, transform=axis.transAxes, va=side, fontsize=9, weight="bold",
                bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
        axis.set_title(pair.title, fontsize=9, loc="left")
        axis.set_xlabel("position (Mb)", fontsize=9)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{abs(y):g}"))
        axis.locator_params(axis="x", nbins=6)
        axis.tick_params(labelsize=8)
        if index == 0:
            axis.set_ylabel("distance (Mb)", fontsize=9)
    beside = figure.add_axes((1 - (right - 0.15) / width, 0.53 / whole, 0.13 / width, height / whole))
    bar = figure.colorbar(ScalarMappable(norm, cmap), cax=beside, extend="both")
    bar.set_label(value_label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    figure.text(left / width, 1 - 0.2 / whole, title, fontsize=10, weight="bold", va="top")
    return figure
