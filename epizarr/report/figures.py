"""Figures of an evaluation: contact maps over tracks, and correlation by distance.

matplotlib is imported when a figure is drawn, and only its object interface is used: no display, no global state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from epizarr.report.scales import MISSING_COLOUR, fall_colours
from epizarr.transforms import Transform

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Colours that stay apart for colour-blind readers (Okabe & Ito), darkest first.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")
_DPI = 150
#: Samples a bin and axis when a map is turned; more than the pixels that a bin gets in a figure.
_SAMPLES_PER_BIN = 4
#: Columns that a track is drawn with: about what the figure can show.
_TRACK_COLUMNS = 1200
_VALUE_LABELS = {
    "linear": "{variable}",
    "log1p": "log(1 + {variable})",
    "obs_over_exp": "{variable}, observed / expected",
    "obs_over_exp_log1p": "log(1 + observed / expected)",
}


@dataclass(frozen=True)
class TrackPanel:
    """One track under the maps.

    Parameters
    ----------
    name
        Track name.
    signal
        Values over the window, (track bin), NaN where not measured.
    upper
        Top of the axis; higher values are cut there.
    """

    name: str
    signal: np.ndarray
    upper: float


@dataclass(frozen=True)
class MapWindow:
    """A window of the genome to draw.

    Parameters
    ----------
    region
        Title, such as ``"chr3:1,000,000-6,000,000"``.
    start, end
        Window in bp.
    binsize
        Bin width in bp.
    margin_bins
        Rows that each band has before the window's first bin, so that the map is complete at the window's left edge.
    maps
        Title and band (row, diagonal) of each map, top to bottom; NaN is masked. The first sets the colour scale.
    tracks
        Tracks below the maps.
    value_label
        What the colours mean.
    """

    region: str
    start: int
    end: int
    binsize: int
    margin_bins: int
    maps: tuple[tuple[str, np.ndarray], ...]
    tracks: tuple[TrackPanel, ...]
    value_label: str


def value_label(transform: Transform, variable: str) -> str:
    """Say what transformed values are, for an axis."""
    return _VALUE_LABELS.get(transform.name, f"{variable}, {transform.name}").format(variable=variable)


def rotated_pixels(n_columns: int, n_rows: int, n_bins: int, reach_bins: float) -> tuple[np.ndarray, np.ndarray]:
    """Which pixel lies where in a map turned by 45 degrees: x is the position along the genome, y the distance between both bins.

    Parameters
    ----------
    n_columns, n_rows
        Size of the picture, the lowest distance first.
    n_bins, reach_bins
        Bins of its width, and the distance of its top in bins.

    Returns
    -------
    Left bin, from the picture's first, and diagonal of the pixel whose diamond holds a sample's middle, int64 (row, column).
    """
    position = (np.arange(n_columns) + 0.5) * n_bins / n_columns
    distance = (np.arange(n_rows) + 0.5) * reach_bins / n_rows
    left = np.floor(position[None, :] - distance[:, None] / 2).astype(np.int64)
    right = np.floor(position[None, :] + distance[:, None] / 2).astype(np.int64)
    return left, right - left


def rotate_band(band: np.ndarray, first: int, n_bins: int, samples_per_bin: int = _SAMPLES_PER_BIN) -> np.ndarray:
    """Turn a band by 45 degrees: x is the position along the genome, y the distance between the two bins.

    Parameters
    ----------
    band
        Contacts (row, diagonal).
    first, n_bins
        Rows whose stretch of the genome is drawn; the rows around them fill the corners.
    samples_per_bin
        Resolution of the picture.

    Returns
    -------
    Picture (distance, position), (n_diagonals · samples, n_bins · samples). Each value is that of the pixel whose diamond holds
    the middle of the sample; NaN where the band has no such pixel.
    """
    n_rows, n_diagonals = band.shape
    left, k = rotated_pixels(n_bins * samples_per_bin, n_diagonals * samples_per_bin, n_bins, n_diagonals)
    row = left + first
    inside = (row >= 0) & (row < n_rows) & (k < n_diagonals)
    return np.where(inside, band[np.clip(row, 0, n_rows - 1), np.minimum(k, n_diagonals - 1)], np.nan)


def contact_figure(window: MapWindow) -> Figure:
    """Draw the maps of a window above each other, on one colour scale, over its tracks.

    Parameters
    ----------
    window
        What to draw. Masked pixels and bins without signal are grey.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    map_inches, track_inches, width = 1.75, 0.42, 10.0
    heights = [map_inches] * len(window.maps) + [track_inches] * len(window.tracks)
    height = sum(heights) + 0.12 * len(heights) + 1.0
    figure = Figure(figsize=(width, height), dpi=_DPI)
    grid = figure.add_gridspec(
        len(heights),
        2,
        height_ratios=heights,
        width_ratios=[1, 0.016],
        left=max(0.105, 0.03 + 0.0085 * max((len(track.name) for track in window.tracks), default=0)),
        right=0.925,
        top=1 - 0.45 / height,
        bottom=0.5 / height,
        hspace=0.16,
        wspace=0.025,
    )
    norm = Normalize(*colour_limits(window.maps[0][1]))
    cmap = fall_colours()
    axes = []
    for row, (title, band) in enumerate(window.maps):
        axis = figure.add_subplot(grid[row, 0])
        draw_map(axis, band, window, cmap, norm)
        name_map(axis, title)
        axes.append(axis)
    for index, track in enumerate(window.tracks):
        axis = figure.add_subplot(grid[len(window.maps) + index, 0])
        draw_track(axis, track, window, COLOURS[index % len(COLOURS)])
        axes.append(axis)
    join_panels(axes, window)
    axes[0].set_title(window.region, fontsize=11, loc="left")
    colour_axis = figure.add_subplot(grid[: len(window.maps), 1])
    bar = figure.colorbar(ScalarMappable(norm, cmap), cax=colour_axis, extend="both")
    bar.set_label(window.value_label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def draw_map(axis: Axes, band: np.ndarray, window: MapWindow, cmap: Colormap, norm: Any) -> None:
    """Draw one band of a window, turned by 45 degrees, with the distance as its vertical axis."""
    n_bins = -(-(window.end - window.start) // window.binsize)
    image = rotate_band(band, window.margin_bins, n_bins)
    reach = band.shape[1] * window.binsize / 1e6
    right = (window.start + n_bins * window.binsize) / 1e6
    axis.imshow(
        image,
        origin="lower",
        aspect="auto",
        extent=(window.start / 1e6, right, 0, reach),
        cmap=cmap,
        norm=norm,
        interpolation="nearest",
    )
    axis.set_ylim(0, reach)
    axis.set_ylabel("distance (Mb)", fontsize=9)
    axis.locator_params(axis="y", nbins=4, prune="upper")  # the top label would touch the panel above


def name_map(axis: Axes, text: str) -> None:
    """Write a map's name into its corner."""
    axis.text(
        0.008, 0.93, text, transform=axis.transAxes, va="top", fontsize=10, weight="bold",
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 2.0},
    )  # fmt: skip


def join_panels(axes: Sequence[Axes], window: MapWindow) -> None:
    """Give panels below each other the window as their one horizontal axis."""
    for axis in axes:
        axis.set_xlim(window.start / 1e6, window.end / 1e6)
        axis.tick_params(labelbottom=axis is axes[-1], labelsize=8)
    axes[-1].set_xlabel(f"{window.region.partition(':')[0]} (Mb)", fontsize=9)


def draw_track(axis: Axes, track: TrackPanel, window: MapWindow, colour: str) -> None:
    """Draw one track of a window, filled; grey where it was not measured."""
    signal, edges = coarsened(track.signal, window)
    missing = np.isnan(signal)
    upper = track.upper if track.upper > 0 else 1.0
    axis.stairs(np.minimum(np.where(missing, 0.0, signal), upper), edges, fill=True, color=colour, linewidth=0)
    axis.stairs(np.where(missing, upper, 0.0), edges, fill=True, color=MISSING_COLOUR, linewidth=0)
    axis.set_ylim(0, upper)
    axis.set_yticks([])
    axis.text(-0.008, 0.62, track.name, transform=axis.transAxes, ha="right", va="center", fontsize=9)
    axis.text(
        -0.008, 0.12, f"0–{upper:.3g}", transform=axis.transAxes, ha="right", va="center", fontsize=7, color="#555555"
    )
    axis.spines[["top", "right"]].set_visible(False)


def coarsened(signal: np.ndarray, window: MapWindow, join: np.ufunc = np.fmax) -> tuple[np.ndarray, np.ndarray]:
    """Join the bins of each run that one column of the figure shows; the values, and the columns' edges in Mb.

    With ``np.fmax`` it is the largest, so that narrow peaks stay visible; NaN only where a whole run is missing.
    """
    edges = np.linspace(window.start, window.end, len(signal) + 1) / 1e6
    starts = np.arange(0, len(signal), max(1, -(-len(signal) // _TRACK_COLUMNS)))
    return join.reduceat(signal, starts), np.append(edges[starts], edges[-1])


def colour_limits(band: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale that most finite values of a map lie between; (0, 1) if there are none."""
    known = band[np.isfinite(band)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.percentile(known, [2, 99.5])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def distance_figure(scores: xr.Dataset) -> Figure:
    """Draw the correlations of an evaluation against distance, one line a predictor.

    Parameters
    ----------
    scores
        An evaluation (:data:`epizarr.schema.EVALUATIONS`). Diagonals without a pixel are left out, and so is a predictor whose
        correlation is nowhere defined. The prediction is drawn thicker, ceilings grey and dashed or dotted.
    """
    from matplotlib.figure import Figure

    scores = scores[["n_pixels", "pearson", "spearman"]].load()
    scores = scores.isel(diagonal=scores["n_pixels"].values > 0)
    distance = scores["distance"].values
    predictors = [str(name) for name in scores["predictor"].values]
    runs = json.loads(scores.attrs.get("runs", "{}")) or {"prediction": ""}
    styles = dict(zip([name for name in predictors if "ceiling" in name], ("--", ":", "-."), strict=False))
    colours = dict(zip([name for name in predictors if name not in styles], COLOURS * 2, strict=False))
    panels = {
        f"{name.capitalize()} correlation": dict(zip(predictors, scores[name].values, strict=True))
        for name in ("pearson", "spearman")
    }
    figure = Figure(figsize=(10.0, 3.9), dpi=_DPI)
    handles: dict[str, Any] = {}
    for index, (score, lines) in enumerate(panels.items()):
        axis = figure.add_subplot(1, len(panels), index + 1)
        for predictor, values in lines.items():
            if np.isnan(values).all():
                continue
            (handles[predictor],) = axis.plot(
                distance / 1e6,
                values,
                color="#555555" if predictor in styles else colours[predictor],
                linestyle=styles.get(predictor, "-"),
                linewidth=2.4 if predictor in runs else 1.3,
                zorder=3 if predictor in runs else 2,
            )
        axis.axhline(0, color="#999999", linewidth=0.7, zorder=1)
        axis.set_xlabel("distance (Mb)", fontsize=9)
        axis.set_ylabel(score, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(color="#e6e8eb", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(0, float(distance.max(initial=1)) / 1e6)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=5, frameon=False, fontsize=9)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.96, bottom=0.25, wspace=0.17)
    return figure


def figure_png(figure: Figure) -> bytes:
    """Render a figure as PNG; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
