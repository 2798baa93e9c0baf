"""``.hic`` files (versions 8 and 9) through hictkpy."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epizarr.errors import InputFileError
from epizarr.io.contacts_source import ContactsInfo, Normalisation, PixelPiece

if TYPE_CHECKING:
    import hictkpy

#: Most pixels that one fetch of a band may bring: about 50 bytes each, hictkpy's and ours.
_MAX_PIXELS = 2**22

#: Pixels made into arrays at a time where they come one by one, as Python objects.
_MAX_OBJECTS = 2**18


@dataclass(frozen=True)
class HicSource:
    """Reader of a ``.hic`` file at one bin size; fulfils :class:`~epizarr.io.contacts_source.ContactsSource`."""

    info: ContactsInfo

    def iter_pixels(self, file_chrom: str, lo: int, hi: int, n_diagonals: int | None) -> Iterator[PixelPiece]:
        """Iterate over cis pixels in pieces; see :class:`~epizarr.io.contacts_source.ContactsSource`."""
        # A fetch decompresses every block that it touches, and far from the diagonal the blocks are large: many narrow
        # fetches read the file many times. A band fits into few fetches; all of a chromosome is iterated over instead.
        pieces = (
            self._iter_all(file_chrom, lo, hi)
            if n_diagonals is None
            else self._iter_band(file_chrom, lo, hi, n_diagonals)
        )
        try:
            yield from pieces
        except RuntimeError as error:
            raise InputFileError(
                f"{self.info.label} cannot be read at {file_chrom}, bins [{lo}, {hi}): {error}. The file is damaged; fetch "
                "it again."
            ) from error

    def _iter_band(self, chrom: str, lo: int, hi: int, n_diagonals: int) -> Iterator[PixelPiece]:
        handle, n_bins = _open(self.info.path, self.info.binsize), self.info.n_bins(chrom)
        n_rows = max(1, _MAX_PIXELS // n_diagonals)
        for first in range(lo, hi, n_rows):
            last = min(hi, first + n_rows)
            end = min(n_bins, last + n_diagonals - 1)
            # float32 is what the file stores.
            pixels = handle.fetch(
                self._query(chrom, first, last),
                self._query(chrom, first, end),
                query_type="BED",
                count_type=np.float32,
                diagonal_band_width=n_diagonals,
            ).to_coo()
            yield PixelPiece(pixels.row.astype(np.int64) + first, pixels.col.astype(np.int64) + first, pixels.data)

    def _iter_all(self, chrom: str, lo: int, hi: int) -> Iterator[PixelPiece]:
        handle, n_bins = _open(self.info.path, self.info.binsize), self.info.n_bins(chrom)
        queries = self._query(chrom, lo, hi), self._query(chrom, lo, n_bins)
        pixels = iter(handle.fetch(*queries, query_type="BED", count_type=np.float32))
        offset = self.info.bin_offset(chrom)
        while some := list(islice(pixels, _MAX_OBJECTS)):
            # Unlike the matrix above, single pixels carry bin ids of the whole genome.
            bin1 = np.fromiter((pixel.bin1_id for pixel in some), dtype=np.int64, count=len(some))
            bin2 = np.fromiter((pixel.bin2_id for pixel in some), dtype=np.int64, count=len(some))
            count = np.fromiter((pixel.count for pixel in some), dtype=np.float32, count=len(some))
            yield PixelPiece(bin1 - offset, bin2 - offset, count)

    def stored_weights(self, name: str, file_chrom: str) -> np.ndarray:
        """Return a normalisation vector as Juicer stored it (divisive), float64 (bins of the chromosome)."""
        try:
            # One vector for all chromosomes, concatenated in the file's order. A name that is not there would come back
            # as NaN without a word; the caller has looked it up in `info`.
            stored = np.asarray(_open(self.info.path, self.info.binsize).weights(name, divisive=True), dtype=np.float64)
        except RuntimeError as error:
            raise InputFileError(
                f"{self.info.label}: normalisation {name!r} cannot be read: {error}. The file is damaged; "
                "fetch it again."
            ) from error
        first = self.info.bin_offset(file_chrom)
        return stored[first : first + self.info.n_bins(file_chrom)]

    def _query(self, chrom: str, lo: int, hi: int) -> str:
        # As BED: a chromosome's name may hold a colon.
        start, end = lo * self.info.binsize, min(hi * self.info.binsize, self.info.chrom_lengths[chrom])
        return f"{chrom}\t{start}\t{end}"


def open_hic(path: Path, binsize: int) -> HicSource:
    """Open a ``.hic`` file at one bin size; its weights are divisive, as the format says.

    Parameters
    ----------
    path
        A file that begins like a ``.hic``.
    binsize
        Bin width in bp that it must hold.

    Raises
    ------
    InputFileError
        If the file is damaged, of a version that cannot be read, or has no such bin size; those it has are listed.
    """
    whole = _open_whole(path)
    binsizes = tuple(sorted(int(size) for size in whole.resolutions()))
    attributes = whole.attributes()
    chrom_lengths = {str(chrom): int(length) for chrom, length in whole.chromosomes().items()}
    if binsize not in binsizes:
        raise InputFileError(
            f"{path} has no contacts at {binsize:,} bp; it has {', '.join(f'{size:,}' for size in binsizes)} bp."
        )
    names = _open(path, binsize).avail_normalizations()
    software = attributes.get("software")
    info = ContactsInfo(
        uri=str(path),
        path=path,
        format="hic",
        binsize=binsize,
        binsizes=binsizes,
        chrom_lengths=chrom_lengths,
        normalisations={name: Normalisation(name, "divisive") for name in names},
        count_dtype="float32",
        software=None if software is None else str(software),
    )
    return HicSource(info)


def hic_binsizes(path: Path) -> list[int]:
    """Bin widths (bp) of a ``.hic`` file, ascending; raises as :func:`open_hic`."""
    return sorted(int(size) for size in _open_whole(path).resolutions())


def _open_whole(path: Path) -> "hictkpy.MultiResFile":
    import hictkpy  # not at the top: a process that has loaded it may hang in fork()

    try:
        return hictkpy.MultiResFile(str(path))
    except RuntimeError as error:
        raise InputFileError(
            f"{path} cannot be opened as a .hic file: {error}. Versions 8 and 9 can be read; if it is one of them, the "
            "file is damaged: fetch it again."
        ) from error


def _open(path: Path, binsize: int) -> "hictkpy.File":
    import hictkpy

    try:
        return hictkpy.File(str(path), binsize)
    except RuntimeError as error:
        raise InputFileError(
            f"{path} cannot be opened at {binsize:,} bp: {error}. The file is damaged; fetch it again."
        ) from error
