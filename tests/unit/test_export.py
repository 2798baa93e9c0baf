"""Export: what other programs read in the files equals what the store holds."""

from pathlib import Path

import cooler
import h5py
import numpy as np
import pandas as pd
import pyBigWig
import pytest
from cooler.fileops import is_multires_file

from epizarr import open_contacts, open_prediction
from epizarr.bands import band_from_pixels, coarsen_band, square_from_band
from epizarr.cli import run as run_cli
from epizarr.domains.insulation import insulation, insulation_boundaries
from epizarr.errors import BandReachError, ConfigError, InputFileError, OutputExistsError, RegionError, StoreError
from epizarr.io import export_source
from epizarr.io.export import export_contacts
from epizarr.io.export_cool import zoom_factors
from epizarr.io.export_expected import read_expected
from epizarr.io.export_text import write_features
from epizarr.io.places import place_of
from tests._runs import (
    ASSEMBLY,
    BINSIZE,
    N_DIAGONALS,
    SPLITS,
    bad_bins,
    draw_contacts,
    draw_signal,
    write_prediction,
    write_store,
)

GRID = ASSEMBLY.bins(BINSIZE)


def predicted_band() -> np.ndarray:
    """Contacts with some pixels missing, two bins without any value, a few zeros and no main diagonal."""
    rng = np.random.default_rng(3)
    band = draw_contacts(draw_signal(1), 1)
    band[rng.random(band.shape) < 0.05] = np.nan
    band[(rng.random(band.shape) < 0.02) & ~np.isnan(band)] = 0
    band[:, 0] = np.nan
    for bad in (40, 41):
        band[bad] = np.nan
        band[bad - np.arange(1, N_DIAGONALS), np.arange(1, N_DIAGONALS)] = np.nan
    return band.astype(np.float32)


BAND = predicted_band()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    path = write_store(tmp_path_factory.mktemp("export") / "atlas.zarr", with_contacts=("A",))
    write_prediction(path, "B", "first", BAND)
    write_prediction(path, "B", "ratio", BAND, target="hicdcplus_oe")
    write_prediction(path, "B", "signed", BAND - 1, target="hicdcplus_zscore")
    write_prediction(path, "B", "raw", np.round(BAND), target="count")
    write_prediction(path, "B", "none", np.full_like(BAND, np.nan))
    return path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(export_source, "BLOCK_VALUES", 1500 * N_DIAGONALS)


@pytest.fixture(scope="module")
def mcool(store, tmp_path_factory) -> Path:
    return export_contacts(store, tmp_path_factory.mktemp("out") / "b.mcool", cell_type="B", run="first")


def _band_of(clr: cooler.Cooler, n_diagonals: int) -> np.ndarray:
    """Band of a cooler's pixels, NaN where there is no pixel."""
    pixels = clr.pixels()[:]
    args = pixels["bin1_id"].to_numpy(), pixels["bin2_id"].to_numpy()
    size = {"n_bins": len(clr.bins()), "n_diagonals": n_diagonals}
    there = band_from_pixels(*args, np.ones(len(pixels)), **size) > 0
    return np.where(there, band_from_pixels(*args, pixels["count"].to_numpy(), **size), np.nan)


def test_export__cool_has_the_values_of_the_store_and_nothing_where_they_are_missing(mcool):
    np.testing.assert_array_equal(_band_of(cooler.Cooler(f"{mcool}::resolutions/1000"), N_DIAGONALS), BAND)


def test_export__balanced_matrix_of_cooler_is_the_store(mcool):
    clr = cooler.Cooler(f"{mcool}::resolutions/1000")
    for chrom in ASSEMBLY.chrom_names:
        lo, hi = GRID.chrom_extent(chrom)
        hi = min(hi, lo + 200)
        shown = clr.matrix(balance=True)[lo:hi, lo:hi]
        wanted = np.nan_to_num(square_from_band(BAND[lo:hi]))
        blank = np.isin(np.arange(lo, hi), (40, 41))
        wanted[blank] = wanted[:, blank] = np.nan
        np.testing.assert_array_equal(shown, wanted)


def test_export__wide_pixels_are_means_of_the_cells_that_have_a_value(mcool):
    clr = cooler.Cooler(f"{mcool}::resolutions/5000")
    lo, hi = GRID.chrom_extent("chr3")
    square = square_from_band(BAND[lo:hi])
    n = -(-(hi - lo) // 5)
    wanted = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            cells = square[5 * i : 5 * i + 5, 5 * j : 5 * j + 5]
            if not np.isnan(cells).all():
                wanted[i, j] = np.nanmean(cells.astype(np.float64))
    np.testing.assert_allclose(clr.matrix(balance=True).fetch("chr3"), wanted, rtol=1e-6)


def test_export__every_level_keeps_chromosomes_apart_and_its_order(mcool):
    for uri in cooler.fileops.list_coolers(str(mcool)):
        clr = cooler.Cooler(f"{mcool}::{uri}")
        pixels, chrom = clr.pixels()[:], clr.bins()[:]["chrom"].astype(str).to_numpy()
        bin1, bin2 = pixels["bin1_id"].to_numpy(), pixels["bin2_id"].to_numpy()
        assert (chrom[bin1] == chrom[bin2]).all()
        assert (bin1 <= bin2).all()
        assert (np.diff(bin1 * clr.shape[0] + bin2) > 0).all()


def test_export__mcool_says_what_it_is(mcool):
    assert is_multires_file(str(mcool))
    with h5py.File(mcool) as file:
        assert sorted(map(int, file["resolutions"])) == [1000 * f for f in zoom_factors(GRID)]
        weight = file["resolutions/1000/bins/weight"]
        assert weight.attrs["ignore_diags"] == 1
        assert np.flatnonzero(np.isnan(weight[:])).tolist() == [40, 41]
    info = cooler.Cooler(f"{mcool}::resolutions/1000").info
    assert info["genome-assembly"] == "test"
    assert info["metadata"]["run"] == "first"
    assert info["metadata"]["n_diagonals"] == N_DIAGONALS


def test_export__raw_counts_are_summed_as_cooler_does(store, tmp_path):
    path = export_contacts(store, tmp_path / "raw.mcool", cell_type="B", run="raw")
    base = f"{path}::resolutions/1000"
    cooler.coarsen_cooler(base, str(tmp_path / "ref.cool"), 5, chunksize=100_000, columns=["count"])
    ours = cooler.Cooler(f"{path}::resolutions/5000").pixels()[:]
    pd.testing.assert_frame_equal(ours, cooler.Cooler(str(tmp_path / "ref.cool")).pixels()[:], check_dtype=False)


def test_zoom_factors__go_on_until_the_genome_fits_a_tile():
    assert zoom_factors(GRID) == [1, 2, 5, 10, 20, 50]


def test_export__region_has_only_pixels_with_both_bins_in_it(store, tmp_path):
    regions = ["chr1:1,000,000-1,500,000", "chr2:0-30,000"]
    path = export_contacts(store, tmp_path / "r.cool", cell_type="B", run="first", regions=regions)
    wanted = np.full_like(BAND, np.nan)
    for text in regions:
        lo, hi = GRID.region_extent(ASSEMBLY.region(text))
        inside = np.arange(N_DIAGONALS) < (hi - np.arange(lo, hi))[:, None]
        wanted[lo:hi] = np.where(inside, BAND[lo:hi], np.nan)
    np.testing.assert_array_equal(_band_of(cooler.Cooler(str(path)), N_DIAGONALS), wanted)


def test_export__measured_contacts(store, tmp_path):
    path = export_contacts(store, tmp_path / "ice.cool", cell_type="A", variable="ice")
    measured = open_contacts(store, "A", BINSIZE)["ice"].values
    np.testing.assert_array_equal(_band_of(cooler.Cooler(str(path)), N_DIAGONALS), measured)


def test_export__signed_values_keep_their_sign_in_a_cooler(store, tmp_path):
    path = export_contacts(store, tmp_path / "z.cool", cell_type="B", run="signed")
    np.testing.assert_array_equal(_band_of(cooler.Cooler(str(path)), N_DIAGONALS), BAND - 1)


def test_export__hic_has_the_values_that_are_not_zero(store, tmp_path):
    pytest.importorskip("pyarrow", reason="hictkpy writes .hic files with pyarrow")
    import hictkpy

    path = export_contacts(store, tmp_path / "b.hic", cell_type="B", run="first")
    assert list(hictkpy.MultiResFile(str(path)).resolutions()) == [1000 * f for f in zoom_factors(GRID)]
    file = hictkpy.File(str(path), BINSIZE)
    assert file.attributes()["format-version"] == 9
    for chrom in ASSEMBLY.chrom_names:
        lo, hi = GRID.chrom_extent(chrom)
        pixels = file.fetch(chrom, count_type=np.float32).to_coo()
        found = np.zeros((hi - lo, N_DIAGONALS), dtype=np.float32)
        found[pixels.row, pixels.col - pixels.row] = pixels.data
        np.testing.assert_array_equal(found, np.nan_to_num(BAND[lo:hi]))
    wide = hictkpy.File(str(path), 5 * BINSIZE).fetch("chr3", count_type=np.float32).to_coo()
    lo, hi = GRID.chrom_extent("chr3")
    sums = coarsen_band(BAND[lo:hi], 5, "sum")
    np.testing.assert_allclose(wide.data, sums[wide.row, wide.col - wide.row], rtol=1e-5)
    assert len(wide.data) == (np.nan_to_num(sums) != 0).sum()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.hic"]


def test_export__hic_of_a_ratio_has_no_sums(store, tmp_path):
    pytest.importorskip("pyarrow", reason="hictkpy writes .hic files with pyarrow")
    import hictkpy

    path = export_contacts(store, tmp_path / "oe.hic", cell_type="B", run="ratio", regions=["chr3"])
    assert list(hictkpy.MultiResFile(str(path)).resolutions()) == [BINSIZE]


def _training_expected(store: Path) -> np.ndarray:
    count = open_contacts(store, "A", BINSIZE)["count"].values
    lo, hi = GRID.region_extent(ASSEMBLY.region(SPLITS["train"][0]))
    bad = bad_bins()
    total, number = np.zeros(N_DIAGONALS), np.zeros(N_DIAGONALS)
    for k in range(N_DIAGONALS):
        i = np.arange(lo, hi - k)
        i = i[~bad[i] & ~bad[i + k]]
        total[k], number[k] = count[i, k].sum(dtype=np.float64), len(i)
    return total / number


def test_export__observed_over_expected_times_that_of_the_training_regions(store, tmp_path):
    path = export_contacts(store, tmp_path / "c.cool", cell_type="B", run="ratio", expected="training")
    wanted = BAND * _training_expected(store).astype(np.float32)
    np.testing.assert_allclose(_band_of(cooler.Cooler(str(path)), N_DIAGONALS), wanted, rtol=1e-6)


def test_read_expected__training_on_another_assembly_has_none_here(store):
    trained_on = {"cell_types": ["A"], "splits": {"train": []}, "assembly": "hg19"}
    with pytest.raises(ConfigError, match="trained on hg19, another assembly"):
        read_expected(place_of(store), "training", GRID, N_DIAGONALS, trained_on)


def test_export__expected_from_a_table(store, tmp_path):
    curve = np.linspace(2, 1, N_DIAGONALS)
    distance = np.arange(N_DIAGONALS) * BINSIZE
    pd.DataFrame({"distance": distance, "expected": curve})[::-1].to_csv(tmp_path / "e.tsv", sep="\t", index=False)
    path = export_contacts(
        store, tmp_path / "c.cool", cell_type="B", run="ratio", expected=str(tmp_path / "e.tsv"), regions=["chr3"]
    )
    lo, hi = GRID.chrom_extent("chr3")
    wanted = BAND[lo:hi] * curve.astype(np.float32)
    np.testing.assert_allclose(_band_of(cooler.Cooler(str(path)), N_DIAGONALS)[lo:hi], wanted, rtol=1e-6)


def test_export__expected_table_with_a_gap_is_refused(store, tmp_path):
    (tmp_path / "e.tsv").write_text("distance\texpected\n0\t1\n1000\t0.5\n")
    with pytest.raises(InputFileError, match=r"10 are not there, 2,000 bp the first"):
        export_contacts(store, tmp_path / "c.cool", cell_type="B", run="ratio", expected=str(tmp_path / "e.tsv"))


def test_export__bedpe_lists_the_pixels_from_the_value_on(store, tmp_path):
    path = export_contacts(store, tmp_path / "b.bedpe", cell_type="B", run="first", min_value=2.5)
    table = pd.read_csv(path, sep="\t")
    assert list(table.columns[:6]) == ["#chr1", "x1", "x2", "chr2", "y1", "y2"]
    lo = table["#chr1"].map(lambda c: GRID.chrom_extent(c)[0]).to_numpy() + table["x1"].to_numpy() // BINSIZE
    k = (table["y1"] - table["x1"]).to_numpy() // BINSIZE
    np.testing.assert_array_equal(table["score"].to_numpy(np.float32), BAND[lo, k])
    assert len(table) == (BAND >= 2.5).sum() > 100


def test_export__bigwig_and_bedgraph_of_insulation(store, tmp_path):
    score = insulation(open_prediction(store, "B", "first", BINSIZE)["contact"], 5_000)["score"].values[0]
    wide = export_contacts(store, tmp_path / "i.bw", cell_type="B", run="first", insulation_bp=5_000)
    text = export_contacts(store, tmp_path / "i.bedgraph", cell_type="B", run="first", insulation_bp=5_000)
    table = pd.read_csv(text, sep="\t", header=None, names=["chrom", "start", "end", "value"])
    np.testing.assert_allclose(table["value"], score[np.isfinite(score)], rtol=1e-8)
    with pyBigWig.open(str(wide)) as file:
        assert file.chroms() == dict(ASSEMBLY)
        lo, hi = GRID.chrom_extent("chr3")
        found = file.values("chr3", 0, ASSEMBLY.length("chr3"), numpy=True)[::BINSIZE]
        np.testing.assert_allclose(found, score[lo:hi].astype(np.float32), rtol=1e-6)


def test_export__bed_of_boundaries(store, tmp_path):
    path = export_contacts(store, tmp_path / "i.bed", cell_type="B", run="first", insulation_bp=5_000)
    wanted = insulation_boundaries(insulation(open_prediction(store, "B", "first", BINSIZE)["contact"], 5_000))
    table = pd.read_csv(path, sep="\t", header=None, names=["chrom", "start", "end", "name", "score"])
    assert len(table) == len(wanted) > 0
    assert list(table["start"]) == list(wanted["start"])


def test_write_features__sorts_pairs_and_refuses_what_is_off_the_assembly(tmp_path):
    table = pd.DataFrame(
        {
            "chrom1": ["chr2", "chr1"],
            "start1": [5, 9],
            "end1": [6, 10],
            "chrom2": ["chr2", "chr1"],
            "start2": 20,
            "end2": 30,
        }
    )
    write_features(tmp_path / "l.bedpe", table, ASSEMBLY)
    lines = (tmp_path / "l.bedpe").read_text().splitlines()
    assert lines[1:] == ["chr1\t9\t10\tchr1\t20\t30\t.\t.\t.\t.", "chr2\t5\t6\tchr2\t20\t30\t.\t.\t.\t."]
    with pytest.raises(RegionError, match="chr3"):
        write_features(tmp_path / "l.bedpe", pd.DataFrame({"chrom": ["chr3"], "start": 0, "end": 40_000}), ASSEMBLY)
    with pytest.raises(ConfigError, match="no column end"):
        write_features(tmp_path / "l.bed", pd.DataFrame({"chrom": ["chr3"], "start": 0}), ASSEMBLY)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("a.txt", {"run": "first"}, ConfigError, "not one of .cool, .mcool"),
        ("a.cool", {}, ConfigError, "one of them"),
        ("a.cool", {"run": "first", "variable": "ice"}, ConfigError, "one of them"),
        ("a.cool", {"run": "frist"}, StoreError, "first"),
        ("a.cool", {"run": "first", "min_value": 1}, ConfigError, "for .bedpe only"),
        ("a.bedpe", {"run": "first"}, ConfigError, "--min-value"),
        ("a.bw", {"run": "first"}, ConfigError, "--insulation"),
        ("a.bw", {"run": "signed", "insulation_bp": 5000}, ConfigError, "either sign"),
        ("a.bw", {"run": "first", "insulation_bp": 5500}, ConfigError, "not a multiple of the bin width"),
        ("a.bw", {"run": "first", "insulation_bp": 50_000}, BandReachError, "largest window"),
        ("a.hic", {"run": "signed"}, ConfigError, "either sign"),
        ("a.cool", {"run": "first", "expected": "training"}, ConfigError, "contacts already"),
        ("a.cool", {"run": "ratio", "expected": "nobody"}, ConfigError, "nor a file"),
        ("a.cool", {"run": "ratio", "expected": "A:kr"}, StoreError, "no expected of 'kr'"),
        ("a.cool", {"run": "ratio", "expected": "A:akita"}, ConfigError, "not of contacts"),
        ("a.cool", {"run": "none"}, StoreError, "no value"),
        ("a.cool", {"run": "first", "regions": ["chr9"]}, RegionError, "chr9"),
        ("a.cool", {"run": "first", "binsize": 5000}, StoreError, "1,000 bp"),
    ],
)
def test_export__refuses_and_leaves_nothing(store, tmp_path, name, options, error, message):
    if name.endswith(".hic"):
        pytest.importorskip("pyarrow", reason="hictkpy writes .hic files with pyarrow")
    with pytest.raises(error, match=message):
        export_contacts(store, tmp_path / name, cell_type="B", **options)
    assert list(tmp_path.iterdir()) == []


def test_export__says_which_variables_there_are(store, tmp_path):
    with pytest.raises(StoreError, match=r"no variable 'icee'; they have count, ice\. Did you mean 'ice'"):
        export_contacts(store, tmp_path / "a.cool", cell_type="A", variable="icee")


def test_export__replaces_a_file_only_if_asked(store, tmp_path):
    path = tmp_path / "a.cool"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        export_contacts(store, path, cell_type="B", run="first")
    assert path.read_text() == "mine"
    export_contacts(store, path, cell_type="B", run="first", regions=["chr3"], overwrite=True)
    assert cooler.fileops.is_cooler(str(path))


def test_export__tells_progress_to_the_end(store, tmp_path):
    seen = []
    export_contacts(store, tmp_path / "a.mcool", cell_type="B", run="first", progress=lambda *args: seen.append(args))
    assert [done for done, _, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][0] == seen[-1][1]


def test_export_command__writes_the_file_and_prints_its_name(store, tmp_path, capsys):
    out = tmp_path / "b.mcool"
    options = ["--cell-type", "B", "--run", "first", "--region", "chr3", "-o", str(out)]
    assert run_cli(["export", str(store), *options]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert run_cli(["export", str(store), *options]) == 1
