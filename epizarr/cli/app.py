"""The typer application: options that every command shares, and the list of commands."""

from dataclasses import dataclass
from typing import Annotated

import typer

from epizarr.cli import (
    attribute,
    calibrate,
    check,
    config,
    evaluate,
    export,
    import_map,
    import_weights,
    info,
    ingest,
    perturb,
    plot,
    predict,
    prefetch,
    qc,
    screen,
    simulate,
    tracks,
    train,
    view,
)


@dataclass
class State:
    """What the options before the command set."""

    debug: bool = False


state = State()
app = typer.Typer(
    name="epizarr",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Hi-C contact maps from epigenomic tracks: real files in, a predicted contact map out.",
    epilog="Start with: epizarr simulate OUT --size small",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from epizarr import __version__

        typer.echo(f"epizarr {__version__}")
        raise typer.Exit


@app.callback()
def _shared_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    state.debug = debug


for module in (
    simulate,
    prefetch,
    ingest,
    info,
    check,
    qc,
    train,
    import_weights,
    predict,
    import_map,
    evaluate,
    export,
    plot,
    view,
    calibrate,
    attribute,
    perturb,
    screen,
    tracks,
):
    module.register(app)
app.add_typer(config.app, name="config")
