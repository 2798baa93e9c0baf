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
    stdout,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict", epilog="Example: epizarr predict atlas.zarr --checkpoint runs/first/best --cell-type K562")(
        command
    )


def command(
    store: Annotated[str, typer.Argument(help="Store with the cell type's tracks.")],
    checkpoint: Annotated[Path, typer.Option(help="RUNDIR/best, RUNDIR/last, or a checkpoint's folder.")],
    cell_type: Annotated[str, typer.Option(help="Cell type to predict.")],
    run: Annotated[str | None, typer.Option(help="Name of the prediction.  [default: the run folder's name]")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Region such as chr3:1,000,000-6,000,000; repeat for several.  [default: all]"),
    ] = None,
    use: Annotated[
        list[str] | None,
        typer.Option(
            help="Read another track in the place of the model's, e.g. DNase=ATAC; repeat for several.",
            metavar="NAME=TRACK",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Feed a track as missing, if the model was trained with track dropout; repeat for several."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Store to write to.  [default: STORE]")] = None,
    tile_bins: Annotated[
        int | None, typer.Option(help="Bins that the core sees at once.  [default: the training window]")
    ] = None,
    overlap_bins: Annotated[
        int | None, typer.Option(help="Bins shared by neighbouring tiles.  [default: a quarter of a tile]")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most tiles that the core runs at once.")] = 32,
    torch_threads: Annotated[
        int, typer.Option(min=1, help="Threads of one task; another number changes the last bit.")
    ] = 1,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Predict contacts from tracks, to the chromosomes' ends; no Hi-C is needed. Again = resume."""
    from epizarr.predict import predict_contacts

    with client_for(cluster, threads) as client, progress_bar("predict") as update:
        group = predict_contacts(
            store,
            checkpoint,
            cell_type=cell_type,
            run=run,
            regions=region,
            use=read_pairs(use or [], "--use"),
            without=without or [],
            out=out,
            tile_bins=tile_bins,
            overlap_bins=overlap_bins,
            batch_size=batch_size,
            torch_threads=torch_threads,
            client=client,
            n_threads=threads,
            progress=update,
            overwrite=overwrite,
            take_over=take_over,
        )
    name = group.split("/")[-2]
    stdout.print(f"{out or store}: {group}. Next: epizarr evaluate {out or store} --run {name} --cell-type {cell_type}")


def read_pairs(texts: list[str], option: str) -> dict[str, str]:
    """Read ``NAME=TRACK`` texts of an option."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, track = (part.strip() for part in text.partition("="))
        if not (name and equals and track) or name in pairs:
            raise typer.BadParameter(f"{text!r}: needs NAME=TRACK, each NAME once, e.g. DNase=ATAC", param_hint=option)
        pairs[name] = track
    return pairs
