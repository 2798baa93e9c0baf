"""bigWig files: exact means per bin.

``pyBigWig``'s ``stats`` reads zoom levels and is then not exact (one bin in two is wrong on a 1-bp file), and called
per bin it is a hundred times slower than what is done here: read the values base by base in pieces and reduce them in
NumPy.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import pyBigWig

from epizarr.errors import InputFileError, RegionError
from epizarr.io.filetype import require_file_type

#: Bases read at a time. A piece takes 4 bytes a base in pyBigWig's array and at most 9 more while it is reduced.
PIECE_BP = 2_000_000
#: Intervals come as Python tuples, 150 bytes for each: at most this many bases, and so intervals, at a time.
_INTERVALS_BP = 200_000


@dataclass(frozen=True)
class BigWigInfo:
    """What a bigWig says of itself.

    Parameters
    ----------
    path
        The file.
    chrom_lengths
        Names and lengths (bp) of the chromosomes that the file lists, in its order. A chromosome that is not listed
        was not measured.
    n_covered
        Number of bases that have a value, over all chromosomes.
    """

    path: Path
    chrom_lengths: dict[str, int]
    n_covered: int

    @property
    def label(self) -> str:
        """How to name the file in a message."""
        return f"bigWig {self.path}"


def inspect_bigwig(path: str | Path) -> BigWigInfo:
    """Check that a file is a whole bigWig and read its header.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If it is not a bigWig (text, bigBed, …), is not what its name says, is truncated, or holds no value at all.
    """
    path = Path(path)
    require_file_type(path, ("bigWig",), "a bigWig")
    _check_not_truncated(path)
    with _open(path) as handle:
        chrom_lengths = {str(chrom): int(length) for chrom, length in handle.chroms().items()}
        n_covered = int(handle.header()["nBasesCovered"])
    if n_covered == 0:
        raise InputFileError(f"bigWig {path} holds no value at all; it was probably cut short where it was made.")
    return BigWigInfo(path, chrom_lengths, n_covered)


def read_bin_means(
    path: str | Path,
    *,
    chrom: str,
    start: int,
    end: int,
    binsize: int,
    uncovered: Literal["nan", "zero"],
    file_chrom: str | None = None,
) -> np.ndarray:
    """Mean of a bigWig in each bin of a part of a chromosome, exact to float32.

    Reads at most 2 Mb at a time, so that about 30 MB are held besides the result, whatever the region. Opens a handle
    of its own, as a pyBigWig handle must not be shared between threads or processes.

    Parameters
    ----------
    path
        The bigWig.
    chrom
        Chromosome, as the store names it.
    start, end
        Region in bp. ``start`` is a multiple of ``binsize``; ``end`` is one too, or the end of the chromosome, where
        the last bin is then partial.
    binsize
        Bin width in bp.
    uncovered
        What bases without a value (not listed, or NaN in the file) count as. ``"nan"``: nothing, the mean is over the
        covered bases and NaN where there are none. ``"zero"``: 0, the mean is over all bases of the bin.
    file_chrom
        Chromosome as the file names it, where that differs.

    Returns
    -------
    Means, float32 (bins). All NaN, under either rule, if the file does not list the chromosome: it was not measured.

    Raises
    ------
    RegionError
        If the region is not aligned to bins or ends past the chromosome.
    InputFileError
        If the file cannot be read or holds an infinite value in the region.
    """
    path = Path(path)
    if uncovered not in ("nan", "zero"):
        raise ValueError(f"uncovered must be 'nan' or 'zero', not {uncovered!r}.")
    require_file_type(path, ("bigWig",), "a bigWig")
    name = chrom if file_chrom is None else file_chrom
    if binsize < 1 or start < 0 or start % binsize or end <= start:
        raise RegionError(
            f"{chrom}:{start:,}-{end:,} of {path}: a region of bins needs 0 <= start < end, and a start that is a "
            f"multiple of the bin width, {binsize:,} bp."
        )
    means = np.full(-(-(end - start) // binsize), np.nan, dtype=np.float32)
    with _open(path) as handle:
        length = handle.chroms().get(name)
        if length is None:
            return means
        if end > length or (end % binsize and end != length):
            raise RegionError(
                f"{chrom}:{start:,}-{end:,} of {path}: {name} has {length:,} bp in the file, and a region of bins "
                f"ends at the chromosome's end or at a multiple of {binsize:,} bp before it."
            )
        piece_bp = max(1, PIECE_BP // binsize) * binsize
        for lo in range(start, end, piece_bp):
            hi = min(lo + piece_bp, end)
            values = _values(handle, path, name, lo, hi)
            if np.isinf(values).any():
                raise InputFileError(
                    f"bigWig {path} holds an infinite value in {name}:{lo:,}-{hi:,}; a mean cannot be taken. Clip the "
                    "file's values, or drop those intervals, before it is read."
                )
            first = (lo - start) // binsize
            reduced = _reduce(values, binsize, uncovered)
            means[first : first + len(reduced)] = reduced
    return means


def read_chromosome_intervals(
    path: str | Path, *, chrom: str, file_chrom: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read all intervals of one chromosome, as the file has them: neighbours of equal value are not merged.

    Holds the result, 12 bytes an interval, twice while it is put together, and about 30 MB. Opens a handle of its own.

    Parameters
    ----------
    path
        The bigWig.
    chrom
        Chromosome, as the store names it.
    file_chrom
        Chromosome as the file names it, where that differs.

    Returns
    -------
    Start and end in bp (int32; int64 on a chromosome that needs it) and value (float32) of each interval, sorted. An
    interval whose value is NaN is left out: it says that nothing was measured. Empty if the file does not list the
    chromosome.

    Raises
    ------
    InputFileError
        If the file cannot be read or holds an infinite value on the chromosome.
    """
    path = Path(path)
    require_file_type(path, ("bigWig",), "a bigWig")
    name = chrom if file_chrom is None else file_chrom
    with _open(path) as handle:
        length = handle.chroms().get(name) or 0
        dtype = np.int32 if length < 2**31 else np.int64
        pieces = [(np.zeros(0, dtype), np.zeros(0, dtype), np.zeros(0, np.float32))]
        for lo in range(0, length, _INTERVALS_BP):
            start, end, value = _intervals(handle, path, name, lo, min(lo + _INTERVALS_BP, length))
            if np.isinf(value).any():
                raise InputFileError(
                    f"bigWig {path} holds an infinite value in {name} at {int(start[np.isinf(value)][0]):,} bp; clip the "
                    "file's values, or drop those intervals, before it is read."
                )
            # An interval that reaches over a border comes with both pieces and belongs to the one where it begins.
            keep = (start >= lo) & ~np.isnan(value)
            pieces.append((start[keep].astype(dtype), end[keep].astype(dtype), value[keep].astype(np.float32)))
    start, end, value = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return start, end, value


def read_interval_maxima(
    path: str | Path, *, chrom: str, start: np.ndarray, end: np.ndarray, file_chrom: str | None = None
) -> np.ndarray:
    """Largest value of a bigWig in each of many intervals of a chromosome.

    Reads where the intervals are, at most 2 Mb and the longest interval at a time: about 20 MB.

    Parameters
    ----------
    path
        The bigWig.
    chrom
        Chromosome, as the store names it.
    start, end
        Intervals in bp, int64, sorted by start; none is empty, and all are on the chromosome.
    file_chrom
        Chromosome as the file names it, where that differs.

    Returns
    -------
    Maxima over the bases that have a value, float32 (intervals); NaN where none has, or if the file does not list the
    chromosome.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    """
    path = Path(path)
    require_file_type(path, ("bigWig",), "a bigWig")
    name = chrom if file_chrom is None else file_chrom
    maxima = np.full(len(start), np.nan, dtype=np.float32)
    with _open(path) as handle:
        if name not in handle.chroms():
            return maxima
        for part in _pieces_of(start):
            lo, hi = int(start[part][0]), int(end[part].max())
            # The missing value at the end lets the last interval stop there.
            values = np.append(_values(handle, path, name, lo, hi), np.float32(np.nan))
            borders = np.stack([start[part] - lo, end[part] - lo], axis=1).ravel()
            maxima[part] = np.fmax.reduceat(values, borders)[::2]
    return maxima


def _pieces_of(start: np.ndarray) -> Iterator[slice]:
    """Cut sorted starts into slices that each span at most a piece; stretches without a start are passed over."""
    first = 0
    while first < len(start):
        last = int(np.searchsorted(start, start[first] + PIECE_BP))
        yield slice(first, last)
        first = last


def _intervals(
    handle: "pyBigWig.pyBigWig", path: Path, chrom: str, lo: int, hi: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start, end and value, all float64, of the whole intervals that overlap a region."""
    try:
        found = handle.intervals(chrom, lo, hi) or ()
    except RuntimeError as error:
        raise _damaged(path, chrom, lo, hi, error) from error
    # float64 holds every coordinate and every float32; one flat pass is ten times faster than an array of tuples.
    flat = np.fromiter(chain.from_iterable(found), dtype=np.float64, count=3 * len(found))
    return flat[0::3], flat[1::3], flat[2::3]


def _reduce(values: np.ndarray, binsize: int, uncovered: Literal["nan", "zero"]) -> np.ndarray:
    """Means of consecutive bins (the last may be shorter), float64; missing bases are NaN in ``values``."""
    n_whole = len(values) // binsize
    whole = values[: n_whole * binsize].reshape(n_whole, binsize)
    rest = values[n_whole * binsize :].reshape(1, -1)
    parts = []
    for block in (whole, rest):
        if block.size == 0:
            continue
        # Accumulated in float64: a sum of 2^24 bases in float32 would lose the small values.
        total = block.sum(axis=1, dtype=np.float64)
        n_bases = np.full(len(total), block.shape[1], dtype=np.float64)
        # The sum tells whether any base is missing, so only those bins are looked at twice.
        gappy = np.flatnonzero(np.isnan(total))
        if len(gappy):
            missing = np.isnan(block[gappy])
            total[gappy] = np.where(missing, 0, block[gappy]).sum(axis=1, dtype=np.float64)
            if uncovered == "nan":
                n_bases[gappy] -= missing.sum(axis=1)
        parts.append(np.divide(total, n_bases, out=np.full_like(total, np.nan), where=n_bases > 0))
    return np.concatenate(parts)


def _open(path: Path) -> "pyBigWig.pyBigWig":
    try:
        return pyBigWig.open(str(path))
    except RuntimeError as error:
        raise InputFileError(
            f"bigWig {path} cannot be opened ({_first_line(error)}); it is truncated or damaged. Fetch it again."
        ) from error


def _values(handle: "pyBigWig.pyBigWig", path: Path, chrom: str, lo: int, hi: int) -> np.ndarray:
    """Values of each base, float32, NaN where there is none."""
    try:
        values = np.asarray(handle.values(chrom, lo, hi, numpy=True), dtype=np.float32)
    except RuntimeError as error:
        raise _damaged(path, chrom, lo, hi, error) from error
    # pyBigWig gives an empty array for a file without any entry.
    return values if len(values) else np.full(hi - lo, np.nan, dtype=np.float32)


def _damaged(path: Path, chrom: str, lo: int, hi: int, error: Exception) -> InputFileError:
    return InputFileError(
        f"bigWig {path} cannot be read at {chrom}:{lo:,}-{hi:,} ({_first_line(error)}); it is damaged. Fetch it again."
    )


def _check_not_truncated(path: Path) -> None:
    """Refuse a file that ends too early.

    pyBigWig opens a file that has lost its tail without complaint as long as the index of the full data is there. The
    format repeats its first four bytes at the very end, which is what is asked for here (of version 4 on, which every
    current program writes; of earlier ones only the offsets are checked).
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if len(head) == 64:
        order = "<" if head[:1] == b"\x26" else ">"
        version, _, tree, data, index = struct.unpack_from(f"{order}HHQQQ", head, 4)
        whole = max(tree, data, index) < size and (version < 4 or tail == head[:4])
    else:
        whole = False
    if not whole:
        raise InputFileError(
            f"bigWig {path} is truncated: it ends after {size:,} bytes without the mark that closes a bigWig. "
            "Fetch or make it again."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
