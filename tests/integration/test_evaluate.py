"""Scores in the store against plain NumPy on whole arrays, and the report made of them."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from epizarr.bands import band_on_chromosome
from epizarr.errors import AssemblyMismatchError, SplitError, StoreError, StoreNotFoundError
from epizarr.evaluate import score, write_report
from epizarr.evaluate.ceilings import TRACK_CEILING
from epizarr.evaluate.intervals import advantage_notes, interval_note
from epizarr.evaluate.maps import Maps, open_maps
from epizarr.evaluate.score import CEILING, INSULATION, PREDICTION, RIDGE, TRAINING_MEAN
from epizarr.evaluate.windows import pick_windows
from epizarr.io.group_choice import find_prediction
from epizarr.io.store import open_prediction
from epizarr.metrics.baselines import fit_training_mean
from epizarr.predict import predict_contacts
from tests._killing import tree_digest
from tests._runs import (
    ASSEMBLY,
    BINSIZE,
    MIN_DIAGONAL,
    N_DIAGONALS,
    add_track,
    bad_bins,
    draw_contacts,
    draw_signal,
    write_checkpoint,
    write_store,
)

GRID = ASSEMBLY.bins(BINSIZE)
#: What is always scored; the sections have tests of their own.
evaluate_run = partial(score.evaluate_run, sections=())


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A store in which run RUN has predicted cell type B."""
    folder = tmp_path_factory.mktemp("made")
    store = write_store(folder / "atlas.zarr")
    predict_contacts(store, write_checkpoint(folder / "RUN"), cell_type="B")
    return store


@pytest.fixture
def store(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "atlas.zarr"))


@pytest.fixture
def maps(store) -> Maps:
    return open_maps(store, "B", open_prediction(store, "B", "RUN", BINSIZE))


def _truth(folder: Path, *, assembly: str = "test", factor: float = 3.0) -> Path:
    """Noise-free contacts of cell type B, in other units."""
    band = draw_contacts(draw_signal(1), 1, noise=0.0) * factor
    xr.Dataset(
        {
            "contact": (("bin", "diagonal"), band),
            "chrom_name": ("chroms", np.array(ASSEMBLY.chrom_names, dtype=object)),
            "chrom_length": ("chroms", np.array(ASSEMBLY.chrom_lengths)),
        },
        attrs={"assembly": assembly, "binsize": BINSIZE, "simulated": "SIMULATED, seed 1", "state": "complete"},
    ).to_zarr(folder / "truth.zarr", consolidated=False, zarr_format=3)
    return folder


def _valid(lo: int, hi: int) -> np.ndarray:
    """Which pixels of the genome count if ``[lo, hi)`` is the region."""
    bins = np.arange(GRID.n_bins)
    good = ~bad_bins() & (bins >= lo) & (bins < hi)
    second = np.minimum(bins[:, None] + np.arange(N_DIAGONALS), GRID.n_bins - 1)
    valid = good[:, None] & good[second] & band_on_chromosome(GRID, 0, GRID.n_bins, N_DIAGONALS)
    valid[:, :MIN_DIAGONAL] = False
    return valid


def _transformed(store: Path, band: np.ndarray) -> np.ndarray:
    expected = np.array(
        json.loads(open_prediction(store, "B", "RUN", BINSIZE).attrs["transform"])["params"]["obs_over_exp"]["expected"]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log1p(band / np.where(expected > 0, expected, np.nan))


def test_evaluate__agrees_with_whole_arrays(store):
    scores = evaluate_run(store, "RUN", cell_type="B").load()
    observed = _transformed(store, draw_contacts(draw_signal(1), 1))
    predicted = _transformed(store, open_prediction(store, "B", "RUN", BINSIZE)["contact"].values)
    valid = _valid(*GRID.chrom_extent("chr2"))
    own = scores.sel(predictor=PREDICTION)
    for k in range(MIN_DIAGONAL, N_DIAGONALS):
        x, y = predicted[valid[:, k], k], observed[valid[:, k], k]
        assert scores["n_pixels"].values[k] == len(x)
        assert own["pearson"].values[k] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-5)
        assert own["spearman"].values[k] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-4)
    train = _valid(*GRID.region_extent(ASSEMBLY.region("chr1:0-3,000,000")))
    other = _transformed(store, draw_contacts(draw_signal(0), 0))
    mean = np.array([other[train[:, k], k].mean() if train[:, k].any() else np.nan for k in range(N_DIAGONALS)])
    mse = np.square(predicted - observed)[valid].mean()
    reference = np.square(mean - observed)[valid].mean()
    assert float(own["mse"]) == pytest.approx(mse, rel=1e-4)
    assert float(own["skill"]) == pytest.approx(1 - mse / reference, rel=1e-4)


def test_evaluate__diagonals_that_do_not_count_are_undefined(store):
    scores = evaluate_run(store, "RUN", cell_type="B").load()
    assert scores["n_pixels"].values[0] == 0
    assert np.isnan(scores["pearson"].values[:, 0]).all()


def test_evaluate__training_mean_has_skill_0_and_no_correlation(store):
    mean = evaluate_run(store, "RUN", cell_type="B").sel(predictor=TRAINING_MEAN)
    assert float(mean["skill"]) == 0.0
    assert np.isnan(float(mean["mean_pearson"]))


def test_evaluate__baselines_find_the_rule(store):
    scores = evaluate_run(store, "RUN", cell_type="B")["mean_pearson"]
    assert float(scores.sel(predictor=RIDGE)) > float(scores.sel(predictor=INSULATION)) > 0.15


def test_evaluate__baselines_never_see_the_scored_contacts(store, monkeypatch):
    """Fits come from the training cell type's training and validation regions."""
    seen = []
    original = score.fit_sums

    def spying(task):
        seen.append((task.maps.cell_type, task.rows.lo, task.rows.end))
        return original(task)

    monkeypatch.setattr(score, "fit_sums", spying)
    evaluate_run(store, "RUN", cell_type="B", n_threads=1)
    assert {cell_type for cell_type, _, _ in seen} == {"A"}
    assert all(0 <= lo and end in (3000, 4701) for _, lo, end in seen)


def test_evaluate__passes_over_diagonals_give_the_same(store, monkeypatch):
    whole = evaluate_run(store, "RUN", cell_type="B").load()
    monkeypatch.setattr(score, "MAX_SCORE_BYTES", 200_000)
    xr.testing.assert_identical(evaluate_run(store, "RUN", cell_type="B", overwrite=True).load(), whole)


def test_evaluate__regions_are_pooled(store):
    regions = ["chr2:0-600,000", "chr2:700,000-1,400,000"]
    scores = evaluate_run(store, "RUN", cell_type="B", regions=regions).load()
    valid = _valid(4701, 5301) | _valid(5401, 6101)
    np.testing.assert_array_equal(scores["n_pixels"], valid.sum(axis=0))


@pytest.fixture(scope="module")
def wide(made, tmp_path_factory) -> xr.Dataset:
    """Scores on 6.2 Mb: enough for blocks of 1 Mb."""
    store = Path(shutil.copytree(made, tmp_path_factory.mktemp("wide") / "atlas.zarr"))
    return evaluate_run(store, "RUN", cell_type="B", regions=["chr1", "chr2"]).load()


@pytest.mark.parametrize("score", ["mean_pearson", "mean_spearman", "mse", "skill"])
def test_evaluate__scores_lie_in_their_intervals(wide, score):
    own = wide.sel(predictor=[PREDICTION, RIDGE])
    assert (own[f"{score}_low"] < own[score]).all()
    assert (own[score] < own[f"{score}_high"]).all()


def test_evaluate__intervals_say_what_was_resampled(wide):
    found = json.loads(wide.attrs["bootstrap"])
    assert (found["block_bp"], found["n_blocks"], found["label"]) == (1_000_000, 6, "few blocks: optimistic")
    assert interval_note(wide) == (
        "95 % intervals: moving-block bootstrap over 6 blocks of 1 Mb, few blocks: optimistic."
    )


def test_evaluate__advantages_are_paired(wide):
    """Negative here: the network is untrained."""
    own, ridge = (float(wide["mean_pearson"].sel(predictor=name)) for name in (PREDICTION, RIDGE))
    low, high = (float(wide[f"advantage_{side}"].sel(predictor=RIDGE)) for side in ("low", "high"))
    assert low < own - ridge < high < 0
    assert np.isnan(float(wide["advantage_low"].sel(predictor=PREDICTION)))
    assert any(
        note.startswith(f"Prediction − {RIDGE}, mean Pearson: {own - ridge:.3f} (") for note in advantage_notes(wide)
    )


def test_evaluate__what_is_undefined_has_no_interval(wide):
    mean = wide.sel(predictor=TRAINING_MEAN)
    assert np.isnan(float(mean["mean_pearson_low"]))
    assert (float(mean["skill_low"]), float(mean["skill_high"])) == (0.0, 0.0)


def test_evaluate__too_short_a_span_has_no_interval(store):
    scores = evaluate_run(store, "RUN", cell_type="B").load()
    assert np.isnan(scores["mean_pearson_low"]).all()
    assert interval_note(scores) == "95 % intervals: n/a: fewer than 5 blocks of 1 Mb."


def test_evaluate__diagonals_of_few_pixels_have_an_error_but_no_correlation(store):
    scores = evaluate_run(store, "RUN", cell_type="B", regions=["chr2:0-105,000"]).load().sel(predictor=PREDICTION)
    n = scores["n_pixels"].values
    assert ((n >= 100) == ~np.isnan(scores["pearson"].values)).all()
    assert 0 < (n >= 100).sum() < (n > 0).sum()


def test_evaluate__says_what_was_seen_in_training(store):
    scores = evaluate_run(store, "RUN", cell_type="B", regions=["chr1:2,000,000-3,500,000"])
    notes = json.loads(scores.attrs["notes"])
    assert any(
        note.startswith("SEEN in training: chr1:2,000,000-3,500,000 overlaps chr1:0-3,000,000") for note in notes
    )
    assert any(note.startswith("SEEN in the choice of the checkpoint") for note in notes)


def test_evaluate__test_regions_carry_no_such_note(store):
    assert json.loads(evaluate_run(store, "RUN", cell_type="B").attrs["notes"]) == []


def test_evaluate__regions_of_another_assembly_are_neither_seen_nor_fitted_on(store, made, tmp_path):
    """chr1 of hg19 is another chromosome, whatever its name."""
    checkpoint = (made.parent / "RUN" / "best").resolve()
    other = Path(shutil.copytree(checkpoint, tmp_path / "OTHER" / "best"))
    card = json.loads((other / "checkpoint.json").read_text())
    (other / "checkpoint.json").write_text(json.dumps({**card, "assembly": "hg19"}))
    predict_contacts(store, other, cell_type="B")
    scores = evaluate_run(store, "OTHER", cell_type="B", regions=["chr1:0-2,000,000"])
    notes = json.loads(scores.attrs["notes"])
    assert "Its network was trained on another assembly, hg19; it has seen nothing of this one." in notes
    assert any(note.startswith("Baselines are fitted on B itself") for note in notes)
    assert not any("SEEN" in note for note in notes)
    page = write_report(store, "OTHER", cell_type="B", path=tmp_path / "r.html").read_text()
    assert "trained on assembly" in page
    with pytest.raises(SplitError, match="nothing to fit the baselines on"):
        evaluate_run(store, "OTHER", cell_type="B", regions=["chr1", "chr2", "chr3"], overwrite=True)


def test_evaluate__unpredicted_pixels_are_told(store, made):
    predict_contacts(store, made.parent / "RUN" / "best", cell_type="B", run="part", regions=["chr2:0-500,000"])
    scores = evaluate_run(store, "part", cell_type="B").load()
    assert scores["n_pixels"].values[1] < 500
    assert "have no value in the prediction" in json.loads(scores.attrs["notes"])[0]


def test_evaluate__nothing_predicted_is_an_error(store, made):
    predict_contacts(store, made.parent / "RUN" / "best", cell_type="B", run="part", regions=["chr1"])
    with pytest.raises(StoreError, match="none of them is predicted"):
        evaluate_run(store, "part", cell_type="B")


def test_evaluate__noise_ceiling_is_above_all(store, tmp_path):
    scores = evaluate_run(store, "RUN", cell_type="B", truth=_truth(tmp_path))["mean_pearson"].load()
    assert str(scores["predictor"].values[-1]) == CEILING
    assert float(scores.sel(predictor=CEILING)) == float(scores.max()) > 0.7


def _given_tracks(folder: Path, noise: float) -> Path:
    """Beside the truth, what is expected given tracks that leave some of it open."""
    ds = xr.open_zarr(_truth(folder) / "truth.zarr", consolidated=False).load()
    blur = np.exp(np.random.default_rng(0).normal(0.0, noise, ds["contact"].shape))
    ds = ds.assign(contact=ds["contact"] * blur.astype(np.float32)).assign_attrs(
        simulated="SIMULATED, seed 1; mean of 32 redraws given the tracks"
    )
    ds.drop_encoding().to_zarr(folder / "truth_given_tracks.zarr", consolidated=False, zarr_format=3)
    return folder


def test_evaluate__track_ceiling_lies_below_the_noise_ceiling(store, tmp_path):
    scores = evaluate_run(store, "RUN", cell_type="B", truth=_given_tracks(tmp_path, noise=0.2)).load()
    pearson = scores["mean_pearson"]
    assert float(pearson.sel(predictor=RIDGE)) < float(pearson.sel(predictor=TRACK_CEILING))
    assert float(pearson.sel(predictor=TRACK_CEILING)) < float(pearson.sel(predictor=CEILING)) - 0.01
    assert "redraws" in json.loads(scores.attrs["predictors"])[TRACK_CEILING]


def test_evaluate__track_ceiling_is_the_noise_ceiling_where_tracks_show_all(store, tmp_path):
    scores = evaluate_run(store, "RUN", cell_type="B", truth=_given_tracks(tmp_path, noise=0.0)).load()
    for name in ("pearson", "spearman", "mse"):
        both = [scores[name].sel(predictor=p).values for p in (CEILING, TRACK_CEILING)]
        np.testing.assert_array_equal(*both)


def test_evaluate__truth_named_alone_gives_no_track_ceiling(store, tmp_path):
    scores = evaluate_run(store, "RUN", cell_type="B", truth=_given_tracks(tmp_path, noise=0.0) / "truth.zarr").load()
    assert TRACK_CEILING not in scores["predictor"].values


def test_evaluate__a_track_ceiling_made_later_is_another_evaluation(store, tmp_path):
    evaluate_run(store, "RUN", cell_type="B", truth=_truth(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(StoreError, match="inputs_id"):
        evaluate_run(store, "RUN", cell_type="B", truth=_given_tracks(tmp_path / "other", noise=0.0))


def test_evaluate__noise_ceiling_does_not_depend_on_units(store, tmp_path):
    (tmp_path / "other").mkdir()
    first = evaluate_run(store, "RUN", cell_type="B", truth=_truth(tmp_path)).load()
    other = _truth(tmp_path / "other", factor=0.01)
    second = evaluate_run(store, "RUN", cell_type="B", truth=other, overwrite=True).load()
    np.testing.assert_allclose(first["mse"], second["mse"], rtol=1e-5)


def test_evaluate__refuses_a_truth_of_another_genome(store, tmp_path):
    with pytest.raises(AssemblyMismatchError, match="'hg38'"):
        evaluate_run(store, "RUN", cell_type="B", truth=_truth(tmp_path, assembly="hg38"))


def test_evaluate__without_a_ctcf_track_the_heuristic_is_not_available(store):
    group = store / "B" / "predictions" / "RUN" / str(BINSIZE) / "zarr.json"
    group.write_text(group.read_text().replace('\\"CTCF\\"', '\\"RAD21\\"'))
    for cell_type in "AB":
        _rename_track(store, cell_type, "CTCF", "RAD21")
    scores = evaluate_run(store, "RUN", cell_type="B").load()
    assert np.isnan(float(scores["mean_pearson"].sel(predictor=INSULATION)))
    assert np.isfinite(float(scores["mean_pearson"].sel(predictor=RIDGE)))
    assert json.loads(scores.attrs["notes"]) == ["CTCF insulation: n/a, no track is named CTCF."]


def _rename_track(store: Path, cell_type: str, old: str, new: str) -> None:
    import zarr

    array = zarr.open_array(store / cell_type / "tracks" / "100" / "track", mode="r+")
    array[...] = np.array([new if name == old else name for name in array[...]], dtype=object)


def test_evaluate__same_again_computes_nothing(store, monkeypatch):
    first = evaluate_run(store, "RUN", cell_type="B").load()
    before = tree_digest(store)
    monkeypatch.setattr(score, "run_tasks", lambda *a, **k: pytest.fail("computed again"))
    xr.testing.assert_identical(evaluate_run(store, "RUN", cell_type="B").load(), first)
    assert tree_digest(store) == before


def test_evaluate__another_track_that_is_not_used_changes_no_scores(store):
    first = evaluate_run(store, "RUN", cell_type="B").load()
    add_track(store, "other")
    xr.testing.assert_identical(evaluate_run(store, "RUN", cell_type="B").load(), first)


def test_evaluate__refuses_scores_of_another_file_of_a_used_track(store):
    evaluate_run(store, "RUN", cell_type="B")
    group = store / "B" / "tracks" / "100" / "zarr.json"
    group.write_text(group.read_text().replace("1CTCF", "2CTCF"))
    with pytest.raises(StoreError, match="another inputs_id"):
        evaluate_run(store, "RUN", cell_type="B")


def test_evaluate__refuses_to_replace_other_scores(store):
    evaluate_run(store, "RUN", cell_type="B")
    with pytest.raises(StoreError, match=r"another regions.*--overwrite"):
        evaluate_run(store, "RUN", cell_type="B", regions=["chr2:0-500,000"])


def test_evaluate__unknown_run_lists_those_there_are(store):
    with pytest.raises(StoreNotFoundError, match=r"has no prediction of run 'X'; it has RUN \(1,000 bp\)"):
        evaluate_run(store, "X", cell_type="B")


def test_evaluate__needs_regions(store):
    group = store / "B" / "predictions" / "RUN" / str(BINSIZE) / "zarr.json"
    group.write_text(group.read_text().replace('[\\"chr2\\"]', "[]"))
    with pytest.raises(SplitError, match="--region"):
        evaluate_run(store, "RUN", cell_type="B")


def test_evaluate__reports_progress_over_all_parts(store):
    ticks: list[tuple[int, int]] = []
    evaluate_run(store, "RUN", cell_type="B", n_threads=1, progress=lambda done, n: ticks.append((done, n)))
    assert ticks == [(i + 1, len(ticks)) for i in range(len(ticks))]


def test_evaluate__prediction_in_another_store(store, made, tmp_path):
    out = tmp_path / "out.zarr"
    predict_contacts(store, made.parent / "RUN" / "best", cell_type="B", out=out, run="away")
    away = evaluate_run(store, "away", cell_type="B", predictions=out).load()
    here = evaluate_run(store, "RUN", cell_type="B").load()
    np.testing.assert_array_equal(away["pearson"], here["pearson"])
    assert find_prediction(out, "B", "away", None).attrs["target"] == "ice"


def test_maps_bin_tracks__agree_with_whole_arrays(maps):
    from epizarr.evaluate.maps import Rows
    from tests._runs import bin_means

    signal = draw_signal(1)
    signal[:, 31_000:31_050] = np.nan
    transformed = np.stack(
        [t.apply(v, np.zeros(len(v), bool)) for t, v in zip(maps.track_transforms, signal, strict=True)]
    )
    _, end = GRID.chrom_extent("chr1")
    rows = Rows(3_000, end, end)
    means = maps.bin_tracks(rows)
    np.testing.assert_allclose(means[:, : end - 3000], bin_means(transformed, GRID)[:, 3000:end], rtol=1e-5)
    assert np.isnan(means[:, end - 3000 :]).all()


def test_pick_windows__are_spread_by_rule(maps):
    windows = pick_windows(maps, [ASSEMBLY.region("chr1"), ASSEMBLY.region("chr2")], 3, 400_000)
    middles = [(w.lo + w.hi) / 2 for w in windows]
    assert len(windows) == 3
    np.testing.assert_allclose(np.diff(middles), GRID.chrom_extent("chr2")[1] / 3, rtol=0.02)


def test_pick_windows__stay_in_their_region(maps):
    windows = pick_windows(maps, [ASSEMBLY.region("chr2:100,000-300,000"), ASSEMBLY.region("chr3")], 4, 5_000_000)
    assert [(w.lo, w.hi) for w in windows] == [(4801, 5001)]


@pytest.fixture
def report(store, tmp_path) -> str:
    truth = _truth(tmp_path)
    evaluate_run(store, "RUN", cell_type="B", truth=truth)
    path = write_report(
        store, "RUN", cell_type="B", path=tmp_path / "out" / "report.html", truth=truth, n_windows=1, window_bp=300_000
    )
    return path.read_text()


def test_write_report__shows_every_method(report):
    for method in (PREDICTION, TRAINING_MEAN, INSULATION, RIDGE, CEILING):
        assert f"<td>{method}</td>" in report


def test_write_report__undefined_scores_are_not_numbers(report):
    row = report[report.index(f"<td>{TRAINING_MEAN}</td>") :].split("</tr>")[0]
    assert row.count("n/a") == 2
    assert "nan" not in row


def test_write_report__says_where_the_numbers_come_from(report, store):
    attrs = open_prediction(store, "B", "RUN", BINSIZE).attrs
    for text in (attrs["checkpoint_sha256"], "chr1:0-3,000,000", "blacklist_clip_log1p", "chr2:0-1,500,000"):
        assert text in report


def test_write_report__holds_its_pictures(report):
    assert report.count("data:image/png;base64,") == 3
    assert "http" not in report


@pytest.mark.parametrize(
    ("origin", "banner"),
    [
        ("SIMULATED, epizarr 0.1, seed 1", "SIMULATED data"),
        ("ENCODE peaks. Peak-derived signal, not coverage", "Peak-derived signal, not coverage"),
    ],
)
def test_write_report__banner_says_what_the_data_are(tmp_path, made, origin, banner):
    store = write_store(tmp_path / "s.zarr", origin=origin)
    predict_contacts(store, made.parent / "RUN" / "best", cell_type="B", regions=["chr2"])
    evaluate_run(store, "RUN", cell_type="B")
    path = write_report(store, "RUN", cell_type="B", path=tmp_path / "r.html", n_windows=1, window_bp=100_000)
    assert f'<div class="banner" role="note">{banner}' in path.read_text()


def test_write_report__needs_an_evaluation(store, tmp_path):
    with pytest.raises(StoreNotFoundError, match="evaluations"):
        write_report(store, "RUN", cell_type="B", path=tmp_path / "r.html")


def test_write_report__refuses_scores_of_another_checkpoint(store, tmp_path):
    evaluate_run(store, "RUN", cell_type="B")
    other = write_checkpoint(tmp_path / "RUN", seed=1)
    predict_contacts(store, other, cell_type="B", overwrite=True)
    with pytest.raises(StoreError, match=r"predicted again.*--overwrite"):
        write_report(store, "RUN", cell_type="B", path=tmp_path / "r.html")


def test_evaluate__imports_no_torch():
    import subprocess
    import sys

    code = "import sys, epizarr.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fit_training_mean__name_is_the_one_scored(store):
    """The skill is looked up by this name."""
    import epizarr.metrics.baselines as baselines

    moments = baselines.PixelMoments.of_block(np.zeros((2, 3, 3)), np.zeros((2, 3)))
    assert fit_training_mean(moments).name == TRAINING_MEAN
