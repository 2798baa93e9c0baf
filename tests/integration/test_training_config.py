"""Every field of a configuration is what it says: scientific ones change the result of two steps, execution ones nothing."""

from pathlib import Path

import numpy as np
import pytest

from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.config import config_fields
from epizarr.train.loop import train_model
from tests._runs import write_store
from tests._training import tiny_config


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


def two_steps(store: Path, run_dir: Path, overrides=()) -> tuple[str, list[float]]:
    """Hash of the weights, and validation losses, of two epochs of one step each, at one rate."""
    base = ["training.epochs=2", "training.batch_size=100", "training.halve_epochs=2", "execution.threads=1"]
    config = tiny_config([*base, "training.buffer_blocks=4", *overrides])
    result = train_model(store, config, run_dir, cell_types=None if "cell_types" in str(overrides) else ["A"])
    return load_checkpoint(result.last).sha256, [row.validation_loss for row in result.rows]


#: Another value of every scientific field, by which two steps of training must differ.
SCIENTIFIC = {
    "data.cell_types": "['B']",
    "data.binsize": None,  # another store
    "data.track_binsize": None,
    "data.tracks": "['DNase', 'CTCF']",
    "data.zeroed_tracks": "['DNase']",
    "data.track_transform": "log1p",
    "data.track_transforms": "{CTCF = 'linear'}",
    "data.match": "quantile",
    "data.matches": "{CTCF = 'background'}",
    "target.variable": "count",
    "target.transform": "linear",
    "target.min_diagonal": "3",
    "target.missing": "zero",
    "splits.train": "['chr1:0-2,900,000']",
    "splits.validation": "['chr1:3,300,000-4,700,450']",
    "splits.test": None,  # must change nothing: below
    "splits.held_out_cell_types": "['A']",
    "network.n_offsets": "11",
    "network.window_bp": "36_000",
    "network.mask_channels": "true",
    "network.conv_channels": "[6, 6, 5, 4]",
    "network.conv_kernels": "[5, 3, 3, 5]",
    "network.pool": "3",
    "network.adaptive_pool": "4",
    "network.dropout": "0.2",
    "network.dropout_masks": "per_window",
    "network.core": "conv",
    "network.hidden": "9",
    "network.n_layers": "1",
    "network.n_heads": None,  # of a transformer: below
    "network.head_hidden": "9",
    "network.final_relu": "always",
    "network.head": "variance",
    "training.seed": "1",
    "training.n_bins": "90",
    "training.batch_size": "7",
    "training.random_phase": "false",
    "training.reset_adam": "true",
    "training.epochs": "1",
    "training.lr": "0.002",
    "training.weight_decay": "0.1",
    "training.schedule": "cosine",
    "training.halve_epochs": "1",
    "training.lr_floor": "0.01",
    "training.start_at_mean": "true",
    "training.warmup_steps": "5",
    "training.clip_norm": "0.001",
    "training.best_by": None,  # the choice of the checkpoint and the end of the run: test_training_stops.py
    "training.patience": None,
    "training.mirror": "true",
    "training.mse_weight": "0.5",
    "training.variance_beta": None,  # of a variance head: below
    "training.adversarial_weight": "0.05",
    "training.precision": "bfloat16",
    "discriminator.channels": None,  # only with an adversarial loss: below
    "discriminator.kernel": None,
    "discriminator.lr": None,
    "training.track_dropout": None,  # needs mask channels: below
    "training.track_noise": "0.1",
    "training.scale_jitter": "0.1",
    "training.pairs": None,  # needs two cell types: below
    "training.delta_weight": None,
    "training.block_windows": None,  # the order within one batch of everything changes nothing: test_training.py
    "training.buffer_blocks": None,
}
EXECUTION = {
    "execution.threads": None,  # changes the last bits: a run's number is recorded
    "execution.device": None,  # no second device here
    "execution.read_threads": "1",
    "execution.prefetch_blocks": "1",
    "execution.cache_bytes": "0",
    "execution.num_workers": "1",
    "execution.checkpoint_steps": "1",
    "execution.max_steps": "100",
    "execution.micro_batch": None,  # changes the last bits: below
    "execution.pictures": "true",
    "execution.tensorboard": "true",
}
#: The same of the fields that act where there is a discriminator only.
WITH_JUDGE = "training.adversarial_weight=0.05"
ADVERSARIAL = {"discriminator.channels": "[4, 6]", "discriminator.kernel": "2", "discriminator.lr": "0.01"}


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory) -> tuple[str, list[float]]:
    return two_steps(store, tmp_path_factory.mktemp("plain") / "run")


def test_config__every_field_is_listed_here():
    kinds = {f.key: f.kind for f in config_fields(tiny_config())}
    assert kinds == dict.fromkeys(SCIENTIFIC, "scientific") | dict.fromkeys(EXECUTION, "execution")


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, v in SCIENTIFIC.items() if v is not None])
def test_config__scientific_field_changes_the_result_of_two_steps(store, tmp_path, plain, key, value):
    assert two_steps(store, tmp_path / "run", [f"{key}={value}"]) != plain


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, v in EXECUTION.items() if v is not None])
def test_config__execution_field_changes_nothing(store, tmp_path, plain, key, value):
    assert two_steps(store, tmp_path / "run", [f"{key}={value}"]) == plain


@pytest.fixture(scope="module")
def adversarial(store, tmp_path_factory) -> tuple[str, list[float]]:
    return two_steps(store, tmp_path_factory.mktemp("adversarial") / "run", [WITH_JUDGE])


@pytest.mark.parametrize(("key", "value"), ADVERSARIAL.items())
def test_config__scientific_field_of_the_discriminator_changes_the_result(store, tmp_path, adversarial, key, value):
    assert two_steps(store, tmp_path / "run", [WITH_JUDGE, f"{key}={value}"]) != adversarial


def test_config__discriminator_changes_nothing_without_an_adversarial_loss(store, tmp_path, plain):
    assert two_steps(store, tmp_path / "run", ["discriminator.lr=0.5"]) == plain


@pytest.mark.parametrize("extra", [[], [WITH_JUDGE, "network.head=variance"]])
def test_config__micro_batches_change_the_last_bits_at_most(store, tmp_path, extra):
    extra = [*extra, "network.dropout=0.3"]
    _, whole = two_steps(store, tmp_path / "whole", extra)
    _, parts = two_steps(store, tmp_path / "parts", [*extra, "execution.micro_batch=3"])
    np.testing.assert_allclose(parts, whole, rtol=1e-6)


def test_config__heads_of_a_transformer_change_the_result_of_two_steps(store, tmp_path):
    runs = [two_steps(store, tmp_path / n, ["network.core=transformer", f"network.n_heads={n}"]) for n in "84"]
    assert runs[0] != runs[1]


def test_config__weight_of_the_variance_changes_the_result_of_two_steps(store, tmp_path):
    base = ["network.head=variance"]
    runs = [two_steps(store, tmp_path / str(b), [*base, f"training.variance_beta={b}"]) for b in (0, 0.5, 1)]
    assert len({sha256 for sha256, _ in runs}) == 3


def test_config__track_dropout_changes_the_result_of_two_steps(store, tmp_path):
    base = ["network.mask_channels=true"]
    runs = [two_steps(store, tmp_path / str(p), [*base, f"training.track_dropout={p}"]) for p in (0, 0.4)]
    assert runs[0] != runs[1]


def test_config__pairs_and_their_weight_change_the_result_of_two_steps(store, tmp_path):
    base = ["data.cell_types=['A', 'B']"]
    more = [[], ["training.pairs=true"], ["training.pairs=true", "training.delta_weight=0.5"]]
    runs = [two_steps(store, tmp_path / str(i), base + overrides) for i, overrides in enumerate(more)]
    assert len({sha256 for sha256, _ in runs}) == 3


def test_config__threads_change_the_last_bits_at_most(store, tmp_path, plain):
    _, losses = two_steps(store, tmp_path / "run", ["execution.threads=2"])
    np.testing.assert_allclose(losses, plain[1], rtol=1e-5)


def test_config__test_regions_change_nothing(store, tmp_path, plain):
    assert two_steps(store, tmp_path / "run", ["splits.test=[]"]) == plain
