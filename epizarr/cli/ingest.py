"""``epizarr ingest``: a manifest in, a store out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from epizarr.ingest import IngestReport

#: Warnings that are printed unasked.
_N_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest", epilog="Example: epizarr ingest stores/template.toml -o atlas.zarr --dry-run")(command)


def command(
    manifest: Annotated[Path, typer.Argument(help="Store manifest (TOML); stores/template.toml shows every key.")],
    out: Annotated[
        str, typer.Option("-o", "--out", help="Store to make, finish or add to: a folder or an address (s3://, gs://).")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print arrays, chunks, bytes, tasks and peak memory; write nothing.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(help="HTML report on the quality of the store to write at the end, as `epizarr qc` does."),
    ] = None,
    cache: CacheOption = None,
    anonymous: AnonymousOption = False,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
) -> None:
    """Read tracks and Hi-C into a store. The same command again finishes what was stopped, and adds what is new.

    ${NAME} in a manifest's paths is the environment variable NAME. Remote inputs are fetched first, except by --dry-run.
    At the end, what was written is measured, and what a user should look at is printed.
    """
    from epizarr.ingest import ingest_manifest, input_kinds, judge_kinds, load_manifest, missing_inputs, plan_ingest

    if dry_run and report is not None:
        raise typer.BadParameter(
            "--report is about what a store holds, and --dry-run writes none: give one of the two."
        )

    kept = cache_from(cache, anonymous)
    if dry_run:
        loaded = load_manifest(manifest, os.environ, cache=kept)
        if missing := missing_inputs(loaded, kept):
            rows = [[uri, "not told" if size is None else size] for uri, size in missing]
            print_table(["to be fetched", "bytes"], rows, title=f"{len(missing)} remote inputs")
        plan = plan_ingest(loaded, out, overwrite=overwrite)
        stdout.print(str(plan), markup=False)
        kinds = input_kinds(plan)
        for group, of_tracks in kinds.items():
            _print_kinds(group, [[name, found.kind, found.confidence] for name, found in of_tracks.items()])
        for _, sentence in judge_kinds(kinds):
            stdout.print(f"warning: {sentence}", markup=False)
        return
    with client_for(cluster, threads) as client, progress_bar("ingest") as update:
        done = ingest_manifest(
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
        stdout.print(str(done), markup=False)
        _tell_quality(done, report, client, threads, update)


def _tell_quality(done: "IngestReport", page: Path | None, client: Any, threads: int | None, update: Any) -> None:
    """Measure what was written (all of the store for a page) and print kinds and warnings."""
    from epizarr.ingest import assess_store, write_quality_page
    from epizarr.ingest.qc_page import kind_rows

    def told(done: float, total: float) -> None:
        update(done, total, "quality")

    wanted: Sequence[str | None] = [None] if page is not None else done.written_cell_types
    found = [
        assess_store(done.store, cell_type=name, client=client, n_threads=threads, progress=told) for name in wanted
    ]
    for quality in found:
        for group, figures in quality.tracks.items():
            _print_kinds(group, kind_rows(figures))
    warnings = list(dict.fromkeys(str(finding) for quality in found for finding in quality.warnings))
    for text in warnings[:_N_SHOWN]:
        stdout.print(text, markup=False)
    if len(warnings) > _N_SHOWN:
        stdout.print(f"and {len(warnings) - _N_SHOWN} warnings more: epizarr qc {done.store}")
    if page is not None:
        stdout.print(f"Report: {write_quality_page(found[0], page)}")


def _print_kinds(group: str, rows: Sequence[Sequence[str]]) -> None:
    """Print what the tracks of a group seem to hold: name, kind and confidence of each."""
    stdout.print(f"{group} seems to hold:")
    for name, kind, confidence, *_ in rows:
        stdout.print(f"  {name}: {kind} ({confidence} confidence)", markup=False)
