"""``epizarr train``: tracks and contacts of one store or several in, a run folder with checkpoints out."""

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
    from epizarr.train import TrainingEstimate
    from epizarr.train.config import TrainConfig
    from epizarr.train.log import EpochRow
    from epizarr.train.loop import StepReport, TrainResult


#: Paragraphs, each on one line: the terminal wraps them.
_HELP = "\n\n".join(
    (
        "Train a network that predicts Hi-C contacts from tracks.",
        "[bold]What it does.[/bold] The network sees windows of the training regions: their tracks go in, a contact map comes "
        "out, and each step changes the network so that its map comes nearer the measured one. An epoch shows it every "
        "training bin once. After each epoch it is scored on the validation regions, which it does not learn from; the best "
        "network so far is kept as [bold]best[/bold]. Test regions are never read: keep them for `epizarr evaluate`.",
        "[bold]What is needed.[/bold] A store with tracks and contacts of one cell type or more (`epizarr ingest`), and regions "
        "for training, validation and test: whole chromosomes, or regions at least 1.2 Mb apart for the published networks. They "
        "are keys of the configuration: --set \"splits.train=['chr1', 'chr2']\", and so on. Begin with --config small, made for "
        "a laptop; `epizarr config show small` prints every key with what it means. --dry-run says what a run will need.",
        "[bold]What comes out.[/bold] A folder with the checkpoints [bold]best[/bold] and [bold]last[/bold], the resolved "
        "config.toml, log.csv with a line an epoch, and pictures of validation maps. In log.csv the validation loss should fall "
        "for many epochs; where it rises while the training loss still falls, the network learns its regions by heart, and "
        "[bold]best[/bold] is from before.",
        "[bold]Several processes.[/bold] --cluster cuda:8 trains on eight GPUs, slurm:FILE or tcp://HOST:PORT on the workers "
        "of a Dask cluster; `torchrun --nproc-per-node 8 --no-python epizarr train ...` is the other way. The result is that of "
        "one process up to rounding.",
        "[bold]How to go on.[/bold] Stopped or killed, the same command goes on from the last checkpoint to the same result; "
        "SIGTERM and SIGUSR1 let it save one first (exit status 143 and 138). "
        "Then: `epizarr predict STORE --checkpoint RUNDIR/best --cell-type NAME`, and `epizarr evaluate`.",
    )
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "train",
        help=_HELP,
        epilog="Example: epizarr train atlas.zarr --config small --set training.epochs=5 -o runs/first",
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
    stores: Annotated[
        list[str], typer.Argument(metavar="STORE...", help="Store to train on, or several of one assembly.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Run folder; the same folder again resumes. Not needed with --dry-run."),
    ] = None,
    config: Annotated[
        str, typer.Option(help="Named configuration (`epizarr config list`) or TOML file.")
    ] = "epiphany-10kb",
    settings: SettingsOption = None,
    cell_type: Annotated[
        str | None, typer.Option(help="Cell types, separated by commas.  \\[default: those of the config]")
    ] = None,
    cluster: ClusterOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what would be trained, and the memory and hours it will need; write nothing."
        ),
    ] = False,
    take_over: TakeOverOption = False,
) -> None:
    """Train, or print what training will need."""
    from epizarr.train import estimate_training, load_config, train_model
    from epizarr.train.launch import TorchrunRank, train_on_cluster, train_rank
    from epizarr.train.signals import stop_on_signals

    resolved = load_config(config, settings or [])
    names = [name.strip() for name in cell_type.split(",")] if cell_type else None
    if dry_run:
        _print_estimate(estimate_training(stores, resolved, cell_types=names))
        return
    if out is None:
        raise typer.BadParameter("give a run folder (-o RUNDIR), or --dry-run.")
    launched = TorchrunRank.from_environment(os.environ)
    if launched is not None and cluster is not None:
        raise ConfigError("torchrun has started this process, so --cluster cannot be used; leave out one of the two.")
    options: dict[str, Any] = {"cell_types": names, "take_over": take_over, "command": sys.argv}
    with client_for(cluster, None) as client, progress_bar("train") as update, stop_on_signals() as stop:
        options |= {"progress": _Bar(update), "stop": stop}
        if launched is not None:
            result = train_rank(stores, resolved, out, **launched.arguments, **options)
        elif client is not None:
            result = train_on_cluster(stores, resolved, out, client=client, **options)
        else:
            result = train_model(stores, resolved, out, **options)
    if launched is not None and launched.rank:
        raise typer.Exit(stop.exit_code)  # rank 0 speaks for all
    if result.is_finished:
        _print_outcome(result, resolved)
        stdout.print(f"Next: epizarr predict {stores[0]} --checkpoint {out / 'best'} --cell-type NAME")
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


def _print_estimate(found: "TrainingEstimate") -> None:
    """Print what a run would be and what it would need."""
    from epizarr.train.estimate import LIBRARY_BYTES

    config, network = found.config, found.network
    training, execution = config.training, config.execution
    hours = "not known: the network was not run, it needs more memory than is free"
    if found.hours is not None:
        hours = f"{found.hours:.2g} on {execution.device} with {execution.threads} torch threads"
        hours += f" (a step of this network took {found.step_seconds:.2g} s; reading is not counted)"
    needed, free = _gigabytes(found.network_bytes), _gigabytes(found.free_bytes)
    warning = " TOO MUCH: lower training.batch_size" if found.network_bytes > found.free_bytes else ""
    for name, value in (
        ("tracks", ", ".join(config.data.tracks)),
        ("cell types", ", ".join(config.data.cell_types)),
        (
            "target",
            f"{config.target.variable}, transform {config.target.transform}, bins of {config.data.binsize:,} bp",
        ),
        *((f"{split} regions", ", ".join(texts) or "none") for split, texts in config.splits.named().items()),
        ("network", f"core {network.core}, {found.n_parameters:,} parameters"),
        (
            "examples",
            f"{found.n_examples:,} windows of {training.n_bins} bins an epoch, {found.n_validation:,} of validation",
        ),
        ("steps", f"{found.n_steps:,} an epoch, {found.n_all_steps:,} in all ({training.epochs} epochs)"),
        ("memory, network", f"at most {needed} on {execution.device}, {free} are free{warning}"),
        (
            "memory, data",
            f"at most {_gigabytes(found.data_bytes)}, and {_gigabytes(LIBRARY_BYTES)} for Python and libraries",
        ),
        ("hours", hours),
    ):
        stdout.print(f"{name}: {value}", markup=False)
    stdout.print("Nothing was written.")


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
