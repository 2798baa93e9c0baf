"""Validation during training: the numbers that ``evaluate`` and ``metrics`` give, and what else it returns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from epizarr.evaluate import evaluate_run
from epizarr.metrics.correlation import score_by_distance
from epizarr.nn import Epiphany
from epizarr.predict import predict_contacts
from epizarr.report.validation_figures import MapPair
from epizarr.train.fits import fit_transforms, transformed_mean
from epizarr.train.loop import train_model
from epizarr.train.pictures import ValidationPictures
from epizarr.train.ranks import Ranks
from epizarr.train.sampler import Sampler, open_samplers
from epizarr.train.signals import StopRequest
from epizarr.train.sources import TrainingData, open_training_data
from epizarr.train.start import network_config
from epizarr.train.validation import validate
from tests._runs import write_store
from tests._training import tiny_config


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture(scope="module")
def held_out(store) -> tuple[TrainingData, Sampler, np.ndarray]:
    """Validation regions of two cell types, and the training mean."""
    data = open_training_data(store, tiny_config(), cell_types=["A", "B"])
    target, tracks = fit_transforms(data)
    return data, open_samplers(data, target, tracks)[1], transformed_mean(data, target)


@pytest.fixture(scope="module")
def model(held_out) -> nn.Module:
    torch.manual_seed(3)
    return Epiphany(network_config(held_out[0].config))


def stacked(model: nn.Module, sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target of all windows in order (example, bin, offset), NaN where a pixel does not count."""
    model.eval()
    with torch.inference_mode():
        batches = list(sampler.batches(range(1)))
        prediction = np.concatenate([model(torch.from_numpy(b.signal)).numpy() for b in batches])
    target = np.concatenate([np.where(b.valid, b.target, np.nan) for b in batches])
    return prediction, target


def test_validate__equals_the_metrics_of_all_windows_of_each_cell_type(held_out, model):
    _, sampler, mean = held_out
    prediction, target = stacked(model, sampler)
    half = len(target) // 2  # cell types A and B have the same regions
    scores = [
        score_by_distance(prediction[part].reshape(-1, len(mean)), target[part].reshape(-1, len(mean)))
        for part in (slice(0, half), slice(half, None))
    ]
    found = validate(model, sampler, mean, Ranks()).scores
    assert found.pearson == np.mean([s.mean_pearson for s in scores])
    assert found.spearman == np.mean([s.mean_spearman for s in scores])
    assert found.n_pixels == np.isfinite(target).sum()
    assert found.loss == pytest.approx(np.nanmean((prediction.astype(float) - target) ** 2), rel=1e-12)
    reference = np.nanmean((mean.astype(np.float32).astype(float) - target) ** 2)
    assert found.skill == pytest.approx(1 - found.loss / reference, rel=1e-9)


def test_validate__equals_evaluate_where_tiles_are_the_validation_windows(store, tmp_path):
    # A region of whole windows: tiles without overlap lie where they do, and each pixel comes from the same one.
    region = "chr1:3,200,000-4,500,000"
    config = tiny_config([f"splits.validation=['{region}']", "training.epochs=1"])
    row = train_model(store, config, tmp_path / "run", cell_types=["A"]).rows[0]
    predict_contacts(
        store, tmp_path / "run" / "best", cell_type="A", out=tmp_path / "p.zarr", tile_bins=100, overlap_bins=0
    )
    scores = evaluate_run(store, "run", cell_type="A", regions=[region], predictions=tmp_path / "p.zarr")
    found = scores.sel(predictor="prediction")
    assert row.validation_pearson == pytest.approx(float(found["mean_pearson"]), abs=1e-5)
    assert row.validation_spearman == pytest.approx(float(found["mean_spearman"]), abs=1e-4)
    assert row.validation_loss == pytest.approx(float(found["mse"]), rel=1e-4)
    assert row.validation_skill == pytest.approx(float(found["skill"]), abs=1e-4)


class Constant(nn.Module):
    """Predicts the same stripe everywhere."""

    def __init__(self, stripe: np.ndarray) -> None:
        super().__init__()
        self.stripe = torch.from_numpy(stripe.astype(np.float32))

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return self.stripe.expand(len(signal), 100, -1)


def test_validate__training_mean_has_no_skill_and_no_correlation(held_out):
    _, sampler, mean = held_out
    scores = validate(Constant(mean), sampler, mean, Ranks()).scores
    assert scores.skill == 0
    assert np.isnan([scores.pearson, scores.spearman]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_validate__prediction_that_is_not_finite_has_no_loss(held_out, value):
    _, sampler, mean = held_out
    broken = np.where(np.arange(len(mean)) == 4, value, mean)
    assert np.isnan(validate(Constant(broken), sampler, mean, Ranks()).scores.loss)


def test_validate__returns_the_maps_it_was_asked_for(held_out, model):
    _, sampler, mean = held_out
    prediction, target = stacked(model, sampler)
    maps = validate(model, sampler, mean, Ranks(), keep=(2, 17)).maps
    assert set(maps) == {2, 17}
    for example, found in maps.items():
        np.testing.assert_array_equal(found, (prediction[example], target[example]))


@pytest.mark.parametrize("was_training", [True, False])
def test_validate__leaves_the_mode_of_the_model(held_out, model, was_training):
    _, sampler, mean = held_out
    model.train(was_training)
    validate(model, sampler, mean, Ranks())
    assert model.training is was_training


def test_validate__is_given_up_when_a_stop_is_asked_for(held_out, model):
    _, sampler, mean = held_out
    stop = StopRequest()
    assert validate(model, sampler, mean, Ranks(), stop=stop) is not None
    stop.ask(15)
    assert validate(model, sampler, mean, Ranks(), stop=stop) is None


def test_validation_pictures__show_one_window_of_each_third_with_the_most_good_bins(held_out, tmp_path):
    data, sampler, mean = held_out
    pictures = ValidationPictures(tmp_path, sampler, "ice", sampler.reader.target_transform)
    plan = sampler.plan(0)
    good = [
        int((~data.sources[0].bad_bin[start : min(start + 100, 4_700)]).sum())  # chr1 is first; both cell types alike
        for start in plan.start
    ]
    thirds = np.array_split(np.arange(len(good)), 3)
    assert [good[example] for example in pictures.examples] == [max(good[i] for i in third) for third in thirds]
    assert all(example in third for example, third in zip(pictures.examples, thirds, strict=True))
    validation = validate(Constant(mean), sampler, mean, Ranks(), keep=pictures.examples)
    first, again = (pictures.draw(12, validation.maps, validation.scores).read_bytes() for _ in range(2))
    assert first == again
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["epoch-0012.png"]


def test_validation_pictures__predict_nothing_outside_the_region(held_out, tmp_path, monkeypatch):
    _, sampler, mean = held_out
    pictures = ValidationPictures(tmp_path, sampler, "ice", sampler.reader.target_transform)
    drawn: list[MapPair] = []
    monkeypatch.setattr("epizarr.train.pictures.validation_figure", lambda pairs, **_: drawn.extend(pairs) or Figure())
    validation = validate(Constant(mean), sampler, mean, Ranks(), keep=pictures.examples)
    pictures.draw(1, validation.maps, validation.scores)
    n_outside = 0
    for pair in drawn:
        n_bins, n_offsets = pair.prediction.shape
        stripe, offset = np.arange(n_bins)[:, None] + pair.start // pair.binsize, np.arange(n_offsets)
        first, second = stripe - (offset + 1) // 2, stripe + offset // 2
        inside = (first >= 3_200) & (second < 4_701) & (offset >= sampler.reader.geometry.min_diagonal)
        np.testing.assert_array_equal(np.isfinite(pair.prediction), inside)
        n_outside += int((~inside & (offset > 0)).sum())
    assert n_outside > 0
