"""Which reads of a BAM count towards a track, and as what: whole reads, fragments or the cuts of a transposase."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from epizarr.errors import ConfigError, nearest_match
from epizarr.io.bam import BamInfo, iterate_sorted

if TYPE_CHECKING:
    import pysam

Signal = Literal["reads", "fragments", "cuts"]
Duplicates = Literal["keep", "flagged", "position"]

#: What Tn5 does: it binds as a dimer, and the middle of its 9-bp footprint lies 4 bp downstream of a plus-strand 5' end and
#: 5 bp upstream of a minus-strand one (Buenrostro et al. 2013).
TN5_SHIFT = (4, -5)

_SECONDARY, _SUPPLEMENTARY, _DUPLICATE = 0x100, 0x800, 0x400


@dataclass(frozen=True)
class ReadSettings:
    """What is counted, and what is left out. The defaults leave nothing out, as bamCoverage's do.

    Parameters
    ----------
    signal
        ``"reads"``: the aligned bases of every alignment, mates each on their own. ``"fragments"``: from the first to the
        last base of each proper pair, once. ``"cuts"``: one base, the 5' end of each read. Secondary and supplementary
        alignments give neither fragments nor cuts.
    tn5_shift
        Move 5' ends by +4 (plus strand) and −5 bp (minus strand): cuts and the ends of fragments of ATAC-seq.
    min_mapq
        Least mapping quality.
    duplicates
        ``"keep"``, ``"flagged"`` (leave out what is marked as a duplicate), or ``"position"`` (of alignments with the
        same start, length of fragment, strand and mate's chromosome keep the first), within each replicate.
    exclude_flags
        SAM flags; an alignment that has any of them is left out.
    min_fragment_bp, max_fragment_bp
        Limits of the fragment's length (TLEN; of an unpaired read, its aligned length), both inclusive; 0 is no limit.

    Raises
    ------
    ConfigError
        If a value is out of range, or a shift is asked of whole reads.
    """

    signal: Signal = "reads"
    tn5_shift: bool = False
    min_mapq: int = 0
    duplicates: Duplicates = "keep"
    exclude_flags: int = 0
    min_fragment_bp: int = 0
    max_fragment_bp: int = 0

    def __post_init__(self) -> None:
        problems = []
        for name, known in (
            ("signal", ("reads", "fragments", "cuts")),
            ("duplicates", ("keep", "flagged", "position")),
        ):
            value = getattr(self, name)
            if value not in known:
                problems.append(f"`{name}` = {value!r} must be one of {list(known)}.{nearest_match(str(value), known)}")
        if self.tn5_shift and self.signal == "reads":
            problems.append("`tn5_shift` moves cuts and the ends of fragments; whole reads are not shifted")
        if not 0 <= self.min_mapq <= 255:
            problems.append(f"`min_mapq` = {self.min_mapq} must lie in 0 to 255")
        if not 0 <= self.exclude_flags < 0x1000:
            problems.append(f"`exclude_flags` = {self.exclude_flags} must be a sum of SAM flags, 0 to 4095")
        if self.min_fragment_bp < 0 or self.max_fragment_bp < 0:
            problems.append("limits of the fragment's length must not be negative")
        if 0 < self.max_fragment_bp < self.min_fragment_bp:
            problems.append(f"no fragment is {self.min_fragment_bp} bp or more and {self.max_fragment_bp} bp or less")
        if problems:
            raise ConfigError("settings of the BAM's reads: " + "; ".join(problems) + ".")

    @property
    def takes_all(self) -> bool:
        """Whether every mapped alignment counts as it is."""
        return self == ReadSettings()


#: Settings by kind of experiment. The limits of CUT&RUN are those of Skene and Henikoff 2017: up to 120 bp for
#: transcription factors, 150 bp and more for nucleosomes.
PRESETS: dict[str, ReadSettings] = {
    "coverage": ReadSettings(),
    "atac-cuts": ReadSettings(signal="cuts", tn5_shift=True),
    "atac-fragments": ReadSettings(signal="fragments", tn5_shift=True),
    "cutrun-factor": ReadSettings(signal="fragments", max_fragment_bp=120),
    "cutrun-histone": ReadSettings(signal="fragments", min_fragment_bp=150),
}


def preset(name: str) -> ReadSettings:
    """Settings of a kind of experiment; an unknown name raises :class:`ConfigError` and lists those there are."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; there are {list(PRESETS)}.{nearest_match(name, list(PRESETS))}")
    return PRESETS[name]


@dataclass
class ReadCounts:
    """How many alignments were read, why some were left out, and what is left.

    Parameters
    ----------
    n_read
        Mapped alignments.
    n_kept
        Intervals (reads, fragments or cuts) that count.
    n_bases
        Sum of their lengths, deletions included.
    left_out
        Number of alignments by reason.
    """

    n_read: int = 0
    n_kept: int = 0
    n_bases: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str) -> None:
        """Count an alignment that is left out."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def write_kept_reads(
    infos: Sequence[BamInfo],
    target: Path,
    settings: ReadSettings,
    blacklist: pd.DataFrame | None = None,
) -> ReadCounts:
    """Write what counts as a BAM of bare intervals: no names, sequences or qualities, all replicates in one.

    Holds one read at a time. The records come replicate by replicate, and cuts out of order: sort the file. It takes
    less than 20 bytes a read.

    Parameters
    ----------
    infos
        Replicates with the same reference sequences (:func:`~epizarr.io.bam.check_replicates`).
    target
        BAM to write.
    settings
        What counts.
    blacklist
        Merged, sorted intervals (``chrom``, ``start``, ``end``); what lies wholly inside one is left out.

    Raises
    ------
    InputFileError
        If a replicate is not sorted or is damaged.
    """
    import pysam

    lengths = infos[0].chrom_lengths
    header = pysam.AlignmentHeader.from_references(list(lengths), list(lengths.values()))
    inside = _inside(blacklist, list(lengths))
    n_bp = list(lengths.values())
    take = _TAKE[settings.signal]
    counts = ReadCounts()
    with pysam.AlignmentFile(str(target), "wb", header=header) as out:
        bare = pysam.AlignedSegment(header)
        bare.query_name = "*"
        bare.mapping_quality = 255
        for info in infos:
            seen: set[tuple[int, int, bool]] = set()
            place = (-1, -1)
            for read in iterate_sorted(info):
                counts.n_read += 1
                reason = _refuse(read, settings)
                if reason is None and settings.duplicates == "position":
                    if place != (here := (read.reference_id, read.reference_start)):
                        seen.clear()
                        place = here
                    key = (_fragment_bp(read), read.next_reference_id, read.is_reverse)
                    reason = "duplicate by position" if key in seen else None
                    seen.add(key)
                if reason is not None:
                    counts.leave_out(reason)
                    continue
                start, end = take(read, settings.tn5_shift)
                chrom = read.reference_id
                if not 0 <= start < end <= n_bp[chrom]:
                    counts.leave_out("shifted off the chromosome")
                    continue
                if inside(chrom, start, end):
                    counts.leave_out("in a blacklisted interval")
                    continue
                bare.reference_id = chrom
                bare.reference_start = start
                bare.flag = read.flag & 16
                # A read keeps its gaps, so that a spliced or deleted stretch is not counted.
                bare.cigartuples = read.cigartuples if settings.signal == "reads" else [(0, end - start)]
                out.write(bare)
                counts.n_kept += 1
                counts.n_bases += end - start
    return counts


def _refuse(read: "pysam.AlignedSegment", settings: ReadSettings) -> str | None:
    """Reason to leave an alignment out, or None."""
    flag = read.flag
    if read.mapping_quality < settings.min_mapq:
        return f"mapping quality below {settings.min_mapq}"
    if flag & settings.exclude_flags:
        return f"flags among {settings.exclude_flags}"
    if settings.duplicates == "flagged" and flag & _DUPLICATE:
        return "marked as duplicate"
    if settings.signal != "reads" and flag & (_SECONDARY | _SUPPLEMENTARY):
        return "secondary or supplementary"
    if settings.signal == "fragments" and not read.is_proper_pair:
        return "not a proper pair"
    if settings.min_fragment_bp or settings.max_fragment_bp:
        length = _fragment_bp(read)
        if length < settings.min_fragment_bp:
            return f"fragment shorter than {settings.min_fragment_bp} bp"
        if settings.max_fragment_bp and length > settings.max_fragment_bp:
            return f"fragment longer than {settings.max_fragment_bp} bp"
    # Of the two mates the left one stands for the fragment: exactly one has a positive TLEN.
    if settings.signal == "fragments" and read.template_length <= 0:
        return "second mate of a counted fragment"
    return None


def _fragment_bp(read: "pysam.AlignedSegment") -> int:
    return abs(read.template_length) or int(read.reference_length or 0)


def _take_read(read: "pysam.AlignedSegment", shift: bool) -> tuple[int, int]:
    return read.reference_start, read.reference_end or read.reference_start


def _take_fragment(read: "pysam.AlignedSegment", shift: bool) -> tuple[int, int]:
    left, right = TN5_SHIFT if shift else (0, 0)
    return read.reference_start + left, read.reference_start + read.template_length + right


def _take_cut(read: "pysam.AlignedSegment", shift: bool) -> tuple[int, int]:
    plus, minus = TN5_SHIFT if shift else (0, 0)
    at = (read.reference_end or 0) - 1 + minus if read.is_reverse else read.reference_start + plus
    return at, at + 1


_TAKE: Mapping[str, Callable[["pysam.AlignedSegment", bool], tuple[int, int]]] = {
    "reads": _take_read,
    "fragments": _take_fragment,
    "cuts": _take_cut,
}


def _inside(blacklist: pd.DataFrame | None, chroms: list[str]) -> Callable[[int, int, int], bool]:
    """``(chromosome's index, start, end) -> bool``: does an interval lie wholly inside a blacklisted one."""
    if blacklist is None:
        return lambda chrom, start, end: False
    rows = {chrom: blacklist[blacklist["chrom"] == chrom] for chrom in set(blacklist["chrom"])}
    empty = np.empty(0, dtype=np.int64)
    starts = [rows[c]["start"].to_list() if c in rows else empty.tolist() for c in chroms]
    ends = [rows[c]["end"].to_list() if c in rows else empty.tolist() for c in chroms]

    def inside(chrom: int, start: int, end: int) -> bool:
        last = bisect_right(starts[chrom], start) - 1
        return last >= 0 and bool(end <= ends[chrom][last])

    return inside
