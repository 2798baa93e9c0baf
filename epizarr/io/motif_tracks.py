"""Two stranded tracks of a motif: where it matches the genome forward, and where backward.

ChIP-seq shows where CTCF binds and not which way the site points, and loops form between sites that point at each other. These
tracks tell a model the orientation. They depend on the genome alone, unless they are limited to sites that a cell type's
signal shows to be bound.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyBigWig

from epizarr.errors import ConfigError, InputFileError
from epizarr.genome import Assembly
from epizarr.io.bigwig import inspect_bigwig, read_interval_maxima
from epizarr.io.chromsizes import check_file_assembly
from epizarr.io.fasta import inspect_fasta, match_assembly, read_chromosomes
from epizarr.io.files import new_file, refuse_existing
from epizarr.motif_scan import (
    DEFAULT_P_VALUE,
    DEFAULT_PSEUDOCOUNT,
    Hits,
    Motif,
    best_score_runs,
    find_hits,
    make_scanner,
)

DEFAULT_FLANK_BP = 100
#: Entries handed to pyBigWig at a time.
_ENTRIES = 100_000


@dataclass(frozen=True)
class SignalMask:
    """Which hits a signal keeps: those where its largest value in the neighbourhood is above a threshold.

    Parameters
    ----------
    path
        bigWig of the signal, for instance CTCF ChIP-seq of a cell type.
    above
        Threshold in the signal's units; the value itself is not enough. A base without a value is never above it.
    flank_bp
        The neighbourhood is the hit and so many bp on either side.

    Raises
    ------
    ConfigError
        If ``above`` is not a finite number, or ``flank_bp`` is negative.
    """

    path: Path
    above: float
    flank_bp: int = DEFAULT_FLANK_BP

    def __post_init__(self) -> None:
        if not np.isfinite(self.above) or self.flank_bp < 0:
            raise ConfigError(
                f"signal mask: the threshold is {self.above} and the flank {self.flank_bp} bp; a finite number and at least 0 "
                "bp are needed."
            )


@dataclass(frozen=True)
class MotifTrack:
    """One written track.

    Parameters
    ----------
    path
        The bigWig.
    strand
        ``"+"`` or ``"-"``.
    n_hits
        Number of hits in it.
    n_found
        Number of hits before a signal mask took some away.
    n_covered
        Number of bases that have a value.
    """

    path: Path
    strand: str
    n_hits: int
    n_found: int
    n_covered: int


@dataclass(frozen=True)
class MotifTracks:
    """Both tracks, and what a hit was.

    Parameters
    ----------
    tracks
        Forward, then reverse.
    motif
        The motif.
    threshold_bits
        Lowest score of a hit.
    p_value
        p-value of that score.
    n_chroms
        Number of chromosomes scanned.
    unmasked_chroms
        Chromosomes that the mask's file does not list: nothing is known of them, so none of their hits is kept.
    """

    tracks: tuple[MotifTrack, MotifTrack]
    motif: Motif
    threshold_bits: float
    p_value: float
    n_chroms: int
    unmasked_chroms: tuple[str, ...]


def write_motif_tracks(
    fasta: str | Path,
    motif: Motif,
    out: str | Path,
    *,
    p_value: float = DEFAULT_P_VALUE,
    pseudocount: float = DEFAULT_PSEUDOCOUNT,
    assembly: Assembly | None = None,
    chroms: Sequence[str] | None = None,
    mask: SignalMask | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> MotifTracks:
    """Scan a genome for a motif and write ``OUT.plus.bw`` and ``OUT.minus.bw``.

    The value at a base is the score, in bits, of the best hit over it; bases without a hit have no entry, which is to be read as
    0 (``uncovered = "zero"`` in a manifest). Both files list all chromosomes that were scanned. Reads one chromosome at a time:
    a byte for each of its bases, 80 bytes a hit, and about 50 MB.

    Parameters
    ----------
    fasta
        Genome, plain, gzip or bgzip.
    motif
        What :func:`~epizarr.io.motifs.read_motif` returned.
    out
        Beginning of both files' names.
    p_value, pseudocount
        See :func:`~epizarr.motif_scan.make_scanner`.
    assembly
        Chromosomes to scan, which the FASTA must have. Default: all that it has.
    chroms
        Keep only these of them.
    mask
        Signal without which a hit does not count. Default: all count.
    overwrite
        Whether files of these names may be replaced.
    progress
        Called with (bp done, bp in all, chromosome).

    Raises
    ------
    OutputExistsError
        If one of the files exists and ``overwrite`` is off.
    InputNotFoundError, InputFileError
        If a file is missing, is not what it should be, or is damaged; if a strand has no hit at all, since a bigWig without
        values cannot be told from a broken one. Nothing is written then.
    AssemblyMismatchError
        If the FASTA or the signal belongs to another assembly.
    RegionError
        If one of ``chroms`` does not exist.
    ConfigError
        If no score fits the p-value.
    """
    scanner = make_scanner(motif, p_value=p_value, pseudocount=pseudocount)
    out = Path(out)
    paths = [out.with_name(f"{out.name}.{side}.bw") for side in ("plus", "minus")]
    for path in paths:
        refuse_existing(path, overwrite=overwrite)
    info = inspect_fasta(fasta)
    if assembly is None:
        assembly = Assembly.from_table(Path(fasta).name, [(c, n) for c, n in info.chrom_lengths.items() if n])
    if chroms is not None:
        assembly = assembly.restrict(chroms)
    match_assembly(info, assembly)
    signal_name = None if mask is None else check_file_assembly(inspect_bigwig(mask.path), assembly)
    scanned = [(chrom, length) for chrom, length in info.chrom_lengths.items() if chrom in assembly]
    total, done = sum(assembly.chrom_lengths), 0
    n_found, n_hits, n_covered = [0, 0], [0, 0], [0, 0]
    with ExitStack() as files:
        temporary = [files.enter_context(new_file(path, overwrite=overwrite)) for path in paths]
        handles = [files.enter_context(pyBigWig.open(str(path), "w")) for path in temporary]
        for handle in handles:
            handle.addHeader(scanned)
        for chrom, sequence in read_chromosomes(info, assembly.chrom_names):
            if progress is not None:
                progress(done, total, chrom)
            length = len(sequence)
            both = find_hits(sequence, scanner)
            del sequence
            for i, hits in enumerate(both):
                n_found[i] += len(hits)
                if mask is not None:
                    hits = _keep_bound(hits, scanner.width, mask, chrom, length)
                n_hits[i] += len(hits)
                n_covered[i] += _write_runs(handles[i], chrom, *best_score_runs(hits, scanner.width))
            done += length
        for strand, n in zip("+-", n_hits, strict=True):
            if not n:
                lost = f" ({sum(n_found):,} before the signal mask)" if mask is not None else ""
                raise InputFileError(
                    f"motif {motif.name!r} has no hit on the {strand} strand of {fasta} at p-value {p_value:g}{lost}, and a "
                    "track without values cannot be used. Give a larger p-value, more chromosomes, or a lower threshold "
                    "of the signal."
                )
    if progress is not None:
        progress(total, total, "")
    plus, minus = (
        MotifTrack(path, strand, n_hits[i], n_found[i], n_covered[i])
        for i, (path, strand) in enumerate(zip(paths, "+-", strict=True))
    )
    unmasked = () if signal_name is None else tuple(c for c in assembly.chrom_names if c not in signal_name)
    return MotifTracks((plus, minus), motif, scanner.threshold_bits, scanner.p_value, len(scanned), unmasked)


def _keep_bound(hits: Hits, width: int, mask: SignalMask, chrom: str, length: int) -> Hits:
    start = np.maximum(hits.start - mask.flank_bp, 0)
    end = np.minimum(hits.start + width + mask.flank_bp, length)
    return hits.keep(read_interval_maxima(mask.path, chrom=chrom, start=start, end=end) > mask.above)


def _write_runs(handle: "pyBigWig.pyBigWig", chrom: str, start: np.ndarray, end: np.ndarray, score: np.ndarray) -> int:
    """Add entries to a bigWig and return how many bases they cover."""
    for first in range(0, len(start), _ENTRIES):
        part = slice(first, first + _ENTRIES)
        names = np.full(len(start[part]), chrom)
        handle.addEntries(names, start[part], ends=end[part], values=score[part], validate=False)
    return int((end - start).sum())
