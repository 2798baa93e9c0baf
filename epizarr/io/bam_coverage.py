"""BAM files of one assay to one bigWig, by deepTools' ``bamCoverage``: the tracks that the Epiphany paper trained on.

The paper merged the replicates and ran ``bamCoverage --binSize 10 --normalizeUsing RPGC``, everything else at its default;
the preset ``coverage`` does that and nothing else. bamCoverage counts each alignment by itself, so that the merged file's
counts are exactly the sums of the replicates' counts, and 1x is taken once, from all reads together.

Everything is done in a temporary folder beside the output; the user's BAM files are only read.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from epizarr.errors import ConfigError, InputFileError, nearest_match
from epizarr.genome import Assembly
from epizarr.io.bam import (
    BamInfo,
    check_bam_assembly,
    check_replicates,
    inspect_bam,
    link_with_index,
    quiet_htslib,
    require_bam_extra,
)
from epizarr.io.bam_reads import ReadCounts, ReadSettings, write_kept_reads
from epizarr.io.bed import read_intervals
from epizarr.io.bigwig import inspect_bigwig
from epizarr.io.files import new_file

#: Bases that are not N, by assembly: deepTools' documentation ("Effective Genome Size", first table).
EFFECTIVE_GENOME_SIZES: dict[str, int] = {
    "hg19": 2_864_785_220,
    "hg38": 2_913_022_398,
    "hs1": 3_117_292_070,
    "mm9": 2_620_345_972,
    "mm10": 2_652_783_500,
    "mm39": 2_654_621_783,
    "dm3": 162_367_812,
    "dm6": 142_573_017,
    "danRer10": 1_369_631_918,
    "danRer11": 1_368_780_147,
    "ce11": 100_286_401,
    "TAIR10": 119_482_012,
}
#: Other names of the same assemblies.
_SAME_ASSEMBLY = {
    "GRCh37": "hg19",
    "GRCh38": "hg38",
    "T2T-CHM13v2.0": "hs1",
    "GRCm37": "mm9",
    "MGSCv37": "mm9",
    "GRCm38": "mm10",
    "GRCm39": "mm39",
    "GRCz10": "danRer10",
    "GRCz11": "danRer11",
    "WBcel235": "ce11",
}

# -P keeps the working folder off the path; deepTools' own temporary files go where ours do.
_BAM_COVERAGE = (
    "import sys, tempfile; tempfile.tempdir = sys.argv.pop(1); "
    "from deeptools.bamCoverage import main; main(sys.argv[1:])"
)


@dataclass(frozen=True)
class BamTrackReport:
    """What was made of the reads.

    Parameters
    ----------
    out
        The bigWig.
    n_files
        Number of replicates.
    counts
        Reads read, kept and left out.
    scale
        What a bin's number of reads was multiplied by.
    unit
        What 1 means in the bigWig.
    """

    out: Path
    n_files: int
    counts: ReadCounts
    scale: str
    unit: str

    def __str__(self) -> str:
        lines = [
            f"{self.out}: {self.counts.n_kept:,} of {self.counts.n_read:,} alignments of {self.n_files} BAM file(s) count"
        ]
        lines += [f"  {n:,} left out: {reason}" for reason, n in sorted(self.counts.left_out.items())]
        lines += [f"  scale: {self.scale}", f"  1 means: {self.unit}"]
        return "\n".join(lines)


def ucsc_name(assembly: str) -> str:
    """UCSC's name of an assembly that is given by its GRC name; any other name as it is.

    Examples
    --------
    >>> ucsc_name("GRCz11")
    'danRer11'
    """
    return _SAME_ASSEMBLY.get(assembly, assembly)


def effective_genome_size(assembly: str) -> int:
    """Effective genome size of an assembly in bp.

    These count every base that is not N, which is right where reads that map to several places are kept; with a filter of
    mapping quality deepTools' documentation advises smaller values that depend on the length of the reads.

    Raises
    ------
    ConfigError
        If the assembly is not among those that deepTools documents.

    Examples
    --------
    >>> effective_genome_size("GRCh38")
    2913022398
    """
    name = ucsc_name(assembly)
    if name not in EFFECTIVE_GENOME_SIZES:
        known = [*EFFECTIVE_GENOME_SIZES, *_SAME_ASSEMBLY]
        raise ConfigError(
            f"no effective genome size is known for assembly {assembly!r}; there are {', '.join(known)}."
            f"{nearest_match(assembly, known)} Give the number (--effective-genome-size)."
        )
    return EFFECTIVE_GENOME_SIZES[name]


def write_bam_track(
    bams: Sequence[str | Path],
    out: str | Path,
    *,
    settings: ReadSettings | None = None,
    genome_size: int | None = None,
    spike_in_scale: float | None = None,
    assembly: Assembly | None = None,
    blacklist: str | Path | None = None,
    binsize: int = 10,
    n_processes: int = 1,
    overwrite: bool = False,
) -> BamTrackReport:
    """Make one bigWig from the BAM files of one assay.

    A bin's value is the number of reads (fragments, cuts) that touch it, times one factor:

    - by ``genome_size``, 1x (RPGC). For whole reads the factor is bamCoverage's: genome size / (reads · median length of a
      read). Since a read of L bp touches (L + binsize − 1) / binsize bins, the mean is then about 1 + (binsize − 1) / L. For
      fragments and cuts it is genome size / Σ (length + binsize − 1), so that the mean of intervals placed at random is 1.
    - by ``spike_in_scale``, that number and no 1x, which would undo it. It is meant for the merged reads: a constant over
      the spike-in reads of all replicates together.

    Bins without a read are 0; bins that touch the blacklist have no value, which reads as missing. bamCoverage prints six
    significant digits.

    Memory: bamCoverage's, some 250 MB a process; 256 MB while sorting. Disk, beside ``out``, until done: the indexes; with
    several BAM files and nothing left out, a merged copy of them; otherwise less than 20 bytes a read, up to three times while
    sorting; and bamCoverage's text, less than 40 bytes for each stretch of bins of one value. bamCoverage takes about a
    minute of one core for a million alignments.

    Parameters
    ----------
    bams
        Replicates, sorted by coordinate. No index is needed and none is written beside them.
    out
        bigWig to write, whole or not at all.
    settings
        Which reads count and as what; by default all, as they are.
    genome_size, spike_in_scale
        Exactly one of them.
    assembly
        If given, the chromosomes' lengths must be this assembly's.
    blacklist
        BED with the BAM's chromosome names. Reads wholly inside an interval are left out, of the scale too. Intervals are
        widened to whole bins. A whole chromosome (``chrM``) can be given.
    binsize
        Width of a bin in bp.
    n_processes
        Processes that bamCoverage uses.
    overwrite
        Replace ``out``.

    Raises
    ------
    ConfigError
        If the extra ``bam`` is not installed, or the settings contradict each other.
    InputNotFoundError, InputFileError
        If a BAM is missing, no BAM, truncated, damaged, not sorted, or no read counts.
    AssemblyMismatchError
        If the replicates, or they and ``assembly``, are on different references.
    OutputExistsError
        If ``out`` exists and ``overwrite`` is not set.
    """
    require_bam_extra()
    settings = settings or ReadSettings()
    out = Path(out)
    if (genome_size is None) == (spike_in_scale is None):
        raise ConfigError(
            "give either an effective genome size (1x, RPGC) or a spike-in scale: 1x would undo the spike-in's scale, and "
            "without either there is no unit."
        )
    given = {"effective genome size": genome_size, "spike-in scale": spike_in_scale, "binsize": binsize}
    wrong = {what: value for what, value in given.items() if value is not None and not 0 < value < float("inf")}
    if wrong:
        raise ConfigError(
            f"{', '.join(f'{what} {value}' for what, value in wrong.items())}: a positive number is needed."
        )
    infos = [inspect_bam(path) for path in bams]
    check_replicates(infos)
    if assembly is not None:
        check_bam_assembly(infos[0], assembly)
    with (
        new_file(out, overwrite=overwrite) as partial,
        tempfile.TemporaryDirectory(prefix=f"{out.name}.", suffix=".partial", dir=out.parent) as name,
    ):
        folder = Path(name)
        excluded = None if blacklist is None else _whole_bins(blacklist, infos[0], binsize)
        bam, counts = _one_bam(infos, folder, settings, excluded)
        arguments = ["--bam", str(bam), "--outFileName", str(partial), "--outFileFormat", "bigwig"]
        arguments += ["--binSize", str(binsize), "--numberOfProcessors", str(n_processes)]
        if excluded is not None and len(excluded):
            excluded.to_csv(folder / "blacklist.bed", sep="\t", header=False, index=False)
            arguments += ["--blackListFileName", str(folder / "blacklist.bed")]
        if spike_in_scale is not None:
            scale, unit = f"{spike_in_scale:.8g} (given)", f"1 / {spike_in_scale:.8g} {settings.signal} in a bin"
            arguments += ["--scaleFactor", repr(float(spike_in_scale))]
        elif settings.signal == "reads":
            scale, unit = f"bamCoverage's RPGC, effective genome size {genome_size:,} bp", "1x coverage"
            arguments += ["--normalizeUsing", "RPGC", "--effectiveGenomeSize", str(genome_size)]
        else:
            factor = float(genome_size or 0) / (counts.n_bases + counts.n_kept * (binsize - 1))
            scale = f"{factor:.8g} (1x, effective genome size {genome_size:,} bp)"
            unit = f"the mean of {settings.signal} placed at random"
            arguments += ["--scaleFactor", repr(factor)]
        _run_bam_coverage(arguments, folder, infos)
        inspect_bigwig(partial)
    return BamTrackReport(out, len(infos), counts, scale, unit)


def _one_bam(
    infos: Sequence[BamInfo], folder: Path, settings: ReadSettings, excluded: pd.DataFrame | None
) -> tuple[Path, ReadCounts]:
    """A BAM with an index in ``folder`` that holds what counts, and how much that is."""
    import pysam

    bam = folder / "reads.bam"
    if settings.takes_all and excluded is None:
        linked = [folder / f"replicate{number}.bam" for number in range(len(infos))]
        n_reads = sum(link_with_index(info.path, link) for info, link in zip(infos, linked, strict=True))
        _refuse_nothing(infos, counts := ReadCounts(n_reads, n_reads))
        if len(infos) == 1:
            return linked[0], counts
        with quiet_htslib():
            # Headers' programs and read groups are merged by name: nothing here reads them.
            pysam.merge("-c", "-p", str(bam), *map(str, linked))
            pysam.index(str(bam))
        return bam, counts
    kept = folder / "kept.bam"
    counts = write_kept_reads(infos, kept, settings, excluded)
    _refuse_nothing(infos, counts)
    with quiet_htslib():
        pysam.sort("-m", "256M", "-T", str(folder / "sorting"), "-o", str(bam), str(kept))
        kept.unlink()
        is_long = max(infos[0].chrom_lengths.values()) >= 2**29
        pysam.index(*(["-c"] if is_long else []), str(bam))
    return bam, counts


def _refuse_nothing(infos: Sequence[BamInfo], counts: ReadCounts) -> None:
    names = ", ".join(str(info.path) for info in infos)
    if counts.n_read == 0:
        raise InputFileError(f"BAM {names}: there is no mapped read. Give the file with the alignments.")
    if counts.n_kept == 0:
        why = "; ".join(f"{n:,} {reason}" for reason, n in sorted(counts.left_out.items()))
        raise InputFileError(
            f"BAM {names}: none of the {counts.n_read:,} alignments counts ({why}). Change the filters or the preset."
        )


def _whole_bins(path: str | Path, info: BamInfo, binsize: int) -> pd.DataFrame:
    """Blacklist widened to whole bins and merged, on the BAM's chromosomes: bins stay on their grid around it."""
    header = Assembly.from_table(f"the header of {info.path.name}", info.chrom_lengths.items())
    raw = read_intervals(path, header)
    rows: list[list[str | int]] = []
    for chrom, start, end in raw[["chrom", "start", "end"]].itertuples(index=False):
        lo, hi = start // binsize * binsize, min(-(-end // binsize) * binsize, info.chrom_lengths[chrom])
        if rows and rows[-1][0] == chrom and lo <= int(rows[-1][2]):
            rows[-1][2] = max(int(rows[-1][2]), hi)
        else:
            rows.append([chrom, lo, hi])
    return pd.DataFrame(rows, columns=["chrom", "start", "end"])


def _run_bam_coverage(arguments: list[str], folder: Path, infos: Sequence[BamInfo]) -> None:
    # A process of its own: deepTools changes NumPy's and matplotlib's settings on import, and ends by sys.exit.
    done = subprocess.run(
        [sys.executable, "-P", "-c", _BAM_COVERAGE, str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()][-3:]
        raise InputFileError(
            f"bamCoverage failed on {', '.join(str(info.path) for info in infos)} (exit status {done.returncode}): "
            f"{' / '.join(said) or 'it said nothing'}"
        )
