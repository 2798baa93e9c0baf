"""``epizarr view``: an interactive page in the local browser."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "view", epilog="Example: epizarr view atlas.zarr --cell-type K562 --run first --region chr3:1,000,000-6,000,000"
    )(command)


def command(
    store: Annotated[str, typer.Argument(help="Store to look at; it is only read.")],
    cell_type: Annotated[
        str | None, typer.Option(help="Cell type to show first.  \\[default: the first with a map]")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Prediction to show beside the measured map.")] = None,
    variable: Annotated[str | None, typer.Option(help="Variable of measured contacts to show first.")] = None,
    region: Annotated[str | None, typer.Option(help="Region to show first.  \\[default: one with data]")] = None,
    genes: Annotated[Path | None, typer.Option(help="Genes to show: GTF, BED12 or BED6, plain or gzip.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, open nothing.")] = False,
) -> None:
    """Browse maps, tracks and differences of a store in the local browser, offline; ends with Ctrl-C.

    The page can be reached from this machine only. From another one: ssh -L PORT:127.0.0.1:PORT this-machine.
    """
    import webbrowser

    from epizarr.view.api import StoreView
    from epizarr.view.server import HOST, open_server

    view = StoreView(store, genes)
    start = view.start(region, [cell_type] if cell_type else [], [run] if run else [], variable)
    with open_server(view, start, port) as server:
        address = f"http://{HOST}:{server.server_port}/"
        stdout.print(f"{store}: {address} (Ctrl-C ends)", markup=False)
        if not no_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            stdout.print("ended")
