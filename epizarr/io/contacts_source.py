"""What every format of contacts has in common: the small protocol that a format's reader fulfils."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

Convention = Literal["multiplicative", "divisive"]

#: float32 holds every whole number up to here and no further.
MAX_EXACT_COUNT = 2**24


@dataclass(frozen=True)
class Normalisation:
    """One vector of weights that a file stores at one bin size.

    Parameters
    ----------
    name
        As the file names it: ``"weight"``, ``"KR"``.
    convention
        Whether a balanced contact is count × w1 × w2 (``"multiplicative"``) or count / (w1 × w2) (``"divisive"``); None
        if the file does not tell.
    ignore_diags
        Number of diagonals, from the main one on, that the fit left out; a balanced contact there means nothing.
    """

    name: str
    convention: Convention | None
    ignore_diags: int = 0


@dataclass(frozen=True)
class ContactsInfo:
    """What a file of contacts says of itself at one bin size.

    Parameters
    ----------
    uri
        Path, and for HDF5 the group: ``file.mcool::/resolutions/10000``.
    path
        The file alone.
    format
        ``"cool"`` (the contacts are the whole HDF5 file), ``"mcool"`` (they are a group of it), ``"hic"``, ``"hicpro"``,
        ``"text"`` (a table of coordinates) or ``"merged"`` (several files, ``path`` is the first one).
    binsize
        Bin width in bp.
    binsizes
        All bin widths in the file, ascending.
    chrom_lengths
        Names and lengths (bp) of chromosomes, in the file's order.
    normalisations
        Stored weights by name.
    count_dtype
        How counts are stored: ``"int32"``, ``"float64"``. ``.hic`` stores float32.
    software
        What made the file, if it says so: ``"cooler-0.8.6"``.
    bins_path
        The second file that says what the bins are, where there is one (HiC-Pro).
    derived
        What was done to the counts since they were read: ``"merged from 2 files"``. None: nothing. Weights that a file stores
        do not fit counts that were changed, so none are offered where this is set.
    """

    uri: str
    path: Path
    format: Literal["cool", "mcool", "hic", "hicpro", "text", "merged"]
    binsize: int
    binsizes: tuple[int, ...]
    chrom_lengths: dict[str, int]
    normalisations: dict[str, Normalisation]
    count_dtype: str
    software: str | None
    bins_path: Path | None = None
    derived: str | None = None

    @property
    def label(self) -> str:
        """How to name the file in a message."""
        return f"contacts {self.uri} at {self.binsize:,} bp" + (f" ({self.derived})" if self.derived else "")

    def n_bins(self, file_chrom: str) -> int:
        """Number of bins of a chromosome of the file; the last may be partial."""
        return -(-self.chrom_lengths[file_chrom] // self.binsize)

    def bin_offset(self, file_chrom: str) -> int:
        """Id of a chromosome's first bin in the file, whose bins run on from chromosome to chromosome."""
        before = takewhile(lambda chrom: chrom != file_chrom, self.chrom_lengths)
        return sum(self.n_bins(chrom) for chrom in before)


@dataclass(frozen=True)
class PixelPiece:
    """Some pixels of one chromosome, each at most once in a whole iteration.

    ``bin1`` and ``bin2`` are int64, counted from the chromosome's first bin, ``bin1 <= bin2``; ``count`` is as stored.
    """

    bin1: np.ndarray
    bin2: np.ndarray
    count: np.ndarray


class ContactsSource(Protocol):
    """A reader of one format. It opens the file for each call, so that it can be pickled and used in any thread."""

    @property
    def info(self) -> ContactsInfo:
        """What the file holds."""
        ...

    def iter_pixels(self, file_chrom: str, lo: int, hi: int, n_diagonals: int | None) -> Iterator[PixelPiece]:
        """Iterate over the cis pixels whose first bin is in ``[lo, hi)``, in pieces of bounded size.

        Only diagonals below ``n_diagonals``, where that is given. Pieces follow the rows: none has a first bin before the
        last one of the piece before it, so that several sources can be merged as they come. Inside a piece, any order.
        """
        ...

    def stored_weights(self, name: str, file_chrom: str) -> np.ndarray:
        """Return the vector as stored, float64 (bins of the chromosome)."""
        ...
