"""``epizarr ingest``: a manifest in, a store out."""

import os
from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.cache import AnonymousOption, CacheOption, cache_from
from epizarr.cli.console import (
    ClusterOption,
    OverwriteOption,
    TakeOverOption,
    ThreadsOption,
    client_for,
    print_table,
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
    cache: CacheOption = None,
    anonymous: AnonymousOption = False,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Read tracks and Hi-C into a store. The same command again finishes what was stopped, and adds what is new.

    ${NAME} in a manifest's paths is the environment variable NAME. Remote inputs are fetched first, except by --dry-run.
    """
    from epizarr.ingest import ingest_manifest, load_manifest, missing_inputs, plan_ingest

    kept = cache_from(cache, anonymous)
    if dry_run:
        loaded = load_manifest(manifest, os.environ, cache=kept)
        if missing := missing_inputs(loaded, kept):
            rows = [[uri, "not told" if size is None else size] for uri, size in missing]
            print_table(["to be fetched", "bytes"], rows, title=f"{len(missing)} remote inputs")
        stdout.print(str(plan_ingest(loaded, out, overwrite=overwrite)), markup=False)
        return
    with client_for(cluster, threads) as client, progress_bar("ingest") as update:
        report = ingest_manifest(
            manifest,
            out,
            client=client,
            n_threads=threads,
            progress=lambda what, done, total: update(done, total or None, what),
            env=os.environ,
            cache=kept,
            take_over=take_over,
            overwrite=overwrite,
        )
    stdout.print(str(report), markup=False)
