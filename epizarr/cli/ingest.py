"""``epizarr ingest``: a manifest in, a store out."""

import os
from pathlib import Path
from typing import Annotated

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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest", epilog="Example: epizarr ingest stores/template.toml -o atlas.zarr --dry-run")(command)


def command(
    manifest: Annotated[Path, typer.Argument(help="Store manifest (TOML); stores/template.toml shows every key.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Store to make, finish or add to.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print arrays, chunks, bytes, tasks and peak memory; write nothing.")
    ] = False,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Read tracks and Hi-C into a store. The same command again finishes what was stopped, and adds what is new.

    ${NAME} in a manifest's paths is the environment variable NAME.
    """
    from epizarr.ingest import ingest_manifest, load_manifest, plan_ingest

    if dry_run:
        stdout.print(str(plan_ingest(load_manifest(manifest, os.environ), out, overwrite=overwrite)), markup=False)
        return
    with client_for(cluster, threads) as client, progress_bar("ingest") as update:
        report = ingest_manifest(
            manifest,
            out,
            client=client,
            n_threads=threads,
            progress=lambda what, done, total: update(done, total, what),
            env=os.environ,
            take_over=take_over,
            overwrite=overwrite,
        )
    stdout.print(str(report), markup=False)
