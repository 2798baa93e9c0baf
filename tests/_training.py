"""A training run of a fraction of a second, on the store of ``_runs``: two cell types, bins of 1 kb, a network of 40 kb."""

from collections.abc import Sequence
from pathlib import Path

from epizarr.train.config import TrainConfig
from epizarr.train.config_text import load_config
from epizarr.train.loop import train_model
from tests._runs import BINSIZE, N_DIAGONALS, SPLITS

SETTINGS = {
    "data.binsize": BINSIZE,
    "data.tracks": ["CTCF", "DNase"],
    "network.window_bp": 40_000,
    "network.n_offsets": N_DIAGONALS,
    "network.conv_channels": [6, 6, 6, 4],
    "network.conv_kernels": [5, 3, 3, 3],
    "network.pool": 2,
    "network.adaptive_pool": 5,
    "network.hidden": 8,
    "network.n_layers": 2,
    "network.mask_channels": "false",
    "network.head_hidden": 8,
    "training.n_bins": 100,
    "training.batch_size": 4,
    "training.epochs": 3,
    "training.lr": 1e-3,
    "training.weight_decay": 1e-5,
    "training.halve_epochs": 8,
    "data.track_transform": "blacklist_clip_log1p",
    "training.start_at_mean": "false",
    "training.warmup_steps": 0,
    "training.clip_norm": 0.0,
    "training.mirror": "false",
    "discriminator.channels": [4, 5],
    "discriminator.kernel": 3,
    "execution.threads": 1,
    "execution.checkpoint_steps": 3,
    "execution.pictures": "false",  # they take longer than an epoch
}


def tiny_config(overrides: Sequence[str] = ()) -> TrainConfig:
    """Config of about 16 steps an epoch with two cell types, 8 with one; ``overrides`` as of ``--set``."""
    base = [f"{key}={value}" for key, value in {**SETTINGS, **{f"splits.{k}": v for k, v in SPLITS.items()}}.items()]
    return load_config("small", [*base, *overrides])


def train_tiny(store: Path, run_dir: Path, overrides: Sequence[str] = ()) -> None:
    """Train on cell type A; for children that are killed."""
    train_model(store, tiny_config(overrides), run_dir, cell_types=["A"])
