"""What the interactive page asks a store for: tiles of maps and tracks, genes, regions and downloads.

Nothing here knows HTTP. Everything asked for is looked up by key in what the store had when the page was started, so that no
text from outside becomes a path; nothing is ever written.

A *tile* is a run of :data:`TILE_RUNS` neighbouring means of ``factor`` bins of one chromosome, numbered from its start.
"""

import csv
import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from epizarr.errors import EpizarrError, RegionError, StoreError, nearest_match
from epizarr.genes import Gene
from epizarr.genome import Assembly, BinGrid, Region
from epizarr.io.genes import read_genes
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import read_region, store_assembly
from epizarr.report.scales import scale_kind
from epizarr.report.triangles import render_figure
from epizarr.view.figure import draw_region
from epizarr.view.pixels import read_expected, read_signal, read_stripes
from epizarr.view.sources import FIRST_TRACKS, MapSource, TrackSource, choose_maps, list_maps, list_tracks

#: Means of a tile, and the largest number of bins that one averages.
TILE_RUNS, LARGEST_FACTOR = 256, 1 << 14
#: Bytes of tiles that are kept.
CACHE_BYTES = 256 << 20
#: Most pixels of a table that can be downloaded: what one can still open.
MOST_PIXELS = 4_000_000
_FIRST_BP = 5_000_000


class RequestError(EpizarrError, ValueError):
    """The page, or someone else, asked for something that is not there."""


class ByteCache:
    """The most recently used values, up to a number of bytes. Safe to use from several threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._size = most_bytes, 0
        self._values: OrderedDict[Any, np.ndarray] = OrderedDict()
        self._lock = Lock()

    @property
    def n_bytes(self) -> int:
        """Bytes that are held."""
        return self._size

    def get(self, key: Any, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the value of a key, made by ``make`` if it is not held; two threads may make the same at once."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            if key not in self._values and value.nbytes <= self._most:
                self._values[key] = value
                self._size += value.nbytes
                while self._size > self._most:
                    self._size -= self._values.popitem(last=False)[1].nbytes
        return value


@dataclass(frozen=True)
class Start:
    """What the page shows first."""

    region: Region
    map: MapSource
    second: MapSource | None


class StoreView:
    """A store, opened to be looked at; read only.

    Parameters
    ----------
    store
        Store.
    genes
        GTF, BED12 or BED6 file of genes, if there is one.

    Raises
    ------
    StoreError
        If the store has no finished map. Groups that are finished later are seen when the page is started again.
    """

    def __init__(self, store: StorePath, genes: str | Path | None = None) -> None:
        self.place: Place = place_of(store)
        self.name = str(store)
        self.assembly: Assembly = store_assembly(self.place)
        self.map_list = list_maps(self.place)
        if not self.map_list:
            raise StoreError(
                f"{self.name} has no finished contacts or predictions to show. Ingest contacts, or predict first."
            )
        self.track_list = list_tracks(self.place)
        self._maps = {m.key: m for m in self.map_list}
        self._tracks = {t.key: t for t in self.track_list}
        self._cache = ByteCache(CACHE_BYTES)
        self._drawing = Lock()  # matplotlib's settings are shared by all threads
        self._gene_path = genes
        self._genes: dict[str, list[Gene]] = {}
        if genes is not None:
            # Reading one chromosome tells now whether the file can be read and belongs to the assembly.
            self.genes_of(self.first_region(self.map_list[0]).chrom)

    def start(
        self,
        region: str | None = None,
        cell_types: Sequence[str] = (),
        runs: Sequence[str] = (),
        variable: str | None = None,
    ) -> Start:
        """Choose what the page shows first; what is not there raises before the page is served."""
        maps = choose_maps(self.map_list, where=self.name, cell_types=cell_types, runs=runs, variable=variable)
        where = self.first_region(maps[0]) if region is None else self.assembly.region(region)
        return Start(where, maps[0], maps[1] if len(maps) > 1 else None)

    def first_region(self, source: MapSource) -> Region:
        """Find a stretch with data to begin with: the middle of the bins that have any, of the first such chromosome."""
        grid = source.grid(self.assembly)
        for chrom, first, last in grid.extents():
            # A few diagonals near the main one: any map that is not empty has values there.
            near = slice(source.min_diagonal, source.min_diagonal + 8)
            part = {"bin": slice(first, last), "diagonal": near}
            band = read_region(self.place, source.group, source.variable, part)
            known = np.flatnonzero(np.nan_to_num(band).any(axis=1))
            if len(known):
                middle = int(known[len(known) // 2]) * grid.binsize
                length = self.assembly.length(chrom)
                start = max(0, min(middle - _FIRST_BP // 2, length - _FIRST_BP))
                return Region(chrom, start, min(length, start + _FIRST_BP))
        chrom, length = self.assembly.chrom_names[0], self.assembly.chrom_lengths[0]
        return Region(chrom, 0, min(length, _FIRST_BP))

    @cached_property
    def description(self) -> dict[str, Any]:
        """What there is, for the page."""
        return {
            "store": self.name,
            "assembly": self.assembly.name,
            "chroms": [{"name": name, "length": length} for name, length in self.assembly],
            "tile": TILE_RUNS,
            "first_tracks": FIRST_TRACKS,
            "genes": None if self._gene_path is None else Path(self._gene_path).name,
            "maps": [
                {
                    "key": m.key,
                    "title": m.title,
                    "name": m.name,
                    "cell_type": m.cell_type,
                    "run": m.run,
                    "variable": m.variable,
                    "quantity": m.quantity,
                    "kind": scale_kind(m.quantity),
                    "binsize": m.binsize,
                    "n_diagonals": m.n_diagonals,
                }
                for m in self.map_list
            ],
            "tracks": [
                {"key": t.key, "name": t.name, "cell_type": t.cell_type, "binsize": t.binsize} for t in self.track_list
            ],
        }

    def map_source(self, key: str) -> MapSource:
        """Look a map up by its key."""
        return self._find(self._maps, key, "map")

    def track_source(self, key: str) -> TrackSource:
        """Look a track up by its key."""
        return self._find(self._tracks, key, "track")

    def map_tile(self, key: str, chrom: str, factor: int, tile: int) -> np.ndarray:
        """Tile of a map, float32 (run, offset): means of stripes, NaN where missing; see :func:`read_stripes`."""
        source = self.map_source(key)
        grid = source.grid(self.assembly)
        lo, hi = _tile_bins(grid, chrom, factor, tile)
        return self._cache.get(
            (key, chrom, factor, tile), lambda: read_stripes(self.place, source, grid, chrom, lo, hi, factor)
        )

    def signal_tile(self, key: str, chrom: str, factor: int, tile: int) -> np.ndarray:
        """Tile of a track, float32 (run): means of what was measured, NaN where nothing was."""
        source = self.track_source(key)
        grid = self.assembly.bins(source.binsize)
        lo, hi = _tile_bins(grid, chrom, factor, tile)
        return self._cache.get(
            ("signal", key, chrom, factor, tile), lambda: read_signal(self.place, source, grid, chrom, lo, hi, factor)
        )

    def expected(self, key: str, chrom: str) -> np.ndarray:
        """Mean contact at each distance on a chromosome, float32 (diagonal)."""
        source = self.map_source(key)
        self.assembly.length(chrom)
        return self._cache.get(
            ("expected", key, chrom),
            lambda: read_expected(self.place, source, source.grid(self.assembly), chrom).astype(np.float32),
        )

    def genes_of(self, chrom: str) -> list[Gene]:
        """Genes of a chromosome, read once; none where no file was given."""
        if self._gene_path is None:
            return []
        if chrom not in self._genes:
            self._genes[chrom] = read_genes(self._gene_path, self.assembly, chrom)
        return self._genes[chrom]

    def picture(
        self, key: str, second: str | None, region: Region, tracks: Sequence[str], *, oe: bool, difference: bool
    ) -> bytes:
        """Draw a region as PNG: one map, or two and their difference."""
        maps = [self.map_source(key), *([] if second is None else [self.map_source(second)])]
        genes = self.genes_of(region.chrom) if self._gene_path is not None else None
        below = [self.track_source(t) for t in tracks]
        with self._drawing:
            figure = draw_region(
                self.place, self.assembly, region, maps, below, genes, oe=oe, difference=difference and len(maps) > 1
            )
            return render_figure(figure, ".png")

    def table(self, key: str, region: Region) -> str:
        """Pixels of a region as CSV: both bins and the stored value, missing ones left out.

        Raises
        ------
        RequestError
            If there would be more than :data:`MOST_PIXELS`.
        """
        source = self.map_source(key)
        grid = source.grid(self.assembly)
        lo, hi = grid.region_extent(region)
        n_diagonals = min(hi - lo, source.n_diagonals)
        if (hi - lo) * n_diagonals > MOST_PIXELS:
            raise RequestError(
                f"{region} has up to {(hi - lo) * n_diagonals:,} pixels, and a table may have {MOST_PIXELS:,}. Zoom in first."
            )
        part = {"bin": slice(lo, hi), "diagonal": slice(0, n_diagonals)}
        band = read_region(self.place, source.group, source.variable, part)
        band[:, : source.min_diagonal] = np.nan
        row, k = np.nonzero(~np.isnan(band) & (np.arange(hi - lo)[:, None] + np.arange(n_diagonals) < hi - lo))
        _, start, end = grid.locate(np.arange(lo, hi))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["chrom", "start1", "end1", "start2", "end2", source.variable])
        columns = (start[row], end[row], start[row + k], end[row + k], band[row, k])
        writer.writerows((region.chrom, *values) for values in zip(*(c.tolist() for c in columns), strict=True))
        return text.getvalue()

    def _find(self, table: dict[str, Any], key: str, what: str) -> Any:
        if key not in table:
            raise RequestError(f"there is no {what} {key!r}.{nearest_match(key, list(table))}")
        return table[key]


def _tile_bins(grid: BinGrid, chrom: str, factor: int, tile: int) -> tuple[int, int]:
    """Bins of a tile, from the chromosome's start."""
    first, last = grid.chrom_extent(chrom)
    if not 1 <= factor <= LARGEST_FACTOR or tile < 0 or tile * TILE_RUNS * factor >= last - first:
        raise RegionError(
            f"{chrom} has {last - first:,} bins of {grid.binsize:,} bp; there is no tile {tile} of {TILE_RUNS} x {factor} bins."
        )
    return tile * TILE_RUNS * factor, min((tile + 1) * TILE_RUNS * factor, last - first)
