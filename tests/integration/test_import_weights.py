"""Released weights become a checkpoint that predicts; nothing in a file is run, and every misfit is named at once."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from epizarr.cli import run
from epizarr.errors import CheckpointError, ConfigError, InputFileError, InputNotFoundError, OutputExistsError
from epizarr.genome import Assembly
from epizarr.io.store import open_prediction
from epizarr.nn import Epiphany, NetworkConfig
from epizarr.predict import predict_contacts
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.loop import train_model
from epizarr.train.released_weights import _misfits, import_weights, read_state_dict
from epizarr.train.seen import seen_in_training
from tests._runs import ASSEMBLY, BINSIZE, NETWORK, SPLITS, write_checkpoint, write_store
from tests._training import tiny_config

TRACKS = ["CTCF", "DNase"]
SAID = {
    "tracks": TRACKS,
    "assembly": ASSEMBLY,
    "target_variable": "ice",
    "target_transform": "linear",
    "train_regions": SPLITS["train"],
    "test_regions": SPLITS["test"],
    "cell_types": ["A"],
}
PUBLISHED = ["DNase", "H3K27ac", "H3K4me3", "H3K27me3", "CTCF"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture(scope="module")
def model() -> Epiphany:
    torch.manual_seed(0)
    return Epiphany(NETWORK).eval()


@pytest.fixture
def weights(model, tmp_path) -> Path:
    """A state dict as the released code saves it, of a small network."""
    torch.save(model.state_dict(), tmp_path / "small.pt_model")
    return tmp_path / "small.pt_model"


def test_import_weights__makes_a_checkpoint_that_predicts_with_these_weights(store, model, weights, tmp_path):
    best = import_weights(weights, tmp_path / "published", **SAID, network=NETWORK)
    checkpoint = load_checkpoint(best)
    assert all(torch.equal(checkpoint.state[name], value) for name, value in model.state_dict().items())
    assert (checkpoint.tracks, checkpoint.chrom_lengths, checkpoint.binsize) == (tuple(TRACKS), dict(ASSEMBLY), BINSIZE)
    predict_contacts(store, best, cell_type="B", out=tmp_path / "out.zarr", regions=["chr3"])
    contact = open_prediction(tmp_path / "out.zarr", "B", "published", BINSIZE)["contact"].values
    assert np.isfinite(contact[-31:, 1]).sum() == 30


def test_import_weights__writes_what_was_said_into_the_card(weights, tmp_path):
    best = import_weights(weights, tmp_path / "run", **SAID, network=NETWORK, final_relu="predict")
    assert load_checkpoint(best).trained_on == {
        "cell_types": ["A"],
        "splits": {"train": SPLITS["train"], "validation": [], "test": ["chr2"]},
    }
    assert load_checkpoint(best).network.final_relu == "predict"
    text = (tmp_path / "run" / "MODEL_CARD.md").read_text()
    for word in ("CTCF, DNase", "`ice`", "`linear`", "chr1:0-3,000,000", "small.pt_model", "scores | not known"):
        assert word in text


def test_import_weights__takes_names_from_data_parallel(model, tmp_path):
    torch.save({f"module.{name}": value for name, value in model.state_dict().items()}, tmp_path / "parallel.pt_model")
    best = import_weights(tmp_path / "parallel.pt_model", tmp_path / "run", **SAID, network=NETWORK)
    assert set(load_checkpoint(best).state) == set(model.state_dict())


def test_import_weights__reads_the_old_file_format(model, tmp_path):
    file = tmp_path / "old.pt_model"
    torch.save(model.state_dict(), file, _use_new_zipfile_serialization=False)
    assert read_state_dict(file).keys() == model.state_dict().keys()


def test_train_model__refuses_to_go_on_from_imported_weights_and_writes_nothing(store, weights, tmp_path):
    import_weights(weights, tmp_path / "run", **SAID, network=NETWORK)
    before = sorted(str(p) for p in (tmp_path / "run").rglob("*"))
    with pytest.raises(CheckpointError, match="it can predict but not be trained on"):
        train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"])
    assert sorted(str(p) for p in (tmp_path / "run").rglob("*")) == before


class Malicious:
    """Unpickled carelessly, makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["pickle", "zip", "zip_with_tensors"])
def test_import_weights__runs_nothing_in_a_malicious_file(model, tmp_path, form):
    file, made = tmp_path / "bad.pt_model", tmp_path / "made"
    payload = {**model.state_dict(), "extra": Malicious(made)} if form == "zip_with_tensors" else Malicious(made)
    if form == "pickle":
        file.write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, file)
    with pytest.raises(InputFileError, match="nothing in it was run"):
        import_weights(file, tmp_path / "run", **SAID, network=NETWORK)
    assert not made.exists()
    assert not (tmp_path / "run").exists()
    # The file is malicious indeed: the same read without protection would have made the folder.
    if form != "pickle":
        torch.load(file, weights_only=False)
        assert made.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "cannot be read"), (b"not a model at all", "cannot be read"), (None, "holds a dict with the keys")],
)
def test_read_state_dict__refuses_what_is_no_state_dict(model, tmp_path, content, says):
    file = tmp_path / "x.pt_model"
    if content is None:
        torch.save({"epoch": 3, "state_dict": model.state_dict()}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(InputFileError, match=says):
        read_state_dict(file)


def test_import_weights__names_every_misfit_at_once(model, tmp_path):
    state = dict(model.state_dict())
    del state["fc2.bias"]
    state["rnn9.weight"] = torch.zeros(2)
    state["fc.weight"] = torch.zeros(3, 4)
    state["fc.bias"] = state["fc.bias"].double()
    state["conv1.conv.bias"] = torch.full_like(state["conv1.conv.bias"], float("nan"))
    torch.save(state, tmp_path / "x.pt_model")
    with pytest.raises(InputFileError) as caught:
        import_weights(tmp_path / "x.pt_model", tmp_path / "run", **SAID, network=NETWORK)
    for text in (
        "5 problems",
        "tensor fc2.bias (12,) is missing",
        "rnn9.weight (2,) is not part",
        "fc.weight has shape (3, 4), the network's has (10, 16)",
        "fc.bias is torch.float64",
        "conv1.conv.bias holds values that are not finite",
    ):
        assert text in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "published", [NetworkConfig.published_10kb(), NetworkConfig.published_5kb()], ids=["10kb", "5kb"]
)
def test_import_weights__compares_with_the_nearer_published_network(tmp_path, monkeypatch, published):
    # Shapes only: a 5 kb network has 831 MB. Four names for a file of five channels misfit in one tensor of all.
    with torch.device("meta"):
        state = Epiphany(published).state_dict()
    monkeypatch.setattr("epizarr.train.released_weights.read_state_dict", lambda file: state)
    monkeypatch.setattr(torch.Tensor, "is_meta", False)
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda tensor: torch.ones(()))
    with pytest.raises(InputFileError) as caught:
        import_weights(tmp_path / "x", tmp_path / "run", **{**SAID, "tracks": PUBLISHED[:4]})
    assert "conv1.conv.weight has shape (70, 5, 17), the network's has (70, 4, 17) with 4 tracks" in str(caught.value)
    assert "problems" not in str(caught.value)
    assert _misfits(state, published) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tracks": []}, "no tracks are given"),
        ({"tracks": ["CTCF", "CTCF"]}, "named more than once"),
        ({"target_transform": "obs_over_exp_log1p"}, "there are linear, log1p"),
        ({"track_transform": "clip_log1p"}, "there are linear, blacklist, log1p"),
        ({"train_regions": ["chr9"]}, "chr9"),
        ({"cell_types": []}, "no cell types are given"),
        ({"target_variable": "nice"}, "Did you mean 'ice'"),
        ({"final_relu": "sometimes"}, "final_relu is 'sometimes'"),
    ],
)
def test_import_weights__refuses_settings_before_it_makes_a_folder(weights, tmp_path, changes, says):
    with pytest.raises(ConfigError, match=says):
        import_weights(weights, tmp_path / "run", **{**SAID, **changes}, network=NETWORK)
    assert not (tmp_path / "run").exists()


def test_import_weights__refuses_a_folder_in_use_and_a_missing_file(weights, tmp_path):
    with pytest.raises(OutputExistsError, match="not empty"):
        import_weights(weights, tmp_path, **SAID, network=NETWORK)
    with pytest.raises(InputNotFoundError, match="no such file"):
        import_weights(tmp_path / "none.pt_model", tmp_path / "run", **SAID)


@pytest.mark.slow
def test_import_weights__command_takes_a_full_10kb_network(tmp_path, capsys):
    model = Epiphany(NetworkConfig.published_10kb())
    torch.save(model.state_dict(), tmp_path / "pretrained_10kb.pt_model")
    (tmp_path / "sizes").write_text("chr1\t248956422\nchr3\t198295559\n")
    words = (
        f"-o {tmp_path}/run --tracks {','.join(PUBLISHED)} --assembly hg38 --chrom-sizes {tmp_path}/sizes --target ice"
    )
    words += " --target-transform linear --cell-type GM12878 --train chr1 --test chr3"
    assert run(["import-weights", f"{tmp_path}/pretrained_10kb.pt_model", *words.split()]) == 0
    assert "Next: epizarr predict" in capsys.readouterr().out
    checkpoint = load_checkpoint(tmp_path / "run" / "best")
    assert (checkpoint.n_bins, checkpoint.binsize, checkpoint.network) == (200, 10_000, NetworkConfig.published_10kb())
    assert torch.equal(checkpoint.state["rnn3.weight_hh_l0"], model.state_dict()["rnn3.weight_hh_l0"])


@pytest.mark.parametrize("given", ["--store s --assembly hg38", "--assembly hg38", ""])
def test_import_weights__command_wants_one_assembly(weights, tmp_path, given):
    words = f"-o {tmp_path}/run --tracks a --target ice --target-transform linear --cell-type A --train chr1 {given}"
    assert run(["import-weights", str(weights), *words.split()]) == 2


def seen(card, cell_type: str, *regions: str, assembly: Assembly = ASSEMBLY) -> list[str]:
    return seen_in_training(card, assembly, cell_type, [assembly.region(text) for text in regions])


def test_seen_in_training__names_regions_and_cell_type(tmp_path):
    card = load_checkpoint(write_checkpoint(tmp_path / "run"))
    assert seen(card, "B", "chr2", "chr1:3,000,000-3,200,000") == []
    assert "overlaps chr1:0-3,000,000, seen in training" in seen(card, "B", "chr1:2,999,999-3,100,000")[0]
    assert "the choice of the checkpoint" in seen(card, "B", "chr1:3,100,000-3,200,001")[0]
    assert ["cell type 'A' was seen" in text for text in seen(card, "A", "chr2")] == [True]
    other = Assembly.from_table("test", [("chr2", 1_500_000)])
    assert seen(card, "B", "chr2", assembly=other) == []


def test_predict_contacts__warns_of_what_was_seen(store, tmp_path, caplog):
    best = write_checkpoint(tmp_path / "run")
    predict_contacts(store, best, cell_type="B", out=tmp_path / "out.zarr", regions=["chr3"])
    assert "seen in" not in caplog.text
    predict_contacts(store, best, cell_type="A", out=tmp_path / "out.zarr", regions=["chr1:2,900,000-2,950,000"])
    assert "overlaps chr1:0-3,000,000, seen in training" in caplog.text
    assert "cell type 'A' was seen" in caplog.text
