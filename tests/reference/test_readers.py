"""Real files, each read rightly or refused as the data folder's README says."""

import cooler
import hictkpy
import numpy as np
import pandas as pd
import pyBigWig
import pytest

from epizarr.errors import AssemblyMismatchError, InputFileError
from epizarr.genome import Assembly
from epizarr.io.bed import read_intervals
from epizarr.io.bigwig import inspect_bigwig, read_bin_means
from epizarr.io.chromsizes import check_file_assembly, open_assembly, read_chrom_sizes
from epizarr.io.contacts import open_contacts_file

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def readers(shared):
    return shared / "data" / "readers"


@pytest.fixture(scope="module")
def chr21(shared):
    return shared / "data" / "gm12878_chr21"


def balanced_row_sums(file, name, chrom):
    """Row sums of the balanced symmetric cis map over bins with a weight."""
    n_bins = file.info.n_bins(chrom)
    band = file.band(chrom, 0, n_bins, n_bins).astype(float)
    matrix = np.zeros((n_bins, n_bins))
    for k in range(n_bins):
        rows = np.arange(n_bins - k)
        matrix[rows, rows + k] = matrix[rows + k, rows] = band[rows, k]
    weights = file.weights(name, chrom)
    valid = np.isfinite(weights)
    return np.nansum(matrix * weights * weights[:, None], axis=1)[valid]


def spread(values):
    return values.std() / values.mean()


# .hic


@pytest.mark.parametrize("binsize", [10_000, 50_000])
def test_hic_band__equals_the_dense_fetch(readers, binsize):
    path = readers / "test_chr22.hic"
    file = open_contacts_file(path, binsize)
    n_bins = file.info.n_bins("22")
    band = file.band("22", 0, n_bins, 40)
    dense = hictkpy.File(str(path), binsize).fetch("22", count_type=float).to_numpy()
    expected = np.full_like(band, np.nan)
    for k in range(40):
        expected[: n_bins - k, k] = np.diag(dense, k)
    np.testing.assert_array_equal(band, expected)


def test_hic_marginals__equal_dense_sums(readers):
    path = readers / "test_chr22.hic"
    dense = hictkpy.File(str(path), 50_000).fetch("22", count_type=float).to_numpy()
    np.testing.assert_array_equal(open_contacts_file(path, 50_000).marginals("22"), dense.sum(axis=1))


def test_hic_band__is_empty_on_a_chromosome_without_a_matrix(readers):
    band = open_contacts_file(readers / "test_chr22.hic", 50_000).band("21", 0, 10, 3)
    np.testing.assert_array_equal(band, np.zeros((10, 3)))


def test_hic_weights__that_are_all_missing_are_read(readers):
    assert np.isnan(open_contacts_file(readers / "test_chr22.hic", 5_000).weights("KR", "22")).all()


def test_hic_normalisation__without_a_valid_bin_is_refused(readers):
    with pytest.raises(InputFileError, match="'KR' has no valid bin"):
        open_contacts_file(readers / "test_chr22.hic", 5_000).require_normalisations(["KR", "VC"])


def test_hic_weights__miss_the_bins_that_kr_left_out(readers):
    file = open_contacts_file(readers / "test_chr22.hic", 10_000)
    weights = file.weights("KR", "22")
    # One vector for the genome: chr22 is followed by X, Y and MT.
    n_after = sum(file.info.n_bins(c) for c in ("X", "Y", "MT"))
    stored = hictkpy.File(str(file.info.path), 10_000).weights("KR")[-len(weights) - n_after : -n_after]
    np.testing.assert_allclose(weights, 1 / stored)


@pytest.mark.parametrize("chrom", ["21", "22"])
@pytest.mark.parametrize("name", ["KR", "SCALE", "VC", "VC_SQRT"])
def test_hic_weights__match_vectors_written_out_by_hand(shared, readers, chrom, name):
    file = open_contacts_file(readers / "GSE63525_HMEC_combined_example.hic", 50_000)
    table = pd.read_csv(shared / "refs" / "kr" / f"HMEC_chr{chrom}_50kb_norm_vectors.tsv.gz", sep="\t")
    expected = 1 / table[name].where(table[name] > 0)
    np.testing.assert_allclose(file.weights(name, chrom), expected, rtol=1e-12)


def test_hic_weights__kr_balances_the_map(readers):
    file = open_contacts_file(readers / "GSE63525_HMEC_combined_example.hic", 50_000)
    assert spread(balanced_row_sums(file, "KR", "21")) < 1e-6


def test_hic__without_normalisations_says_so(readers):
    file = open_contacts_file(readers / "test_hic_no_norms.hic", 500_000)
    with pytest.raises(InputFileError, match="no normalisation 'KR'; it has none"):
        file.require_normalisations(["KR"])


def test_hic__without_the_binsize_lists_what_it_has(readers):
    with pytest.raises(InputFileError, match=r"no contacts at 10,000 bp; it has 500,000, 1,000,000"):
        open_contacts_file(readers / "test_hic_no_norms.hic", 10_000)


def test_hic__of_hg38_is_refused_under_hg19(readers):
    info = open_contacts_file(readers / "test_hic_no_norms.hic", 500_000).info
    rename = {c: f"chr{c}" for c in info.chrom_lengths}
    with pytest.raises(AssemblyMismatchError, match=r"made on another assembly than 'hg19'"):
        check_file_assembly(info, open_assembly("hg19"), rename)
    assert len(check_file_assembly(info, open_assembly("hg38"), rename)) == 24


# .cool and .mcool


@pytest.mark.parametrize(
    ("name", "told"),
    [("hic2cool_0.4.2_single_res.cool", "multiplicative"), ("hic2cool_0.7.0_multi_res.mcool", "divisive")],
)
def test_hic2cool__kr_balances_the_map_under_the_convention_of_its_version(readers, name, told):
    file = open_contacts_file(readers / name, 2_500_000)
    assert file.info.normalisations["KR"].convention == told
    assert spread(balanced_row_sums(file, "KR", "chr1")) < 1e-6


@pytest.mark.parametrize("name", ["KR", "VC", "VC_SQRT"])
def test_hic2cool__both_versions_give_the_same_weights(readers, name):
    old = open_contacts_file(readers / "hic2cool_0.4.2_single_res.cool", 2_500_000)
    new = open_contacts_file(readers / "hic2cool_0.7.0_multi_res.mcool", 2_500_000)
    for chrom in ("chr1", "chr22", "chrX"):
        np.testing.assert_allclose(old.weights(name, chrom), new.weights(name, chrom), rtol=1e-12)


@pytest.mark.parametrize(("binsize", "group"), [(640_000, "0"), (80_000, "3")])
def test_old_mcool__is_read_at_each_level(readers, binsize, group):
    path = readers / "matrix.mcool"
    file = open_contacts_file(path, binsize)
    dense = cooler.Cooler(f"{path}::{group}").matrix(balance=False).fetch("chr2L").astype(float)
    np.testing.assert_array_equal(file.marginals("chr2L"), dense.sum(axis=1))


def test_old_mcool__has_weights_at_one_level_only(readers):
    path = readers / "matrix.mcool"
    open_contacts_file(path, 40_000).require_normalisations(["weight"])
    with pytest.raises(InputFileError, match="none at this bin size"):
        open_contacts_file(path, 80_000).require_normalisations(["weight"])


def test_variable_bins__are_refused_with_the_reason(readers):
    with pytest.raises(InputFileError, match="variable width"):
        open_contacts_file(readers / "Li_et_al_2015.cool", 10_000)


def test_mm9_cut__is_refused_under_mm9_and_read_with_its_own_length(readers):
    infos = [
        open_contacts_file(readers / "mm9_reduced_chr1.cool", 20_000).info,
        inspect_bigwig(readers / "pca_reduced_mm9_1.bw"),
        inspect_bigwig(readers / "pca_reduced_mm9_2.bw"),
    ]
    for info in infos:
        with pytest.raises(AssemblyMismatchError, match=r"195,200,000 bp, mm9 has 197,195,432"):
            check_file_assembly(info, open_assembly("mm9"))
        assert check_file_assembly(info, Assembly("mine", ("chr1",), (195_200_000,))) == {"chr1": "chr1"}


def test_mm9_cut__gives_the_counts_that_cooler_gives(readers):
    path = readers / "mm9_reduced_chr1.cool"
    band = open_contacts_file(path, 20_000).band("chr1", 5000, 5200, 50)
    dense = cooler.Cooler(str(path)).matrix(balance=False)[5000:5250, 5000:5250]
    expected = np.array([[dense[i, i + k] for k in range(50)] for i in range(200)], dtype=np.float32)
    np.testing.assert_array_equal(band, expected)


def test_gm12878__band_times_weights_is_coolers_balanced_matrix(chr21):
    path = chr21 / "GM12878-MboI.hg19.cool"
    file = open_contacts_file(f"{path}::10000", 10_000)
    assert check_file_assembly(file.info, open_assembly("hg19"), {"21": "chr21"}) == {"chr21": "21"}
    assert file.info.normalisations["weight"].ignore_diags == 1
    lo, hi, n_diagonals = 2000, 2300, 100
    band = file.band("chr21", lo, hi, n_diagonals, file_chrom="21").astype(float)
    weights = file.weights("weight", "chr21", file_chrom="21")
    dense = cooler.Cooler(f"{path}::10000").matrix()[lo : hi + n_diagonals, lo : hi + n_diagonals]
    for k in range(1, n_diagonals):
        rows = np.arange(hi - lo)
        balanced = band[:, k] * weights[lo:hi] * weights[lo + k : hi + k]
        np.testing.assert_allclose(balanced, dense[rows, rows + k], rtol=1e-12)


# text


def test_text__dumped_by_cooler_gives_the_map_of_the_cool(readers, tmp_path):
    path, binsize = readers / "hic2cool_0.7.0_multi_res.mcool", 2_500_000
    cool = cooler.Cooler(f"{path}::resolutions/{binsize}")
    cool.pixels(join=True)[:].to_csv(tmp_path / "a.bg2.gz", sep="\t", header=False, index=False)
    lengths = {name: int(length) for name, length in cool.chromsizes[::-1].items()}
    text = open_contacts_file(tmp_path / "a.bg2.gz", binsize, chrom_lengths=lengths, cache_folder=tmp_path)
    whole = open_contacts_file(path, binsize)
    assert set(text.info.chrom_lengths) >= {f"chr{n}" for n in range(1, 23)}
    for chrom in text.info.chrom_lengths:
        n_bins = whole.info.n_bins(chrom)
        np.testing.assert_array_equal(text.band(chrom, 0, n_bins, n_bins), whole.band(chrom, 0, n_bins, n_bins))


# bigWig


def test_k562__mixed_set_is_refused(readers):
    hg19 = open_assembly("hg19")
    for mark in ("H3K27ac", "H3K27me3"):
        info = inspect_bigwig(readers / f"bigwig_chr9_4000000_6000000_K562_{mark}.bigwig")
        assert check_file_assembly(info, hg19) == {"chr9": "chr9"}
    with pytest.raises(AssemblyMismatchError, match=r"138,394,717 bp, hg19 has 141,213,431"):
        check_file_assembly(inspect_bigwig(readers / "bigwig_chr9_4000000_6000000_K562_H3K4me3.bigwig"), hg19)


def test_fly__names_without_prefix_need_the_mapping(readers):
    info = inspect_bigwig(readers / "bigwig2_X_2.5e6_3.5e6.bw")
    dm3 = open_assembly("dm3")
    assert check_file_assembly(inspect_bigwig(readers / "bigwig_chrx_2e6_5e6.bw"), dm3) == {"chrX": "chrX"}
    with pytest.raises(AssemblyMismatchError, match='"X" = "chrX"'):
        check_file_assembly(info, dm3)
    assert check_file_assembly(info, dm3, {"X": "chrX"}) == {"chrX": "X"}


def test_ctcf_hole__is_missing_not_zero(chr21):
    path = chr21 / "tracks" / "GM12878_CTCF_chr21.hg19approx.bw"
    means = read_bin_means(path, chrom="chr21", start=42_835_000, end=43_235_000, binsize=100, uncovered="nan")
    assert np.isnan(means).all()


@pytest.mark.parametrize("uncovered", ["nan", "zero"])
def test_ctcf__means_equal_brute_force_over_its_intervals(chr21, uncovered):
    path = chr21 / "tracks" / "GM12878_CTCF_chr21.hg19approx.bw"
    start, end = 42_700_000, 42_900_000
    bases = np.full(end - start, np.nan)
    with pyBigWig.open(str(path)) as handle:
        for lo, hi, value in handle.intervals("chr21", start, end):
            bases[max(lo, start) - start : hi - start] = value
    bins = bases.reshape(-1, 100)
    covered = (~np.isnan(bins)).sum(axis=1)
    n_bases = covered if uncovered == "nan" else np.full(len(bins), 100)
    expected = np.divide(np.nansum(bins, axis=1), n_bases, out=np.full(len(bins), np.nan), where=n_bases > 0)
    found = read_bin_means(path, chrom="chr21", start=start, end=end, binsize=100, uncovered=uncovered)
    np.testing.assert_allclose(found, expected.astype(np.float32), rtol=1e-6)


def test_peak_signal__is_read_to_the_end_of_the_chromosome(chr21):
    path = chr21 / "tracks" / "GM12878_CTCF.peaksignal.hg19.bw"
    means = read_bin_means(path, chrom="chr21", start=48_120_000, end=48_129_895, binsize=100, uncovered="nan")
    assert (len(means), means[-1]) == (99, 0)


# annotations


@pytest.mark.parametrize("name", ["hg19", "hg38", "mm10", "mm9"])
def test_seqinfo__agrees_with_bioframe(shared, name):
    sizes = dict(read_chrom_sizes(shared / "data" / "annotations" / f"{name}.seqinfo.tsv"))
    assert all(sizes[chrom] == length for chrom, length in open_assembly(name))


@pytest.mark.parametrize("name", ["hg19", "hg38", "mm10"])
def test_blacklist__lies_on_its_assembly(shared, name):
    path = shared / "data" / "annotations" / f"{name}-blacklist.v2.bed"
    with path.open() as file:
        n_lines = sum(1 for _ in file)
    assert len(read_intervals(path, open_assembly(name))) == n_lines


def test_blacklist__of_another_assembly_is_refused(shared):
    with pytest.raises(InputFileError, match="may belong to another assembly"):
        read_intervals(shared / "data" / "annotations" / "hg19-blacklist.v2.bed", open_assembly("hg38"))
