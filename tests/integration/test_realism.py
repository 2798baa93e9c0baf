"""Realism of predictions in a small store, without a training of the predictor."""

import json
from functools import partial

import numpy as np
import pytest

import epizarr as ez
from epizarr.errors import CheckpointError, ConfigError, SplitError, StoreError, StoreNotFoundError
from epizarr.evaluate import score, tidy_table, write_report
from epizarr.evaluate.sections import Realism, choose_sections
from epizarr.io.places import place_of
from epizarr.metrics.realism import ClassifierProtocol
from epizarr.transforms import fit_target_transform
from tests._runs import BINSIZE, N_DIAGONALS, draw_contacts, draw_signal, write_prediction, write_store
from tests._training import train_tiny

TRANSFORM = fit_target_transform("obs_over_exp_log1p", 5.0 / (1.0 + np.arange(N_DIAGONALS))).to_json()
PROTOCOL = ClassifierProtocol(n_bins=24, channels=(4, 4), kernel=3, n_steps=100, n_windows=8, lr=1e-2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Store whose run ``blur`` predicts smooth maps and ``twin`` draws the noise of the measured ones anew."""
    path = write_store(tmp_path_factory.mktemp("realism") / "store.zarr", cell_types=("A",), with_contacts=("A",))
    for run, noise, seed in (("blur", 0.0, 0), ("twin", 0.15, 5)):
        write_prediction(path, "A", run, draw_contacts(draw_signal(0), seed, noise), transform=TRANSFORM)
    return path


@pytest.fixture(scope="module")
def results(store):
    return ez.realism_scores(store, ["blur", "twin"], cell_type="A", protocol=PROTOCOL)


def test_realism_scores__tell_a_blurred_map_from_a_second_draw(results):
    blur, twin = (results.sel(map=name) for name in ("blur", "twin"))
    assert blur.auc > 0.95
    assert abs(twin.auc - 0.5) < 0.2
    assert twin.frechet < blur.frechet
    assert blur.sd_ratio.mean() < 0.96
    assert twin.sd_ratio.mean() == pytest.approx(1, abs=0.05)
    assert blur.mse < twin.mse  # what the squared error prefers


def test_realism_scores__say_what_was_compared_where(results):
    assert results["map"].values.tolist()[-3:] == ["local mean", "local mean per distance", "distance mean"]
    assert json.loads(results.attrs["regions"]) == ["chr2:0-1,500,000"]
    assert json.loads(results.attrs["held_out"])[1].startswith("chr1:3,200,000")
    assert json.loads(results.attrs["protocol"])["n_bins"] == 24
    assert results.sizes["range"] == 0  # twelve diagonals hold no square
    assert "perceptual" not in results


@pytest.mark.slow
def test_realism_scores__are_the_same_again(store, results):
    again = ez.realism_scores(store, ["twin"], cell_type="A", protocol=PROTOCOL)
    for name in ("auc", "frechet", "mse", "auc_low"):
        first, second = (float(found[name].sel(map="twin")) for found in (results, again))
        assert second == pytest.approx(first, nan_ok=True, rel=1e-6)


def test_realism_scores__without_other_held_out_regions_have_no_two_sample_test(store):
    found = ez.realism_scores(store, ["blur"], cell_type="A", fit_on=[], protocol=PROTOCOL)
    assert np.isnan(found.auc).all()
    assert np.isfinite(found.frechet).all()


def test_realism_scores__take_a_discriminator_as_judge(store, tmp_path):
    train_tiny(store, tmp_path / "gan", ["training.adversarial_weight=0.001", "training.epochs=1"])
    ez.predict_contacts(store, tmp_path / "gan" / "best", cell_type="A", run="gan")
    found = ez.realism_scores(
        store, ["gan"], cell_type="A", judge=tmp_path / "gan" / "best", fit_on=[], protocol=PROTOCOL
    )
    assert found["judged"].values.tolist() == ["observed", *found["map"].values]
    assert found.sizes["window"] == 1_500_000 // BINSIZE // 100
    scores = found["perceptual"].values
    assert ((scores > 0) & (scores < 1)).all()
    assert found["frechet_judge"].sizes == {"map": found.sizes["map"]}
    with pytest.raises(CheckpointError, match="knows maps of another transform"):
        ez.realism_scores(store, ["blur"], cell_type="A", judge=tmp_path / "gan" / "best", protocol=PROTOCOL)


def test_realism_scores__refuse_what_does_not_belong_together(store):
    with pytest.raises(StoreError, match="name one at least"):
        ez.realism_scores(store, [], cell_type="A")
    with pytest.raises(StoreNotFoundError, match="no prediction of run 'other'"):
        ez.realism_scores(store, ["other"], cell_type="A")
    with pytest.raises(SplitError, match="hold no whole bin"):
        ez.realism_scores(store, ["blur"], cell_type="A", regions=["chr2:100-900"])
    write_prediction(store, "A", "narrow", draw_contacts(draw_signal(0), 0)[:, : N_DIAGONALS - 2], transform=TRANSFORM)
    with pytest.raises(StoreError, match="differ in number of diagonals"):
        ez.realism_scores(store, ["blur", "narrow"], cell_type="A")


def test_evaluate__realism_is_a_section_that_is_named(store, results, tmp_path):
    of_section = Realism(
        place_of(store), place_of(store), "A", BINSIZE, (("prediction", "blur"),), ("chr2",), None, PROTOCOL
    )
    coords, found = of_section.combine([None], ["prediction"])
    assert coords["realism_map"][1].tolist() == ["replicate", "prediction", *results["map"].values[-3:]]
    for name in ("auc", "auc_low", "frechet", "sd_ratio"):
        expected = results[name].sel(map=["replicate", "blur"]).values
        np.testing.assert_allclose(found[f"realism_{name}"][1][:2], expected, rtol=1e-5)
    assert "realism" not in [section.name for section in choose_sections(None)]
    with pytest.raises(ConfigError, match=r"there are correlation, published, .*, specificity, realism"):
        choose_sections(["real"])


def test_evaluate__says_that_maps_are_too_narrow_for_the_classifier(store):
    scores = ez.evaluate_run(store, "twin", cell_type="A", sections=["realism"])
    assert "maps of 50 bins and 12 offsets are too small" in json.loads(scores.attrs["not_scored"])["realism"]


@pytest.mark.slow
def test_evaluate__realism_is_in_store_csv_and_report(store, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "Realism", partial(Realism, protocol=PROTOCOL))
    scores = ez.evaluate_run(store, "blur", cell_type="A", sections=["realism"], overwrite=True).load()
    assert np.isfinite(scores["realism_frechet"]).all()
    assert scores["realism_about"].values[0].startswith("two halves")
    table = tidy_table(scores).query("section == 'realism' and metric == 'sd_ratio' and predictor == 'prediction'")
    np.testing.assert_array_equal(table["value"], scores["realism_sd_ratio"].sel(realism_map="prediction"))
    page = write_report(store, "blur", cell_type="A", path=tmp_path / "r.html", n_windows=0).read_text()
    assert "<h2>Realism</h2>" in page
    assert "replicate: two halves of the contacts with each other" in page
