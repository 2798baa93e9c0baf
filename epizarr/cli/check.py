"""``epizarr check``: is a store whole, and true to its inputs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.cache import CacheOption, cache_from
from epizarr.cli.console import ClusterOption, ThreadsOption, client_for, progress_bar, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check", epilog="Example: epizarr check atlas.zarr --deep --manifest stores/mine.toml")(command)


def command(
    store: Annotated[str, typer.Argument(help="Store to check.")],
    deep: Annotated[bool, typer.Option("--deep", help="Also compute again what the store computed.")] = False,
    manifest: Annotated[
        Path | None, typer.Option(help="With --deep: also compare with the inputs that this manifest names.")
    ] = None,
    cache: CacheOption = None,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Check structure, completeness, missing values and ranges. Exit status 1 if there is an error."""
    from epizarr.ingest import check_store

    if manifest is not None and not deep:
        raise typer.BadParameter("--manifest is used with --deep only.")
    with client_for(cluster, threads) as client, progress_bar("check") as update:
        findings = check_store(
            store,
            deep,
            manifest=manifest,
            env=os.environ,
            cache=cache_from(cache),
            client=client,
            n_threads=threads,
            progress=update,
        )
    for finding in findings:
        stdout.print(str(finding), markup=False)
    n_errors = sum(finding.severity == "error" for finding in findings)
    stdout.print(f"{store}: {n_errors} errors, {sum(finding.severity == 'warning' for finding in findings)} warnings")
    if n_errors:
        raise typer.Exit(1)
