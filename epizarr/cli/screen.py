"""``epizarr screen``: one edit at every peak of a track, or every tile of a region."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import (
    ClusterOption,
    OverwriteOption,
    TakeOverOption,
    ThreadsOption,
    client_for,
    print_table,
    progress_bar,
    read_pairs,
    stdout,
)
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
        "screen",
        epilog="Example: epizarr screen atlas.zarr --checkpoint runs/first/best --cell-type K562 --peaks ctcf.bed@CTCF "
        "--edit mask --region chr8 -o ctcf",
    )(command)


def command(
    store: StoreArgument,
    checkpoint: CheckpointOption,
    cell_type: Annotated[str, typer.Option(help="Cell type whose tracks are edited.")],
    edit: Annotated[
        str,
        typer.Option(
            help="What to do at each interval: mask, mask:CTCF+RAD21:to=background, scale:*:factor=0.5, copy:*:from=CELLTYPE, "
            "insert:CTCF:height=9. Without tracks: those of FILE@TRACKS, or all."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the rank table (screen.tsv) and the figure (screen.png).")
    ],
    peaks: Annotated[
        str | None,
        typer.Option(help="BED or narrowPeak file of the intervals.", metavar="FILE[@TRACKS]"),
    ] = None,
    tile_bp: Annotated[int | None, typer.Option(help="Instead: tiles of this width, side by side.")] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Where intervals lie; repeat for several.  \\[default: the genome]")
    ] = None,
    bands: Annotated[
        bool, typer.Option("--bands", help="Keep the change of the contacts around each interval, too.")
    ] = False,
    null_draws: Annotated[
        int, typer.Option(min=0, help="Random intervals for each one, to compare with; 0: no p-values.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the random intervals.")] = 0,
    run: Annotated[
        str | None, typer.Option(help="Name of the group.  \\[default: the edit's kind and its tracks]")
    ] = None,
    linked: LinkedOption = None,
    use: UseOption = None,
    without: WithoutOption = None,
    out: OutOption = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tiles that go through the core at once.  \\[default: 25,600 bins of them, 4,800 where the core is no LSTM]",
        ),
    ] = None,
    torch_threads: Annotated[int, typer.Option(min=1, help="Threads of one task.")] = 1,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Edit every peak or tile, each on its own, and rank them by what they change. The same command again resumes."""
    from epizarr.io.store import open_group
    from epizarr.screen import screen_contacts, screen_table

    with client_for(cluster, threads) as client, progress_bar("screen") as update:
        group = screen_contacts(
            store,
            checkpoint,
            cell_type=cell_type,
            edit=edit,
            peaks=peaks,
            tile_bp=tile_bp,
            regions=region,
            linked=read_linked(linked),
            null_draws=null_draws,
            seed=seed,
            bands=bands,
            run=run,
            use=read_pairs(use, "--use"),
            without=without or [],
            out=out,
            batch_size=batch_size,
            torch_threads=torch_threads,
            report=output,
            client=client,
            n_threads=threads,
            progress=update,
            overwrite=overwrite,
            take_over=take_over,
        )
    table = screen_table(open_group(out or store, group, "screens")).head(10)
    print_table(
        ["rank", "interval", "mean |change|", "q", "insulation", "boundary"],
        [
            [
                str(row.rank),
                f"{row.name} {row.chrom}:{row.start:,}-{row.end:,}",
                f"{row.mean_abs_change:.4g}",
                f"{row.q_mean_abs_change:.3g}",
                f"{row.insulation_change:+.3f}",
                "lost" if row.boundary_change == -1 else "gained" if row.boundary_change == 1 else "–",
            ]
            for row in table.itertuples(index=False)
        ],
        title="Intervals that change the contacts around them most",
    )
    stdout.print(f"{out or store}: {group}. Table and figure: {output}", markup=False)
