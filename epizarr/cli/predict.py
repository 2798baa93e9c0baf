"""``epizarr predict``: tracks of any cell type in, contacts in the store out."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import (
    ClusterOption,
    OverwriteOption,
    TakeOverOption,
    ThreadsOption,
    client_for,
    progress_bar,
    read_pairs,
    stdout,
)
from epizarr.cli.model_options import OutOption, StoreArgument, UseOption, WithoutOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "predict",
        epilog="Example: epizarr predict atlas.zarr --checkpoint runs/first/best --cell-type K562 --cell-type H1",
    )(command)


def command(
    store: StoreArgument,
    checkpoint: Annotated[
        list[Path], typer.Option(help="RUNDIR/best, RUNDIR/last, or a checkpoint's folder; repeat for several.")
    ],
    cell_type: Annotated[list[str], typer.Option(help="Cell type to predict; repeat for several.")],
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of the prediction, one a checkpoint, in their order.  \\[default: the run folder's name]"
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Region such as chr3:1,000,000-6,000,000; repeat for several.  \\[default: all]"),
    ] = None,
    use: UseOption = None,
    without: WithoutOption = None,
    out: OutOption = None,
    tile_bins: Annotated[
        int | None, typer.Option(help="Bins that the core sees at once.  \\[default: two training windows]")
    ] = None,
    overlap_bins: Annotated[
        int | None, typer.Option(help="Bins shared by neighbouring tiles.  \\[default: 3/8 of a tile]")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most tiles that the core runs at once.  \\[default: 25,600 bins of them, 4,800 where the core is no LSTM]",
        ),
    ] = None,
    torch_threads: Annotated[
        int, typer.Option(min=1, help="Threads of one task; another number changes the last bit.")
    ] = 1,
    precision: Annotated[
        str, typer.Option(help="float32, or fewer bits in the core: bfloat16 or int8, with errors that are not 0.")
    ] = "float32",
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda.  \\[default: cuda with --cluster cuda, else cpu]")
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="The checkpoints make one prediction: their mean and its spread.")
    ] = False,
    mc_dropout: Annotated[
        int, typer.Option(min=0, help="Draws of Monte-Carlo dropout for mean and spread; 0: nothing is dropped.")
    ] = 0,
    by_member: Annotated[
        bool, typer.Option("--by-member", help="Keep the map of each checkpoint and draw too, along the dim `member`.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(help="File of `epizarr calibrate` for these checkpoints: intervals with the prediction."),
    ] = None,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Predict contacts from tracks, to the chromosomes' ends; no Hi-C is needed. Again = resume.

    Several cell types and several checkpoints are one call and one Dask graph: each pair is a prediction of its own. With
    --ensemble, the checkpoints make one prediction, as do the draws of --mc-dropout: their mean, and how far they may be off.
    """
    from epizarr.predict import predict_contacts

    if ensemble and len(checkpoint) == 1:
        raise typer.BadParameter("needs two checkpoints or more; repeat --checkpoint.", param_hint="--ensemble")
    with client_for(cluster, threads) as client, progress_bar("predict") as update:
        groups = predict_contacts(
            store,
            checkpoint,
            cell_type=cell_type,
            run=run,
            regions=region,
            use=read_pairs(use, "--use"),
            without=without or [],
            out=out,
            tile_bins=tile_bins,
            overlap_bins=overlap_bins,
            batch_size=batch_size,
            torch_threads=torch_threads,
            precision=precision,
            device=device or ("cuda" if (cluster or "").startswith("cuda") else "cpu"),
            ensemble=ensemble,
            mc_dropout=mc_dropout,
            by_member=by_member,
            calibration=calibration,
            client=client,
            n_threads=threads,
            progress=update,
            overwrite=overwrite,
            take_over=take_over,
        )
    for group in groups:
        cell, _, name, _ = group.split("/")
        stdout.print(f"{out or store}: {group}. Next: epizarr evaluate {out or store} --run {name} --cell-type {cell}")
