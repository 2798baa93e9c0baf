"""``epizarr tracks bam``: the BAM files of one assay to one bigWig."""

from pathlib import Path
from typing import Annotated, Any

import typer

from epizarr.cli.console import OverwriteOption, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bam", epilog="Example: epizarr tracks bam rep1.bam rep2.bam -o CTCF.bw --assembly hg38")(command)


def command(
    bams: Annotated[list[Path], typer.Argument(help="BAM files of one assay (replicates), sorted by coordinate.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="bigWig to write.")],
    assembly: Annotated[
        str | None,
        typer.Option(help="Assembly of the reads, such as hg38: checked, and its effective genome size taken."),
    ] = None,
    chrom_sizes: Annotated[
        Path | None, typer.Option(help="Table of chromosome sizes to check against, for an --assembly of your own.")
    ] = None,
    effective_genome_size: Annotated[
        int | None,
        typer.Option(min=1, help="Mappable bp, for 1x coverage (RPGC).  \\[default: deepTools' for the assembly]"),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="coverage (as published), atac-cuts, atac-fragments, cutrun-factor (up to 120 bp) or cutrun-histone "
            "(150 bp and more)."
        ),
    ] = "coverage",
    min_mapq: Annotated[int | None, typer.Option(min=0, max=255, help="Least mapping quality.  \\[default: 0]")] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(help="keep, flagged (leave out what is marked) or position (find them).  \\[default: keep]"),
    ] = None,
    exclude_flags: Annotated[
        int | None, typer.Option(min=0, max=4095, help="Leave out alignments with any of these SAM flags.")
    ] = None,
    min_fragment: Annotated[int | None, typer.Option(min=0, help="Shortest fragment in bp; 0 is no limit.")] = None,
    max_fragment: Annotated[int | None, typer.Option(min=0, help="Longest fragment in bp; 0 is no limit.")] = None,
    blacklist: Annotated[
        Path | None, typer.Option(help="BED of intervals without a value; list chrM to leave it out of the 1x too.")
    ] = None,
    spike_in_scale: Annotated[
        float | None, typer.Option(help="Factor from the spike-in of all replicates together, in place of 1x.")
    ] = None,
    binsize: Annotated[int, typer.Option(min=1, help="Width of a bin in bp.")] = 10,
    processes: Annotated[int, typer.Option(min=1, help="Processes that count reads.")] = 1,
    overwrite: OverwriteOption = False,
) -> None:
    """Merge the BAM files of one assay into one coverage track, 1x at 10 bp as published (deepTools' bamCoverage).

    Your BAM files are only read: what is needed besides lies in a temporary folder beside the output until the end.
    """
    from dataclasses import replace

    from epizarr.io import bam_coverage, bam_reads
    from epizarr.io.chromsizes import open_assembly

    if chrom_sizes is not None and assembly is None:
        raise typer.BadParameter("--chrom-sizes goes with --assembly, the name of what they are the sizes of.")
    given: dict[str, Any] = {
        "min_mapq": min_mapq,
        "duplicates": duplicates,
        "exclude_flags": exclude_flags,
        "min_fragment_bp": min_fragment,
        "max_fragment_bp": max_fragment,
    }
    settings = replace(bam_reads.preset(preset), **{key: value for key, value in given.items() if value is not None})
    wants_size = effective_genome_size is None and spike_in_scale is None and assembly is not None
    report = bam_coverage.write_bam_track(
        bams,
        out,
        settings=settings,
        genome_size=bam_coverage.effective_genome_size(assembly or "") if wants_size else effective_genome_size,
        spike_in_scale=spike_in_scale,
        assembly=None if assembly is None else open_assembly(bam_coverage.ucsc_name(assembly), chrom_sizes=chrom_sizes),
        blacklist=blacklist,
        binsize=binsize,
        n_processes=processes,
        overwrite=overwrite,
    )
    stdout.print(str(report), markup=False)
    stdout.print(f'In the manifest: file = "{out}", uncovered = "nan" (bins without a read are 0 in the file).')
