"""The intervals of a screen: peaks of a file, or tiles of regions; and the random ones that they are compared with."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epizarr.errors import PerturbationError
from epizarr.genome import Assembly, Region
from epizarr.io.bed import read_named_intervals
from epizarr.perturb import ChromTracks

_LOG = logging.getLogger(__name__)
#: Places that are drawn at once for one null interval; only if none of them will do are all places looked at.
_DRAWN = 256


@dataclass(frozen=True, eq=False)
class Sites:
    """Intervals on an assembly: names (object), codes of their chromosomes (int16), start and end (int64, bp)."""

    name: np.ndarray
    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def of(cls, assembly: Assembly, rows: Iterable[tuple[str, Region]]) -> "Sites":
        """Make the table from names and regions."""
        listed = list(rows)
        code = {chrom: index for index, chrom in enumerate(assembly.chrom_names)}
        return cls(
            np.array([name for name, _ in listed], dtype=object),
            np.array([code[region.chrom] for _, region in listed], dtype=np.int16),
            np.array([region.start for _, region in listed], dtype=np.int64),
            np.array([region.end for _, region in listed], dtype=np.int64),
        )

    def region(self, assembly: Assembly, index: int) -> Region:
        """One of the intervals."""
        return Region(assembly.chrom_names[self.chrom[index]], int(self.start[index]), int(self.end[index]))


def peak_sites(path: str | Path, assembly: Assembly, regions: Sequence[Region]) -> Sites:
    """Peaks of a BED or narrowPeak file that lie wholly in one of some regions, in the order of the assembly.

    Raises
    ------
    PerturbationError
        If there is none.
    InputFileError, InputNotFoundError, AssemblyMismatchError
        As :func:`epizarr.io.bed.read_named_intervals`.
    """
    frame = read_named_intervals(path, assembly)
    inside = np.zeros(len(frame), dtype=bool)
    for region in regions:
        inside |= (
            (frame["chrom"] == region.chrom) & (frame["start"] >= region.start) & (frame["end"] <= region.end)
        ).values
    frame = frame[inside]
    if frame.empty:
        raise PerturbationError(
            f"screen: none of the intervals of {path} lies in {', '.join(map(str, regions[:3]))}: nothing to perturb."
        )
    columns = (frame[name] for name in ("name", "chrom", "start", "end"))
    return Sites.of(assembly, ((n, Region(c, int(s), int(e))) for n, c, s, e in zip(*columns, strict=True)))


def tile_sites(assembly: Assembly, regions: Sequence[Region], tile_bp: int) -> Sites:
    """Tiles of ``tile_bp`` side by side in each region, from its start; the last one of a region may be shorter.

    Raises
    ------
    PerturbationError
        If a tile has no width.
    """
    if tile_bp < 1:
        raise PerturbationError(f"screen: tiles of {tile_bp:,} bp; they need a width of 1 or more (--tile-bp).")
    tiles = (
        Region(region.chrom, start, min(start + tile_bp, region.end))
        for region in regions
        for start in range(region.start, region.end, tile_bp)
    )
    return Sites.of(assembly, ((str(tile), tile) for tile in tiles))


def null_sites(
    assembly: Assembly,
    sites: Sites,
    regions: Sequence[Region],
    read_chrom: Callable[[int], ChromTracks],
    *,
    means: Mapping[str, float],
    n_draws: int,
    seed: int,
    avoids_sites: bool,
) -> tuple[Sites, np.ndarray]:
    """Draw random intervals for each site: of its width and place within a track bin, on its chromosome, in the same regions.

    An interval is drawn uniformly among the places that are free of signal: every edited track is measured throughout, nowhere
    blacklisted, and has a mean no higher than that of the whole track. A draw depends on seed, site and number alone. Memory: the
    chromosome's tracks, and 8 bytes a track and track bin.

    Parameters
    ----------
    assembly, sites, regions
        Intervals to be matched, and where matches may lie.
    read_chrom
        The raw tracks of a chromosome, by its code, those that are edited only; each is asked for once.
    means
        Mean of each of these whole tracks.
    n_draws, seed
        Draws for each site, and the seed.
    avoids_sites
        Whether no interval may overlap a site.

    Returns
    -------
    The intervals, and for each the index of its site. A site without a free place has none; a warning counts them.
    """
    drawn: list[tuple[str, Region]] = []
    matched: list[int] = []
    n_lacking = 0
    for code in np.unique(sites.chrom).tolist():
        own = np.flatnonzero(sites.chrom == code)
        free = _FreePlaces(read_chrom(code), means)
        if avoids_sites:
            free.exclude(sites.start[own], sites.end[own])
        free.restrict([region for region in regions if region.chrom == assembly.chrom_names[code]])
        for index in own.tolist():
            start, end = int(sites.start[index]), int(sites.end[index])
            for draw in range(n_draws):
                rng = np.random.default_rng([seed, code, start, end, draw])
                place = free.draw(start, end, rng)
                if place is None:
                    n_lacking += 1
                    continue
                drawn.append(("", Region(assembly.chrom_names[code], place, place + end - start)))
                matched.append(index)
    if n_lacking:
        _LOG.warning(
            "screen: for %d of %d random intervals there is no place of their width without signal",
            n_lacking,
            len(sites) * n_draws,
        )
    return Sites.of(assembly, drawn), np.array(matched, dtype=np.int64)


class _FreePlaces:
    """Where on a chromosome an interval may lie that holds no signal."""

    def __init__(self, tracks: ChromTracks, means: Mapping[str, float]) -> None:
        self.binsize, self.length = tracks.binsize, tracks.length
        self._means = [means[name] for name in tracks.names]
        self._sums = [_sums_before(np.nan_to_num(row).astype(np.float64)) for row in tracks.signal]
        self._barred = np.isnan(tracks.signal).any(axis=0) | tracks.blacklisted
        self._n_barred = _sums_before(self._barred.astype(np.int64))

    def exclude(self, start: np.ndarray, end: np.ndarray) -> None:
        """Bar some intervals."""
        for lo, hi in zip((start // self.binsize).tolist(), (-(-end // self.binsize)).tolist(), strict=True):
            self._barred[lo:hi] = True
        self._n_barred = _sums_before(self._barred.astype(np.int64))

    def restrict(self, regions: Sequence[Region]) -> None:
        """Bar all but the bins that lie wholly in one of the regions."""
        outside = np.ones(len(self._barred), dtype=bool)
        for region in regions:
            last = len(outside) if region.end >= self.length else region.end // self.binsize
            outside[-(-region.start // self.binsize) : last] = False
        self._barred |= outside
        self._n_barred = _sums_before(self._barred.astype(np.int64))

    def draw(self, start: int, end: int, rng: np.random.Generator) -> int | None:
        """Start (bp) of a free interval as wide as ``[start, end)``, as far behind a track bin's start; None if there is none."""
        shift = start % self.binsize
        n_bins = -(-(shift + end - start) // self.binsize)
        n_places = len(self._barred) - n_bins + 1
        if n_places < 1:
            return None
        for lo in (rng.integers(n_places, size=_DRAWN), None):
            places = np.arange(n_places) if lo is None else lo
            places = places[
                self._is_free(places, n_bins) & (places * self.binsize + shift + end - start <= self.length)
            ]
            if len(places):
                place = places[0] if lo is not None else places[rng.integers(len(places))]
                return int(place) * self.binsize + shift
        return None

    def _is_free(self, lo: np.ndarray, n_bins: int) -> np.ndarray:
        free: np.ndarray = self._n_barred[lo + n_bins] == self._n_barred[lo]
        for sums, mean in zip(self._sums, self._means, strict=True):
            free &= sums[lo + n_bins] - sums[lo] <= mean * n_bins
        return free


def _sums_before(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])
