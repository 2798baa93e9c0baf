"""``epizarr qc``: how good the inputs of a store are, and what to look at."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import ClusterOption, ThreadsOption, client_for, print_table, progress_bar, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("qc", epilog="Example: epizarr qc atlas.zarr --cell-type GM12878 --report qc.html")(command)


def command(
    store: Annotated[str, typer.Argument(help="Store to measure.")],
    cell_type: Annotated[str | None, typer.Option(help="Cell type to measure.  \\[default: all]")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML report to write, pictures included.")] = None,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure coverage, outliers, balancing, decay and depth of every input; say what to look at. Changes nothing."""
    from epizarr.ingest.qc import assess_store
    from epizarr.ingest.qc_page import (
        BAND_COLUMNS,
        CONTACT_COLUMNS,
        KIND_COLUMNS,
        TRACK_COLUMNS,
        band_rows,
        contact_rows,
        kind_rows,
        track_rows,
        write_quality_page,
    )

    with client_for(cluster, threads) as client, progress_bar("qc") as update:
        quality = assess_store(store, cell_type=cell_type, client=client, n_threads=threads, progress=update)
    for group, figures in quality.contacts.items():
        print_table(CONTACT_COLUMNS, contact_rows(figures), title=group)
        print_table(BAND_COLUMNS, band_rows(figures))
    for group, figures in quality.tracks.items():
        print_table(TRACK_COLUMNS, track_rows(figures), title=group)
        print_table(
            KIND_COLUMNS[:-1], [row[:-1] for row in kind_rows(figures)]
        )  # the reason is a sentence: on the page
    for finding in quality.warnings:
        stdout.print(str(finding), markup=False)
    stdout.print(f"{store}: {len(quality.warnings)} warnings")
    if report is not None:
        stdout.print(f"Report: {write_quality_page(quality, report)}")
