"""``epizarr import-weights``: a released state dict in, a run folder that ``predict`` accepts out."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import stdout

_EXAMPLE = (
    "Example: epizarr import-weights pretrained_10kb.pt_model -o runs/published --tracks "
    "DNase,H3K27ac,H3K4me3,H3K27me3,CTCF --assembly hg38 --chrom-sizes hg38.chrom.sizes --target ice --target-transform linear "
    "--cell-type GM12878 --train 'chr1 chr2 chr4'"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import-weights", epilog=_EXAMPLE)(command)


def command(
    file: Annotated[Path, typer.Argument(help="State dict of a released network (.pt_model).")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder to make.")],
    tracks: Annotated[
        str,
        typer.Option(help="Track of each input channel, in order, separated by commas: the file does not name them."),
    ],
    target: Annotated[str, typer.Option(help="What the network predicts: ice, kr, hicdcplus_oe, …")],
    target_transform: Annotated[str, typer.Option(help="What was done to the target in training: linear or log1p.")],
    cell_type: Annotated[str, typer.Option(help="Cell types that it was trained on, separated by commas.")],
    train: Annotated[
        list[str], typer.Option(help="Regions that it was trained on, separated by spaces; may be repeated.")
    ],
    validation: Annotated[list[str] | None, typer.Option(help="Regions that chose it, in the same form.")] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(help="Regions kept for scores, in the same form; `evaluate` takes them by default."),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Store on the network's assembly, to take it from.")] = None,
    assembly: Annotated[str | None, typer.Option(help="Name of the assembly, with --chrom-sizes.")] = None,
    chrom_sizes: Annotated[Path | None, typer.Option(help="Table of its chromosomes' lengths.")] = None,
    track_transform: Annotated[
        str, typer.Option(help="What was done to the tracks in training; the released code does nothing.")
    ] = "linear",
    final_relu: Annotated[
        str, typer.Option(help="Where negative outputs are cut at 0: never, predict (the released prediction), always.")
    ] = "never",
) -> None:
    """Make a checkpoint from released weights, for prediction.

    Only tensors are read; what else a file holds is refused and not run.

    All names and shapes are compared with the published 10 kb and 5 kb networks.

    The published channels are DNase, H3K27ac, H3K4me3, H3K27me3, CTCF.
    """
    from epizarr.io.chromsizes import open_assembly
    from epizarr.io.store import store_assembly
    from epizarr.train import import_weights

    if (store is None) == (assembly is None or chrom_sizes is None) or (store and (assembly or chrom_sizes)):
        raise typer.BadParameter("give either --store, or --assembly and --chrom-sizes.")
    genome = store_assembly(store) if store else open_assembly(str(assembly), chrom_sizes=chrom_sizes)
    best = import_weights(
        file,
        out,
        tracks=[name.strip() for name in tracks.split(",")],
        assembly=genome,
        target_variable=target,
        target_transform=target_transform,
        train_regions=_words(train),
        validation_regions=_words(validation),
        test_regions=_words(test),
        cell_types=[name.strip() for name in cell_type.split(",")],
        track_transform=track_transform,
        final_relu=final_relu,
    )
    stdout.print(
        f"{best}: see {out / 'MODEL_CARD.md'}. Next: epizarr predict STORE --checkpoint {best} --cell-type NAME"
    )


def _words(texts: list[str] | None) -> list[str]:
    return [word for text in texts or [] for word in text.split()]
