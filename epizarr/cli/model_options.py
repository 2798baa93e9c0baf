"""Options that say what a network reads and where its results go: the same in predict, perturb, screen and attribute."""

from pathlib import Path
from typing import Annotated

import typer

from epizarr.cli.console import read_pairs

StoreArgument = Annotated[str, typer.Argument(help="Store with the cell type's tracks.")]
CheckpointOption = Annotated[
    Path, typer.Option("--checkpoint", help="RUNDIR/best, RUNDIR/last, or a checkpoint's folder.")
]
LinkedOption = Annotated[
    list[str] | None,
    typer.Option("--linked-tracks", help="Tracks that follow edits of another.", metavar="TRACK=TRACK,TRACK"),
]
UseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--use",
        help="Read another track in the place of the model's, e.g. DNase=ATAC; repeat for several.",
        metavar="NAME=TRACK",
    ),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--without", help="Feed a track as missing, if the model was trained with track dropout; repeat for several."
    ),
]
OutOption = Annotated[str | None, typer.Option("--out", help="Store to write to.  \\[default: STORE]")]


def read_linked(texts: list[str] | None) -> dict[str, list[str]]:
    """Read the ``TRACK=TRACK,TRACK`` texts of :data:`LinkedOption`."""
    return {name: tracks.split(",") for name, tracks in read_pairs(texts, "--linked-tracks").items()}
