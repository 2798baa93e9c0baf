"""``epizarr tracks``: commands that make tracks from other files."""

import typer

from epizarr.cli import tracks_bam, tracks_motif


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = typer.Typer(no_args_is_help=True, help="Make tracks (bigWig) from other files.")
    for module in (tracks_bam, tracks_motif):
        module.register(group)
    app.add_typer(group, name="tracks")
