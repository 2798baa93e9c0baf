"""Maps that other programs predicted, whatever their format: where they have values, and squares of them on their own grid."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from epizarr.errors import InputFileError
from epizarr.genome import Assembly, Region
from epizarr.io.filetype import require_file_type
from epizarr.io.map_contacts import map_binsizes, open_contacts_map
from epizarr.io.map_windows import open_window_map

_WHAT = "a map of contacts (.cool, .mcool, .hic, .npy, .npz, .h5)"


class MapFile(Protocol):
    """A predicted map, opened. It holds no handle: pickle it, use it from any thread."""

    @property
    def path(self) -> Path:
        """File or folder."""
        ...

    @property
    def format(self) -> str:
        """``cool``, ``mcool``, ``hic``, ``npy``, ``npz`` or ``h5``."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it consists of."""
        ...

    @property
    def binsize(self) -> int:
        """Bin width in bp."""
        ...

    @property
    def reach_bp(self) -> int:
        """How far from the diagonal it goes."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """What is to be recorded of how it was read."""
        ...

    def extents(self) -> list[Region]:
        """Stretches of the genome that have values, on the store's chromosomes."""
        ...

    def iter_squares(self, chrom: str, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read the parts that meet ``[start, end)`` bp of a chromosome.

        Yields
        ------
        Symmetric map (bin, bin), NaN where a pixel is missing, and the edges of its bins in bp.
        """
        ...


def open_map_file(
    path: str | Path,
    assembly: Assembly,
    *,
    span_bp: int,
    store_binsize: int,
    binsize: int | None = None,
    normalisation: str | None = None,
    chrom: str | None = None,
    start: int | None = None,
    triangle: int | None = None,
    rename: Mapping[str, str] | None = None,
) -> MapFile:
    """Open a predicted map; its first bytes tell the format.

    Parameters
    ----------
    path
        File, folder of ``.npy`` files, or ``file.mcool::group``.
    assembly, span_bp, store_binsize, normalisation
        See :func:`~epizarr.io.map_contacts.open_contacts_map`.
    binsize
        Bin width of the file in bp, where it does not say it or has several.
    chrom, start, triangle
        See :func:`~epizarr.io.map_windows.open_window_map`.
    rename
        ``{name in the file: name in the assembly}``.

    Raises
    ------
    InputNotFoundError, InputFileError, AssemblyMismatchError, RegionError
        If the file is missing, cannot be read, does not say what is needed, or lies on another assembly.
    """
    file = Path(str(path).partition("::")[0])
    given = {"--chrom": chrom, "--start": start, "--triangle": triangle}
    if not file.is_dir():
        kind = require_file_type(file, ("HDF5", "hic", "npy", "zip"), _WHAT)
        if kind == "hic" or (kind == "HDF5" and map_binsizes(str(path).partition("::")[0])):
            extra = [name for name, value in given.items() if value is not None]
            if extra:
                raise InputFileError(f"map {path} says itself what its bins are; leave out {' and '.join(extra)}.")
            return open_contacts_map(
                str(path),
                assembly,
                span_bp=span_bp,
                store_binsize=store_binsize,
                binsize=binsize,
                normalisation=normalisation,
                rename=rename,
            )
    if normalisation is not None:
        raise InputFileError(f"map {path}: only .cool, .mcool and .hic have weights; leave out --normalisation.")
    return open_window_map(file, assembly, binsize=binsize, chrom=chrom, start=start, triangle=triangle, rename=rename)
