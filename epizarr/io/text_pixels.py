"""Lines of text contacts as pixels: split, checked and numbered, a bounded piece of the file at a time.

A *layout* says what the columns are, a *binner* what they mean on a table of bins. A bad line is named by its number in the file.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from math import gcd
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from epizarr.errors import InputFileError, raise_all

#: Bytes of text that are parsed at once; about 25 times as many are held.
PIECE_BYTES = 1 << 23
#: How many bad lines one message lists.
_MAX_LISTED = 10

#: So many different starts that they share a multiple by chance less than once in a million files.
_ENOUGH_STARTS = 20

#: Columns of each layout; ``chrom`` columns are words, ``count`` a number, the others whole numbers.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "bin ids": ("bin1", "bin2", "count"),
    "starts": ("start1", "start2", "count"),
    "chroms and starts": ("chrom1", "start1", "chrom2", "start2", "count"),
    "chroms, starts and ends": ("chrom1", "start1", "end1", "chrom2", "start2", "end2", "count"),
}

_FIELD = {"chrom": rb"[^\s#]\S*+", "count": rb"[+-]?(?:\d++\.?\d*+|\.\d++)(?:[eE][+-]?\d++)?", "number": rb"\d{1,18}+"}


def _kind(column: str) -> str:
    return "chrom" if column.startswith("chrom") else "count" if column == "count" else "number"


def _lines_pattern(columns: tuple[str, ...]) -> "re.Pattern[bytes]":
    """Match as many whole good lines as there are. Possessive, so that a bad line costs no search."""
    fields = rb"[ \t]++".join(_FIELD[_kind(column)] for column in columns)
    return re.compile(rb"(?:[ \t]*+" + fields + rb"[ \t]*+\r?+(?:\n|\Z))*+")


@dataclass(frozen=True)
class NumberedPixels:
    """Pixels of a piece of the file: bin ids (int64), counts (float64) and the line of each (int64, from 1)."""

    bin1: np.ndarray
    bin2: np.ndarray
    count: np.ndarray
    line: np.ndarray


class Binner(Protocol):
    """What the columns of a layout mean."""

    @property
    def layout(self) -> str:
        """Key of :data:`LAYOUTS`."""
        ...

    def bin(self, table: pd.DataFrame, line: np.ndarray) -> tuple[NumberedPixels, list[tuple[int, str]]]:
        """Return the pixels of some lines, and (line, problem) for those that cannot be used."""
        ...

    def finish(self) -> list[str]:
        """Return what is wrong with the file as a whole, once all lines were seen."""
        ...


def iter_text_pixels(path: Path, binner: Binner) -> Iterator[NumberedPixels]:
    """Iterate over the pixels of a text file, plain or gzip, in pieces of the order of the file.

    Empty lines and ``#`` comments are skipped, and one header line where the layout names chromosomes. At most about 25 times
    :data:`PIECE_BYTES` are held.

    Raises
    ------
    InputFileError
        If the compression is broken, or lines cannot be read: the first of them are listed with their numbers.
    """
    for table, line in _iter_tables(path, LAYOUTS[binner.layout]):
        pixels, problems = binner.bin(table, line)
        count = pixels.count
        for at in np.flatnonzero(~np.isfinite(count) | (count < 0))[: _MAX_LISTED + 1].tolist():
            problems.append((int(pixels.line[at]), f"count {count[at]:g}; a count must be finite and not negative"))
        _refuse(path, problems)
        yield pixels
    raise_all(InputFileError, f"contacts {path}", binner.finish())


def _refuse(path: Path, problems: list[tuple[int, str]]) -> None:
    more = f" (the first {_MAX_LISTED} bad lines)" if len(problems) > _MAX_LISTED else ""
    listed = [f"line {number}: {problem}" for number, problem in sorted(problems)[:_MAX_LISTED]]
    raise_all(InputFileError, f"contacts {path}{more}", listed)


def _iter_blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about :data:`PIECE_BYTES` at a time."""
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    opened = gzip.open(path, "rb") if is_gzip else open(path, "rb")
    with opened as file:
        rest = b""
        try:
            while data := file.read(PIECE_BYTES):
                end = data.rfind(b"\n") + 1
                if end == 0:
                    rest += data
                    if len(rest) > PIECE_BYTES + 2**20:
                        raise InputFileError(
                            f"contacts {path}: a line is longer than {PIECE_BYTES:,} bytes; not a table."
                        )
                    continue
                yield rest + data[:end]
                rest = data[end:]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputFileError(f"contacts {path} cannot be decompressed ({error}); fetch the file again.") from error
        if rest:
            yield rest


def _iter_tables(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Tables of the good lines with their numbers; bad lines are refused."""
    pattern = _lines_pattern(columns)
    number = 1
    may_be_header = any(_kind(c) == "chrom" for c in columns)
    for block in _iter_blocks(path):
        good: list[bytes] = []
        lines: list[np.ndarray] = []
        problems: list[tuple[int, str]] = []
        at = 0
        while at < len(block) and len(problems) <= _MAX_LISTED:
            match = pattern.match(block, at)
            end = at if match is None else match.end()
            if end > at:
                n_lines = block.count(b"\n", at, end) + (not block.endswith(b"\n", at, end))
                good.append(block[at:end])
                lines.append(np.arange(number, number + n_lines))
                number += n_lines
                may_be_header = False
                at = end
                continue
            stop = block.find(b"\n", at) + 1 or len(block)
            line = block[at:stop].strip()
            if line and not line.startswith(b"#"):
                if not (may_be_header and _is_header(line, columns)):
                    problems.append((number, _describe(line, columns)))
                may_be_header = False
            number += 1
            at = stop
        _refuse(path, problems)
        if good:
            yield _parse(path, b"".join(good), columns), np.concatenate(lines)


def _is_header(line: bytes, columns: tuple[str, ...]) -> bool:
    fields = line.split()
    return len(fields) == len(columns) and all(
        field[:1].isalpha() for field, column in zip(fields, columns, strict=True) if _kind(column) != "chrom"
    )


def _describe(line: bytes, columns: tuple[str, ...]) -> str:
    """Say what is wrong with a line."""
    fields = line.split()
    text = line[:80].decode("utf-8", "replace")
    if len(fields) != len(columns):
        return f"{text!r} has {len(fields)} columns; {len(columns)} were needed: {', '.join(columns)}"
    wrong = [
        f"{column} {value.decode('utf-8', 'replace')!r} is not a {'number' if _kind(column) == 'count' else 'whole number'}"
        for value, column in zip(fields, columns, strict=True)
        if not re.fullmatch(_FIELD[_kind(column)], value)
    ]
    return ", ".join(wrong) or f"{text!r} cannot be read"


def _parse(path: Path, data: bytes, columns: tuple[str, ...]) -> pd.DataFrame:
    """Columns of lines that the pattern has accepted: ``chrom`` categorical, ``count`` float64, others int64."""
    # Read as "category" at once, chromosomes "1" and "2" would become numbers.
    dtypes: dict[str, Any] = {"chrom": "str", "count": object, "number": "int64"}
    try:
        table = pd.read_csv(
            BytesIO(data),
            sep=r"\s+",
            header=None,
            names=list(columns),
            dtype={column: dtypes[_kind(column)] for column in columns},
            keep_default_na=False,
            quoting=3,
        )
    except UnicodeDecodeError as error:
        raise InputFileError(f"contacts {path} cannot be read as text ({error}).") from error
    # Python reads a fraction to the last bit, which pandas does not by default in all its versions.
    counts = table["count"].to_numpy(dtype=object).astype(np.float64)
    chroms = {column: table[column].astype("category") for column in columns if _kind(column) == "chrom"}
    return table.assign(count=counts, **chroms)


@dataclass(frozen=True)
class BinIds:
    """Binner of HiC-Pro's matrix: ids from 1 of a table of ``n_bins`` bins, upper triangle."""

    n_bins: int
    layout: str = "bin ids"

    def bin(self, table: pd.DataFrame, line: np.ndarray) -> tuple[NumberedPixels, list[tuple[int, str]]]:
        """See :class:`Binner`."""
        bin1, bin2 = (table[name].to_numpy() for name in ("bin1", "bin2"))
        problems = []
        off = (np.minimum(bin1, bin2) < 1) | (np.maximum(bin1, bin2) > self.n_bins)
        for at in np.flatnonzero(off)[: _MAX_LISTED + 1].tolist():
            problems.append(
                (int(line[at]), f"bins {bin1[at]} and {bin2[at]}; the bin table numbers 1 to {self.n_bins}")
            )
        for at in np.flatnonzero(~off & (bin1 > bin2))[: _MAX_LISTED + 1].tolist():
            problems.append((int(line[at]), _below_diagonal(f"bin {bin1[at]}", f"bin {bin2[at]}")))
        return NumberedPixels(bin1 - 1, bin2 - 1, table["count"].to_numpy(), line), problems

    def finish(self) -> list[str]:
        """See :class:`Binner`."""
        return []


@dataclass
class Starts:
    """Binner of coordinates: starts of bins in bp, from 0, on chromosomes of known lengths.

    Lines with an end on another chromosome are left out. The names of those chromosomes are kept in ``others``, those of the
    chromosomes that lines do name in ``listed``. A pixel between two chromosomes may name them in either order, since files
    order them differently; within one the upper triangle is needed.

    Parameters
    ----------
    chrom_lengths
        Names and lengths (bp), in the order of the bins.
    binsize
        Bin width in bp.
    layout
        Key of :data:`LAYOUTS`.
    chrom
        The one chromosome of a file that names none.
    """

    chrom_lengths: dict[str, int]
    binsize: int
    layout: str
    chrom: str | None = None
    others: set[str] = field(default_factory=set, init=False)
    listed: set[str] = field(default_factory=set, init=False)
    _step: int = field(default=0, init=False)
    _starts: set[int] = field(default_factory=set, init=False)

    def bin(self, table: pd.DataFrame, line: np.ndarray) -> tuple[NumberedPixels, list[tuple[int, str]]]:
        """See :class:`Binner`."""
        lengths = np.array(list(self.chrom_lengths.values()), dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(-(-lengths // self.binsize))])
        codes = [self._codes(table, side) for side in "12"]
        is_known = (codes[0] >= 0) & (codes[1] >= 0)
        if not is_known.all():
            table, line = table[is_known], line[is_known]
            codes = [code[is_known] for code in codes]
        names = list(self.chrom_lengths)
        self.listed |= {names[code] for side in codes for code in np.unique(side).tolist()}
        problems: list[tuple[int, str]] = []
        ids = []
        for side, code in zip("12", codes, strict=True):
            start = table[f"start{side}"].to_numpy()
            self._note_step(start)
            checks = [
                (start % self.binsize != 0, f"is not the start of a bin of {self.binsize:,} bp"),
                (start >= lengths[code], "is past the chromosome's end: the file may belong to another assembly"),
            ]
            if f"end{side}" in table:
                end = table[f"end{side}"].to_numpy()
                wanted = np.minimum(start + self.binsize, lengths[code])
                why = f"does not end {self.binsize:,} bp on or at the chromosome's end: other bins, or another assembly"
                checks.append(((end != wanted) & ~(checks[0][0] | checks[1][0]), why))
            for is_bad, why in checks:
                for at in np.flatnonzero(is_bad)[: _MAX_LISTED + 1].tolist():
                    problems.append((int(line[at]), f"start{side} {start[at]:,} of {names[code[at]]!r} {why}"))
            ids.append(offsets[code] + start // self.binsize)
        is_below = (ids[0] > ids[1]) & (codes[0] == codes[1])
        for at in np.flatnonzero(is_below)[: _MAX_LISTED + 1].tolist():
            ends = [f"{table[f'start{side}'].iloc[at]:,}" for side in "12"]
            problems.append((int(line[at]), _below_diagonal(*ends)))
        pixels = NumberedPixels(np.minimum(*ids), np.maximum(*ids), table["count"].to_numpy(), line)
        return pixels, problems

    def finish(self) -> list[str]:
        """See :class:`Binner`. Bins twice as wide as those asked for would else leave every other pixel empty."""
        if len(self._starts) >= _ENOUGH_STARTS and self._step > self.binsize:
            return [
                f"all starts are multiples of {self._step:,} bp: its bins are that wide, and {self.binsize:,} bp were asked for"
            ]
        return []

    def _codes(self, table: pd.DataFrame, side: str) -> np.ndarray:
        names = list(self.chrom_lengths)
        if self.chrom is not None:
            return np.full(len(table), names.index(self.chrom))
        column = table[f"chrom{side}"].cat
        known = {name: code for code, name in enumerate(names)}
        of_category = np.array([known.get(name, -1) for name in column.categories], dtype=np.int64)
        self.others |= set(column.categories) - known.keys()
        return of_category[column.codes.to_numpy()]

    def _note_step(self, start: np.ndarray) -> None:
        self._step = gcd(self._step, int(np.gcd.reduce(start, initial=0)))
        if len(self._starts) < _ENOUGH_STARTS:
            self._starts.update(np.unique(start)[:_ENOUGH_STARTS].tolist())


def _below_diagonal(first: str, second: str) -> str:
    return (
        f"{first} comes after {second}: the pixel lies below the diagonal, and only the upper triangle is read. Keep the "
        "lines whose first end comes first"
    )
