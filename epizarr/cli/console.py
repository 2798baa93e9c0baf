"""How the command line talks: tables on stdout, progress and errors on stderr, and options that several commands share."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

# Tables that go to a file or a pipe are not squeezed into 80 columns.
stdout = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 160)
stderr = Console(stderr=True, soft_wrap=True, highlight=False)

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster", help="Where tasks run: local[:N], cuda[:N], slurm:config.yaml or tcp://host:8786.", metavar="SPEC"
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads without --cluster; one a core by default.")
]
TakeOverOption = Annotated[
    bool, typer.Option("--take-over", help="Write although another process seems to: only if you know that it is gone.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def read_pairs(
    texts: Sequence[str] | None, option: str, *, form: str = "NAME=TRACK", example: str = "DNase=ATAC"
) -> dict[str, str]:
    """Read the texts of an option that has this form, such as ``NAME=TRACK``."""
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value) or name in pairs:
            needed = f"needs {form}, each {form.partition('=')[0]} once, e.g. {example}"
            raise typer.BadParameter(f"{text!r}: {needed}", param_hint=option)
        pairs[name] = value
    return pairs


def print_error(text: str) -> None:
    """Print an error as one paragraph on stderr."""
    stderr.print("error:", style="bold red", end=" ")
    stderr.print(text, markup=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a plain table on stdout: the first column names the row, the others are right-aligned."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        table.add_column(header, justify="left" if index == 0 else "right", no_wrap=index > 0, overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    stdout.print(table)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[..., None]]:
    """Show a progress bar on stderr; yields ``update(done, total, label=None)``. Nothing is drawn where stderr is no terminal."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
    )
    with bar:
        task = bar.add_task(label, total=None)

        def update(done: float, total: float | None, what: str | None = None) -> None:
            bar.update(task, completed=done, total=total, description=f"{label}: {what}" if what else label)

        yield update


@contextmanager
def client_for(spec: str | None, threads: int | None) -> Iterator[Any]:
    """Open the Dask client of ``--cluster`` and say where its dashboard is; ``--threads`` beside it is refused."""
    from epizarr.cluster import open_client

    if spec is not None and threads is not None:
        raise typer.BadParameter("--threads is used without --cluster only; say how many workers there, as in local:4.")
    # A lost worker is retried and reported by the task; distributed's own chatter helps nobody.
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with open_client(spec) as client:
        if client is not None and client.dashboard_link:
            stderr.print(f"Dask dashboard: {client.dashboard_link}")
        yield client
