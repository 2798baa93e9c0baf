"""The replicates' ceiling beside the scores: Poisson counts whose ceiling is known, and plain NumPy on whole arrays."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from epizarr import __version__
from epizarr.bands import band_on_chromosome
from epizarr.evaluate import evaluate_run, score, write_report
from epizarr.evaluate.ceilings import CEILING, REPLICATE_CEILING, find_replicates
from epizarr.evaluate.maps import Rows, open_maps
from epizarr.io.store import group_path, open_prediction, remove_group
from epizarr.metrics.ceiling import replicate_ceiling
from epizarr.predict import predict_contacts
from epizarr.transforms import Transform
from tests._runs import (
    ASSEMBLY,
    BINSIZE,
    MIN_DIAGONAL,
    N_DIAGONALS,
    bad_bins,
    draw_contacts,
    draw_signal,
    write_checkpoint,
    write_contacts,
    write_store,
)

GRID = ASSEMBLY.bins(BINSIZE)
ATTRS = {"epizarr_version": __version__, "manifest": "schema = 1"}
#: Counts of a good pixel on the main diagonal, in one replicate.
DEPTH = 8.0
CHR2 = slice(*GRID.chrom_extent("chr2"))


def expected_counts() -> np.ndarray:
    """Noise-free contacts of cell type B, (bin, diagonal), NaN off the chromosomes."""
    return draw_contacts(draw_signal(1), 1, noise=0.0).astype(np.float64) * DEPTH


def give_replicates(store: Path, depths: tuple[float, ...], seed: int = 0) -> np.ndarray:
    """Give cell type B the Poisson counts of replicates, and as ``ice`` their sum / 64; returns the counts."""
    expected = expected_counts()
    is_there = ~np.isnan(expected)
    rng = np.random.default_rng(seed)
    drawn = [np.where(is_there, rng.poisson(np.nan_to_num(expected) * depth), np.nan) for depth in depths]
    counts = np.stack(drawn).astype(np.float32)
    remove_group(store, group_path("contacts", "B", BINSIZE))
    total = counts.sum(axis=0)
    bands = {"count": total, "ice": total / np.float32(64), "count_replicate": counts}
    write_contacts(store, "B", bands, ATTRS, tuple(f"rep{i + 1}" for i in range(len(depths))))
    return counts


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Runs LINEAR and LOG have predicted cell type B, whose contacts are two replicates."""
    folder = tmp_path_factory.mktemp("made")
    store = write_store(folder / "atlas.zarr")
    for run, transform in (("LINEAR", "linear"), ("LOG", "obs_over_exp_log1p")):
        predict_contacts(store, write_checkpoint(folder / run, transform=transform), cell_type="B", regions=["chr2"])
    give_replicates(store, (1.0, 1.0))
    return store


@pytest.fixture
def store(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "atlas.zarr"))


def valid_on_chr2() -> np.ndarray:
    bins = np.arange(GRID.n_bins)
    good = ~bad_bins() & (bins >= CHR2.start) & (bins < CHR2.stop)
    second = np.minimum(bins[:, None] + np.arange(N_DIAGONALS), GRID.n_bins - 1)
    valid = good[:, None] & good[second] & band_on_chromosome(GRID, 0, GRID.n_bins, N_DIAGONALS)
    valid[:, :MIN_DIAGONAL] = False
    return valid


def moments() -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of one replicate's expected counts on chr2, by scored diagonal."""
    expected = np.where(valid_on_chr2(), expected_counts(), np.nan)[CHR2, MIN_DIAGONAL:]
    return np.nanmean(expected, axis=0), np.nanvar(expected, axis=0)


@pytest.mark.parametrize("n_replicates", [2, 3])
def test_evaluate__replicate_ceiling_of_poisson_counts_has_its_closed_form(store, n_replicates):
    give_replicates(store, (1.0,) * n_replicates)
    scores = evaluate_run(store, "LINEAR", cell_type="B").load()
    mean, variance = moments()
    reliability = variance / (variance + mean / n_replicates)
    found = scores["pearson"].sel(predictor=REPLICATE_CEILING).values[MIN_DIAGONAL:]
    # 1,490 pixels a diagonal: a correlation has a standard error of 0.02 or so, its root a part of that.
    np.testing.assert_allclose(found, np.sqrt(reliability), atol=0.04)
    assert abs((found - np.sqrt(reliability)).mean()) < 0.01
    assert json.loads(scores.attrs["notes"]) == []


@pytest.mark.parametrize("run", ["LINEAR", "LOG"])
def test_evaluate__replicate_ceiling_is_near_what_the_truth_scores(store, tmp_path, run):
    xr.Dataset(
        {
            "contact": (("bin", "diagonal"), expected_counts()),
            "chrom_name": ("chroms", np.array(ASSEMBLY.chrom_names, dtype=object)),
            "chrom_length": ("chroms", np.array(ASSEMBLY.chrom_lengths)),
        },
        attrs={"assembly": "test", "binsize": BINSIZE, "simulated": "SIMULATED, seed 1", "state": "complete"},
    ).to_zarr(tmp_path / "truth.zarr", consolidated=False, zarr_format=3)
    scores = evaluate_run(store, run, cell_type="B", truth=tmp_path).load()
    of_truth, of_replicates = (
        scores["pearson"].sel(predictor=p).values[MIN_DIAGONAL:] for p in (CEILING, REPLICATE_CEILING)
    )
    np.testing.assert_allclose(of_replicates, of_truth, atol=0.06)
    assert abs((of_replicates - of_truth).mean()) < 0.03


def test_evaluate__replicate_ceiling_agrees_with_whole_arrays(store):
    counts = give_replicates(store, (1.0, 1.0))
    scores = evaluate_run(store, "LOG", cell_type="B").load()
    transform = Transform.from_json(str(open_prediction(store, "B", "LOG", BINSIZE).attrs["transform"]))
    valid = valid_on_chr2()
    total = np.where(valid, counts.sum(axis=0), np.nan)
    targets = []
    for own in np.where(valid, counts, np.nan).astype(np.float64):
        scale = np.nansum(total, axis=0) / np.maximum(np.nansum(own, axis=0), 1)
        targets.append(transform.apply((own / 64 * scale).astype(np.float32))[CHR2])
    wanted = replicate_ceiling(*targets)
    for name in ("pearson", "spearman"):
        found = scores[name].sel(predictor=REPLICATE_CEILING).values
        np.testing.assert_allclose(found, getattr(wanted, name), atol=1e-5)
    np.testing.assert_array_equal(scores["n_pixels"], wanted.n_pixels)


def test_evaluate__replicate_ceiling_does_not_depend_on_passes(store, monkeypatch):
    whole = evaluate_run(store, "LOG", cell_type="B").load()
    monkeypatch.setattr(score, "MAX_SCORE_BYTES", 200_000)
    xr.testing.assert_identical(evaluate_run(store, "LOG", cell_type="B", overwrite=True).load(), whole)


def test_evaluate__replicate_ceiling_has_no_squared_error_and_is_on_the_page(store, tmp_path):
    scores = evaluate_run(store, "LOG", cell_type="B").load()
    assert np.isnan(scores[["mse", "skill"]].sel(predictor=REPLICATE_CEILING).to_array()).all()
    assert "replicates rep1, rep2 agree" in json.loads(scores.attrs["predictors"])[REPLICATE_CEILING]
    page = write_report(
        store, "LOG", cell_type="B", path=tmp_path / "r.html", n_windows=1, window_bp=300_000
    ).read_text()
    row = page[page.index(f"<td>{REPLICATE_CEILING}</td>") :].split("</tr>")[0]
    assert f"{float(scores['mean_pearson'].sel(predictor=REPLICATE_CEILING)):.3f}" in row
    assert row.count("n/a") == 2


def test_evaluate__tells_that_replicates_are_of_unequal_depth(store):
    give_replicates(store, (1.0, 3.0))
    (note,) = json.loads(evaluate_run(store, "LINEAR", cell_type="B").attrs["notes"])
    assert note.startswith(f"{REPLICATE_CEILING}: approximate, and rather too low than too high")
    assert "(rep1 25%, rep2 75% of the scored ice)" in note


def test_maps_replicates__share_out_the_target(store):
    maps = open_maps(store, "B", open_prediction(store, "B", "LOG", BINSIZE))
    rows = Rows(CHR2.start, CHR2.stop, CHR2.stop)
    observed = maps.observed(rows)
    parts = maps.replicates(rows, observed, 2)
    np.testing.assert_allclose(np.sum(parts, axis=0), observed, rtol=1e-6)
    # A pixel without a contact is 0 in each, and a missing one is missing.
    assert (observed == 0).any()
    assert all((part[observed == 0] == 0).all() and np.isnan(part[np.isnan(observed)]).all() for part in parts)


@pytest.mark.parametrize("variable", ["hicdcplus_zscore", "akita"])
def test_find_replicates__says_why_a_target_has_no_ceiling(store, variable):
    maps = open_maps(store, "B", open_prediction(store, "B", "LOG", BINSIZE))
    assert find_replicates(maps) == (("rep1", "rep2"), [])
    names, (note,) = find_replicates(replace(maps, variable=variable))
    assert names == ()
    assert note.startswith(f"{REPLICATE_CEILING}: n/a, {variable} is not proportional to the counts")
    assert find_replicates(replace(maps, cell_type="A", variable=variable)) == ((), [])
