"""``epizarr info``: what a store holds."""

from typing import Annotated

import typer

from epizarr.cli.console import stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("info", epilog="Example: epizarr info atlas.zarr")(command)


def command(store: Annotated[str, typer.Argument(help="Store to look at.")]) -> None:
    """List cell types, tracks, normalisations and predictions of a store. Reads metadata only."""
    from epizarr.ingest import describe_store

    stdout.print(str(describe_store(store)), markup=False)
