"""Predicted maps in ``.cool``, ``.mcool`` and ``.hic``.

Such files leave out pixels and do not say which of them are zero and which were not predicted. A pixel that is left out is 0 if
both of its bins are known and its distance lies among those that the file holds anything for; otherwise it is missing. A bin is
known if it has a weight, or, where no weights are used, any pixel that is not 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epizarr.bands import balance_band, mask_band, square_from_band
from epizarr.errors import AssemblyMismatchError, InputFileError
from epizarr.genome import Assembly, Region
from epizarr.io.chromsizes import check_file_assembly
from epizarr.io.contacts import ContactsFile, open_contacts_file
from epizarr.io.contacts_cool import cool_binsizes
from epizarr.io.contacts_hic import hic_binsizes
from epizarr.io.filetype import detect_file_type

#: Pixels of a band read at a time.
_BLOCK_VALUES = 1 << 22
#: cooler's own column of weights, used where it is there.
_WEIGHT = "weight"
#: Normalisation that means: the pixels as they are.
NO_WEIGHTS = "none"


@dataclass(frozen=True)
class ContactsMap:
    """A predicted map as a file of contacts; fulfils :class:`~epizarr.io.map_files.MapFile`."""

    path: Path
    format: str
    files: tuple[Path, ...]
    binsize: int
    contacts: ContactsFile
    file_chroms: dict[str, str]
    normalisation: str
    known: dict[str, np.ndarray]
    first_diagonal: int
    n_diagonals: int

    @property
    def reach_bp(self) -> int:
        """Farthest distance of two bins' outer edges of one pixel."""
        return self.n_diagonals * self.binsize

    @property
    def about(self) -> dict[str, Any]:
        """What is to be recorded of how the file was read."""
        return {"normalisation": self.normalisation}

    def extents(self) -> list[Region]:
        """From the first to the last known bin of each chromosome."""
        found = []
        for chrom, known in self.known.items():
            bins = np.flatnonzero(known)
            if len(bins):
                edges = self._edges(chrom, int(bins[0]), int(bins[-1]) + 1)
                found.append(Region(chrom, int(edges[0]), int(edges[-1])))
        return found

    def iter_squares(self, chrom: str, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read one square around ``[start, end)``; see :class:`~epizarr.io.map_files.MapFile`."""
        known = self.known.get(chrom)
        if known is None:
            return
        lo, hi = start // self.binsize, min(-(-end // self.binsize), len(known))
        if not known[lo:hi].any():
            return
        n_diagonals = min(self.n_diagonals, hi - lo)
        band = _read_band(self.contacts, chrom, self.file_chroms[chrom], self.normalisation, lo, hi, n_diagonals)
        good = np.append(known[lo:hi], np.zeros(n_diagonals - 1, dtype=bool))
        yield square_from_band(mask_band(band, good, self.first_diagonal)), self._edges(chrom, lo, hi)

    def _edges(self, chrom: str, lo: int, hi: int) -> np.ndarray:
        length = self.contacts.info.chrom_lengths[self.file_chroms[chrom]]
        return np.minimum(self.binsize * np.arange(lo, hi + 1), length)


def open_contacts_map(
    uri: str,
    assembly: Assembly,
    *,
    span_bp: int,
    store_binsize: int,
    binsize: int | None = None,
    normalisation: str | None = None,
    rename: Mapping[str, str] | None = None,
) -> ContactsMap:
    """Open a ``.cool``, ``.mcool`` or ``.hic`` of predicted contacts and find which bins and distances it knows.

    Reads the file's band once, at most about 250 MB at a time.

    Parameters
    ----------
    uri
        File; a group may be named as in cooler, ``file.mcool::resolutions/10000``.
    assembly
        Chromosomes of the store.
    span_bp, store_binsize
        How far from the diagonal the map is wanted, and the bin width of the store's contacts.
    binsize
        Bin width to read in bp. Default: that of the store if the file has it, or the only one of the file.
    normalisation
        Weights to multiply by, as the file names them, or ``"none"``. Default: cooler's ``weight`` where it is there.
    rename
        ``{name in the file: name in the assembly}``.

    Raises
    ------
    InputFileError
        If the file is damaged, has no such bin width or weights, or no pixel within the span.
    AssemblyMismatchError
        If its chromosomes are not those of the assembly.
    """
    width = _choose_binsize(uri, binsize, store_binsize)
    contacts = open_contacts_file(uri, width)
    try:
        file_chroms = check_file_assembly(contacts.info, assembly, rename)
    except AssemblyMismatchError as error:
        raise AssemblyMismatchError(
            f"{error} (For a map that is imported, that is --rename-chrom FILE=STORE.)"
        ) from error
    names = list(contacts.info.normalisations)
    chosen = normalisation or (_WEIGHT if _WEIGHT in names else NO_WEIGHTS)
    if chosen != NO_WEIGHTS:
        contacts.require_normalisations([chosen], list(file_chroms.values()))
    known, first, last = _scan(contacts, file_chroms, chosen, -(-span_bp // width) + 1)
    info = contacts.info
    if last < 0:
        raise InputFileError(
            f"map {info.label}: no pixel within {span_bp:,} bp of the diagonal has a value other than 0 on "
            f"{', '.join(file_chroms)}."
        )
    return ContactsMap(
        path=info.path,
        format=info.format,
        files=(info.path,),
        binsize=width,
        contacts=contacts,
        file_chroms=file_chroms,
        normalisation=chosen,
        known=known,
        first_diagonal=first,
        n_diagonals=last + 1,
    )


def map_binsizes(uri: str) -> list[int]:
    """Bin widths (bp) of a ``.cool``, ``.mcool`` or ``.hic``, ascending; none if an HDF5 file holds no contacts."""
    path, _, group = uri.partition("::")
    if detect_file_type(path) == "hic":
        return hic_binsizes(Path(path))
    return cool_binsizes(Path(path), group or None)


def _choose_binsize(uri: str, asked: int | None, wanted: int) -> int:
    if asked is not None:
        return asked
    there = map_binsizes(uri)
    if wanted in there or not there:
        return wanted
    if len(there) > 1:
        raise InputFileError(
            f"map {uri}: it has bins of {', '.join(f'{size:,}' for size in there)} bp, and none of the store's {wanted:,} bp; "
            "say which are to be read (--file-binsize)."
        )
    return there[0]


def _scan(
    contacts: ContactsFile, file_chroms: Mapping[str, str], normalisation: str, n_diagonals: int
) -> tuple[dict[str, np.ndarray], int, int]:
    """Known bins of each chromosome, and the first and last diagonal that hold anything; -1 for the last if none does."""
    known: dict[str, np.ndarray] = {}
    filled = np.zeros(n_diagonals, dtype=bool)
    n_rows = max(1, _BLOCK_VALUES // n_diagonals)
    for chrom, file_chrom in file_chroms.items():
        n_bins = contacts.info.n_bins(file_chrom)
        has_pixel = np.zeros(n_bins + n_diagonals, dtype=bool)
        for lo in range(0, n_bins, n_rows):
            hi = min(lo + n_rows, n_bins)
            band = _read_band(contacts, chrom, file_chrom, normalisation, lo, hi, n_diagonals)
            row, k = np.nonzero(np.nan_to_num(band))
            has_pixel[lo + row] = has_pixel[lo + row + k] = True
            filled[k] = True
        if normalisation == NO_WEIGHTS:
            known[chrom] = has_pixel[:n_bins]
        else:
            known[chrom] = np.isfinite(contacts.weights(normalisation, chrom, file_chrom))
    diagonals: Sequence[int] = np.flatnonzero(filled).tolist()
    return known, (diagonals[0] if diagonals else 0), (diagonals[-1] if diagonals else -1)


def _read_band(
    contacts: ContactsFile, chrom: str, file_chrom: str, normalisation: str, lo: int, hi: int, n_diagonals: int
) -> np.ndarray:
    """Values of rows ``[lo, hi)``, (row, diagonal); NaN off the chromosome and where a weight is missing."""
    band = contacts.band(chrom, lo, hi, n_diagonals, file_chrom)
    if normalisation == NO_WEIGHTS:
        return band
    weight = contacts.weights(normalisation, chrom, file_chrom)[lo : hi + n_diagonals - 1]
    padded = np.append(weight, np.full(hi - lo + n_diagonals - 1 - len(weight), np.nan))
    return balance_band(band, padded, contacts.info.normalisations[normalisation].ignore_diags)
