"""TAD-separation score, boundaries and domains against HiCExplorer's hicFindTADs."""

import os
from pathlib import Path

import cooler
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from epizarr.domains import separation
from epizarr.domains.separation import tad_boundaries, tad_domains, tad_separation
from epizarr.genome import Assembly
from tests._bands import band_array, chrom_band

pytestmark = pytest.mark.reference

CHROMS = {"chr21": 963, "chr22": 1027}
RUNS = {
    "default": {},
    "d150_d500_s50_thr0.05_delta0.01": {
        "min_depth_bp": 150_000,
        "max_depth_bp": 500_000,
        "step_bp": 50_000,
        "significance": 0.05,
    },
}
SMALL = {"min_depth_bp": 60_000, "max_depth_bp": 180_000, "step_bp": 20_000, "min_boundary_bp": 20_000}
SMALL_RUNS = {
    "FDR__multiFDR": {"significance": 0.1},
    "bonferroni__multiBonferroni": {"significance": 0.1, "correction": "bonferroni"},
    "None__multiNone": {"significance": 1.0, "correction": "none"},
    "FDR_chromosomes__multiFDR": {"significance": 0.5, "regions": ["chr2L", "chr3R"]},
}
#: HiCExplorer made these from scores that it had written with six decimals, where more of them are equal.
CALLED_ON_PRINTED_SCORES = ("bonferroni__multiBonferroni", "None__multiNone")


def _table(path: Path) -> pd.DataFrame:
    """Text table without header; an empty file is a table without rows."""
    try:
        return pd.read_csv(path, sep="\t", header=None, comment="#")
    except pd.errors.EmptyDataError:
        return pd.DataFrame(columns=range(9))


def _check(found, prefix: Path) -> None:
    """Scores, boundaries and domains of hicFindTADs' files, whatever the order of chromosomes in them."""
    expected = _table(prefix.with_name(f"{prefix.name}_tad_score.bm.gz")).set_index([0, 1])
    kept = found.isel(bin=np.flatnonzero(~np.isnan(found["score"].values)))
    ours = pd.DataFrame(
        {2: kept["joined_end"].values, **{3 + i: row for i, row in enumerate(kept["scores"].values)}},
        index=pd.MultiIndex.from_arrays([kept["chrom"].values, kept["joined_start"].values]),
    )
    assert len(ours) == len(expected)
    expected = expected.loc[ours.index]
    np.testing.assert_array_equal(ours[2], expected[2])
    np.testing.assert_allclose(ours.iloc[:, 1:], expected.iloc[:, 1:], rtol=0, atol=1e-6)
    lines = _table(prefix.with_name(f"{prefix.name}_boundaries.gff.gz")).sort_values([0, 3])
    boundaries = tad_boundaries(found).sort_values(["chrom", "start"])
    assert list(boundaries[["chrom", "start", "end"]].itertuples(index=False, name=None)) == list(
        lines[[0, 3, 4]].itertuples(index=False, name=None)
    )
    if found.attrs["correction"] == "bonferroni":
        # It finds 1612 minima, because it goes on at a chromosome's end; we find 1608.
        boundaries["pvalue"] *= 1612
    for name in ("delta", "pvalue"):
        theirs = lines[8].str.extract(rf"{name}=([^;]+)")[0].astype(float)
        np.testing.assert_allclose(boundaries[name], theirs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(boundaries["score"].astype(float), lines[5].astype(float), rtol=0, atol=1e-9)
    domains = tad_domains(found).sort_values(["chrom", "start"])
    rows = _table(prefix.with_name(f"{prefix.name}_domains.bed.gz")).sort_values([0, 1])
    assert list(domains[["chrom", "start", "end"]].itertuples(index=False, name=None)) == list(
        rows[[0, 1, 2]].itertuples(index=False, name=None)
    )


@pytest.mark.parametrize("chrom", CHROMS)
@pytest.mark.parametrize("run", RUNS)
def test_tad_separation__equals_hicexplorer_on_human_chromosomes(shared, chrom, run):
    name = f"HMEC_{chrom}_50kb_KR"
    pixels = pd.read_csv(shared / f"refs/topdom/{name}_input_coo.tsv.gz", sep="\t")
    n_bins = CHROMS[chrom]
    length = pd.read_csv(shared / f"refs/topdom/{name}_w3.binSignal.tsv.gz", sep="\t")["to.coord"].max()
    band = chrom_band(*(pixels[c].to_numpy() for c in ("i", "j", "value")), n_bins, 41)
    grid = Assembly.from_table("hg19", [(chrom, length)]).bins(50_000)
    found = tad_separation(band_array(band, grid), **RUNS[run])
    _check(found, shared / f"refs/hicexplorer_tads/{name}_{run}")


@pytest.mark.parametrize("run", SMALL_RUNS)
def test_tad_separation__equals_hicexplorers_own_expected_files(shared, monkeypatch, run):
    data = Path(os.environ.get("EPIZARR_HICEXPLORER_DATA", "")) / "small_test_matrix.cool"
    if not data.is_file():
        pytest.skip("set EPIZARR_HICEXPLORER_DATA to hicexplorer/test/test_data of HiCExplorer's repository")
    band, bad_bin = _small_map(data)
    if run in CALLED_ON_PRINTED_SCORES:
        exact = separation._diamond_means
        monkeypatch.setattr(separation, "_diamond_means", lambda *args: np.round(exact(*args), 6))
    found = tad_separation(band, bad_bin=bad_bin, **SMALL, **SMALL_RUNS[run])
    _check(found, shared / f"refs/hicexplorer_test_expected/{run}")


def _small_map(path: Path):
    """Band of all chromosomes of HiCExplorer's test matrix. Its file lists no bins to leave out, so none is."""
    clr = cooler.Cooler(str(path))
    grid = Assembly.from_table("dm3", clr.chromsizes.items()).bins(clr.binsize)
    pixels = clr.pixels()[:]
    bands = []
    for chrom in grid.assembly.chrom_names:
        lo, hi = grid.chrom_extent(chrom)
        cis = pixels[pixels["bin1_id"].between(lo, hi - 1) & pixels["bin2_id"].between(lo, hi - 1)]
        bands.append(
            chrom_band(
                cis["bin1_id"].to_numpy() - lo, cis["bin2_id"].to_numpy() - lo, cis["count"].to_numpy(), hi - lo, 136
            )
        )
    return band_array(np.concatenate(bands), grid), xr.DataArray(np.zeros(grid.n_bins, dtype=bool), dims="bin")
