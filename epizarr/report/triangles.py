"""Figures for print: contact maps as triangles, stacked with tracks and genes over one axis of the genome.

Maps are embedded as pictures, so that a vector file stays small; all text and tracks are vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from epizarr.bands import mean_of_runs
from epizarr.errors import FigureError
from epizarr.genes import Gene, name_is_left, stack_genes
from epizarr.genome import Region
from epizarr.report.figures import COLOURS, rotated_pixels
from epizarr.report.scales import MISSING_COLOUR, ColourScale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Columns of a map and of a track: a page of 7 inches shows no more.
MAP_COLUMNS, SIGNAL_COLUMNS = 1600, 900
_MAP_ROWS = 600
_SAVE_DPI = 300
_FONT, _SMALL = 7.5, 6.5
_GENE_COLOUR, _GENE_ROWS = "#2b3f6b", 6
#: Inches: least and largest height of a map, heights of a track, a row of genes, a gap and a map's title.
_LEAST_MAP, _LARGEST_MAP, _TRACK, _GENE_ROW, _GAP, _TITLE = 1.0, 3.2, 0.34, 0.15, 0.07, 0.14


@dataclass(frozen=True)
class TrianglePanel:
    """One map.

    Parameters
    ----------
    title
        What stands over it.
    stripes
        Stripes (run, offset) of the bins of the region, each row the mean of ``factor`` bins; NaN is missing.
    binsize, factor
        Bin width in bp, and bins of a row.
    n_bins
        Bins of the region.
    start
        Start of its first bin in bp.
    scale
        From values to colours; panels with equal scales share one colour bar.
    """

    title: str
    stripes: np.ndarray
    binsize: int
    factor: int
    n_bins: int
    start: int
    scale: ColourScale


@dataclass(frozen=True)
class SignalPanel:
    """One track.

    Parameters
    ----------
    name
        What stands beside it.
    values
        Values (bin) over the region, of either sign, NaN where not measured; any number of bins of equal width.
    start, end
        Stretch that the values cover, in bp.
    limit
        Value where the axis ends (on both sides of 0 if there are negative values); what lies beyond is cut. By default the
        99.5th percentile of what is drawn.
    """

    name: str
    values: np.ndarray
    start: int
    end: int
    limit: float | None = None


def rotate_stripes(
    stripes: np.ndarray, n_bins: int, n_columns: int, n_rows: int, reach_bins: float, factor: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Turn stripes into a picture: x is the position along the genome, y the distance between the two bins.

    Parameters
    ----------
    stripes
        Stripes (run, offset), each row the mean of ``factor`` bins.
    n_bins
        Bins of the region.
    n_columns, n_rows
        Size of the picture.
    reach_bins
        Distance of its top.
    factor
        Bins of a row.

    Returns
    -------
    values
        Picture (row, column), the lowest distance first. Each value is that of the pixel whose diamond holds the middle of the
        sample; NaN where it is missing.
    inside
        Bool, same shape: whether both bins of that pixel lie in the region, and its distance among the offsets.
    """
    left, k = rotated_pixels(n_columns, n_rows, n_bins, reach_bins)
    inside = (left >= 0) & (left + k < n_bins) & (k < stripes.shape[1])
    row = np.clip((left + (k + 1) // 2) // factor, 0, len(stripes) - 1)
    values = np.where(inside, stripes[row, np.minimum(k, stripes.shape[1] - 1)], np.nan)
    return values, inside


def triangle_figure(
    region: Region,
    maps: Sequence[TrianglePanel],
    signals: Sequence[SignalPanel] = (),
    genes: Sequence[Gene] | None = None,
    *,
    note: str = "",
    width: float = 7.0,
) -> Figure:
    """Draw maps above each other as triangles, over tracks and genes.

    A triangle is cut at the largest stored distance. Angles are 45° as long as the figure would be neither flat nor too high.
    White lies outside the region, grey is missing.

    Parameters
    ----------
    region
        Stretch that is drawn.
    maps
        Maps, top to bottom; neighbours with equal scales share a colour bar.
    signals
        Tracks below the maps.
    genes
        Genes below the tracks; None for no such panel.
    note
        What the axis says besides the chromosome, such as the assembly.
    width
        Width of the figure in inches: 3.5 is a column, 7 a page.

    Raises
    ------
    FigureError
        If there is nothing to draw.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not maps and not signals:
        raise FigureError(f"a figure of {region} needs a map or a track.")
    left, right = 0.78, 0.78
    inner = width - left - right
    reach = {id(m): min(m.stripes.shape[1], m.n_bins) for m in maps}
    heights = [
        float(np.clip(inner * reach[id(m)] / (2 * m.n_bins), _LEAST_MAP, min(_LARGEST_MAP, inner / 2))) for m in maps
    ]
    heights += [_TRACK] * len(signals)
    rows: list[list[Gene]] = []
    letter = region.length / inner * _SMALL * 0.6 / 72
    if genes is not None:
        rows = stack_genes(genes, region.start, region.end, letter, _GENE_ROWS)
        heights.append(_GENE_ROW * max(1, len(rows)) + 0.04)
    top, bottom = 0.3, 0.42
    height = top + bottom + sum(heights) + _GAP * (len(heights) - 1) + _TITLE * len(maps)
    with matplotlib.rc_context({"font.size": _FONT, "axes.linewidth": 0.6, "font.family": "sans-serif"}):
        figure = Figure(figsize=(width, height))
        axes, y = [], height - top
        for index, h in enumerate(heights):
            y -= _TITLE if index < len(maps) else 0.0
            axes.append(figure.add_axes((left / width, (y - h) / height, inner / width, h / height)))
            y -= h + _GAP
        for axis, panel in zip(axes, maps, strict=False):
            _draw_triangle(axis, panel, reach[id(panel)])
        for index, (axis, signal) in enumerate(zip(axes[len(maps) :], signals, strict=False)):
            _draw_signal(axis, signal, region, COLOURS[index % len(COLOURS)])
        if genes is not None:
            _draw_genes(axes[-1], rows, genes, region, letter)
        for axis in axes:
            axis.set_xlim(region.start / 1e6, region.end / 1e6)
            axis.tick_params(labelbottom=axis is axes[-1], labelsize=_SMALL, width=0.6, length=2.5)
        axes[-1].set_xlabel(f"{region.chrom} (Mb){', ' if note else ''}{note}", fontsize=_FONT, labelpad=2)
        axes[-1].locator_params(axis="x", nbins=max(3, int(inner / 0.7)))
        axes[-1].ticklabel_format(axis="x", style="plain", useOffset=False)
        figure.text(left / width, 1 - 0.08 / height, str(region), fontsize=_FONT + 1, va="top")
        _draw_colour_bars(figure, axes, maps, (left + inner + 0.1) / width, width)
    return figure


def _draw_triangle(axis: Axes, panel: TrianglePanel, reach: int) -> None:
    n_columns = min(MAP_COLUMNS, panel.n_bins * 24)
    n_rows = min(_MAP_ROWS, reach * 12)
    values, inside = rotate_stripes(panel.stripes, panel.n_bins, n_columns, n_rows, reach, panel.factor)
    scale = panel.scale
    picture = scale.colours()(scale.norm()(np.ma.masked_invalid(scale.drawn(values))), bytes=True)
    picture[~inside] = (255, 255, 255, 0)
    end = panel.start + panel.n_bins * panel.binsize
    axis.imshow(
        picture,
        origin="lower",
        aspect="auto",
        extent=(panel.start / 1e6, end / 1e6, 0, reach * panel.binsize / 1e6),
        interpolation="none",  # a vector file embeds the picture as it is
    )
    axis.set_ylim(0, reach * panel.binsize / 1e6)
    axis.set_ylabel("distance (Mb)", fontsize=_SMALL, labelpad=3)
    axis.locator_params(axis="y", nbins=4, prune="upper")
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(panel.title, loc="left", fontsize=_FONT, weight="bold", pad=3)


def _draw_colour_bars(
    figure: Figure, axes: Sequence[Axes], maps: Sequence[TrianglePanel], x: float, width: float
) -> None:
    """One bar for each run of neighbouring maps that share a scale, beside them."""
    from matplotlib.cm import ScalarMappable

    first = 0
    while first < len(maps):
        last = first
        while last + 1 < len(maps) and maps[last + 1].scale == maps[first].scale:
            last += 1
        scale = maps[first].scale
        upper, lower = axes[first].get_position().y1, axes[last].get_position().y0
        length = min(upper - lower, 1.6 / float(figure.get_figheight()))
        bar_axis = figure.add_axes((x, (upper + lower - length) / 2, 0.09 / width, length))
        bar = figure.colorbar(ScalarMappable(scale.norm(), scale.colours()), cax=bar_axis, extend="both")
        bar.set_label(scale.label, fontsize=_SMALL, labelpad=2)
        bar.ax.tick_params(labelsize=_SMALL - 0.5, width=0.6, length=2)
        bar.outline.set_linewidth(0.5)
        if scale.kind != "log":
            bar.ax.locator_params(axis="y", nbins=5)
        first = last + 1


def _draw_signal(axis: Axes, panel: SignalPanel, region: Region, colour: str) -> None:
    edges = np.linspace(panel.start, panel.end, len(panel.values) + 1) / 1e6
    factor = max(1, -(-len(panel.values) // SIGNAL_COLUMNS))
    values = mean_of_runs(np.asarray(panel.values, dtype=np.float64), factor)
    edges = np.append(edges[:-1:factor], edges[-1])
    known = values[np.isfinite(values)]
    limit = panel.limit
    if limit is None:
        limit = float(np.percentile(np.abs(known), 99.5)) if known.size else 1.0
    limit = limit if limit > 0 else 1.0
    is_signed = bool((known < 0).any())
    low = -limit if is_signed else 0.0
    missing = np.isnan(values)
    axis.stairs(np.where(missing, limit, low), edges, baseline=low, fill=True, color=MISSING_COLOUR, linewidth=0)
    axis.stairs(np.clip(np.where(missing, 0.0, values), low, limit), edges, fill=True, color=colour, linewidth=0)
    if is_signed:
        axis.axhline(0, color="#555555", linewidth=0.5)
    axis.set_ylim(low, limit)
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.text(-0.01, 0.66, panel.name, transform=axis.transAxes, ha="right", va="center", fontsize=_SMALL)
    axis.text(
        -0.01, 0.2, f"{low:.3g} – {limit:.3g}", transform=axis.transAxes, ha="right", va="center",
        fontsize=_SMALL - 1.5, color="#555555",
    )  # fmt: skip


def _draw_genes(
    axis: Axes, rows: Sequence[Sequence[Gene]], genes: Sequence[Gene], region: Region, letter: float
) -> None:
    axis.set_ylim(max(1, len(rows)) - 0.4, -0.6)
    axis.set_yticks([])
    axis.spines[["top", "right", "left"]].set_visible(False)
    for y, row in enumerate(rows):
        for gene in row:
            lo, hi = max(gene.start, region.start), min(gene.end, region.end)
            axis.plot([lo / 1e6, hi / 1e6], [y, y], color=_GENE_COLOUR, linewidth=0.7, solid_capstyle="butt")
            exons = [(max(s, lo) / 1e6, (min(e, hi) - max(s, lo)) / 1e6) for s, e in gene.exons if s < hi and e > lo]
            axis.broken_barh(exons, (y - 0.28, 0.56), facecolor=_GENE_COLOUR, edgecolor=_GENE_COLOUR, linewidth=0.3)
            arrow, is_left = {"+": " ›", "-": " ‹"}.get(gene.strand, ""), name_is_left(gene, region.start, letter)
            axis.text(
                (lo - letter / 2 if is_left else hi + letter / 2) / 1e6, y, gene.name + arrow, va="center",
                ha="right" if is_left else "left", fontsize=_SMALL - 1, style="italic", clip_on=True,
            )  # fmt: skip
    n_seen, n_drawn = sum(g.start < region.end and region.start < g.end for g in genes), sum(map(len, rows))
    note = "no genes here" if not n_seen else f"{n_drawn} of {n_seen}" if n_drawn < n_seen else ""
    axis.text(-0.01, 0.62, "genes", transform=axis.transAxes, ha="right", va="center", fontsize=_SMALL)
    axis.text(
        -0.01, 0.3 if len(rows) < 2 else 0.45, note, transform=axis.transAxes, ha="right", va="top",
        fontsize=_SMALL - 1.5, color="#555555",
    )  # fmt: skip


def check_figure_path(path: str | Path) -> Path:
    """Return where a figure is to be written, if its name ends with a format that can be written.

    Raises
    ------
    FigureError
        If not.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise FigureError(f"figure {path}: the format is told by the name, which ends with {' or '.join(_FORMATS)}.")
    return path


#: Formats, and what each would say of when it was made.
_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
}


def render_figure(figure: Figure, suffix: str, dpi: int = _SAVE_DPI) -> bytes:
    """Render a figure as ``".png"``, ``".pdf"`` or ``".svg"``; equal figures give equal bytes, text stays text."""
    import matplotlib

    buffer = BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "epizarr"}):
        figure.savefig(buffer, format=suffix[1:], dpi=dpi, metadata=_FORMATS[suffix])
    return buffer.getvalue()
