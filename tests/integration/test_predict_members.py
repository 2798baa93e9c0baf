"""Predictions of several members and of variance heads, against each member on its own; and the calibration of them."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from epizarr.calibration import Calibration, contact_interval, predictor_id
from epizarr.cli.app import app
from epizarr.errors import (
    CalibrationError,
    CheckpointError,
    ConfigError,
    InputNotFoundError,
    MemoryBoundError,
    SplitError,
    StoreError,
)
from epizarr.evaluate import assess_uncertainty, calibrate_run, evaluate_run
from epizarr.io.calibration_file import read_calibration, write_calibration
from epizarr.io.store import open_prediction, remove_group
from epizarr.predict import blocks, plan, predict_contacts, prediction_task_bytes
from epizarr.predict.members import RunningMoments, tile_seeds
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.loop import train_model
from tests._killing import tree_digest
from tests._runs import BINSIZE, NETWORK, write_checkpoint, write_store
from tests._training import tiny_config

REGIONS = ["chr1:3,200,000-4,700,450", "chr2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A store, and two checkpoints of either head."""
    folder = tmp_path_factory.mktemp("made")
    write_store(folder / "atlas.zarr")
    for seed in (0, 1):
        write_checkpoint(folder / f"mean-{seed}", seed=seed)
    for seed in (5, 6):
        write_checkpoint(folder / f"variance-{seed}", seed=seed, network=dataclasses.replace(NETWORK, head="variance"))
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made", symlinks=True))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(plan, "BLOCK_BINS", 1024)


def predict(folder: Path, names: str | tuple[str, ...], run: str, **settings):
    """One prediction, of the ensemble where there are several names."""
    settings = {"regions": REGIONS, "cell_type": "B", "ensemble": not isinstance(names, str)} | settings
    paths = folder / names / "best" if isinstance(names, str) else [folder / name / "best" for name in names]
    predict_contacts(folder / "atlas.zarr", paths, run=run, **settings)
    return open_prediction(folder / "atlas.zarr", settings["cell_type"], run, BINSIZE).load()


def transformed(folder: Path, contact) -> np.ndarray:
    return load_checkpoint(folder / "mean-0/best").target_transform.apply(contact.values.astype(np.float64))


def test_running_moments__are_those_of_numpy():
    rng = np.random.default_rng(0)
    means, variances = rng.normal(1e3, 1e-2, (7, 4, 5)), rng.random((7, 4, 5))
    means[3, 1, 1] = np.nan
    running = RunningMoments()
    for mean, variance in zip(means, variances, strict=True):
        running.add(mean, variance)
    np.testing.assert_allclose(running.mean, means.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(running.sd_of_means, means.std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(running.sd, np.sqrt(variances.mean(axis=0) + means.var(axis=0)), rtol=1e-10)


def test_running_moments__of_one_member_are_its_own():
    running, mean = RunningMoments(), np.float32([[0.1, np.nan]])
    running.add(mean)
    np.testing.assert_array_equal(running.mean.astype(np.float32), mean)
    np.testing.assert_array_equal(running.sd, [[0.0, np.nan]])


def test_tile_seeds__are_functions_of_each_of_their_arguments():
    seeds = tile_seeds(0, 0, 0, 5)
    assert np.array_equal(seeds[:3], tile_seeds(0, 0, 0, 3))
    others = [tile_seeds(*arguments, 5) for arguments in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len(np.unique([seeds, *others])) == 20
    assert (seeds >= 0).all()


def test_predict__ensemble_is_the_mean_and_spread_of_its_checkpoints(folder):
    ones = [transformed(folder, predict(folder, f"mean-{i}", f"one-{i}")["contact"]) for i in (0, 1)]
    both = predict(folder, ("mean-0", "mean-1"), "both")
    np.testing.assert_allclose(transformed(folder, both["contact"]), np.mean(ones, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(both["transformed_sd"], np.std(ones, axis=0), rtol=1e-3, atol=1e-6)
    assert "transformed_sd_members" not in both
    assert "contact_member" not in both
    assert json.loads(both.attrs["members"])["mc_dropout"] == 0
    assert both.attrs["checkpoint_sha256"] != load_checkpoint(folder / "mean-0/best").sha256
    np.testing.assert_array_equal(np.isnan(both["transformed_sd"]), np.isnan(both["contact"]))


def test_predict__keeps_the_map_of_each_member(folder):
    ones = [predict(folder, f"mean-{i}", f"one-{i}")["contact"].values for i in (0, 1)]
    both = predict(folder, ("mean-0", "mean-1"), "both", by_member=True)
    np.testing.assert_array_equal(both["contact_member"].values, np.stack(ones))
    hashes = [load_checkpoint(folder / f"mean-{i}/best").sha256[:12] for i in (0, 1)]
    assert both["member"].values.tolist() == hashes


def test_predict__variance_head_says_its_deviation(folder):
    found = predict(folder, "variance-5", "variance")
    known = np.isfinite(found["contact"].values)
    assert (found["transformed_sd"].values[known] > 0.1).all()
    assert "transformed_sd_members" not in found
    assert "members" not in found.attrs


@pytest.mark.parametrize(("precision", "share"), [("bfloat16", 0.02), ("int8", 0.05)])
def test_predict__variance_head_in_fewer_bits_is_near(folder, precision, share):
    exact = predict(folder, "variance-5", "exact", regions=["chr3"])["transformed_sd"].values
    fewer = predict(folder, "variance-5", "fewer", regions=["chr3"], precision=precision)["transformed_sd"].values
    assert 0 < np.nanmax(np.abs(fewer - exact)) < share * np.nanmedian(exact)


def test_predict__variances_of_an_ensemble_add_up(folder):
    ones = [predict(folder, f"variance-{i}", f"one-{i}") for i in (5, 6)]
    both = predict(folder, ("variance-5", "variance-6"), "both")
    noise = np.mean([np.square(one["transformed_sd"].values, dtype=np.float64) for one in ones], axis=0)
    between = np.var([transformed(folder, one["contact"]) for one in ones], axis=0)
    np.testing.assert_allclose(np.square(both["transformed_sd"]), noise + between, rtol=1e-3)
    np.testing.assert_allclose(np.square(both["transformed_sd_members"]), between, rtol=1e-2, atol=1e-6)


def test_predict__mc_dropout_depends_on_neither_blocks_nor_batches(folder, monkeypatch):
    settings = {"mc_dropout": 3, "by_member": True, "regions": None}
    whole = predict(folder, "mean-0", "whole", batch_size=4, **settings)
    monkeypatch.setattr(plan, "BLOCK_BINS", 2048)
    cut = predict(folder, "mean-0", "cut", batch_size=7, **settings)
    np.testing.assert_allclose(cut["contact_member"], whole["contact_member"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(cut["transformed_sd"], whole["transformed_sd"], rtol=1e-3, atol=1e-5)
    assert (whole["transformed_sd"].values[np.isfinite(whole["contact"])] > 0).mean() > 0.99
    part = predict(folder, "mean-0", "part", batch_size=4, mc_dropout=3, regions=["chr1:2,000,000-2,200,000"])
    known = np.isfinite(part["contact"].values)
    np.testing.assert_allclose(part["contact"].values[known], whole["contact"].values[known], rtol=1e-4, atol=1e-6)


def test_predict__mc_dropout_draws_other_masks_for_another_seed(folder):
    first, again, other = (
        predict(folder, "mean-0", f"seed-{i}", mc_dropout=2, dropout_seed=seed, regions=["chr2"])
        for i, seed in enumerate((0, 0, 1))
    )
    np.testing.assert_array_equal(first["transformed_sd"], again["transformed_sd"])
    assert (first["transformed_sd"] != other["transformed_sd"]).any()


def test_predict__mc_dropout_resumed_gives_the_same_bytes(folder, monkeypatch):
    store, settings = (
        folder / "atlas.zarr",
        {"mc_dropout": 2, "by_member": True, "regions": ["chr1", "chr2"], "n_threads": 1},
    )
    predict(folder, "mean-0", "RUN", **settings)
    whole = tree_digest(store)
    remove_group(store, f"B/predictions/RUN/{BINSIZE}")
    n_done, finished = 0, blocks.predict_block

    def stop_after_two(block, job):
        nonlocal n_done
        if n_done == 2:
            raise KeyboardInterrupt
        n_done += 1
        finished(block, job)

    with monkeypatch.context() as patched:
        patched.setattr("epizarr.predict.run.predict_block", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            predict(folder, "mean-0", "RUN", **settings)
    predict(folder, "mean-0", "RUN", **settings)
    assert tree_digest(store) == whole


def test_predict__refuses_members_that_are_not_of_one_kind(folder):
    with pytest.raises(CheckpointError, match="differ in network") as caught:
        predict(folder, ("mean-0", "variance-5", "mean-0"), "x")
    assert "is there twice" in str(caught.value)


@pytest.mark.parametrize(("settings", "says"), [({"mc_dropout": 1}, "at least 2"), ({"by_member": True}, "one only")])
def test_predict__refuses_settings_that_mean_nothing(folder, settings, says):
    with pytest.raises(ConfigError, match=says):
        predict(folder, "mean-0", "x", **settings)


def test_predict__refuses_draws_of_a_network_that_drops_nothing(tmp_path):
    store = write_store(tmp_path / "store.zarr")
    result = train_model(
        store, tiny_config(["network.dropout=0", "training.epochs=1"]), tmp_path / "run", cell_types=["A"]
    )
    with pytest.raises(ConfigError, match="draws of dropout are all alike"):
        predict_contacts(store, result.last, cell_type="B", mc_dropout=4)


def test_predict__another_number_of_draws_is_another_prediction(folder):
    predict(folder, "mean-0", "RUN", mc_dropout=2)
    for n_draws in (3, 0):
        with pytest.raises(StoreError, match="made with another members"):
            predict(folder, "mean-0", "RUN", mc_dropout=n_draws)


def test_predict__asked_for_the_maps_of_members_does_not_take_a_run_without_them_for_done(folder):
    predict(folder, "mean-0", "RUN", mc_dropout=2)
    with pytest.raises(StoreError, match="made with another kept_members"):
        predict(folder, "mean-0", "RUN", mc_dropout=2, by_member=True)


def test_prediction_task_bytes__do_not_grow_with_the_members_of_whom_mean_and_spread_stay(folder):
    settings = {"tile_bins": 50, "overlap_bins": 12, "batch_size": 4}
    few, many = (prediction_task_bytes(NETWORK, n_checkpoints=n, **settings) for n in (4, 400))
    assert few == many
    assert prediction_task_bytes(NETWORK, n_kept=100, **settings) > few
    with pytest.raises(MemoryBoundError):
        predict(folder, "mean-0", "x", mc_dropout=5000, by_member=True, max_task_bytes=2 * few)


# ------------------------------------------------------------------------------------------------------------ calibration


@pytest.fixture(scope="module")
def calibrated(made, tmp_path_factory) -> tuple[Path, Calibration]:
    """The store with cell type A predicted by two variance heads as ``RUN``, and the factors of that."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("calibrated") / "made", symlinks=True))
    predict(folder, ("variance-5", "variance-6"), "RUN", cell_type="A")
    return folder, calibrate_run(folder / "atlas.zarr", "RUN", cell_type="A")


def test_calibrate_run__is_fitted_on_the_validation_regions(calibrated):
    folder, found = calibrated
    given = calibrate_run(folder / "atlas.zarr", "RUN", cell_type="A", regions=["chr1:3,200,000-4,700,450"])
    np.testing.assert_array_equal(found.factors, given.factors)
    assert "chr1:3,200,000-4,700,450" in found.fitted_on
    assert 0 < found.n_pixels[1] <= 1_500
    assert (found.n_effective <= found.n_pixels).all()


@pytest.mark.parametrize(("region", "split"), [("chr1:0-500,000", "train"), ("chr2:0-500,000", "test")])
def test_calibrate_run__refuses_training_and_test_regions(calibrated, region, split):
    with pytest.raises(SplitError, match=f"overlaps the {split} regions"):
        calibrate_run(calibrated[0] / "atlas.zarr", "RUN", cell_type="A", regions=[region])


def test_calibrate_run__refuses_a_prediction_without_deviations(folder):
    predict(folder, "mean-0", "plain", cell_type="A")
    with pytest.raises(CalibrationError, match="has no standard deviation"):
        calibrate_run(folder / "atlas.zarr", "plain", cell_type="A")


def test_assess_uncertainty__conformal_intervals_cover_the_test_regions(calibrated):
    folder, calibration = calibrated
    found = assess_uncertainty(folder / "atlas.zarr", "RUN", cell_type="A", calibration=calibration)
    # An untrained network: what it says is far off, and the factors put it right for data of the same law.
    normal, conformal = (
        np.abs(found["mean_coverage"].sel(kind=kind) - found["wanted"]) for kind in found["kind"].values
    )
    assert float(normal.max()) > 0.1
    assert float(conformal.max()) < 0.06
    assert found["coverage"].dims == ("kind", "wanted", "diagonal")
    assert np.isnan(found["coverage"].sel(diagonal=0)).all()
    assert int(found["n_pixels"].sum()) > 10_000


def test_assess_uncertainty__on_what_was_fitted_covers_what_was_wanted(calibrated):
    folder, calibration = calibrated
    found = assess_uncertainty(
        folder / "atlas.zarr", "RUN", cell_type="A", calibration=calibration, regions=["chr1:3,200,000-4,700,450"]
    )
    coverage = found["coverage"].sel(kind="conformal")[:, 1:]
    assert (coverage >= coverage["wanted"] - 1e-9).all()


def test_predict__keeps_the_factors_for_another_cell_type(calibrated, tmp_path):
    folder, calibration = calibrated
    write_calibration(calibration, tmp_path / "factors.json")
    members, settings = ("variance-5", "variance-6"), {"calibration": tmp_path / "factors.json"}
    found = predict(folder, members, "with-intervals", **settings)
    np.testing.assert_array_equal(found["interval_factor"], calibration.factors)
    interval, given = contact_interval(found, 0.9), contact_interval(found, 0.9, calibration)
    assert interval.identical(given)
    known = np.isfinite(found["contact"].values)
    contact = np.maximum(found["contact"].values[known], 0)  # an untrained network predicts negative contacts too
    assert (interval["lower"].values[known] <= contact).all()
    assert (interval["upper"].values[known] >= contact).all()
    assert json.loads(found.attrs["calibration"])["fitted_on"] == calibration.fitted_on
    assert predict(folder, members, "with-intervals", **settings).identical(found)  # nothing is done again


def test_predict__refuses_factors_of_another_predictor(calibrated, tmp_path):
    folder, calibration = calibrated
    write_calibration(calibration, tmp_path / "factors.json")
    with pytest.raises(CalibrationError, match="fitted on predictions of other checkpoints"):
        predict(folder, "variance-5", "x", calibration=tmp_path / "factors.json")
    with pytest.raises(InputNotFoundError, match="epizarr calibrate"):
        predict(folder, "variance-5", "x", calibration=tmp_path / "none.json")
    attrs = {"checkpoint_sha256": load_checkpoint(folder / "mean-0/best").sha256}
    write_calibration(dataclasses.replace(calibration, predictor=predictor_id(attrs)), tmp_path / "one.json")
    with pytest.raises(CalibrationError, match="no standard deviation"):
        predict(folder, "mean-0", "x", calibration=tmp_path / "one.json")


def test_cli__predicts_an_ensemble_calibrates_it_and_predicts_intervals(folder, tmp_path):
    store, runner = str(folder / "atlas.zarr"), CliRunner()
    members = ["--checkpoint", str(folder / "mean-0/best"), "--checkpoint", str(folder / "mean-1/best"), "--ensemble"]
    regions = [word for region in REGIONS for word in ("--region", region)]
    base = ["predict", store, *members, "--mc-dropout", "2", *regions, "--run", "both"]

    def run(*arguments: str) -> str:
        result = runner.invoke(app, list(arguments))
        assert result.exit_code == 0, result.output
        return result.output

    run(*base, "--cell-type", "A")
    file, figure = str(tmp_path / "factors.json"), tmp_path / "picture.png"
    told = run("calibrate", store, "--run", "both", "--cell-type", "A", "-o", file, "--figure", str(figure))
    assert "95%" in told
    assert "fitted on A, chr1:3,200,000-4,700,450" in told.replace("\n", " ")
    assert figure.read_bytes().startswith(b"\x89PNG")
    run(*base, "--cell-type", "B", "--calibration", file)
    elsewhere = ["--run", "no-test", "--cell-type", "A", "--region", REGIONS[0]]
    run("predict", store, *members, *elsewhere)
    told = run("calibrate", store, "--run", "no-test", "--cell-type", "A", "-o", str(tmp_path / "other.json"))
    assert "Not measured on test regions: run 'no-test'" in told.replace("\n", " ")
    assert (tmp_path / "other.json").exists()
    found = open_prediction(store, "B", "both", BINSIZE)
    assert json.loads(found.attrs["members"])["mc_dropout"] == 2
    np.testing.assert_array_equal(found["interval_factor"], read_calibration(file).factors)


def test_evaluate__scores_of_other_members_are_other_scores(folder):
    store, settings = folder / "atlas.zarr", {"cell_type": "A", "regions": ["chr2"]}
    predict(folder, "mean-0", "RUN", mc_dropout=2, **settings)
    first = evaluate_run(store, "RUN", **settings)
    assert int(first["n_pixels"].sum()) > 0
    predict(folder, "mean-0", "RUN", mc_dropout=3, overwrite=True, **settings)
    with pytest.raises(StoreError, match="made with another inputs_id"):
        evaluate_run(store, "RUN", **settings)


def test_predict__ensemble_of_several_cell_types_has_a_run_of_each(folder):
    paths = [folder / f"mean-{i}/best" for i in (0, 1)]
    settings = {"cell_type": ["A", "B"], "regions": ["chr3"], "ensemble": True}
    groups = predict_contacts(folder / "atlas.zarr", paths, **settings)
    assert groups == [f"{cell}/predictions/mean-0-ensemble/{BINSIZE}" for cell in "AB"]


def test_predict__refuses_an_ensemble_of_one(folder):
    with pytest.raises(ConfigError, match="an ensemble of 1 checkpoint"):
        predict(folder, ("mean-0",), "x")
