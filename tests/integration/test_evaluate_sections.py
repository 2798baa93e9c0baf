"""Sections of an evaluation against the functions that they are made of, on whole arrays; and the table of all values."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from epizarr.domains.scores import domain_scores
from epizarr.errors import ConfigError, StoreError
from epizarr.evaluate import evaluate_run, outcome_maps, tidy_table, write_csv, write_report
from epizarr.evaluate.maps import Maps, Rows, open_maps
from epizarr.evaluate.score import PREDICTION, RIDGE, TRAINING_MEAN
from epizarr.evaluate.windows import Window
from epizarr.io.store import group_path, open_contacts, open_prediction
from epizarr.metrics.correlation import score_by_distance
from epizarr.metrics.interactions import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE, ranking_scores
from epizarr.metrics.loops import observed_over_expected
from epizarr.metrics.stratum_adjusted import stratum_adjusted_correlation, stratum_moments
from epizarr.predict import predict_contacts
from epizarr.report.evaluation_figures import outcome_figure
from epizarr.transforms import diagonal_sums, mean_of_sums
from tests._runs import BINSIZE, N_DIAGONALS, write_checkpoint, write_store

REGION = "chr1:0-4,500,000"
ROWS = Rows(0, 4500, 4500)
evaluate = partial(evaluate_run, cell_type="B", regions=[REGION])


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store with predictions of two runs of cell type B."""
    folder = tmp_path_factory.mktemp("sections")
    store = write_store(folder / "atlas.zarr")
    for seed, run in enumerate(("RUN", "OTHER")):
        predict_contacts(store, write_checkpoint(folder / run, seed=seed), cell_type="B", regions=["chr1", "chr2"])
    return store


@pytest.fixture(scope="module")
def scores(store) -> xr.Dataset:
    return evaluate(store, "RUN").load()


@pytest.fixture(scope="module")
def maps(store) -> Maps:
    return open_maps(store, "B", open_prediction(store, "B", "RUN", BINSIZE))


@pytest.fixture(scope="module")
def bands(store, maps) -> tuple[np.ndarray, np.ndarray]:
    """Observed and predicted contacts of the region, on common pixels."""
    observed = maps.observed(ROWS)
    predicted = np.maximum(open_prediction(store, "B", "RUN", BINSIZE)["contact"].values[:4500], 0)
    # No correlation is defined where training regions have no expected value.
    both = np.isfinite(maps.transform.apply(observed)) & np.isfinite(predicted)
    return np.where(both, observed, np.nan), np.where(both, predicted, np.nan)


def _own(scores: xr.Dataset, name: str) -> np.ndarray:
    return scores[name].sel(predictor=PREDICTION).values


def test_sections__published_counts_missing_contacts_as_none(store, maps, scores):
    stored = open_contacts(store, "B", BINSIZE)["ice"].values[:4500].copy()
    predicted = open_prediction(store, "B", "RUN", BINSIZE)["contact"].values[:4500].copy()
    outside = np.arange(N_DIAGONALS) >= np.arange(4500, 0, -1)[:, None]
    x, y = (maps.transform.apply(band) for band in (predicted, stored))
    x, y = (np.where(outside, np.nan, np.nan_to_num(band)) for band in (x, y))
    expected = score_by_distance(x, y)
    np.testing.assert_allclose(_own(scores, "published_pearson"), expected.pearson, atol=1e-6)
    np.testing.assert_allclose(_own(scores, "published_spearman"), expected.spearman, atol=1e-6)
    assert float(_own(scores, "published_mean_pearson")) != pytest.approx(float(_own(scores, "mean_pearson")), abs=1e-5)


def test_sections__domains_are_those_of_domain_scores(scores, bands):
    grid = {"assembly": "x", "chroms": {"chr1": 4500 * BINSIZE}, "binsize": BINSIZE}
    true, own = (
        xr.DataArray(b, dims=("bin", "diagonal"), attrs={"bin_grid": json.dumps(grid)}, name="x") for b in bands
    )
    window = int(scores["window"][0])
    with pytest.raises(ValueError, match="needed are at least"):  # the band is too narrow for TAD separation
        domain_scores(true, own, windows_bp=window, max_depth_bp=4000)
    from epizarr.domains.boundaries import boundary_agreement, domain_agreement, score_correlation
    from epizarr.domains.insulation import insulation, insulation_boundaries
    from epizarr.domains.topdom import topdom, topdom_domains
    from epizarr.genome import grid_of

    insulated = [insulation(band, window) for band in (own, true)]
    agreed = boundary_agreement(*(insulation_boundaries(each) for each in insulated), binsize=BINSIZE, tolerance_bins=2)
    assert agreed.n_true > 20
    for name in ("precision", "recall", "f1"):
        assert _own(scores, f"domains_insulation_{name}")[0] == pytest.approx(getattr(agreed, name))
    correlation = score_correlation(*(each["score"] for each in insulated))
    assert _own(scores, "domains_insulation_pearson")[0] == pytest.approx(float(correlation["pearson"][0]), abs=1e-6)
    shared = domain_agreement(*(topdom_domains(topdom(band, window // BINSIZE)) for band in (own, true)), grid_of(true))
    assert _own(scores, "domains_topdom_jaccard")[0] == pytest.approx(shared.jaccard)
    assert _own(scores, "domains_topdom_variation")[0] == pytest.approx(shared.variation_of_information)


def test_sections__interactions_agree_with_exact_ranking(scores, bands):
    observed, own = (observed_over_expected(band, mean_of_sums(*diagonal_sums(band))) for band in bands)
    exact = ranking_scores(own, observed, 2.0)
    assert float(_own(scores, "interactions_auroc")[0]) == pytest.approx(exact.auroc, abs=2e-3)
    assert float(_own(scores, "interactions_aupr")[0]) == pytest.approx(exact.aupr, abs=2e-3)
    assert float(scores["interactions_chance"][0]) == pytest.approx(
        exact.n_positive / (exact.n_positive + exact.n_negative),
        rel=1e-2,  # a few pixels lack a baseline
    )
    recall = _own(scores, "interactions_recall")[0]
    at_2 = np.argmin(np.abs(scores["threshold"].values - 2.0))
    is_true = observed >= 2
    assert recall[at_2] == pytest.approx(((own >= 2) & is_true).sum() / is_true.sum(), abs=5e-3)
    assert (np.diff(recall) <= 0).all()


def test_sections__similarity_is_that_of_the_whole_region(scores, bands):
    observed, own = bands
    h = (N_DIAGONALS - 1) // 4
    expected = stratum_adjusted_correlation([stratum_moments(own.astype("f4"), observed.astype("f4"), h)])
    assert float(_own(scores, "similarity_hicrep")) == pytest.approx(expected, abs=1e-6)


def test_sections__submatrices_are_2_mb(scores):
    assert scores["submatrix"].values.tolist() == ["chr1:0-2,000,000", "chr1:2,000,000-4,000,000"]
    assert _own(scores, "submatrices_mse").shape == (2,)
    assert float(scores["submatrices_share"].sel(predictor=RIDGE)) > float(_own(scores, "submatrices_share"))


def test_sections__a_map_without_structure_has_no_domains(scores):
    mean = scores.sel(predictor=TRAINING_MEAN)
    assert np.isnan(mean["domains_insulation_f1"]).all()
    assert np.isfinite(float(mean["interactions_auroc"][0]))


def test_sections__say_why_one_does_not_apply(scores):
    assert "surroundings of a loop take" in json.loads(scores.attrs["not_scored"])["loops"]


def test_sections__block_size_changes_nothing(store, scores, monkeypatch, tmp_path):
    from epizarr.evaluate import maps

    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    monkeypatch.setattr(maps, "BLOCK_ROWS", 700)
    other = evaluate(copy, "RUN", overwrite=True).load()
    xr.testing.assert_allclose(other, scores, rtol=1e-6)


def test_sections__unknown_name_lists_those_there_are(store):
    with pytest.raises(ConfigError, match=r"\['domain'\] are unknown; there are correlation, published, domains"):
        evaluate(store, "RUN", sections=["domain"])


def test_sections__other_sections_are_another_evaluation(store, scores):
    with pytest.raises(StoreError, match="another sections"):
        evaluate(store, "RUN", sections=["domains"])


def test_sections__specificity_of_copying_the_other_map(store, tmp_path):
    """Cell type A's tracks and contacts are drawn independently of B's."""
    copy = shutil.copytree(store, tmp_path / "copy.zarr")
    found = evaluate(copy, "RUN", sections=["specificity"], other_cell_type="A", overwrite=True).load()
    ridge = found.sel(predictor=RIDGE)
    assert 0 < float(ridge["specificity_skill"]) < 1
    assert float(ridge["specificity_identified"]) == 1.0
    assert np.isnan(found["specificity_difference"]).all()  # the run has not predicted A


def test_sections__specificity_needs_a_cell_type(store):
    with pytest.raises(ConfigError, match="--other-cell-type"):
        evaluate(store, "RUN", sections=["specificity"])


def test_csv__holds_every_value_of_the_store(scores, tmp_path):
    table = pd.read_csv(write_csv(scores, tmp_path / "all.csv"), keep_default_na=False, na_values={"value": [""]})
    n_values = sum(a.size for n, a in scores.data_vars.items() if not str(n).endswith(("_low", "_high")))
    assert len(table) == n_values + scores.sizes["predictor"]  # and the advantage over each predictor
    for section, metric, name in (
        ("correlation", "pearson", "pearson"),
        ("domains", "insulation_f1", "domains_insulation_f1"),
        ("interactions", "distance_auroc", "interactions_distance_auroc"),
        ("submatrices", "mse", "submatrices_mse"),
    ):
        rows = table[(table["section"] == section) & (table["metric"] == metric) & (table["predictor"] == RIDGE)]
        np.testing.assert_array_equal(rows["value"], scores[name].sel(predictor=RIDGE).values.ravel())


def test_write_report__shows_the_stores_numbers(store, scores, tmp_path):
    path = write_report(store, "RUN", cell_type="B", path=tmp_path / "r.html", n_windows=1, window_bp=200_000)
    text = path.read_text()
    for name in ("domains_insulation_pearson", "interactions_auroc", "similarity_hicrep", "published_mean_pearson"):
        value = float(scores[name].sel(predictor=PREDICTION).values.ravel()[0])
        assert f"<td>{value:.3f}</td>" in text, name
    assert re.search(r"epizarr evaluate \S*atlas.zarr --run RUN --cell-type B .*--sections domains", text)
    assert text.index('class="lead"') < text.index("<h2>")


@pytest.fixture(scope="module")
def both(store) -> xr.Dataset:
    return evaluate(store, ["RUN", "OTHER"], regions=["chr1", "chr2"], sections=[]).load()


def test_evaluate__runs_side_by_side_score_as_alone(both, store):
    alone = evaluate(store, "OTHER", regions=["chr1", "chr2"], sections=[]).load()
    assert both["predictor"].values.tolist()[:2] == ["run RUN", "run OTHER"]
    for name in ("mean_pearson", "mse", "skill", "skill_low"):
        assert float(both[name][1]) == pytest.approx(float(alone[name][0]))
    assert float(both["mse"][0]) != float(both["mse"][1])


def test_evaluate__runs_side_by_side_have_a_paired_difference(both):
    difference = float(both["mean_pearson"][0] - both["mean_pearson"][1])
    assert float(both["advantage_low"][1]) <= difference <= float(both["advantage_high"][1])
    row = tidy_table(both).query("metric == 'advantage' and predictor == 'run OTHER'").iloc[0]
    assert row["value"] == difference
    assert (row["low"], row["high"]) == (float(both["advantage_low"][1]), float(both["advantage_high"][1]))


def test_evaluate__runs_are_named_once(store):
    with pytest.raises(StoreError, match="each once"):
        evaluate(store, ["RUN", "RUN"])


def test_outcome_pictures__codes_are_those_of_the_sections_threshold(store, scores, maps, bands, monkeypatch):
    drawn = []
    monkeypatch.setattr(outcome_maps, "outcome_figure", lambda window: drawn.append(window) or outcome_figure(window))
    windows = [Window(1000, 1400, 0, 4500), Window(3000, 3400, 0, 4500)]
    groups = {"Predicted": group_path("predictions", "B", BINSIZE, "RUN")}
    pictures = outcome_maps.outcome_pictures(maps, windows, store, groups, scores)
    assert [picture.caption.partition(":")[0] for picture in pictures] == ["chr1", "chr1"]
    observed, own = (observed_over_expected(band, mean_of_sums(*diagonal_sums(band))) for band in bands)
    ((title, codes),) = drawn[0].maps
    assert np.array_equal(codes == TRUE_POSITIVE, (observed >= 2) & (own >= 2))
    assert np.array_equal(codes == FALSE_NEGATIVE, (observed >= 2) & (own < 2))
    assert np.array_equal(codes == FALSE_POSITIVE, (observed < 2) & (own >= 2))
    shown = codes[1000:1400]
    counts = [int((shown == code).sum()) for code in (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)]
    assert title == "Predicted: {:,} hit, {:,} false, {:,} missed".format(*counts)
    assert counts[2] > 0
    assert drawn[0].value_label == "O/E ≥ 2"


def test_outcome_pictures__are_none_without_the_section(store, both, maps):
    assert outcome_maps.outcome_pictures(maps, [Window(0, 400, 0, 4500)], store, {}, both) == []
