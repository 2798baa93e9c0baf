"""``epizarr plot``: a region as a figure for print."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "plot",
        epilog="Example: epizarr plot atlas.zarr --region chr21:30,000,000-32,000,000 --cell-type GM12878 --run first "
        "--tracks CTCF,DNase --genes genes.gtf.gz --difference -o region.pdf",
    )(command)


def command(
    store: Annotated[str, typer.Argument(help="Store with the maps.")],
    region: Annotated[str, typer.Option(help="Region such as chr21:30,000,000-32,000,000, or a whole chromosome.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Figure to write: .png, .pdf or .svg. Replaced if there.")],
    cell_type: Annotated[
        list[str] | None, typer.Option(help="Cell type; repeat for several.  \\[default: the first with a map]")
    ] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="Prediction to draw below the measured map; repeat for several.")
    ] = None,
    variable: Annotated[
        str | None, typer.Option(help="Variable of measured contacts.  \\[default: the run's target, else ice, kr …]")
    ] = None,
    binsize: Annotated[int | None, typer.Option(min=1, help="Bin width in bp.  \\[default: the finest]")] = None,
    oe: Annotated[
        bool, typer.Option("--oe", help="Divide contacts by the chromosome's mean at their distance.")
    ] = False,
    difference: Annotated[
        bool, typer.Option("--difference", help="Add each later map's difference to the first.")
    ] = False,
    tracks: Annotated[
        str | None,
        typer.Option(help="Tracks, parted by commas; none for no track.  \\[default: the first six of each cell type]"),
    ] = None,
    genes: Annotated[Path | None, typer.Option(help="Genes to draw: GTF, BED12 or BED6, plain or gzip.")] = None,
    reach: Annotated[int | None, typer.Option(min=1, help="Largest distance in bp.  \\[default: all stored]")] = None,
    width: Annotated[float, typer.Option(min=2.0, max=20.0, help="Width in inches: 3.5 is a column, 7 a page.")] = 7.0,
) -> None:
    """Draw contact maps of a region as triangles, with tracks, genes and differences."""
    from epizarr.io.files import replace_file
    from epizarr.report.triangles import check_figure_path, render_figure
    from epizarr.view.figure import region_figure

    path = check_figure_path(out)
    names = None if tracks is None else [t.strip() for t in tracks.split(",") if t.strip() not in ("", "none")]
    figure = region_figure(
        store,
        region,
        cell_types=cell_type or [],
        runs=run or [],
        variable=variable,
        binsize=binsize,
        oe=oe,
        difference=difference,
        tracks=names,
        genes=genes,
        reach_bp=reach,
        width=width,
    )
    replace_file(path, render_figure(figure, path.suffix.lower()))
    stdout.print(f"Figure: {path}", markup=False)
