import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from epizarr.errors import CheckpointError, InputNotFoundError
from epizarr.io.files import file_sha256
from epizarr.train.checkpoint import Position, load_checkpoint, load_training_state, save_checkpoint, settle_checkpoints
from tests._runs import NETWORK, TRACKS, write_checkpoint


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A run folder with one checkpoint; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("written") / "run").parent


@pytest.fixture
def run_dir(written, tmp_path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(written, tmp_path / "run", symlinks=True))


def edit(run_dir: Path, change) -> None:
    """Change checkpoint.json."""
    file = run_dir / "best" / "checkpoint.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def replace_tensors(run_dir: Path, change) -> None:
    """Change model.safetensors and make its hash agree."""
    file = run_dir / "best" / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    edit(run_dir, lambda d: d.update(model_sha256=file_sha256(file)))


def test_load_checkpoint__reads_what_was_saved(written):
    checkpoint = load_checkpoint(written / "best")
    assert (checkpoint.network, checkpoint.tracks) == (NETWORK, TRACKS)
    assert (checkpoint.epoch, checkpoint.step) == (1, 10)
    assert checkpoint.target_transform.name == "obs_over_exp_log1p"


def test_checkpoint__model_is_in_evaluation_mode_with_the_saved_weights(written):
    checkpoint = load_checkpoint(written / "best")
    model = checkpoint.model()
    assert not model.training
    assert all(torch.equal(checkpoint.state[name], value) for name, value in model.state_dict().items())


def test_load_checkpoint__sha256_is_that_of_the_weights(written):
    assert load_checkpoint(written / "best").sha256 == file_sha256(written / "best" / "model.safetensors")


def test_load_checkpoint__points_at_the_checkpoints_of_a_run_folder(written):
    with pytest.raises(CheckpointError, match="run/best"):
        load_checkpoint(written)


def test_load_checkpoint__lists_what_is_there(written):
    with pytest.raises(InputNotFoundError, match="best and last"):
        load_checkpoint(written / "bset")


def test_load_checkpoint__refuses_missing_file(run_dir):
    (run_dir / "best" / "config.toml").unlink()
    with pytest.raises(CheckpointError, match=r"config\.toml missing"):
        load_checkpoint(run_dir / "best")


def test_load_checkpoint__refuses_truncated_weights(run_dir):
    file = run_dir / "best" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(run_dir / "best")


def test_load_checkpoint__refuses_pickled_weights_without_running_them(run_dir):
    file = run_dir / "best" / "model.safetensors"
    torch.save({"fc.weight": torch.zeros(1)}, file)
    edit(run_dir, lambda d: d.update(model_sha256=file_sha256(file)))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(run_dir / "best")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(checkpoint_version="2.0"), "format 2.0"),
        (lambda d: d.pop("checkpoint_version"), "format None"),
        (lambda d: d.update(tracks=["CTCF"]), "1 tracks are named"),
        (lambda d: d.update(tracks=["CTCF", "H3K27ac"]), "transforms are kept for"),
        (lambda d: d.update(binsize=5_000), "bins of 5000 bp"),
        (lambda d: d.update(min_diagonal=12), "min_diagonal is 12"),
        (lambda d: d["trained_on"].pop("splits"), "trained_on"),
        (lambda d: d["chrom_lengths"].update(chr1="long"), "chrom_lengths"),
        (lambda d: d.pop("chrom_lengths"), "chrom_lengths"),
        (lambda d: d["network"].update(hidden=9), "rnn1.weight_ih_l0"),
        (lambda d: d["network"].update(shape="square"), "shape"),
        (lambda d: d["network"].update(n_layers=7), "n_layers"),
        (lambda d: d["target_transform"].update(steps=["exec"]), "exec"),
        (lambda d: d.pop("position"), "position"),
    ],
)
def test_load_checkpoint__refuses_card_that_does_not_fit(run_dir, change, says):
    edit(run_dir, change)
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(run_dir / "best")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("fc.bias"), r"tensor fc\.bias \(\d+,\) is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), r"tensor extra \(1,\) is not part"),
        (lambda t: t.update({"fc.bias": t["fc.bias"].double()}), "float64"),
    ],
)
def test_load_checkpoint__refuses_weights_of_another_network(run_dir, change, says):
    replace_tensors(run_dir, change)
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(run_dir / "best")


def test_load_checkpoint__can_predict_but_not_train_without_training_state(run_dir):
    (run_dir / "best" / "training.safetensors").unlink()
    checkpoint = load_checkpoint(run_dir / "best")
    model = checkpoint.model()
    with pytest.raises(CheckpointError, match="not be trained on"):
        load_training_state(checkpoint, (model, torch.optim.Adam(model.parameters())))


def test_load_training_state__restores_weights_and_moments(tmp_path, written):
    card = load_checkpoint(written / "best")
    model = card.model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    signal = torch.rand(2, NETWORK.in_channels, NETWORK.cut_length(10))

    def step():
        optimizer.zero_grad()
        model(signal, seeds=torch.arange(2)).square().mean().backward()
        optimizer.step()

    step()
    save_checkpoint(tmp_path, card, (model, optimizer), Position(step=1))
    step()
    wanted = {name: value.clone() for name, value in model.state_dict().items()}
    load_training_state(load_checkpoint(tmp_path / "last"), (model, optimizer))
    step()
    assert all(torch.equal(wanted[name], value) for name, value in model.state_dict().items())


def test_save_checkpoint__keeps_best_and_last_only(tmp_path, written):
    card = load_checkpoint(written / "best")
    model = card.model()
    optimizer = torch.optim.Adam(model.parameters())
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, card, (model, optimizer), Position(step=step, best_value=1.0, best_step=1))
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000001", "step-00000003"]
    assert (load_checkpoint(tmp_path / "best").step, load_checkpoint(tmp_path / "last").step) == (1, 3)


def test_save_checkpoint__links_survive_moving_the_run(run_dir, tmp_path):
    moved = run_dir.rename(tmp_path / "elsewhere")
    assert load_checkpoint(moved / "best").step == 10


def test_settle_checkpoints__moves_best_that_a_kill_left_behind(tmp_path, written):
    card = load_checkpoint(written / "best")
    model = card.model()
    optimizer = torch.optim.Adam(model.parameters())
    save_checkpoint(tmp_path, card, (model, optimizer), Position(step=1, best_value=2.0, best_step=1))
    old = (tmp_path / "best").readlink()
    save_checkpoint(tmp_path, card, (model, optimizer), Position(step=2, best_value=1.0, best_step=2))
    shutil.copytree(tmp_path / "last", tmp_path / old)
    (tmp_path / "best").unlink()
    (tmp_path / "best").symlink_to(old)
    settle_checkpoints(tmp_path, Position(step=2, best_value=1.0, best_step=2))
    assert load_checkpoint(tmp_path / "best").step == 2


def test_load_checkpoint__reads_the_best_loss_of_format_1_1(run_dir):
    def age(document) -> None:
        position = document["position"]
        position["best_loss"] = position.pop("best_value")
        del position["stale_epochs"]
        document["checkpoint_version"] = "1.1"

    edit(run_dir, age)
    position = load_checkpoint(run_dir / "best").position
    assert (position.best_value, position.best_step, position.stale_epochs) == (1.0, 10, 0)
