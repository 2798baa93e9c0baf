"""Genome sequences from FASTA files: plain, gzip or bgzip, one chromosome at a time.

Lower case marks repeats and stands for the same bases; sequences are handed out in upper case. An index (``.fai``) beside a
plain or bgzip file saves reading the file once to find its chromosomes; it is checked wherever it is used, since an index
that is older than its file would give another place's sequence without complaint.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from epizarr.errors import AssemblyMismatchError, InputFileError, RegionError, nearest_match, raise_all
from epizarr.genome import Assembly
from epizarr.io.chromsizes import check_file_assembly
from epizarr.io.compressed import Bytes, is_bgzip, open_bytes
from epizarr.io.filetype import read_lines, require_file_type

#: Bytes of text read at a time.
_PIECE_BYTES = 1 << 22
#: No header is longer; a file without line ends is not FASTA.
_MAX_HEADER_BYTES = 1 << 16

_LETTERS = b"ACGTUNRYSWKMBDHV"
#: Upper case for the letters of nucleic acids, 0 for whatever does not belong in a sequence.
_UPPER = bytes(
    byte & 0xDF if bytes([byte]).upper() in {bytes([letter]) for letter in _LETTERS} else 0 for byte in range(256)
)
_LINE_ENDS = b"\r\n"


@dataclass(frozen=True)
class FastaRecord:
    """Where one sequence of a FASTA file is.

    Parameters
    ----------
    length
        Number of bases.
    start, end
        The text of the sequence, line ends included, in bytes of the uncompressed file.
    """

    length: int
    start: int
    end: int


@dataclass(frozen=True)
class FastaInfo:
    """What a FASTA file holds.

    Parameters
    ----------
    path
        The file.
    records
        Sequences by name (the first word after ``>``), in the file's order.
    """

    path: Path
    records: dict[str, FastaRecord]

    @property
    def label(self) -> str:
        """How to name the file in a message."""
        return f"FASTA {self.path}"

    @property
    def chrom_lengths(self) -> dict[str, int]:
        """Names and lengths (bp) of chromosomes, in the file's order."""
        return {name: record.length for name, record in self.records.items()}


def inspect_fasta(path: str | Path) -> FastaInfo:
    """List the sequences of a FASTA file.

    With an index beside it (``genome.fa.fai``, as ``samtools faidx`` writes it) nothing else is read, if the file is plain
    or bgzip. Without one the file is read once, in pieces of 4 MiB.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If it is not FASTA, its compression is broken, or a name repeats or is missing; all such names are listed.
    """
    path = Path(path)
    is_text = require_file_type(path, ("text", "gzip"), "a FASTA file") == "text"
    index = path.with_name(f"{path.name}.fai")
    if index.exists() and (is_text or is_bgzip(path)):
        return FastaInfo(path, _read_index(index))
    with _open(path) as file:
        return FastaInfo(path, _find_records(file, path))


def match_assembly(info: FastaInfo, assembly: Assembly, rename: Mapping[str, str] | None = None) -> dict[str, str]:
    """Find every chromosome of an assembly in a FASTA file.

    Parameters
    ----------
    info
        What :func:`inspect_fasta` returned.
    assembly
        Chromosomes that are needed; others in the file are ignored.
    rename
        ``{name in the file: name in the assembly}``.

    Returns
    -------
    ``{name in the assembly: name in the file}``, in the assembly's order.

    Raises
    ------
    AssemblyMismatchError
        If a chromosome is missing or has another length, or ``rename`` does not fit.
    """
    names = check_file_assembly(info, assembly, rename)
    missing = [chrom for chrom in assembly.chrom_names if chrom not in names]
    if missing:
        raise AssemblyMismatchError(
            f"{info.label} lacks {missing[:6]}{' …' if len(missing) > 6 else ''} of assembly {assembly.name!r}. Give the "
            "FASTA of the whole assembly, or keep only the chromosomes that the file has."
        )
    return names


def read_chromosome(info: FastaInfo, chrom: str) -> np.ndarray:
    """Read the sequence of one chromosome.

    Of ordinary gzip everything before it is inflated too; :func:`read_chromosomes` does so once for all.

    Parameters
    ----------
    info
        What :func:`inspect_fasta` returned.
    chrom
        Chromosome, as the file names it.

    Returns
    -------
    ASCII codes in upper case, uint8 (base): one byte a base, and 12 MB meanwhile.

    Raises
    ------
    RegionError
        If the file has no such chromosome.
    InputFileError
        If it has changed since ``info`` or its index was made, is damaged, or holds letters that stand for no base.
    """
    _require_record(info, chrom)
    with _open(info.path) as file:
        return _read_record(file, info, chrom)


def read_chromosomes(info: FastaInfo, chroms: Collection[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Iterate over chromosomes in the order of the file, reading it once.

    The caller holds one byte a base of each sequence that it keeps a name for; delete the last one before asking for the
    next, and no two are held.

    Parameters
    ----------
    info
        What :func:`inspect_fasta` returned.
    chroms
        Chromosomes to read, as the file names them. All by default.

    Yields
    ------
    Name, and the sequence as :func:`read_chromosome` returns it.

    Raises
    ------
    RegionError, InputFileError
        As :func:`read_chromosome`.
    """
    for chrom in chroms or ():
        _require_record(info, chrom)
    with _open(info.path) as file:
        for chrom in info.records:
            if chroms is None or chrom in chroms:
                yield chrom, _read_record(file, info, chrom)


def _require_record(info: FastaInfo, chrom: str) -> None:
    if chrom not in info.records:
        names = list(info.records)
        raise RegionError(
            f"{info.label} has no chromosome {chrom!r}; it has {names[:6]}{' …' if len(names) > 6 else ''}."
            f"{nearest_match(chrom, names)}"
        )


@contextmanager
def _open(path: Path) -> Iterator[Bytes]:
    try:
        with open_bytes(path) as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputFileError(f"FASTA {path} is truncated or damaged ({error}). Fetch it again.") from error


def _read_record(file: Bytes, info: FastaInfo, chrom: str) -> np.ndarray:
    record = info.records[chrom]
    sequence = np.empty(record.length, dtype=np.uint8)
    if record.length == 0:
        return sequence
    # The header is read as well, to see that the sequence is the right one. Ordinary gzip was indexed just now, and going
    # back in it is slow.
    if not isinstance(file, gzip.GzipFile):
        _check_header(file, info, chrom)
    file.seek(record.start)
    filled, at = 0, record.start
    while at < record.end:
        text = file.read(min(_PIECE_BYTES, record.end - at))
        letters = text.translate(_UPPER, _LINE_ENDS)
        if not text or filled + len(letters) > record.length:
            _refuse_changed(info, chrom)
        if b"\0" in letters:
            _refuse_letters(text, info, chrom)
        sequence[filled : filled + len(letters)] = np.frombuffer(letters, dtype=np.uint8)
        filled += len(letters)
        at += len(text)
    following = file.read(64).lstrip(_LINE_ENDS)
    if filled != record.length or not (following == b"" or following.startswith(b">")):
        _refuse_changed(info, chrom)
    return sequence


def _check_header(file: Bytes, info: FastaInfo, chrom: str) -> None:
    """See that the line before a record is its header."""
    start = info.records[chrom].start
    lo = max(0, start - _MAX_HEADER_BYTES)
    file.seek(lo)
    before = file.read(start - lo)
    line = before.rstrip(_LINE_ENDS).rsplit(b"\n", 1)[-1]
    if not before.endswith(b"\n") or not line.startswith(b">") or _name_of(line[1:]) != chrom:
        _refuse_changed(info, chrom)


def _refuse_changed(info: FastaInfo, chrom: str) -> NoReturn:
    raise InputFileError(
        f"{info.label} does not hold {chrom!r} where its index says ({info.records[chrom].length:,} bp from byte "
        f"{info.records[chrom].start:,}): the file has changed since it was indexed, or is truncated. Remove or renew "
        f"{info.path.name}.fai if there is one (`samtools faidx`), or fetch the file again."
    )


def _refuse_letters(text: bytes, info: FastaInfo, chrom: str) -> NoReturn:
    strange = sorted(set(text) - set(_LETTERS) - set(_LETTERS.lower()) - set(_LINE_ENDS))
    shown = ", ".join(repr(chr(byte)) for byte in strange[:6])
    raise InputFileError(
        f"{info.label}: {chrom} holds {shown}, which stand for no base. A genome in the letters ACGT, N and the other IUPAC "
        "codes is needed; the file may hold proteins, alignment gaps or blanks, or its index may be older than the file."
    )


def _read_index(path: Path) -> dict[str, FastaRecord]:
    records: dict[str, FastaRecord] = {}
    problems: list[str] = []
    for number, line in read_lines(path, "an index of a FASTA file (.fai)"):
        fields = line.split("\t")
        numbers = [int(f) if f.isascii() and f.isdigit() else -1 for f in fields[1:5]]
        if len(numbers) < 4 or min(numbers) < 0 or numbers[3] < numbers[2] or (numbers[0] and not numbers[2]):
            problems.append(f"line {number}: {line[:80]!r} is not name, length, offset, bases and bytes a line")
            continue
        if fields[0] in records:
            problems.append(f"line {number}: {fields[0]!r} is listed a second time")
        length, offset, line_bases, line_bytes = numbers
        n_whole, rest = divmod(length, line_bases) if length else (0, 0)
        # The last line's end is left out: it may be missing at the end of a file.
        n_bytes = n_whole * line_bytes + rest - (line_bytes - line_bases if n_whole and not rest else 0)
        records[fields[0]] = FastaRecord(length, offset, offset + n_bytes)
    if not records and not problems:
        problems.append("it lists no sequence")
    raise_all(InputFileError, f"index {path} (renew it with `samtools faidx`, or remove it)", problems[:10])
    return records


@dataclass
class _Growing:
    """A sequence that is being listed: its header, and what was seen of its text so far."""

    header: bytes = b""
    start: int | None = None  # where the line after the header begins, once the header has ended
    n_bases: int = 0

    def add(self, text: bytes, offset: int) -> None:
        """Take in the next bytes of the record, which lie at ``offset`` of the file."""
        if self.start is None:
            line, newline, text = text.partition(b"\n")
            self.header += line
            if newline:
                self.start = offset + len(line) + 1
        self.n_bases += len(text) - text.count(b"\n") - text.count(b"\r")


def _find_records(file: Bytes, path: Path) -> dict[str, FastaRecord]:
    """Read a FASTA file once and note where each sequence is."""
    found: list[tuple[str, FastaRecord]] = []
    current: _Growing | None = None

    def finish(end: int) -> None:
        if current is not None:
            start = end if current.start is None else current.start
            found.append((_name_of(current.header), FastaRecord(current.n_bases, start, end)))

    # A record begins with "\n>", so the file is read as if a line ended before it, and a line end that is the last byte of a
    # piece is read with the next one.
    held, offset = b"\n", -1
    while piece := file.read(_PIECE_BYTES):
        text = held + piece
        held = b"\n" if text.endswith(b"\n") else b""
        first, *others = text[: len(text) - len(held)].split(b"\n>")
        if current is None and first.strip():
            raise InputFileError(
                f"{path} is not a FASTA file: it begins with {first.strip()[:30]!r}, and FASTA begins with '>' and the name "
                "of a sequence."
            )
        if current is not None:
            current.add(first, offset)
        offset += len(first)
        for part in others:
            finish(offset + 1)
            current = _Growing()
            current.add(part, offset + 2)
            offset += 2 + len(part)
        if current is not None and current.start is None and len(current.header) > _MAX_HEADER_BYTES:
            raise InputFileError(
                f"FASTA {path}: a header does not end within {_MAX_HEADER_BYTES:,} bytes ({current.header[:40]!r} …); the "
                "file is not FASTA, or its lines end in another way than on Unix or Windows."
            )
    finish(offset + len(held))
    names = Counter(name for name, _ in found)
    problems = ["a sequence has no name after its '>'"] if "" in names else []
    problems += [f"{n} sequences have the name {name!r}" for name, n in names.items() if name and n > 1]
    if not found:
        problems.append("it holds no sequence")
    raise_all(InputFileError, f"FASTA {path}", problems[:10])
    return dict(found)


def _name_of(header: bytes) -> str:
    """First word of a header, without its ``>``."""
    words = header.split()
    # A blank after the ">" means that there is no name, as other readers have it.
    return words[0].decode("utf-8", "replace") if words and not header[:1].isspace() else ""
