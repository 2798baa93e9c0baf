"""HiC-DC+'s features of every bin of an assembly, from a FASTA and, if there is one, a mappability bigWig."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from epizarr.errors import InputFileError
from epizarr.genome import Assembly
from epizarr.io.bigwig import inspect_bigwig, read_chromosome_intervals
from epizarr.io.chromsizes import check_file_assembly
from epizarr.io.fasta import inspect_fasta, match_assembly, read_chromosomes
from epizarr.normalize.features import END_BP, bin_features, cut_patterns


def read_bin_features(
    fasta: str | Path,
    assembly: Assembly,
    binsize: int,
    *,
    enzymes: Sequence[str] | None,
    mappability: str | Path | None = None,
    rename_fasta: Mapping[str, str] | None = None,
    rename_mappability: Mapping[str, str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> pd.DataFrame:
    """Compute ``gc``, ``map`` and ``len`` of all bins; see :func:`~epizarr.normalize.features.bin_features`.

    Reads one chromosome at a time: a byte for each of its bases, 12 bytes for each of its mappability intervals (twice while
    they are read), 130 bytes a cut site, and about 150 MB. With Arima's enzymes and no mappability that is 2.2 bytes a base of
    the largest chromosome.

    Parameters
    ----------
    fasta
        Sequence of the assembly, plain, gzip or bgzip.
    assembly
        Chromosomes that are wanted; the FASTA must have all of them.
    binsize
        Bin width in bp.
    enzymes
        Names or recognition patterns (:func:`~epizarr.normalize.features.cut_patterns`); None for protocols without a
        restriction enzyme (Micro-C, intact Hi-C).
    mappability
        bigWig of the share of reads that map uniquely, 0 to 1; None without one.
    rename_fasta, rename_mappability
        ``{name in the file: name in the assembly}``.
    progress
        Called with (bp done, bp in all, chromosome).

    Returns
    -------
    Table with a row for each bin of ``assembly.bins(binsize)``, indexed by ``bin_id``; columns ``gc``, ``map`` (with a
    mappability only; NaN on chromosomes that its file does not list) and ``len`` (with enzymes only).

    Raises
    ------
    InputNotFoundError, InputFileError
        If a file is missing, is not what it should be, or is damaged; if no bin of the assembly holds a fragment end.
    AssemblyMismatchError
        If a file belongs to another assembly, or the FASTA lacks a chromosome.
    ConfigError
        If an enzyme is not known.
    """
    patterns = None if enzymes is None else cut_patterns(enzymes)
    info = inspect_fasta(fasta)
    file_name = match_assembly(info, assembly, rename_fasta)
    chrom_of = {old: new for new, old in file_name.items()}
    track_name: dict[str, str] = {}
    if mappability is not None:
        track_name = check_file_assembly(inspect_bigwig(mappability), assembly, rename_mappability)
    grid = assembly.bins(binsize)
    total, done = sum(assembly.chrom_lengths), 0
    parts: dict[str, pd.DataFrame] = {}
    for old, sequence in read_chromosomes(info, chrom_of):
        chrom = chrom_of[old]
        if progress is not None:
            progress(done, total, chrom)
        intervals = None
        if mappability is not None and chrom in track_name:
            intervals = read_chromosome_intervals(mappability, chrom=chrom, file_chrom=track_name[chrom])
        features = bin_features(sequence, binsize, patterns=patterns, mappability=intervals)
        done += len(sequence)
        del sequence, intervals
        if mappability is not None and chrom not in track_name:
            features.insert(1, "map", np.nan)
        parts[chrom] = features
    if progress is not None:
        progress(total, total, "")
    table = pd.concat([parts[chrom] for chrom in assembly.chrom_names], ignore_index=True)
    if patterns is not None and not table["len"].any():
        raise InputFileError(
            f"{info.label}: no bin of {binsize:,} bp holds a fragment end of {', '.join(patterns)}. Either these patterns never "
            f"cut this sequence, or the bins are too small for ends of {END_BP} bp. Give the enzymes that were used, larger "
            "bins, or no enzymes for a protocol without one."
        )
    table.index = pd.RangeIndex(grid.n_bins, name="bin_id")
    return table
