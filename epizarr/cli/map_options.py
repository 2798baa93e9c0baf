"""Options that say how another program's map is read: the same in ``import-map`` and in ``evaluate --map``."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from epizarr.cli.console import read_pairs

_PANEL = "Another program's map"


def _option(*names: str, help: str, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_PANEL, **more)


def import_arguments(
    *,
    variable: Annotated[
        str | None, _option("--variable", help="What it is compared with: ice, kr, hicdcplus_oe, …  \\[default: ice]")
    ] = None,
    file_binsize: Annotated[
        int | None,
        _option(
            "--file-binsize", min=1, help="Bin width of the file in bp, where it does not say it (.npy) or has several."
        ),
    ] = None,
    values: Annotated[
        str | None,
        _option(
            "--values", help="Scale of its values: linear, log1p (C.Origami), log, log2 or log10.  \\[default: linear]"
        ),
    ] = None,
    normalisation: Annotated[
        str | None,
        _option(
            "--normalisation", help="Weights of a .cool or .hic to use, or none.  \\[default: weight, if it is there]"
        ),
    ] = None,
    match_scale: Annotated[
        bool, _option("--match-scale", help="Multiply it by one number, where its contacts are in other units.")
    ] = False,
    chrom: Annotated[
        str | None, _option("--chrom", help="Chromosome of one .npy that is not named CHROM_START.npy.")
    ] = None,
    start: Annotated[int | None, _option("--start", min=0, help="First base of that .npy, 0-based.")] = None,
    triangle: Annotated[
        int | None,
        _option("--triangle", min=0, help="A .npy is an upper triangle from this diagonal on (Akita: 2)."),
    ] = None,
    rename_chrom: Annotated[
        list[str] | None,
        _option(
            "--rename-chrom", metavar="FILE=STORE", help="A chromosome's name in both, e.g. 21=chr21; repeat for all."
        ),
    ] = None,
    train: Annotated[
        list[str] | None,
        _option(
            "--train", help="Regions that its model was trained on, if known; separated by spaces, may be repeated."
        ),
    ] = None,
    trained_on: Annotated[
        str | None, _option("--trained-on", help="Cell types that it was trained on, if known, separated by commas.")
    ] = None,
) -> dict[str, Any]:
    """Arguments of :func:`epizarr.map_import.import_map` from the options; only those that were given."""
    given = {
        "variable": variable,
        "file_binsize": file_binsize,
        "values": values,
        "normalisation": normalisation,
        "match_scale": match_scale or None,
        "chrom": chrom,
        "start": start,
        "triangle": triangle,
        "rename": read_pairs(rename_chrom, "--rename-chrom", form="FILE=STORE", example="21=chr21") or None,
        "train": words(train) or None,
        "trained_cell_types": [name.strip() for name in trained_on.split(",")] if trained_on else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def takes_map_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of :func:`import_arguments` to a command, which gets what they come to as its argument ``how``."""
    options = inspect.signature(import_arguments).parameters

    @wraps(command)
    def with_options(**values: Any) -> None:
        how = import_arguments(**{name: values.pop(name) for name in options})
        command(**values, how=how)

    own = inspect.signature(command)
    kept = [parameter for name, parameter in own.parameters.items() if name != "how"]
    # Typer reads a command's options from its signature.
    with_options.__signature__ = own.replace(parameters=[*kept, *options.values()])  # type: ignore[attr-defined]
    return with_options


def words(texts: list[str] | None) -> list[str]:
    """Regions of an option that may be repeated and hold several, separated by spaces."""
    return [word for text in texts or [] for word in text.split()]
