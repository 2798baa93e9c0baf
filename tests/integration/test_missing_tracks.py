"""Tracks that are missing, read in the place of another, zeroed, or unlike those of training."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from epizarr.cli import run
from epizarr.errors import CheckpointError, ConfigError
from epizarr.evaluate import evaluate_run
from epizarr.io.store import group_attrs, group_path, open_prediction, write_region
from epizarr.predict import predict_contacts
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.fits import fit_transforms
from epizarr.train.loop import train_model
from epizarr.train.sampler import open_samplers
from epizarr.train.sources import open_training_data
from tests._runs import BINSIZE, TRACK_BINSIZE, TRACKS, write_store
from tests._training import tiny_config

DROPOUT = ["network.mask_channels=true", "training.track_dropout=0.3", "execution.max_steps=3"]


def rewrite(store: Path, cell_type: str, row: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    from epizarr.io.store import open_tracks

    values = open_tracks(store, cell_type, TRACK_BINSIZE)["signal"].isel(track=row).values
    group = group_path("tracks", cell_type, TRACK_BINSIZE)
    write_region(store, group, "signal", {"track": slice(row, row + 1)}, change(values)[None])


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A and B have CTCF and DNase; C lacks CTCF; D has its DNase under the name ATAC; E has another assay and other units."""
    path = write_store(tmp_path_factory.mktemp("missing") / "s.zarr")
    write_store(path, cell_types=("C",), with_contacts=("C",), tracks=("DNase",))
    write_store(path, cell_types=("D",), with_contacts=("D",), tracks=("CTCF", "ATAC"))
    write_store(path, cell_types=("B", "E")[1:], with_contacts=("E",))
    from tests._runs import draw_signal

    rewrite(path, "D", 1, lambda values: draw_signal(0)[1])
    rewrite(path, "E", 0, lambda values: 4 * values)
    rewrite(path, "E", 1, lambda values: np.where(np.isnan(values), values, values > 5).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def dropout(store, tmp_path_factory) -> Path:
    """Checkpoint of a network that has seen tracks missing."""
    run_dir = tmp_path_factory.mktemp("dropout") / "dropout"
    return train_model(store, tiny_config([*DROPOUT, "data.cell_types=['A', 'B']"]), run_dir).last


@pytest.fixture(scope="module")
def plain(store, tmp_path_factory) -> Path:
    """Checkpoint of a network that has not."""
    run_dir = tmp_path_factory.mktemp("plain") / "plain"
    return train_model(store, tiny_config(["execution.max_steps=3", "data.cell_types=['A', 'B']"]), run_dir).last


def predicted(store: Path, checkpoint: Path, cell_type: str, name: str, **options) -> np.ndarray:
    predict_contacts(store, checkpoint, cell_type=cell_type, run=name, regions=["chr3"], n_threads=1, **options)
    return open_prediction(store, cell_type, name, BINSIZE)["contact"].values


def test_open_training_data__lacking_track_is_missing_with_dropout_only(store, caplog):
    chosen = "data.cell_types=['A', 'C']"
    with pytest.raises(ConfigError, match=r"'C' has no track 'CTCF'.*training\.track_dropout"):
        open_training_data(store, tiny_config([chosen]))
    with caplog.at_level(logging.WARNING, logger="epizarr"):
        data = open_training_data(store, tiny_config([chosen, *DROPOUT]))
    assert [message for message in caplog.messages if "'C' has no track 'CTCF'" in message]
    train, _ = open_samplers(data, *fit_transforms(data))
    source = np.array([s.source for s in train.reader.stretches])
    for batch in train.batches(range(1)):
        lacks = source[train.plan(0).stretch[batch.examples]] == 1
        assert not batch.signal[lacks][:, [0, 2]].any()
        assert batch.signal[lacks][:, 3].any(axis=1).all()


def test_open_training_data__refuses_a_track_that_no_cell_type_has(store):
    with pytest.raises(ConfigError, match="no cell type has the tracks"):
        open_training_data(store, tiny_config([*DROPOUT, "data.tracks=['CTCF', 'SMC3']", "data.cell_types=['A', 'B']"]))


def test_open_training_data__unnamed_tracks_are_those_of_any_cell_type_with_dropout(store):
    data = open_training_data(store, tiny_config([*DROPOUT, "data.tracks=[]", "data.cell_types=['A', 'D']"]))
    assert data.config.data.tracks == ("CTCF", "DNase", "ATAC")


def test_train_model__refuses_dropout_without_mask_channels(store):
    with pytest.raises(ConfigError, match=r"needs network\.mask_channels"):
        open_training_data(store, tiny_config(["training.track_dropout=0.2"]))


def test_train_model__a_new_track_is_a_line_in_the_config(tmp_path):
    names = (*TRACKS, "SMC3", "motif-plus", "motif-minus")
    strands = {"A": "...+-", "B": "...+-"}
    store = write_store(tmp_path / "s.zarr", tracks=names, strands=strands)
    config = tiny_config([f"data.tracks={list(names)}", "training.mirror=true", "execution.max_steps=2"])
    checkpoint = load_checkpoint(train_model(store, config, tmp_path / "run").last)
    assert checkpoint.tracks == names
    assert checkpoint.network.n_tracks == 5


def test_train_model__zeroed_track_is_read_neither_in_training_nor_in_prediction(store, tmp_path):
    config = tiny_config(["data.zeroed_tracks=['DNase']", "execution.max_steps=3"])
    changed = Path(shutil.copytree(store, tmp_path / "s.zarr"))
    for cell_type in "AB":
        rewrite(changed, cell_type, 1, lambda values: np.full_like(values, 7.0))
    found = []
    for place, path in enumerate((store, changed)):
        last = train_model(path, config, tmp_path / str(place), cell_types=["A"]).last
        found.append((load_checkpoint(last).sha256, predicted(path, last, "B", "zeroed")))
        attrs = group_attrs(path, f"B/predictions/zeroed/{BINSIZE}")
        assert (json.loads(attrs["missing_tracks"]), set(json.loads(attrs["track_shift"]))) == (["DNase"], {"CTCF"})
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.zeroed_tracks=['CTFC']"], "data.zeroed_tracks names"),
        (["data.zeroed_tracks=['DNase', 'CTCF']"], "leaves the network no track"),
    ],
)
def test_open_training_data__refuses_zeroed_tracks_that_cannot_be(store, overrides, says):
    with pytest.raises(ConfigError, match=says):
        open_training_data(store, tiny_config(overrides), cell_types=["A"])


def test_open_training_data__refuses_to_zero_one_strand_of_a_mirrored_pair(tmp_path):
    names = ("CTCF", "motif-plus", "motif-minus")
    store = write_store(tmp_path / "s.zarr", tracks=names, strands={"A": ".+-", "B": ".+-"})
    config = [f"data.tracks={list(names)}", "data.zeroed_tracks=['motif-plus']", "training.mirror=true"]
    with pytest.raises(ConfigError, match="without the track of the other strand"):
        open_training_data(store, tiny_config(config))
    open_training_data(store, tiny_config([*config, "data.zeroed_tracks=['motif-plus', 'motif-minus']"]))


def test_predict__a_track_left_out_counts_as_one_that_is_not_there(store, dropout, caplog):
    # C is A without CTCF: both were drawn from one seed.
    without = predicted(store, dropout, "A", "without", without=["CTCF"])
    with caplog.at_level(logging.WARNING, logger="epizarr"):
        np.testing.assert_array_equal(without, predicted(store, dropout, "C", "lacking"))
    assert any("C has no track CTCF" in message for message in caplog.messages)
    assert not np.array_equal(without, predicted(store, dropout, "A", "with"), equal_nan=True)
    assert json.loads(group_attrs(store, f"A/predictions/without/{BINSIZE}")["missing_tracks"]) == ["CTCF"]
    assert "missing_tracks" not in group_attrs(store, f"A/predictions/with/{BINSIZE}")


def test_predict__refuses_a_missing_track_to_a_network_that_has_seen_none(store, plain):
    with pytest.raises(CheckpointError, match="lacks"):
        predict_contacts(store, plain, cell_type="C")
    with pytest.raises(ConfigError, match="never seen a track missing"):
        predict_contacts(store, plain, cell_type="A", without=["CTCF"])


def test_predict__reads_another_track_in_the_place_of_one_and_records_it(store, plain):
    used = predicted(store, plain, "D", "used", use={"DNase": "ATAC"})
    # D's ATAC is A's DNase, and its CTCF is A's.
    np.testing.assert_array_equal(used, predicted(store, plain, "A", "own"))
    attrs = group_attrs(store, f"D/predictions/used/{BINSIZE}")
    assert json.loads(attrs["track_sources"]) == {"DNase": "ATAC"}
    assert json.loads(attrs["tracks"]) == ["CTCF", "DNase"]
    assert not np.array_equal(used, predicted(store, plain, "D", "twice", use={"DNase": "CTCF"}), equal_nan=True)


def test_predict__another_use_does_not_resume_a_run(store, plain, tmp_path):
    out = tmp_path / "out.zarr"
    predicted_again = {"cell_type": "D", "regions": ["chr3"], "n_threads": 1, "run": "r", "out": out}
    predict_contacts(store, plain, use={"DNase": "ATAC"}, **predicted_again)
    with pytest.raises(Exception, match="track_sources"):
        predict_contacts(store, plain, use={"DNase": "CTCF"}, **predicted_again)


def test_predict_command__takes_use_and_without(store, dropout, capsys, tmp_path):
    command = [
        "predict",
        str(store),
        "--checkpoint",
        str(dropout),
        "--cell-type",
        "D",
        "--region",
        "chr3",
        "--run",
        "cli",
    ]
    assert run([*command, "--use", "DNase=ATAC", "--without", "CTCF"]) == 0
    attrs = group_attrs(store, f"D/predictions/cli/{BINSIZE}")
    assert (json.loads(attrs["track_sources"]), json.loads(attrs["missing_tracks"])) == ({"DNase": "ATAC"}, ["CTCF"])
    assert run([*command, "--use", "DNase"]) != 0


def test_evaluate__reads_the_tracks_that_the_prediction_was_made_of(store, dropout, tmp_path):
    for name, options in (
        ("used", {"use": {"DNase": "ATAC"}}),
        ("none", {"without": ["CTCF"], "use": {"DNase": "ATAC"}}),
    ):
        predict_contacts(store, dropout, cell_type="D", run=f"e-{name}", regions=["chr2"], n_threads=1, **options)
        scores = evaluate_run(store, f"e-{name}", cell_type="D", n_threads=1)
        notes = " ".join(json.loads(scores.attrs["notes"]))
        assert "ATAC as DNase" in notes
        assert ("missing, and left out of baselines: CTCF" in notes) == (name == "none")
        assert scores["n_pixels"].values.sum() > 0
        assert np.isfinite(scores["mean_pearson"].sel(predictor="ridge"))


def test_evaluate__baselines_leave_out_what_a_training_cell_type_lacks(store, tmp_path):
    config = tiny_config([*DROPOUT, "data.cell_types=['A', 'C']", "training.epochs=1"])
    last = train_model(store, config, tmp_path / "lacking").last
    predict_contacts(store, last, cell_type="B", regions=["chr2"], n_threads=1)
    scores = evaluate_run(store, "lacking", cell_type="B", n_threads=1)
    assert any("Baselines leave out CTCF, which C lacks" in note for note in json.loads(scores.attrs["notes"]))
    assert scores["n_pixels"].values.sum() > 0


def test_predict__track_shift_is_small_for_the_assay_and_large_for_another(store, plain, caplog):
    with caplog.at_level(logging.WARNING, logger="epizarr"):
        for cell_type in "BE":
            predicted(store, plain, cell_type, "shift")
    shift = {c: json.loads(group_attrs(store, f"{c}/predictions/shift/{BINSIZE}")["track_shift"]) for c in "BE"}
    assert all(value < 0.05 for value in shift["B"].values())
    assert all(value > 0.25 for value in shift["E"].values())
    assert not any("of B does not look like" in message for message in caplog.messages)
    assert any(
        "'CTCF' of E does not look like" in message and "mostly higher" in message for message in caplog.messages
    )


def test_load_checkpoint__of_format_1_1_predicts_without_a_shift(store, plain, tmp_path):
    old = Path(shutil.copytree(plain.resolve(), tmp_path / "old" / "best"))
    card = json.loads((old / "checkpoint.json").read_text())
    card["checkpoint_version"] = "1.1"
    del card["track_distributions"], card["trained_on"]["held_out_cell_types"]
    (old / "checkpoint.json").write_text(json.dumps(card))
    lines = (old / "config.toml").read_text().splitlines()
    new = ("zeroed", "held_out", "track_dropout", "track_noise", "scale_jitter", "pairs", "delta_weight")
    (old / "config.toml").write_text("\n".join(line for line in lines if not line.startswith(new)) + "\n")
    assert load_checkpoint(old).config == dataclasses.replace(load_checkpoint(plain).config)
    np.testing.assert_array_equal(predicted(store, old, "B", "old"), predicted(store, plain, "B", "new"))
    assert "track_shift" not in group_attrs(store, f"B/predictions/old/{BINSIZE}")
