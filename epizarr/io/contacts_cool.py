"""``.cool`` and ``.mcool`` files, read slice by slice with h5py along the cooler schema.

Schema: https://cooler.readthedocs.io/en/latest/schema.html. Pixels are sorted by ``bin1_id``, and
``indexes/bin1_offset`` says where each row begins, so that a range of rows is one slice of the pixel table.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from epizarr.errors import InputFileError, raise_all
from epizarr.io.contacts_source import ContactsInfo, Convention, Normalisation, PixelPiece

#: Pixels read at a time: at most about 50 bytes each while they are sorted out.
_PIECE_PIXELS = 2**21

_TABLES = ("chroms", "bins", "pixels", "indexes")
_BIN_COLUMNS = ("chrom", "start", "end")
_COLUMNS = (
    *("chroms/name", "chroms/length", "bins/chrom", "bins/start", "bins/end"),
    *("pixels/bin1_id", "pixels/bin2_id", "pixels/count", "indexes/bin1_offset"),
)


@dataclass(frozen=True)
class CoolSource:
    """Reader of one cooler group; fulfils :class:`~epizarr.io.contacts_source.ContactsSource`.

    Parameters
    ----------
    info
        What the group holds.
    group
        Path of the group inside the HDF5 file.
    """

    info: ContactsInfo
    group: str

    def iter_pixels(self, file_chrom: str, lo: int, hi: int, n_diagonals: int | None) -> Iterator[PixelPiece]:
        """Iterate over cis pixels in slices of the table; see :class:`~epizarr.io.contacts_source.ContactsSource`."""
        offset, n_bins = self._extent(file_chrom)
        with _open(self.info.path) as file:
            pixels = file[self.group]["pixels"]
            bin1_offset = file[self.group]["indexes/bin1_offset"][offset + lo : offset + hi + 1].astype(np.int64)
            row = lo
            while row < hi:
                # Whole rows, so that a pixel listed twice is in one piece; a row has no more pixels than the file bins.
                limit = bin1_offset[row - lo] + _PIECE_PIXELS
                stop = max(row + 1, lo + int(np.searchsorted(bin1_offset, limit, side="right")) - 1)
                row_starts = bin1_offset[row - lo : stop - lo + 1]
                first, last = int(row_starts[0]), int(row_starts[-1])
                try:
                    bin2 = pixels["bin2_id"][first:last].astype(np.int64) - offset
                    count = pixels["count"][first:last]
                except OSError as error:
                    raise InputFileError(
                        f"{self.info.label}: pixels {first} to {last} cannot be read ({error}). The file is damaged; "
                        "fetch it again."
                    ) from error
                # The index gives the rows: a third of the bytes need not be read.
                bin1 = np.repeat(np.arange(row, stop), np.diff(row_starts))
                self._check_order(bin1, bin2, file_chrom)
                wanted = bin2 < (n_bins if n_diagonals is None else np.minimum(n_bins, bin1 + n_diagonals))
                yield PixelPiece(bin1[wanted], bin2[wanted], count[wanted])
                row = stop

    def stored_weights(self, name: str, file_chrom: str) -> np.ndarray:
        """Return a column of the bin table as stored, float64 (bins of the chromosome)."""
        offset, n_bins = self._extent(file_chrom)
        with _open(self.info.path) as file:
            return file[self.group]["bins"][name][offset : offset + n_bins].astype(np.float64)

    def _extent(self, file_chrom: str) -> tuple[int, int]:
        """Id of a chromosome's first bin in the file, and its number of bins."""
        return self.info.bin_offset(file_chrom), self.info.n_bins(file_chrom)

    def _check_order(self, bin1: np.ndarray, bin2: np.ndarray, chrom: str) -> None:
        """Refuse a pixel below the diagonal or listed twice: either would lose a count without a word."""
        is_bad = bool((bin2 < bin1).any())
        # Old versions of `cooler coarsen` left rows unsorted, which does no harm; only then is a closer look needed.
        if not is_bad and ((np.diff(bin1) == 0) & (np.diff(bin2) <= 0)).any():
            key = bin1 * (bin2.max() + 1) + bin2
            is_bad = len(np.unique(key)) < len(key)
        if is_bad:
            raise InputFileError(
                f"{self.info.label}: pixels of {chrom!r} are listed twice or lie below the diagonal. Write the file again "
                "with `cooler load` or `cooler cload`."
            )


def open_cool(path: Path, group: str | None, binsize: int, convention: Convention | None = None) -> CoolSource:
    """Open the cooler of one bin size in an HDF5 file.

    Parameters
    ----------
    path
        A file that begins like HDF5.
    group
        Group inside the file, if the URI names one. By default the one of ``binsize`` is looked for: at the root, under
        ``resolutions/`` or in any other place (the old layout's ``0…4``).
    binsize
        Bin width in bp that it must hold.
    convention
        How its weights are meant, if the manifest says so; see :func:`weights_convention`.

    Raises
    ------
    InputFileError
        If the file is damaged, holds no cooler, is a single-cell file, has no such group or bin size, or the group's
        bin table cannot be used. All problems of the group are listed at once.
    """
    with _open(path) as file:
        coolers = _find_coolers(file)
        if not coolers:
            raise InputFileError(
                f"{path} is an HDF5 file without contacts in cooler's format; it holds {sorted(file) or 'nothing'}. "
                "Give a .cool or .mcool file, or convert this one with `cooler` or `hictk`."
            )
        if any(name.startswith("/cells/") for name in coolers):
            raise InputFileError(
                f"{path} is a single-cell file (.scool) of {len(coolers)} cells; contacts of one cell type are needed. "
                "Merge its cells with `cooler merge` first."
            )
        chosen = _choose_group(path, coolers, group, binsize)
        cooler = file[chosen]
        raise_all(InputFileError, f"{path}::{chosen}", _find_problems(cooler, binsize))
        software = cooler.attrs.get("generated-by")
        columns = [name for name in cooler["bins"] if name not in _BIN_COLUMNS]
        normalisations = {
            name: _normalisation(name, cooler["bins"][name], software, convention)
            for name in columns
            if cooler["bins"][name].dtype.kind == "f"
        }
        sizes = sorted({size for size in coolers.values() if size is not None})
        info = ContactsInfo(
            uri=f"{path}::{chosen}",
            path=path,
            format="cool" if chosen == "/" else "mcool",
            binsize=binsize,
            binsizes=tuple(sizes),
            chrom_lengths=_chrom_lengths(cooler),
            normalisations=normalisations,
            count_dtype=str(cooler["pixels/count"].dtype),
            software=None if software is None else _text(software),
        )
    return CoolSource(info, chosen)


def cool_binsizes(path: Path, group: str | None = None) -> list[int]:
    """Bin widths (bp) of the coolers in an HDF5 file, or in one group of it, ascending; none if there is no cooler.

    Raises
    ------
    InputFileError
        If the file is damaged.
    """
    with _open(path) as file:
        coolers = _find_coolers(file)
    named = None if group is None else "/" + group.strip("/")
    return sorted({size for name, size in coolers.items() if size is not None and named in (None, name)})


def weights_convention(
    name: str, attrs: Mapping[str, Any], software: str | None, said: Convention | None = None
) -> Convention | None:
    """Tell whether a column of weights multiplies or divides, from what the file records.

    In this order: the column's own attribute ``divisive_weights``; cooler's column ``weight``, and columns that bear
    the attributes of ``cooler balance``, multiply; what the manifest says; all columns of hic2cool before 0.5.0
    multiply, since then they divide (they are Juicer's vectors as they are in the ``.hic``).

    Parameters
    ----------
    name
        The column.
    attrs
        Its HDF5 attributes.
    software
        The group's ``generated-by``.
    said
        What the manifest says of this file's weights.

    Returns
    -------
    The convention, or None if nothing above applies: a column ``KR`` of another program may be either.
    """
    if "divisive_weights" in attrs:
        return "divisive" if bool(attrs["divisive_weights"]) else "multiplicative"
    if name == "weight" or {"ignore_diags", "tol"} <= set(attrs):
        return "multiplicative"
    if said is not None:
        return said
    made_by = re.match(r"hic2cool-(\d+)\.(\d+)", software or "")
    if made_by is None:
        return None
    return "multiplicative" if (int(made_by[1]), int(made_by[2])) < (0, 5) else "divisive"


def _normalisation(name: str, column: "h5py.Dataset", software: Any, convention: Convention | None) -> Normalisation:
    attrs = dict(column.attrs)
    told = weights_convention(name, attrs, None if software is None else _text(software), convention)
    # `cooler balance` writes False where no diagonal was ignored.
    return Normalisation(name, told, int(attrs.get("ignore_diags", 0)))


def _open(path: Path) -> "h5py.File":
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputFileError(
            f"{path} cannot be opened as HDF5 ({error}); it is truncated or damaged. Fetch it again."
        ) from error


def _find_coolers(file: "h5py.File") -> dict[str, int | None]:
    """Groups that hold a cooler, with their bin width (None if it varies or is not recorded)."""
    found: dict[str, int | None] = {}

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and all(table in item for table in _TABLES):
            size = item.attrs.get("bin-size")
            found["/" + name.strip("/")] = int(size) if isinstance(size, int | np.integer) else None

    look("", file)
    file.visititems(look)
    return found


def _choose_group(path: Path, coolers: Mapping[str, int | None], group: str | None, binsize: int) -> str:
    listed = ", ".join(
        f"{'bins of variable width' if size is None else f'{size:,} bp'} (::{name})" for name, size in coolers.items()
    )
    if group is not None:
        chosen = "/" + group.strip("/")
        if chosen not in coolers:
            raise InputFileError(f"{path} has no contacts in the group {group!r}; it has {listed}.")
        if coolers[chosen] not in (binsize, None):
            raise InputFileError(
                f"{path}::{group} has bins of {coolers[chosen]:,} bp, and {binsize:,} bp were asked for. "
                f"The file has {listed}."
            )
        return chosen
    matching = [name for name, size in coolers.items() if size == binsize]
    if not matching and set(coolers.values()) == {None}:
        # Nothing to choose from by width: let the check of the bin table say what is wrong.
        return next(iter(coolers))
    if not matching:
        raise InputFileError(f"{path} has no contacts at {binsize:,} bp; it has {listed}.")
    if len(matching) > 1:
        raise InputFileError(
            f"{path} has {len(matching)} groups of contacts at {binsize:,} bp: {', '.join(matching)}. Name one in the "
            f"URI: {path}::{matching[0]}."
        )
    return matching[0]


def _chrom_lengths(cooler: "h5py.Group") -> dict[str, int]:
    names = [_text(name) for name in cooler["chroms/name"][:]]
    return dict(zip(names, cooler["chroms/length"][:].astype(int).tolist(), strict=True))


def _find_problems(cooler: "h5py.Group", binsize: int) -> list[str]:
    """Everything that makes a group unusable; empty if it is sound."""
    missing = [column for column in _COLUMNS if column not in cooler]
    if missing:
        return [f"the tables {missing} of cooler's format are not there; the file was not written to its end"]
    if _text(cooler.attrs.get("bin-type", "fixed")) == "variable":
        return [
            "its bins are of variable width (restriction fragments); epizarr needs bins of one width. Bin the pairs "
            f"again, for instance with `cooler cload pairs SIZES:{binsize}`"
        ]
    problems = []
    if _text(cooler.attrs.get("storage-mode", "symmetric-upper")) != "symmetric-upper":
        problems.append(
            "it stores both triangles (storage-mode 'square'); a symmetric map, stored as its upper triangle, is needed"
        )
    chrom, start, end = (cooler["bins"][column][:] for column in _BIN_COLUMNS)
    problems += _find_bin_problems(_chrom_lengths(cooler), np.asarray(chrom), start, end, binsize)
    index = cooler["indexes/bin1_offset"][:]
    n_pixels = cooler["pixels/bin2_id"].shape[0]
    if len(index) != len(start) + 1 or int(index[-1]) != n_pixels or (np.diff(index) < 0).any():
        problems.append(f"its index of rows does not fit its {len(start)} bins and {n_pixels} pixels; it is damaged")
    if cooler["pixels/count"].dtype.kind not in "iuf":
        problems.append(f"its counts are of type {cooler['pixels/count'].dtype}; numbers are needed")
    return problems


def _find_bin_problems(
    chrom_lengths: Mapping[str, int], chrom: np.ndarray, start: np.ndarray, end: np.ndarray, binsize: int
) -> list[str]:
    """Compare a bin table with the one that the chromosome lengths and the bin width imply."""
    problems = []
    first = 0
    for code, (name, length) in enumerate(chrom_lengths.items()):
        rows = np.flatnonzero(chrom == code)
        n_bins = -(-length // binsize)
        first, expected_first = first + n_bins, first
        if len(rows) == 0:
            problems.append(f"it lists {name!r} with {length:,} bp and has no bin of it")
            continue
        at, width = rows[0], end[rows] - start[rows]
        if int(start[at]) != 0:
            problems.append(
                f"the bins of {name!r} start at {int(start[at]):,} and not at 0; the file is a cut-out. Give the whole "
                "map, or write the cut-out on the whole chromosome's bins"
            )
        elif (width[:-1] != binsize).any() or width[-1] > binsize:
            odd = width[:-1][width[:-1] != binsize]
            problems.append(
                f"bins of {name!r} are not all {binsize:,} bp wide ({int(odd[0]) if len(odd) else int(width[-1]):,} bp "
                "was found); bins of one width are needed"
            )
        elif len(rows) != n_bins or int(end[rows[-1]]) != length or (start[rows] != np.arange(n_bins) * binsize).any():
            problems.append(
                f"the bins of {name!r} ({len(rows)}, to {int(end[rows[-1]]):,} bp) disagree with its length, "
                f"{length:,} bp, which makes {n_bins}"
            )
        elif at != expected_first or (np.diff(rows) != 1).any():
            problems.append(f"the bins of {name!r} do not follow the order of its list of chromosomes")
    return problems


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
