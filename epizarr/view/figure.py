"""Figure of one region of a store: maps of cell types and runs, their differences, tracks and genes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epizarr.errors import FigureError
from epizarr.genes import Gene
from epizarr.genome import Assembly, Region
from epizarr.io.genes import read_genes
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import store_assembly
from epizarr.report.scales import ColourScale, fit_scale, scale_kind
from epizarr.report.triangles import MAP_COLUMNS, SIGNAL_COLUMNS, SignalPanel, TrianglePanel, triangle_figure
from epizarr.view.pixels import read_expected, read_signal, read_stripes
from epizarr.view.sources import MapSource, TrackSource, choose_maps, choose_tracks, list_maps, list_tracks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OE_LABEL = "observed / expected"


def region_figure(
    store: StorePath,
    region: str | Region,
    *,
    cell_types: Sequence[str] = (),
    runs: Sequence[str] = (),
    variable: str | None = None,
    binsize: int | None = None,
    oe: bool = False,
    difference: bool = False,
    tracks: Sequence[str] | None = None,
    genes: str | Path | None = None,
    signals: Sequence[tuple[str, np.ndarray]] = (),
    reach_bp: int | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw one region of a store for print.

    Contacts are drawn on a logarithmic scale, ratios on a linear one, scores of either sign from blue over white (0) to red;
    maps of one quantity share the scale. Grey is missing. Pixels of regions with more bins than the page has columns are averaged
    along the genome, so a whole chromosome can be drawn; memory stays below 300 MB.

    Parameters
    ----------
    store
        Store, read only.
    region
        ``"chr3:1,000,000-3,000,000"`` (0-based, half-open) or a :class:`~epizarr.genome.Region`; it is widened to whole bins.
    cell_types, runs, variable, binsize
        Which maps: of each cell type its measured contacts and each run; see :func:`epizarr.view.sources.choose_maps`.
    oe
        Divide contacts by the mean of their distance over the chromosome (each map by its own).
    difference
        Add, for each map after the first, its difference to the first: of contacts after they were divided by the mean of their
        distance, of ratios and scores as they are.
    tracks
        Track names; by default the first six of each cell type. An empty list for none.
    genes
        GTF, BED12 or BED6 file; see :func:`epizarr.io.genes.read_genes`.
    signals
        More panels, (name, values): values of equal bins (100 bp, say) that together cover ``region``, of either sign, NaN where
        missing. For attributions and the like.
    reach_bp
        Largest distance that is drawn; all that is stored by default.
    width
        Width of the figure in inches: 3.5 is a column, 7 a page.

    Returns
    -------
    A matplotlib figure; :func:`epizarr.report.triangles.render_figure` makes PNG, PDF or SVG of it.

    Raises
    ------
    RegionError, StoreError, StoreNotFoundError, FigureError, InputFileError
        If something asked for is not there or cannot be compared; before values are read.
    """
    place = place_of(store)
    assembly = store_assembly(place)
    where = assembly.region(region) if isinstance(region, str) else assembly.check(region)
    maps = choose_maps(
        list_maps(place), where=str(store), cell_types=cell_types, runs=runs, variable=variable, binsize=binsize
    )
    chosen = choose_tracks(list_tracks(place), tracks, list(dict.fromkeys(m.cell_type for m in maps)), where=str(store))
    gene_list = None if genes is None else read_genes(genes, assembly, where.chrom)
    return draw_region(
        place, assembly, where, maps, chosen, gene_list, oe=oe, difference=difference, signals=signals,
        reach_bp=reach_bp, width=width,
    )  # fmt: skip


def draw_region(
    place: Place,
    assembly: Assembly,
    region: Region,
    maps: Sequence[MapSource],
    tracks: Sequence[TrackSource],
    genes: Sequence[Gene] | None = None,
    *,
    oe: bool = False,
    difference: bool = False,
    signals: Sequence[tuple[str, np.ndarray]] = (),
    reach_bp: int | None = None,
    width: float = 7.0,
) -> Figure:
    """Draw chosen maps and tracks; see :func:`region_figure`."""
    _check_maps(maps, difference)
    grid = maps[0].grid(assembly)
    lo, hi = grid.region_extent(region)
    whole = grid.extent_region(lo, hi)
    first = grid.chrom_extent(region.chrom)[0]
    factor = max(1, -(-(hi - lo) // MAP_COLUMNS))
    reach = max(m.n_diagonals for m in maps) if reach_bp is None else max(1, reach_bp // grid.binsize)
    n_offsets = min(reach, hi - lo)
    expected: dict[MapSource, np.ndarray] = {}

    def values_of(source: MapSource, divided: bool) -> np.ndarray:
        stripes = read_stripes(place, source, grid, region.chrom, lo - first, hi - first, factor, n_offsets)
        if not (divided and source.is_contacts):
            return stripes
        if source not in expected:
            expected[source] = read_expected(place, source, grid, region.chrom)
        return over_expected(stripes, expected[source])

    drawn = [(m.title, values_of(m, oe), *_quantity(m, oe)) for m in maps]
    if difference:
        base = values_of(maps[0], True)
        label = OE_LABEL if maps[0].is_contacts else maps[0].quantity
        for other in maps[1:]:
            drawn.append((other.minus(maps[0]), values_of(other, True) - base, "difference", f"difference of\n{label}"))
    panels = [
        TrianglePanel(title, values, grid.binsize, factor, hi - lo, whole.start, scale)
        for (title, values, _, _), scale in zip(drawn, _scales(drawn, oe), strict=True)
    ]
    named = [(f"{t.name} {t.cell_type}" if len({t.cell_type for t in tracks}) > 1 else t.name, t) for t in tracks]
    panels_below = [SignalPanel(name, values, region.start, region.end) for name, values in signals]
    return triangle_figure(
        region,
        panels,
        [*_track_panels(place, assembly, region, named), *panels_below],
        genes,
        note=f"{assembly.name}, {grid.binsize / 1000:g}-kb bins",
        width=width,
    )


def over_expected(stripes: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Contacts over the mean of their distance, float32; NaN where there is no mean or it is 0."""
    mean = expected[: stripes.shape[1]]
    return (stripes / np.where(mean > 0, mean, np.nan)).astype(np.float32)


def _quantity(source: MapSource, oe: bool) -> tuple[str, str]:
    """What a map's values are (maps with the same share a scale), and the label of its colours."""
    if oe and source.is_contacts:
        return "oe", "observed /\nexpected"
    kind = scale_kind(source.quantity)
    unit = {"log": "contacts", "linear": OE_LABEL, "diverging": "score"}[kind]
    return source.quantity, f"{source.quantity} ({unit})"


def _scales(drawn: Sequence[tuple[str, np.ndarray, str, str]], oe: bool) -> list[ColourScale]:
    """Scale of each map: one for all maps of a quantity."""
    scales: dict[str, ColourScale] = {}
    for _, _, quantity, label in drawn:
        if quantity not in scales:
            kind = {"difference": "diverging", "oe": "linear"}.get(quantity) or scale_kind(quantity)
            scales[quantity] = fit_scale(kind, [v for _, v, q, _ in drawn if q == quantity], label)  # type: ignore[arg-type]
    return [scales[quantity] for _, _, quantity, _ in drawn]


def _track_panels(
    place: Place, assembly: Assembly, region: Region, tracks: Sequence[tuple[str, TrackSource]]
) -> list[SignalPanel]:
    """Tracks over a region; those of one name share the end of their axis."""
    panels = []
    for name, track in tracks:
        grid = assembly.bins(track.binsize)
        lo, hi = grid.region_extent(region)
        first, whole = grid.chrom_extent(region.chrom)[0], grid.extent_region(lo, hi)
        factor = max(1, -(-(hi - lo) // SIGNAL_COLUMNS))
        values = read_signal(place, track, grid, region.chrom, lo - first, hi - first, factor)
        end = whole.start + len(values) * factor * track.binsize
        panels.append((track.name, SignalPanel(name, values, whole.start, end)))
    limits: dict[str, float] = {}
    for track_name, _ in panels:
        known = np.concatenate([p.values[np.isfinite(p.values)] for n, p in panels if n == track_name])
        limits[track_name] = float(np.percentile(np.abs(known), 99.5)) if known.size else 1.0
    return [SignalPanel(p.name, p.values, p.start, p.end, limits[n]) for n, p in panels]


def _check_maps(maps: Sequence[MapSource], difference: bool) -> None:
    """Refuse maps that cannot stand in one figure, or be subtracted."""
    if len({m.binsize for m in maps}) > 1:
        raise FigureError(
            f"the maps {[m.title for m in maps]} have bins of different widths. Choose maps of one bin width."
        )
    if not difference:
        return
    if len(maps) < 2:
        raise FigureError(
            f"a difference needs two maps, and {maps[0].title!r} is the only one chosen. Name another cell type or a run."
        )
    kinds = {(m.is_contacts, m.quantity if not m.is_contacts else "") for m in maps}
    if len(kinds) > 1:
        raise FigureError(
            f"the maps {[f'{m.title} ({m.quantity})' for m in maps]} hold different quantities, whose difference means nothing. "
            "Choose one variable for all."
        )
