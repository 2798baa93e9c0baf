"""Insulation against cooltools 0.7.1 on balanced maps of human chromosomes and of yeast."""

import numpy as np
import pandas as pd
import pytest

from epizarr import insulation
from epizarr.bands import balance_band
from epizarr.genome import Assembly, BinGrid
from tests._bands import band_array, chrom_band

pytestmark = pytest.mark.reference

WINDOWS = (3, 5, 10, 20)
RUNS = {
    "default": {},
    "distbad2_thr0.2": {"min_bad_distance": 2, "threshold": 0.2},
    "igd0": {"min_diagonal": 0},
    "igd1": {"min_diagonal": 1},
}


def _balanced(raw: pd.DataFrame, weight: np.ndarray, n_diagonals: int) -> np.ndarray:
    band = chrom_band(raw["i"].to_numpy(), raw["j"].to_numpy(), raw["count"].to_numpy(), len(weight), n_diagonals)
    return balance_band(band, np.concatenate([weight, np.full(n_diagonals - 1, np.nan)]))


@pytest.fixture(scope="module")
def maps(shared):
    """Grid and balanced band of each data set of the reference."""
    n_diagonals = 2 * max(WINDOWS) - 1
    made = {}
    for name in ("HMEC", "yeast10kb"):
        bins = pd.read_csv(shared / f"refs/cooltools_insulation/{name}_bins.tsv.gz", sep="\t")
        grid = BinGrid(
            Assembly.from_table(name, bins.groupby("chrom", sort=False)["end"].max().items()), int(bins["end"][0])
        )
        bands = []
        for chrom in grid.assembly.chrom_names:
            lo, hi = grid.chrom_extent(chrom)
            if name == "HMEC":
                raw = pd.read_csv(shared / f"refs/kr/HMEC_{chrom}_50kb_raw_coo.tsv.gz", sep="\t")
            else:
                raw = pd.read_csv(shared / "refs/cooler_ice/yeast10kb_pixels.tsv.gz", sep="\t")
                raw = raw[raw["bin1_id"].between(lo, hi - 1) & raw["bin2_id"].between(lo, hi - 1)]
                raw = pd.DataFrame({"i": raw["bin1_id"] - lo, "j": raw["bin2_id"] - lo, "count": raw["count"]})
            bands.append(_balanced(raw, bins["weight"].to_numpy()[lo:hi], n_diagonals))
        made[name] = grid, band_array(np.concatenate(bands), grid)
    return made


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["HMEC", "yeast10kb"])
def test_insulation__equals_cooltools(shared, maps, name, run):
    path = shared / f"refs/cooltools_insulation/{name}_{run}.tsv.gz"
    if not path.is_file():
        pytest.skip(f"cooltools was not run so on {name}")
    grid, band = maps[name]
    got = insulation(band, [w * grid.binsize for w in WINDOWS], **RUNS[run])
    # cooltools lists chromosomes by name where it masks bins near bad ones.
    expected = pd.read_csv(path, sep="\t").set_index(["chrom", "start"])
    expected = expected.loc[list(zip(got["chrom"].values, got["start"].values, strict=True))]
    assert expected.index.is_unique
    for window in got["window"].values:
        ours = got.sel(window=window)
        np.testing.assert_array_equal(ours["n_valid"], expected[f"n_valid_pixels_{window}"])
        for variable, theirs in (("score", "log2_insulation_score"), ("strength", "boundary_strength")):
            np.testing.assert_allclose(ours[variable], expected[f"{theirs}_{window}"], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(ours["is_boundary"], expected[f"is_boundary_{window}"])
