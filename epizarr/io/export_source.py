"""What is exported: one band of a store, read in blocks of rows, and what its values are.

A block holds about :data:`BLOCK_VALUES` pixels, or the rows of one bin of the coarsest level where that is more: what the
writers hold does not depend on the genome.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from epizarr import __version__
from epizarr.errors import ConfigError, StoreError, nearest_match
from epizarr.genome import BinGrid, Region, grid_of
from epizarr.io.export_expected import read_expected
from epizarr.io.group_choice import find_contacts, find_prediction
from epizarr.io.places import StorePath, place_of
from epizarr.schema import SIGNED_VARIABLES, TARGET_VARIABLES

#: Pixels of a block. A writer holds at most 200 bytes a pixel, cooler's and pandas' copies included.
BLOCK_VALUES = 1 << 20

_OBS_OVER_EXP = "hicdcplus_oe"


@dataclass(frozen=True)
class ExportSource:
    """A band to export.

    Parameters
    ----------
    name
        How messages call it.
    band
        Dims ``("bin", "diagonal")``, from an opened group.
    grid
        Its bins.
    extents
        Bins [lo, hi) of each region, in their order on the genome. A pixel is exported if one region has both of its bins.
    quantity
        Variable whose units the values have.
    expected
        Factor for each diagonal; None for none.
    about
        Where the values come from, for the file's own attributes.
    """

    name: str
    band: xr.DataArray
    grid: BinGrid
    extents: tuple[tuple[int, int], ...]
    quantity: str
    expected: np.ndarray | None
    about: dict[str, Any]

    @property
    def is_signed(self) -> bool:
        """Whether the values are scores of either sign, not contacts."""
        return self.quantity in SIGNED_VARIABLES

    @property
    def is_ratio(self) -> bool:
        """Whether the values are observed over expected, which do not add up."""
        return self.quantity == _OBS_OVER_EXP

    @property
    def coarsening(self) -> Literal["mean", "sum"]:
        """What a wide pixel of a ``.mcool`` shows: the sum of raw contacts, the mean of everything else."""
        return "sum" if self.quantity == "count" else "mean"

    def n_blocks(self, factor: int = 1) -> int:
        """Number of blocks of :meth:`iter_blocks`."""
        return len(self._blocks(factor))

    def iter_blocks(self, factor: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Read the band block by block.

        Parameters
        ----------
        factor
            Blocks begin at multiples of so many bins from the chromosome's first and end there, or at the chromosome's end.

        Yields
        ------
        Bin id of the first row, and float32 (rows, diagonals) of one chromosome: NaN where the pixel is missing or outside the
        regions. Blocks without a row of a region are left out.
        """
        k = np.arange(self.band.sizes["diagonal"])
        for lo, hi in self._blocks(factor):
            rows = np.arange(lo, hi)
            end = np.zeros(hi - lo, dtype=np.int64)
            for first, last in self.extents:
                end[(rows >= first) & (rows < last)] = last
            values = np.array(self.band.isel(bin=slice(lo, hi)).values, dtype=np.float32)
            if self.expected is not None:
                values *= self.expected.astype(np.float32)
            values[k >= (end - rows)[:, None]] = np.nan
            yield lo, values

    def _blocks(self, factor: int) -> list[tuple[int, int]]:
        n_rows = max(1, BLOCK_VALUES // self.band.sizes["diagonal"] // factor) * factor
        blocks = []
        for _, first, last in self.grid.extents():
            for lo in range(first, last, n_rows):
                hi = min(lo + n_rows, last)
                if any(a < hi and lo < b for a, b in self.extents):
                    blocks.append((lo, hi))
        return blocks


def open_source(
    store: StorePath,
    cell_type: str,
    *,
    run: str | None = None,
    variable: str | None = None,
    binsize: int | None = None,
    regions: Sequence[str] | None = None,
    expected: str | None = None,
) -> ExportSource:
    """Find what is to be exported.

    Parameters
    ----------
    store, cell_type
        Store, and cell type in it.
    run, variable
        A prediction's run or a variable of the measured contacts: one of the two.
    binsize
        Bin width in bp; may be left out where there is one only.
    regions
        Regions; a pixel is exported if both of its bins overlap one of them. Default: everything.
    expected
        Makes contacts of observed over expected: see :func:`~epizarr.io.export_expected.read_expected`.

    Raises
    ------
    ConfigError
        If not exactly one of ``run`` and ``variable`` is given, or ``expected`` for values that are not observed over expected.
    StoreError
        If there is no such group or variable; lists those there are.
    RegionError
        If a region is off the assembly or overlaps another.
    """
    if (run is None) == (variable is None):
        raise ConfigError(
            "export: give a prediction's run (--run) or a variable of the measured contacts (--variable), one of them."
        )
    if run is not None:
        ds = find_prediction(store, cell_type, run, binsize)
        band, quantity = ds["contact"], str(ds.attrs["target"])
        about = {name: ds.attrs[name] for name in ("target", "checkpoint_sha256", "min_diagonal")} | {"run": run}
    else:
        ds = find_contacts(store, cell_type, binsize)
        bands = [str(name) for name, array in ds.data_vars.items() if array.dims == ("bin", "diagonal")]
        if variable not in bands:
            raise StoreError(
                f"{store}: contacts of {cell_type!r} have no variable {variable!r}; they have {', '.join(bands)}."
                f"{nearest_match(str(variable), bands)}"
            )
        band, quantity, about = ds[variable], str(variable), {"variable": variable}
    name = f"{run or variable} of {cell_type}"
    if quantity not in ("count", *TARGET_VARIABLES):
        raise ConfigError(
            f"export: {quantity!r} is not a map of contacts. {', '.join(('count', *TARGET_VARIABLES))} are."
        )
    grid, factor = grid_of(ds), None
    if expected is not None:
        if quantity != _OBS_OVER_EXP:
            raise ConfigError(
                f"export: {name} is {quantity!r}, and an expected is for observed over expected ({_OBS_OVER_EXP!r}) only. "
                f"{'Leave it out: the values are contacts already.' if quantity not in SIGNED_VARIABLES else 'Leave it out.'}"
            )
        trained_on = json.loads(str(ds.attrs["trained_on"])) if run is not None else None
        factor, quantity = read_expected(place_of(store), expected, grid, band.sizes["diagonal"], trained_on)
    view = grid.assembly.view(regions)
    extents = sorted(
        grid.region_extent(Region(chrom, start, end))
        for chrom, start, end in view[["chrom", "start", "end"]].itertuples(index=False)
    )
    about |= {
        "cell_type": cell_type,
        "quantity": quantity,
        **({"expected": expected} if expected else {}),
        **({"regions": list(view["name"])} if regions else {}),
        "epizarr_version": __version__,
    }
    return ExportSource(name, band, grid, tuple(extents), quantity, factor, about)
