"""``epizarr perturb``: contacts before and after edits of the tracks."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import OverwriteOption, TakeOverOption, print_table, read_pairs, stdout
from epizarr.cli.model_options import (
    CheckpointOption,
    LinkedOption,
    OutOption,
    StoreArgument,
    UseOption,
    WithoutOption,
    read_linked,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "perturb",
        epilog="Example: epizarr perturb atlas.zarr --checkpoint runs/first/best --cell-type H1 "
        "--edit mask:CTCF:chr8:54,165,000-54,170,000 -o sox17",
    )(command)


def command(
    store: StoreArgument,
    checkpoint: CheckpointOption,
    cell_type: Annotated[str, typer.Option(help="Cell type whose tracks are edited.")],
    edit: Annotated[
        list[str],
        typer.Option(
            help="What to edit, in this order; repeat for several. mask:TRACKS:REGION[:to=background], "
            "scale:TRACKS:REGION:factor=0.5, copy:TRACKS:REGION:from=CELLTYPE, insert:TRACKS:REGION:height=20 for tracks "
            "(A+B, or * for all); delete:REGION, duplicate:REGION, invert:REGION, translocate:REGION:to=POSITION for all at "
            "once. REGION may be @NAME of a peak."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the figure and the tables of changes.")],
    run: Annotated[
        str | None, typer.Option(help="Name of the group.  \\[default: the first edit's kind and place]")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region to show.  \\[default: what the edits can reach]")] = None,
    peaks: Annotated[Path | None, typer.Option(help="BED or narrowPeak file whose names edits use as @NAME.")] = None,
    linked: LinkedOption = None,
    use: UseOption = None,
    without: WithoutOption = None,
    out: OutOption = None,
    torch_threads: Annotated[int, typer.Option(min=1, help="Threads; another number changes the last bit.")] = 1,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Predict contacts before and after edits of the raw tracks; write both, their difference, a figure and tables."""
    import pandas as pd

    from epizarr.perturbed import perturb_contacts

    group = perturb_contacts(
        store,
        checkpoint,
        cell_type=cell_type,
        edits=edit,
        run=run,
        region=region,
        peaks=peaks,
        linked=read_linked(linked),
        use=read_pairs(use, "--use"),
        without=without or [],
        out=out,
        torch_threads=torch_threads,
        report=output,
        overwrite=overwrite,
        take_over=take_over,
    )
    changes = pd.read_csv(output / "boundaries.tsv", sep="\t").head(10)
    print_table(
        ["boundary", "before", "after", "change", "status"],
        [
            [
                f"{row.chrom}:{row.start:,}-{row.end:,}",
                f"{row.before:.3f}",
                f"{row.after:.3f}",
                f"{row.change:+.3f}",
                row.status,
            ]
            for row in changes.itertuples()
        ],
        title="Insulation (log2) at the boundaries that change most",
    )
    stdout.print(f"{out or store}: {group}. Figure and tables: {output}", markup=False)
