"""BAM files with reads at known places, made by the test."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyBigWig

LENGTHS = {"chr1": 20_000, "chr2": 5_005}


@dataclass(frozen=True)
class Read:
    """One alignment; ``tlen`` other than 0 makes it a proper pair's mate."""

    start: int
    length: int = 50
    chrom: str = "chr1"
    flag: int = 0
    mapq: int = 30
    tlen: int = 0
    cigar: tuple[tuple[int, int], ...] | None = None


def pair(start: int, fragment: int, length: int = 40, chrom: str = "chr1", mapq: int = 30) -> list[Read]:
    """Both mates of a fragment [start, start + fragment)."""
    left = Read(start, length, chrom, flag=0x1 | 0x2 | 0x20 | 0x40, mapq=mapq, tlen=fragment)
    right = Read(start + fragment - length, length, chrom, flag=0x1 | 0x2 | 0x10 | 0x80, mapq=mapq, tlen=-fragment)
    return [left, right]


def write_bam(
    path: Path,
    reads: Iterable[Read],
    *,
    lengths: dict[str, int] | None = None,
    sort: bool = True,
    order: str | None = "coordinate",
) -> Path:
    """Write reads in order of place, or as they come, under a header that claims ``order``. No index is made."""
    import pysam

    lengths = LENGTHS if lengths is None else lengths
    names = list(lengths)
    header = {"HD": {"VN": "1.6"} | ({"SO": order} if order else {})}
    header["SQ"] = [{"SN": chrom, "LN": n} for chrom, n in lengths.items()]
    rows: Sequence[Read] = list(reads)
    if sort:
        rows = sorted(rows, key=lambda r: (names.index(r.chrom), r.start))
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for number, read in enumerate(rows):
            record = pysam.AlignedSegment(out.header)
            record.query_name = f"read{number}"
            record.query_sequence = "A" * sum(n for op, n in read.cigar or ((0, read.length),) if op in (0, 1, 4))
            record.flag = read.flag
            record.reference_id = names.index(read.chrom)
            record.reference_start = read.start
            record.mapping_quality = read.mapq
            record.cigartuples = list(read.cigar or ((0, read.length),))
            if read.tlen:
                record.next_reference_id = record.reference_id
                record.next_reference_start = read.start if read.tlen > 0 else read.start + read.length + read.tlen
                record.template_length = read.tlen
            out.write(record)
    return path


def reads_per_bin(intervals: Iterable[tuple[str, int, int]], binsize: int = 10) -> dict[str, np.ndarray]:
    """How many intervals touch each bin: the closed form that bamCoverage is held against."""
    count = {chrom: np.zeros(-(-n // binsize)) for chrom, n in LENGTHS.items()}
    for chrom, start, end in intervals:
        count[chrom][start // binsize : -(-end // binsize)] += 1
    return count


def bin_values(path: Path, binsize: int = 10) -> dict[str, np.ndarray]:
    """Value of each bin of a bigWig, NaN where there is none; every base of a bin must have the same value."""
    values = {}
    with pyBigWig.open(str(path)) as file:
        for chrom, n in file.chroms().items():
            bases = np.asarray(file.values(chrom, 0, n, numpy=True), dtype=np.float64)
            padded = np.append(bases, np.full(-n % binsize, bases[-1])).reshape(-1, binsize)
            np.testing.assert_array_equal(padded, np.repeat(padded[:, :1], binsize, axis=1))
            values[chrom] = padded[:, 0]
    return values
