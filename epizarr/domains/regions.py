"""A genome-wide band, one region at a time: what every caller of domains reads its contacts through."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.bands import mask_band
from epizarr.errors import BandReachError, RegionError
from epizarr.genome import BinGrid, Region, grid_of

#: Regions as :meth:`epizarr.genome.Assembly.view` takes them. None is every whole chromosome.
Regions = Iterable[str | Region] | pd.DataFrame | None


@dataclass(frozen=True)
class RegionBand:
    """Contacts within one region.

    Parameters
    ----------
    chrom
        Its chromosome.
    first_bin
        Bin id of its first bin.
    values
        Float64 (bins of the region, diagonals), NaN where a pixel is missing or its second bin is not in the region.
    """

    chrom: str
    first_bin: int
    values: np.ndarray


def region_extents(band: xr.DataArray, regions: Regions) -> list[tuple[str, int, int]]:
    """Bins that lie wholly inside each region, as (chromosome, first bin id, one past the last).

    Raises
    ------
    SchemaError
        If ``band`` does not say which bins it has (:func:`~epizarr.genome.grid_of`).
    ValueError
        If ``band`` is not a whole genome's band with dims ``("bin", "diagonal")``.
    RegionError
        If a region is off the assembly, overlaps another or holds no whole bin.
    """
    grid = grid_of(band)
    if set(band.dims) != {"bin", "diagonal"} or band.sizes["bin"] != grid.n_bins:
        raise ValueError(
            f"band {band.name!r} has {dict(band.sizes)}; contacts of a whole genome are needed, with dims bin ({grid.n_bins:,}) "
            "and diagonal. To look at a part only, give the whole band and `regions`."
        )
    extents = []
    for region in grid.assembly.disjoint(regions):
        lo, hi = grid.region_extent(region, keep="contained")
        if lo >= hi:
            raise RegionError(f"region {region} holds no whole bin of {grid.binsize:,} bp; widen it.")
        extents.append((region.chrom, lo, hi))
    return extents


def read_regions(band: xr.DataArray, extents: Sequence[tuple[str, int, int]], n_diagonals: int) -> Iterator[RegionBand]:
    """Read the first ``n_diagonals`` of each region, one after another. Dask arrays are computed region by region."""
    narrow = band.transpose("bin", "diagonal").isel(diagonal=slice(0, n_diagonals))
    for chrom, lo, hi in extents:
        values = np.asarray(narrow.isel(bin=slice(lo, hi)).values, dtype=np.float64)
        inside = np.arange(hi - lo + values.shape[1] - 1) < hi - lo
        yield RegionBand(chrom, lo, mask_band(values, inside))


def check_reach(what: str, needed: int, band: xr.DataArray, largest: str) -> None:
    """Refuse a measure that needs more diagonals than the band stores.

    Parameters
    ----------
    what
        The measure and its window, to begin the message with.
    needed
        Number of diagonals that it reads, the main diagonal included.
    band
        Dims ``("bin", "diagonal")``.
    largest
        The largest window that fits, in words.

    Raises
    ------
    BandReachError
        If the band has fewer.
    """
    stored = band.sizes["diagonal"]
    if needed > stored:
        raise BandReachError(
            f"{what} reads contacts up to {needed - 1:,} bins apart ({needed:,} diagonals), and band {band.name!r} stores "
            f"{stored:,}. {largest}; for more, ingest the contacts with a larger `span_bp`."
        )


def bin_coords(grid: BinGrid, extents: Sequence[tuple[str, int, int]]) -> dict[str, tuple[str, np.ndarray]]:
    """Coordinates of the regions' bins, in order: bin id, index of the region, name of the chromosome, start and end (bp)."""
    ids = np.concatenate([np.arange(lo, hi) for _, lo, hi in extents])
    code, start, end = grid.locate(ids)
    return {
        "bin": ("bin", ids),
        "region": ("bin", np.repeat(np.arange(len(extents)), [hi - lo for _, lo, hi in extents])),
        "chrom": ("bin", np.array(grid.assembly.chrom_names, dtype=object)[code]),
        "start": ("bin", start),
        "end": ("bin", end),
    }


def chosen_windows(windows: int | Sequence[int], what: str, multiple_of: int = 1) -> list[int]:
    """Windows as a list, in the order given.

    Raises
    ------
    ValueError
        If there is none, one repeats, or one is not a positive multiple of ``multiple_of``.
    """
    given = [int(w) for w in np.atleast_1d(np.asarray(windows))]
    if not given or len(set(given)) < len(given) or any(w <= 0 or w % multiple_of for w in given):
        needed = (
            f"a positive multiple of the bin size ({multiple_of:,} bp)"
            if multiple_of > 1
            else "a number of bins above 0"
        )
        raise ValueError(f"{what}: windows {given}; give at least one, each {needed} and once only.")
    return given


def row_sums(values: np.ndarray) -> np.ndarray:
    """Cumulative sums along each row, from 0: (bins, diagonals + 1)."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def touched_bins(pixels: np.ndarray) -> np.ndarray:
    """Which bins have a pixel, as its first or second bin, among those of a band that are True; bool, one a row."""
    touched = np.asarray(pixels.any(axis=1))
    for k in range(1, min(pixels.shape)):
        touched[k:] |= pixels[:-k, k]
    return touched


def with_contacts(values: np.ndarray) -> np.ndarray:
    """Which bins of a region have a contact that is neither 0 nor missing; bool, one a row."""
    return touched_bins(np.nan_to_num(values) != 0)
