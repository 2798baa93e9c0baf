"""Bands as ``.cool`` and ``.mcool``: floating-point pixels whose weights are 1.

What viewers and cooltools show of a cooler is ``count · weight_i · weight_j``. The values of a store are the end of that
already, so they are written as ``count`` and the weight is 1; a bin without any value has the weight NaN and is blank. A pixel
that is missing is left out, a value of 0 is written. Cooler takes what is left out for 0; ``ignore_diags`` of the weights and
``n_diagonals`` in the metadata say where the values begin and end.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cooler
import h5py
import numpy as np

from epizarr.bands import coarsen_band, pixels_from_band
from epizarr.errors import StoreError
from epizarr.genome import BinGrid
from epizarr.io.export_source import ExportSource

#: Levels are added until the genome has no more bins than this: one tile of HiGlass.
_TILE_BINS = 256
_H5_OPTIONS = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_WEIGHT = "weight"

#: Told (blocks done, blocks in all, what).
ExportProgress = Callable[[float, float | None, str | None], None]


def zoom_factors(grid: BinGrid) -> list[int]:
    """Multiples of the bin width to write: 1, 2, 5, 10, 20, 50 …, until the genome fits one tile of a viewer."""
    factors = [1]
    while grid.assembly.bins(grid.binsize * factors[-1]).n_bins > max(_TILE_BINS, len(grid.assembly)):
        step = (2, 2.5, 2)[(len(factors) - 1) % 3]
        factors.append(int(factors[-1] * step))
    return factors


def write_cool(path: Path, source: ExportSource, progress: ExportProgress | None = None) -> None:
    """Write a ``.cool``: the base level of :func:`write_mcool`.

    Raises
    ------
    StoreError
        If there is no value to write.
    """
    _write_levels({str(path): 1}, source, progress)


def write_mcool(path: Path, source: ExportSource, progress: ExportProgress | None = None) -> None:
    """Write a ``.mcool`` with the levels of :func:`zoom_factors`.

    At every level ``matrix(balance=True)`` is in the units of the source: at the base the values themselves, above it the mean of
    the cells of the base matrix that have a value, each level from the base (:func:`~epizarr.bands.coarsen_band`). Raw counts
    are summed instead, as ``cooler zoomify`` does. Reads the band once a level, a block at a time.

    Raises
    ------
    StoreError
        If there is no value to write.
    """
    base = source.grid.binsize
    _write_levels({f"{path}::resolutions/{base * f}": f for f in zoom_factors(source.grid)}, source, progress)
    with h5py.File(path, "r+") as file:
        file.attrs.update({"format": "HDF5::MCOOL", "format-version": 2})


def _write_levels(factors: dict[str, int], source: ExportSource, progress: ExportProgress | None) -> None:
    n_all = sum(source.n_blocks(factor) for factor in factors.values())
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, n_all, what)

    for uri, factor in factors.items():
        _write_level(uri, source, factor, tell)


def _write_level(uri: str, source: ExportSource, factor: int, tell: Callable[[str], None]) -> None:
    grid = source.grid.assembly.bins(source.grid.binsize * factor)
    has_value = np.zeros(grid.n_bins, dtype=bool)
    first_diagonal = source.band.sizes["diagonal"]
    # Sums of counts may pass 2**24, to which float32 counts exactly.
    dtype = np.float64 if source.coarsening == "sum" else np.float32

    def pieces() -> Iterator[dict[str, np.ndarray]]:
        nonlocal first_diagonal
        for lo, band in source.iter_blocks(factor):
            code = int(source.grid.chrom_code(np.array(lo)))
            first = int(grid.chrom_offset[code]) + (lo - int(source.grid.chrom_offset[code])) // factor
            bin1, bin2, value = pixels_from_band(
                band if factor == 1 else coarsen_band(band, factor, source.coarsening), first
            )
            has_value[bin1] = has_value[bin2] = True
            if len(bin1):
                first_diagonal = min(first_diagonal, int((bin2 - bin1).min()))
            tell(f"{grid.binsize:,} bp")
            yield {"bin1_id": bin1, "bin2_id": bin2, "count": value.astype(dtype)}

    # Pixels come sorted, once each and above the diagonal: cooler's own checks of that took half of the time.
    cooler.create_cooler(
        uri,
        grid.table(),
        pieces(),
        dtypes={"count": dtype},
        ordered=True,
        mode="a",
        assembly=source.grid.assembly.name,
        metadata=source.about | {"n_diagonals": source.band.sizes["diagonal"], "coarsening": source.coarsening},
        boundscheck=False,
        dupcheck=False,
        triucheck=False,
        h5opts=_H5_OPTIONS,
    )
    if not has_value.any():
        raise StoreError(f"export: {source.name} has no value in the regions asked for; nothing was written.")
    file, _, group = uri.partition("::")
    with h5py.File(file, "r+") as handle:
        weight = handle[group or "/"]["bins"].create_dataset(
            _WEIGHT, data=np.where(has_value, 1.0, np.nan), **_H5_OPTIONS
        )
        weight.attrs.update({"ignore_diags": first_diagonal, "divisive_weights": False, "cis_only": True})
