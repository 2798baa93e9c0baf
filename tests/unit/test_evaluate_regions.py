"""Sections measured on one region in memory: planted loops, and similarity of maps with and without structure."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from epizarr.evaluate.compare import OBSERVED
from epizarr.evaluate.maps import Rows
from epizarr.evaluate.sections import Loops
from epizarr.evaluate.sections.base import RegionMaps
from epizarr.evaluate.sections.similarity import Similarity
from epizarr.genome import Assembly

N, K, BINSIZE = 600, 60, 10_000
GRID = Assembly.from_table("x", [("chr1", N * BINSIZE)]).bins(BINSIZE)
PLACES = [(row, 25 + row % 7) for row in range(40, 540, 50)]


def _band(loops: list[tuple[int, int]], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    band = 100 / (1 + np.arange(K)) * rng.normal(1, 0.08, (N, K))
    for row, k in loops:
        for a in (-1, 0, 1):
            for b in (-1, 0, 1):
                band[row + a, k + b - a] *= 3
    band[np.arange(K) >= np.arange(N, 0, -1)[:, None]] = np.nan
    return band.astype(np.float32)


def _region(**bands: np.ndarray) -> RegionMaps:
    maps = SimpleNamespace(binsize=BINSIZE, n_diagonals=K, grid=GRID)
    comparison = SimpleNamespace(maps=maps, has_contacts=True)
    return RegionMaps(comparison, Rows(0, N, N), bands, bands)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rows = [
        ("chr1", i * BINSIZE, (i + 1) * BINSIZE, "chr1", (i + k) * BINSIZE, (i + k + 1) * BINSIZE) for i, k in PLACES
    ]
    return pd.DataFrame(rows, columns=["chrom1", "start1", "end1", "chrom2", "start2", "end2"])


@pytest.mark.parametrize("is_given", [True, False])
def test_loops__half_of_them_predicted(table, is_given):
    section = Loops(table, "given.bedpe") if is_given else Loops()
    region = _region(**{OBSERVED: _band(PLACES, 0), "half": _band(PLACES[::2], 1), "none": _band([], 2)})
    _, found = section.combine([section.measure(region)], ["half", "none", "absent"])
    values = {name: array for name, (_, array) in found.items()}
    assert float(values["loops_true"]) == len(PLACES)
    np.testing.assert_allclose(values["loops_recall"], [1, 0.5, 0, np.nan])
    np.testing.assert_allclose(values["loops_precision"][:2], 1)
    assert values["loops_aupr"][0] > 0.95
    assert 0.5 < values["loops_aupr"][1] < 0.9
    assert values["loops_peak_score"][2] == pytest.approx(1, abs=0.1)
    assert values["loops_peak_score"][0] > 2


def test_loops__parts_of_regions_add_up(table):
    section = Loops(table, "given.bedpe")
    part = section.measure(_region(**{OBSERVED: _band(PLACES, 0), "half": _band(PLACES[::2], 1)}))
    once, twice = (section.combine(parts, ["half"])[1] for parts in ([part], [part, part]))
    assert float(twice["loops_true"][1]) == 2 * float(once["loops_true"][1])
    np.testing.assert_allclose(twice["loops_recall"][1], once["loops_recall"][1])
    np.testing.assert_allclose(twice["loops_peak"][1], once["loops_peak"][1])


def test_similarity__of_structure_and_of_a_mean():
    observed = _band(PLACES, 0)
    mean = np.where(np.isnan(observed), np.nan, np.nanmean(observed, axis=0)).astype(np.float32)
    region = _region(**{OBSERVED: observed, "same": observed, "mean": mean})
    section = Similarity()
    _, found = section.combine([section.measure(region)], ["same", "mean", "absent"])
    hicrep, ssim, shuffled = (found[f"similarity_{name}"][1] for name in ("hicrep", "ssim", "ssim_shuffled"))
    np.testing.assert_allclose(hicrep, [1, np.nan, np.nan])
    assert ssim[0] == pytest.approx(1)
    assert shuffled[0] < 0.999
    assert ssim[1] == pytest.approx(shuffled[1])
