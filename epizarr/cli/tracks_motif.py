"""``epizarr tracks motif``: stranded tracks of a motif from a genome sequence."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import OverwriteOption, print_table, progress_bar, stderr, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("motif", epilog="Example: epizarr tracks motif hg38.fa.gz --pwm MA0139.1.jaspar -o CTCF-motif")(command)


def command(
    fasta: Annotated[Path, typer.Argument(help="Genome: FASTA, plain, gzip or bgzip.")],
    pwm: Annotated[Path, typer.Option(help="Motif: JASPAR or MEME file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Beginning of the names: OUT.plus.bw and OUT.minus.bw.")],
    motif: Annotated[str | None, typer.Option(help="Name of the motif, where the file holds several.")] = None,
    p_value: Annotated[float, typer.Option(help="Largest p-value of a hit, for one place on one strand.")] = 1e-5,
    pseudocount: Annotated[
        float, typer.Option(help="Added to each position's counts, shared out by background.")
    ] = 0.1,
    assembly: Annotated[
        str | None, typer.Option(help="Assembly that the FASTA must match; only its chromosomes are scanned.")
    ] = None,
    chrom: Annotated[
        list[str] | None, typer.Option(help="Chromosome to scan; repeat for several.  \\[default: all]")
    ] = None,
    signal: Annotated[
        Path | None, typer.Option(help="bigWig of the factor's ChIP-seq; hits without signal are left out.")
    ] = None,
    signal_above: Annotated[
        float | None, typer.Option(help="With --signal: the largest value near a hit must be above this.")
    ] = None,
    signal_flank: Annotated[
        int | None, typer.Option(min=0, help="With --signal: near is so many bp on either side.  \\[default: 100]")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write where a motif matches, as one bigWig for each strand; the value is the match's score in bits.

    Loops form between CTCF sites that point at each other, and ChIP-seq does not show which way they point.
    """
    from epizarr.io.chromsizes import open_assembly
    from epizarr.io.motif_tracks import DEFAULT_FLANK_BP, SignalMask, write_motif_tracks
    from epizarr.io.motifs import read_motif

    if (signal is None) != (signal_above is None):
        raise typer.BadParameter("--signal and --signal-above are used together: which signal, and how much of it.")
    if signal is None and signal_flank is not None:
        raise typer.BadParameter("--signal-flank is used with --signal only.")
    flank_bp = DEFAULT_FLANK_BP if signal_flank is None else signal_flank
    with progress_bar("motif") as update:
        made = write_motif_tracks(
            fasta,
            read_motif(pwm, motif),
            out,
            p_value=p_value,
            pseudocount=pseudocount,
            assembly=None if assembly is None else open_assembly(assembly, chromosomes=chrom),
            chroms=chrom,
            mask=None if signal is None or signal_above is None else SignalMask(signal, signal_above, flank_bp),
            overwrite=overwrite,
            progress=update,
        )
    if made.unmasked_chroms:
        stderr.print(f"{signal} does not list {', '.join(made.unmasked_chroms)}: no hit was kept there.", markup=False)
    print_table(
        ["track", "strand", "hits", "found", "bp covered"],
        [[str(track.path), track.strand, track.n_hits, track.n_found, track.n_covered] for track in made.tracks],
        title=f"{made.motif.name} {made.motif.alt_name}".strip(),
    )
    stdout.print(
        f"A hit scores at least {made.threshold_bits:.3f} bits (p-value {made.p_value:.2g}); "
        f"{made.n_chroms} chromosomes scanned.\n"
        'In a manifest: uncovered = "zero", strand = "+" or "-".',
        markup=False,
    )
