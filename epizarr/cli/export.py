"""``epizarr export``: contacts of the store as a file that other programs open."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import OverwriteOption, progress_bar, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", epilog="Example: epizarr export atlas.zarr --cell-type K562 --run first -o K562.mcool")(
        command
    )


def command(
    store: Annotated[str, typer.Argument(help="Store that holds the contacts.")],
    cell_type: Annotated[str, typer.Option(help="Cell type to export.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="File to write; its ending says what: .mcool .cool .hic .bedpe .bw .bedgraph .bed"
        ),
    ],
    run: Annotated[str | None, typer.Option(help="Prediction to export, by its run's name.")] = None,
    variable: Annotated[str | None, typer.Option(help="Or a variable of the measured contacts, e.g. ice.")] = None,
    binsize: Annotated[int | None, typer.Option(min=1, help="Bin width in bp, where there are several.")] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Region such as chr3:1,000,000-6,000,000; repeat for several.  \\[default: all]"),
    ] = None,
    expected: Annotated[
        str | None,
        typer.Option(
            help="Multiply observed over expected (hicdcplus_oe) by the mean contacts at each distance: of the model's training "
            "regions (training), of a cell type (GM12878, GM12878:ice), or a table with columns distance and expected.",
            metavar="training|CELLTYPE|FILE",
        ),
    ] = None,
    min_value: Annotated[float | None, typer.Option(help="Lowest value of a pixel (.bedpe).")] = None,
    insulation: Annotated[
        int | None,
        typer.Option(min=1, help="Window in bp: the insulation score (.bw, .bedgraph) or its boundaries (.bed)."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a prediction or measured contacts for HiGlass, cooler, Juicebox or a genome browser."""
    from epizarr.io.export import export_contacts

    with progress_bar("export") as update:
        path = export_contacts(
            store,
            out,
            cell_type=cell_type,
            run=run,
            variable=variable,
            binsize=binsize,
            regions=region,
            expected=expected,
            min_value=min_value,
            insulation_bp=insulation,
            overwrite=overwrite,
            progress=update,
        )
    stdout.print(str(path), markup=False)
