"""``epizarr train``: tracks and contacts of one store or several in, a run folder with checkpoints out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epizarr.cli.config import SettingsOption
from epizarr.cli.console import TakeOverOption, progress_bar, stderr, stdout

if TYPE_CHECKING:
    from epizarr.train.log import EpochRow
    from epizarr.train.loop import StepReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "train", epilog="Example: epizarr train atlas.zarr --config small --set training.epochs=5 -o runs/first"
    )(command)


class _Bar:
    """Shows steps in a progress bar and prints a line an epoch."""

    def __init__(self, update: Callable[..., None]) -> None:
        self.update = update

    def on_step(self, report: "StepReport") -> None:
        """Move the bar."""
        self.update(report.step, report.n_steps, f"epoch {report.epoch}/{report.n_epochs}, loss {report.loss:.4f}")

    def on_epoch(self, row: "EpochRow") -> None:
        """Print the epoch's scores."""
        stderr.print(
            f"epoch {row.epoch}: loss {row.train_loss:.4f}, validation {row.validation_loss:.4f}, "
            f"mean Pearson {row.validation_pearson:.4f}, rate {row.lr:.1e}, {row.seconds:.0f} s"
        )


def command(
    stores: Annotated[
        list[str], typer.Argument(metavar="STORE...", help="Store to train on, or several of one assembly.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder; the same folder again resumes.")],
    config: Annotated[
        str, typer.Option(help="Named configuration (`epizarr config list`) or TOML file.")
    ] = "epiphany-10kb",
    settings: SettingsOption = None,
    cell_type: Annotated[
        str | None, typer.Option(help="Cell types, separated by commas.  [default: those of the config]")
    ] = None,
    take_over: TakeOverOption = False,
) -> None:
    """Train a network; the same command again resumes where it stopped."""
    from epizarr.train import load_config, train_model

    resolved = load_config(config, settings or [])
    names = [name.strip() for name in cell_type.split(",")] if cell_type else None
    with progress_bar("train") as update:
        result = train_model(stores, resolved, out, cell_types=names, progress=_Bar(update), take_over=take_over)
    if result.is_finished:
        stdout.print(
            f"{out}: {len(result.rows)} epochs, lowest validation loss {result.best_loss:.4g}. "
            f"Next: epizarr predict {stores[0]} --checkpoint {out / 'best'} --cell-type NAME"
        )
    else:
        stdout.print(f"{out}: stopped after execution.max_steps; without it the same command goes on.")
