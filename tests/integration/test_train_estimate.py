"""What ``train --dry-run`` says against what a run does."""

from pathlib import Path

import pytest
import torch

from epizarr.cli import run
from epizarr.errors import ConfigError
from epizarr.nn import DiscriminatorConfig, NetworkConfig
from epizarr.train import estimate
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.config_text import load_config
from epizarr.train.estimate import data_bytes, estimate_training, step_bytes
from epizarr.train.fits import fit_transforms
from epizarr.train.loop import train_model
from epizarr.train.named_configs import ABOUT, NAMED_CONFIGS
from epizarr.train.sampler import open_samplers
from epizarr.train.sources import open_training_data
from epizarr.train.start import discriminator_config, network_config
from tests._killing import tree_digest
from tests._memory import peak_growth
from tests._runs import write_store
from tests._training import SETTINGS, tiny_config

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


def test_estimate_training__counts_what_a_run_does(store, tmp_path):
    found = estimate_training(store, tiny_config(), cell_types=["A"])
    result = train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"])
    assert (found.n_steps, found.n_all_steps) == (result.rows[0].step, result.rows[-1].step)
    checkpoint = load_checkpoint(result.last)
    assert found.config == checkpoint.config
    assert found.n_parameters == sum(tensor.numel() for tensor in checkpoint.state.values())
    # 1,500 bins of validation in windows of 100, and 3,000 of training behind a random phase.
    assert (found.n_validation, found.n_examples) == (16, 31)


def test_estimate_training__stops_at_max_steps(store):
    assert estimate_training(store, tiny_config(["execution.max_steps=5"]), cell_types=["A"]).n_all_steps == 5


def test_estimate_training__hours_are_steps_and_validations_times_their_seconds(store, monkeypatch):
    monkeypatch.setattr(estimate, "_measure", lambda *arguments: (36.0, 9.0))
    found = estimate_training(store, tiny_config(["training.epochs=1"]), cell_types=["A"])
    assert found.hours == pytest.approx((8 * 36 + 4 * 9) / 3600)


def test_estimate_training__does_not_run_what_the_memory_cannot_hold(store, monkeypatch):
    monkeypatch.setattr(estimate, "_free_bytes", lambda device: 1000)
    monkeypatch.setattr(estimate, "_measure", lambda *arguments: pytest.fail("it was run"))
    found = estimate_training(store, tiny_config(), cell_types=["A"])
    assert (found.step_seconds, found.hours) == (None, None)


def test_estimate_training__refuses_what_training_would(store):
    with pytest.raises(ConfigError, match="only core 'transformer' uses"):
        estimate_training(store, tiny_config(["network.n_heads=2"]))


@pytest.mark.parametrize("name", NAMED_CONFIGS)
def test_named_configs__state_the_memory_that_the_bound_gives(name):
    config = load_config(name, ["data.tracks=['A', 'B', 'C', 'D', 'E']"])
    settings = config.training
    judge = discriminator_config(config)
    bound = step_bytes(network_config(config), batch_size=settings.batch_size, n_bins=settings.n_bins, judge=judge)
    assert ABOUT[name].endswith(f"; {bound / 1e9:.1f} GB")


def measure(network: NetworkConfig, batch_size: int, n_bins: int, judge: DiscriminatorConfig | None = None) -> None:
    """Take steps of the network, as an estimate does."""
    settings = [f"training.batch_size={batch_size}", f"training.n_bins={n_bins}"]
    config = load_config("small", [*settings, f"training.adversarial_weight={0.0 if judge is None else 0.05}"])
    estimate._measure(network, judge, config, CPU)


@pytest.mark.parametrize(
    ("core", "hidden", "channels", "judge"),
    [
        pytest.param("bilstm", 96, 32, None, marks=pytest.mark.slow),
        ("bilstm", 256, 4, None),
        pytest.param("conv", 256, 4, None, marks=pytest.mark.slow),
        pytest.param("dilated", 256, 4, None, marks=pytest.mark.slow),
        pytest.param("transformer", 256, 4, None, marks=pytest.mark.slow),
        pytest.param("conv", 64, 4, DiscriminatorConfig(), marks=pytest.mark.slow),
    ],
)
def test_step_bytes__bounds_a_measured_step_and_is_at_most_three_times_it(core, hidden, channels, judge):
    network = NetworkConfig(core=core, hidden=hidden, n_layers=2, head_hidden=64, conv_channels=(channels,) * 4)
    bound = step_bytes(network, batch_size=4, n_bins=200, judge=judge)
    small = NetworkConfig(hidden=8, n_layers=1, conv_channels=(2,) * 4)
    measured = peak_growth(measure, (small, 1, 10), (network, 4, 200, judge))
    assert bound / 3 < measured < bound


def test_data_bytes__bounds_the_decoded_pieces(store):
    data = open_training_data(store, tiny_config(), cell_types=["A", "B"])
    train, held_out = open_samplers(data, *fit_transforms(data))
    for sampler in (train, held_out):
        for _ in sampler.batches(range(1)):
            pass
    held = train.reader._held_bytes
    train.reader.close()
    network = NetworkConfig(n_tracks=2, n_offsets=12, stride=10, window=400, hidden=8, pool=2, conv_kernels=(3,) * 4)
    assert 0 < held < data_bytes(data, network)


def test_train__dry_run_says_what_is_to_come_and_writes_nothing(store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tree_digest(store)
    words = ["train", str(store), "--config", "small", "--cell-type", "A", "--dry-run"]
    splits = {"train": "['chr1:0-3,000,000']", "validation": "['chr1:3,200,000-4,700,450']", "test": "['chr2']"}
    for key, value in {**SETTINGS, **{f"splits.{name}": text for name, text in splits.items()}}.items():
        words += ["--set", f"{key}={value}"]
    assert run(words) == 0
    printed = capsys.readouterr().out
    for text in (
        "tracks: CTCF, DNase",
        "cell types: A",
        "chr1:0-3,000,000",
        "core bilstm",
        "8 an epoch",
        "free",
        "hours: ",
    ):
        assert text in printed
    assert list(tmp_path.iterdir()) == []
    assert tree_digest(store) == before


def test_train__wants_a_folder_unless_it_is_dry(store, capsys):
    assert run(["train", str(store), "--config", "small"]) == 2
    assert "-o RUNDIR" in capsys.readouterr().err


def test_train_help__says_what_is_needed_and_how_to_go_on(capsys):
    assert run(["train", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("What is needed", "What comes out", "How to go on", "--dry-run", "epizarr predict"):
        assert text in printed
    assert "[bold]" not in printed
