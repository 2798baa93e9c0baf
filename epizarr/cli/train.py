"""``epizarr train``: tracks and contacts of a store in, a run folder with checkpoints out."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epizarr.cli.config import SettingsOption
from epizarr.cli.console import ClusterOption, TakeOverOption, client_for, progress_bar, stderr, stdout
from epizarr.errors import ConfigError

if TYPE_CHECKING:
    from epizarr.train.config import TrainConfig
    from epizarr.train.log import EpochRow
    from epizarr.train.loop import StepReport, TrainResult


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
            f"mean Pearson {row.validation_pearson:.4f}, skill {row.validation_skill:.3f}, rate {row.lr:.1e}, {row.seconds:.0f} s"
        )


def command(
    store: Annotated[str, typer.Argument(help="Store to train on.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder; the same folder again resumes.")],
    config: Annotated[
        str, typer.Option(help="Named configuration (`epizarr config list`) or TOML file.")
    ] = "epiphany-10kb",
    settings: SettingsOption = None,
    cell_type: Annotated[
        str | None, typer.Option(help="Cell types, separated by commas.  [default: those of the config]")
    ] = None,
    cluster: ClusterOption = None,
    take_over: TakeOverOption = False,
) -> None:
    """Train a network; the same command again resumes where it stopped.

    SIGTERM and SIGUSR1 end it after a checkpoint, with exit status 143 and 138.
    """
    from epizarr.train import load_config, train_model
    from epizarr.train.launch import TorchrunRank, train_on_cluster, train_rank
    from epizarr.train.signals import stop_on_signals

    resolved = load_config(config, settings or [])
    names = [name.strip() for name in cell_type.split(",")] if cell_type else None
    launched = TorchrunRank.from_environment(os.environ)
    if launched is not None and cluster is not None:
        raise ConfigError("torchrun has started this process, so --cluster cannot be used; leave out one of the two.")
    options: dict[str, Any] = {"cell_types": names, "take_over": take_over, "command": sys.argv}
    with client_for(cluster, None) as client, progress_bar("train") as update, stop_on_signals() as stop:
        options |= {"progress": _Bar(update), "stop": stop}
        if launched is not None:
            result = train_rank(store, resolved, out, **launched.arguments, **options)
        elif client is not None:
            result = train_on_cluster(store, resolved, out, client=client, **options)
        else:
            result = train_model(store, resolved, out, **options)
    if launched is not None and launched.rank:
        raise typer.Exit(stop.exit_code)  # rank 0 speaks for all
    if result.is_finished:
        _print_outcome(result, resolved)
        stdout.print(f"Next: epizarr predict {store} --checkpoint {out / 'best'} --cell-type NAME")
    elif stop.signal is not None:
        where = f"its state is in {result.last}" if result.last is not None else "it had not begun"
        stderr.print(f"{out}: stopped by {stop.signal.name}; {where}. The same command goes on.")
        raise typer.Exit(stop.exit_code)
    else:
        stdout.print(f"{out}: stopped after execution.max_steps; without it the same command goes on.")


def _print_outcome(result: "TrainResult", config: "TrainConfig") -> None:
    """Say how a finished run ended, and where what it left can be found."""
    settings = config.training
    why = f", no better {settings.best_by} in the last {settings.patience}" if result.is_early else ""
    value = "undefined" if result.best_value is None else f"{result.best_value:.4g}"
    stdout.print(f"{result.run_dir}: {len(result.rows)} epochs{why}; best validation {settings.best_by} {value}.")
    places = {"best checkpoint": "best", "scores by epoch": "log.csv", "validation maps": "pictures"}
    for what, name in places.items():
        if (result.run_dir / name).exists():
            stdout.print(f"  {what:16} {result.run_dir / name}")
