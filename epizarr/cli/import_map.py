"""``epizarr import-map``: a map that another program predicted becomes a prediction of the store."""

from typing import Annotated, Any

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
from epizarr.cli.map_options import takes_map_options, words

_EXAMPLE = (
    "Example: epizarr import-map prediction/npy atlas.zarr --cell-type K562 --run corigami --file-binsize 8192 --values log1p "
    "--match-scale"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import-map", epilog=_EXAMPLE)(command)


@takes_map_options
def command(
    file: Annotated[str, typer.Argument(help="Map: .cool, .mcool, .hic, .npy (or a folder of them), .npz, .h5.")],
    store: Annotated[str, typer.Argument(help="Store with the measured contacts that it is compared with.")],
    cell_type: Annotated[str, typer.Option(help="Cell type that was predicted.")],
    run: Annotated[str, typer.Option(help="Name that the prediction gets.")],
    test: Annotated[
        list[str] | None,
        typer.Option(
            help="Regions kept for scores, separated by spaces; `evaluate` takes them by default.  \\[default: none]"
        ),
    ] = None,
    binsize: Annotated[int | None, typer.Option(min=1, help="Bin width of the store's contacts, if several.")] = None,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
    *,
    how: dict[str, Any],
) -> None:
    """Write another program's map into a store as a prediction, on the store's bins: evaluate, plot, view and export it."""
    from epizarr.map_import import import_map

    with client_for(cluster, threads) as client, progress_bar("import") as update:
        group = import_map(
            file,
            store,
            cell_type=cell_type,
            run=run,
            binsize=binsize,
            test=words(test),
            client=client,
            n_threads=threads,
            progress=update,
            overwrite=overwrite,
            take_over=take_over,
            **how,
        )
    scored = "" if test else " --region …"
    stdout.print(f"{store}: {group}. Next: epizarr evaluate {store} --run {run} --cell-type {cell_type}{scored}")
