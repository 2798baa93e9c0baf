"""``epizarr prefetch``: the remote inputs of a manifest, fetched where there is a network."""

import os
from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.cache import AnonymousOption, CacheOption, cache_from
from epizarr.cli.console import print_table, progress_bar, stdout


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prefetch", epilog="Example: epizarr prefetch stores/mine.toml --cache /scratch/inputs")(command)


def command(
    manifest: Annotated[Path, typer.Argument(help="Store manifest (TOML).")],
    cache: CacheOption = None,
    anonymous: AnonymousOption = False,
) -> None:
    """Fetch the remote inputs of a manifest, for machines without a network. Again = go on where it stopped.

    Files named by https://, s3:// or gs://, or by accession (encode:ENCFF…, 4dn:4DNFI…), are fetched once and kept with their
    sha256; `epizarr ingest` with the same --cache finds them there.
    """
    from epizarr.ingest import fetch_inputs, load_manifest

    kept = cache_from(cache, anonymous)
    loaded = load_manifest(manifest, os.environ, cache=kept)
    with progress_bar("prefetch") as update:
        fetched = fetch_inputs(loaded, kept, lambda what, done, total: update(done, total or None, what))
    if not fetched:
        stdout.print(f"{manifest} names no remote file.", markup=False)
        return
    print_table(
        ["input", "bytes", "sha256", ""],
        [[f.uri, f.file.size, f.file.sha256, "fetched" if f.is_new else "there already"] for f in fetched],
        title=f"{len(fetched)} remote inputs in {kept.folder}",
    )
