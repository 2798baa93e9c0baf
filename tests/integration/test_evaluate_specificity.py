"""Cell-type specificity in an evaluation: Poisson replicates of two cell types, beside the noise-free maps as predictions."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from epizarr import __version__
from epizarr.domains.insulation import insulation_scores
from epizarr.evaluate import evaluate_run, tidy_table, write_report
from epizarr.evaluate.maps import Maps, Rows, open_maps
from epizarr.io.store import open_prediction
from epizarr.metrics.specificity import difference_ceiling
from epizarr.transforms import fit_target_transform
from tests._runs import BINSIZE, N_DIAGONALS, draw_contacts, draw_signal, write_contacts, write_prediction, write_store

REGIONS = ["chr1:0-4,500,000", "chr2"]
TRANSFORM = fit_target_transform("obs_over_exp_log1p", 24.0 / (1.0 + np.arange(N_DIAGONALS))).to_json()
ROWS = Rows(0, 4500, 4500)
evaluate = partial(evaluate_run, cell_type="B", regions=REGIONS, sections=["specificity"], other_cell_type="A")


def expected_counts(cell: int) -> np.ndarray:
    """Noise-free contacts of a cell type, which shares half of its signal with the others."""
    signal = 0.5 * (draw_signal(cell) + draw_signal(9))
    return draw_contacts(signal, cell, noise=0.0).astype(np.float64) * 8


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Cell types A, B and C, each of two replicates; run TRUE predicts A and B without noise, C was trained on too."""
    path = write_store(tmp_path_factory.mktemp("specific") / "s.zarr", cell_types=("A", "B", "C"), with_contacts=())
    for cell, name in enumerate("ABC"):
        expected = expected_counts(cell)
        rng = np.random.default_rng(cell)
        counts = np.stack([rng.poisson(np.nan_to_num(expected)) for _ in range(2)]).astype(np.float32)
        counts[:, np.isnan(expected)] = np.nan
        total = counts.sum(axis=0)
        bands = {"count": total, "ice": total / 2} | ({"count_replicate": counts} if name != "C" else {})
        attrs = {"epizarr_version": __version__, "manifest": "schema = 1"}
        write_contacts(path, name, bands, attrs, ("r1", "r2") if name != "C" else ())
        if name != "C":
            write_prediction(path, name, "TRUE", expected, transform=TRANSFORM, trained=("A", "B", "C"))
    return path


@pytest.fixture(scope="module")
def scores(store) -> xr.Dataset:
    return evaluate(store, "TRUE").load()


@pytest.fixture(scope="module")
def bands(store) -> dict[str, np.ndarray]:
    """Measured maps of the first region after the transform, on all pixels that B's evaluation counts."""
    found = {}
    for name in "ABC":
        maps: Maps = open_maps(store, name, open_prediction(store, "B", "TRUE", BINSIZE))
        found[name] = maps.transformed(maps.observed(ROWS)).astype(np.float64)
    predicted = maps.transformed(open_prediction(store, "B", "TRUE", BINSIZE)["contact"].values[:4500])
    return found | {"predicted": np.where(np.isnan(found["B"]), np.nan, predicted)}


def test_specificity__regions_have_the_true_difference_and_every_maps_error(scores, bands):
    assert scores["submatrix"].values.tolist() == ["chr1:0-2,000,000", "chr1:2,000,000-4,000,000"]
    stretches = [slice(0, 2000), slice(2000, 4000)]
    true, of_mean, own = (
        [np.nanmean(np.square(bands[name][at] - bands["B"][at])) for at in stretches] if name != "mean" else
        [np.nanmean(np.square((bands["A"] + bands["C"])[at] / 2 - bands["B"][at])) for at in stretches]
        for name in ("A", "mean", "predicted")
    )  # fmt: skip
    np.testing.assert_allclose(scores["specificity_true_difference"], true, rtol=1e-5)
    np.testing.assert_allclose(scores["specificity_error_of_mean"], of_mean, rtol=1e-5)
    np.testing.assert_allclose(scores["specificity_error"].sel(predictor="prediction"), own, rtol=1e-5)
    assert scores["specificity_rank"].values.tolist() == [1 + (true[0] < true[1]), 1 + (true[1] <= true[0])]
    assert (scores["specificity_nearer_own"].sel(predictor="prediction") == 1).all()


def test_specificity__skill_over_the_training_cells_mean(store, tmp_path, bands):
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    found = evaluate(copy, "TRUE", regions=REGIONS[:1], overwrite=True).sel(predictor="prediction").load()
    reference = (bands["A"] + bands["C"]) / 2
    errors = [np.nansum(np.square(bands[n] - bands["B"]) + 0 * reference) for n in ("predicted", "A")]
    of_mean = np.nansum(np.square(reference - bands["B"]))
    assert float(found["specificity_skill_over_mean"]) == pytest.approx(1 - errors[0] / of_mean, abs=1e-5)
    assert float(found["specificity_skill"]) == pytest.approx(1 - errors[0] / errors[1], abs=1e-5)
    assert of_mean < errors[1]  # the mean of two maps is less noisy than either


def test_specificity__noise_free_differences_score_the_replicates_ceiling(scores):
    found = scores["specificity_difference"].sel(predictor="prediction").values[1:]
    ceiling = scores["specificity_ceiling"].values[1:]
    assert (ceiling < 0.95).all()
    np.testing.assert_allclose(found, ceiling, atol=0.05)
    assert abs((found - ceiling).mean()) < 0.02
    assert float(scores["specificity_mean_ceiling"]) == pytest.approx(ceiling.mean())


def test_specificity__ceiling_is_that_of_whole_arrays(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    found = evaluate(copy, "TRUE", regions=REGIONS[:1], overwrite=True)["specificity_ceiling"].values
    pairs = []
    for index in range(2):
        pair = []
        for name in "BA":
            maps = open_maps(copy, name, open_prediction(copy, "B", "TRUE", BINSIZE))
            observed = maps.observed(ROWS).astype(np.float64)
            band = maps.replicates(ROWS, observed, 2)[index]
            pair.append(maps.transformed(band * np.nansum(observed, axis=0) / np.maximum(np.nansum(band, axis=0), 1)))
        pairs.append(tuple(pair))
    np.testing.assert_allclose(found, difference_ceiling(pairs, min_pixels=100).pearson, atol=1e-5)


def test_specificity__insulation_of_the_cell_types_agrees_as_measured_and_as_predicted(store, scores):
    window = (N_DIAGONALS + 1) // 2
    measured = []
    for name in "BA":
        maps = open_maps(store, name, open_prediction(store, "B", "TRUE", BINSIZE))
        measured.append(insulation_scores(maps.observed(ROWS).astype(np.float64), [window])[0][0][:2000])
    known = np.isfinite(measured[0]) & np.isfinite(measured[1])
    expected = np.corrcoef(measured[0][known], measured[1][known])[0, 1]
    assert float(scores["specificity_true_insulation"][0]) == pytest.approx(expected, abs=1e-5)
    predicted = scores["specificity_insulation"].sel(predictor="prediction")
    assert (predicted > scores["specificity_true_insulation"]).all()  # noise is what measured maps do not share
    assert np.isnan(scores["specificity_insulation"].sel(predictor="training mean")).all()


def test_specificity__says_what_it_lacks(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    found = evaluate(copy, "TRUE", other_cell_type="C", overwrite=True).load()
    assert np.isnan(found["specificity_ceiling"]).all()
    assert np.isnan(found["specificity_difference"]).all()
    definition = json.loads(found.attrs["definitions"])["specificity"]
    assert "replicate ceiling: n/a, it takes two replicates of both cell types" in definition


def test_specificity__report_ranks_the_regions_by_true_difference(store, tmp_path):
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    found = evaluate(copy, "TRUE", overwrite=True).load()
    page = write_report(copy, "TRUE", cell_type="B", path=tmp_path / "r.html", n_windows=0).read_text()
    table = page[page.index("Regions by true difference") :]
    shown = re.findall(r"<tr[^>]*><td>(chr\d:[\d,-]+)</td><td>([\d.]+)</td>", table)
    order = np.argsort(found["specificity_rank"].values)
    true = found["specificity_true_difference"].values
    assert shown == [(str(found["submatrix"].values[i]), f"{true[i]:.4f}") for i in order]
    rows = tidy_table(found).query("metric == 'true_difference' and section == 'specificity'")
    assert dict(zip(rows["place"], rows["value"], strict=True)) == dict(
        zip(found["submatrix"].values, true, strict=True)
    )
