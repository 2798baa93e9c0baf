"""KR and VC against vectors that Juicer stored and FAN-C computed, ICE against cooler's."""

import json

import cooler
import numpy as np
import pandas as pd
import pytest

from epizarr.errors import BalancingError
from epizarr.io.balance import IceParameters, balance_ice
from epizarr.io.contacts import open_contacts_file
from epizarr.normalize.cis_map import CisMap, CisMapBuilder
from epizarr.normalize.kr import balance_kr, balance_vc

pytestmark = pytest.mark.reference

HIC = ["HMEC_chr21", "HMEC_chr22", "NSD2HIGH_chr21", "NSD2HIGH_chr22"]
GM12878 = [*map(str, range(1, 23)), "X", "Y", "MT"]


def map_of(name, n_bins, bin1, bin2, count) -> CisMap:
    builder = CisMapBuilder(name, n_bins)
    builder.add(bin1.to_numpy(), bin2.to_numpy(), count.to_numpy())
    return builder.build()


@pytest.fixture(scope="module")
def gm12878(shared):
    folder = shared / "refs" / "kr"
    bins = pd.read_csv(folder / "GSE63525_GM12878_2500kb_bins_KR_VC.tsv.gz", sep="\t", dtype={"chrom": str})
    return bins, pd.read_csv(folder / "GSE63525_GM12878_2500kb_cis_pixels.tsv.gz", sep="\t")


@pytest.fixture(params=[*HIC, *(f"GM12878_{chrom}" for chrom in GM12878)])
def case(request, shared, gm12878) -> tuple[CisMap, pd.DataFrame]:
    """One chromosome's map and Juicer's divisive vectors of it."""
    if request.param in HIC:
        folder = shared / "refs" / "kr"
        path = folder / f"{request.param}_50kb_norm_vectors.tsv.gz"
        if not path.exists():
            pytest.skip(f"{path.name} is not among the reference data")
        vectors = pd.read_csv(path, sep="\t")
        pixels = pd.read_csv(folder / f"{request.param}_50kb_raw_coo.tsv.gz", sep="\t")
        return map_of(request.param, len(vectors), pixels["i"], pixels["j"], pixels["count"]), vectors
    bins, pixels = gm12878
    vectors = bins[bins["chrom"] == request.param.removeprefix("GM12878_")].reset_index(drop=True)
    first, last = vectors["id"].iloc[0], vectors["id"].iloc[-1]
    inside = pixels[pixels["bin1_id"].between(first, last)]
    cis_map = map_of(request.param, len(vectors), inside["bin1_id"] - first, inside["bin2_id"] - first, inside["count"])
    return cis_map, vectors


def weights_of(cis_map: CisMap, name: str) -> np.ndarray:
    return balance_kr(cis_map).weights if name == "KR" else balance_vc(cis_map, sqrt=name == "VC_SQRT")


def by_geometric_mean(values: np.ndarray) -> np.ndarray:
    return values / np.exp(np.log(values).mean())


@pytest.mark.parametrize("name", ["KR", "VC", "VC_SQRT"])
def test_juicer__drops_the_same_bins(case, name):
    cis_map, vectors = case
    np.testing.assert_array_equal(~np.isnan(weights_of(cis_map, name)), vectors[name] > 0)


@pytest.mark.parametrize("name", ["KR", "VC", "VC_SQRT"])
def test_juicer__has_the_same_vector_up_to_scale(case, name):
    cis_map, vectors = case
    divisive, stored = 1 / weights_of(cis_map, name), vectors[name].to_numpy()
    good = stored > 0
    np.testing.assert_allclose(by_geometric_mean(divisive[good]), by_geometric_mean(stored[good]), rtol=1e-6)


@pytest.mark.parametrize("name", ["KR", "VC", "VC_SQRT"])
def test_juicer__has_the_same_scale(case, name):
    cis_map, vectors = case
    weights, stored = weights_of(cis_map, name), vectors[name].to_numpy()
    good = stored > 0
    np.testing.assert_allclose(1 / weights[good], stored[good], rtol=1e-6)
    # Ours and Juicer's both keep the sum over valid bins.
    raw = np.nansum(cis_map.balanced_row_sums(np.where(good, 1.0, np.nan)))
    for vector in (weights, np.divide(1, stored, out=np.full(len(stored), np.nan), where=good)):
        np.testing.assert_allclose(np.nansum(cis_map.balanced_row_sums(vector)), raw, rtol=1e-12)


def test_kr__rows_have_one_sum(case):
    cis_map, _ = case
    sums = cis_map.balanced_row_sums(balance_kr(cis_map).weights)
    sums = sums[~np.isnan(sums)]
    assert sums.std() / sums.mean() < 1e-6


@pytest.mark.parametrize("name", HIC[:2])
def test_fanc__has_the_same_kr_up_to_scale(shared, name):
    folder = shared / "refs" / "kr"
    fanc = pd.read_csv(folder / f"{name}_50kb_fanc_kr_bias.tsv.gz", sep="\t")
    pixels = pd.read_csv(folder / f"{name}_50kb_raw_coo.tsv.gz", sep="\t")
    n_bins = len(pd.read_csv(folder / f"{name}_50kb_norm_vectors.tsv.gz", sep="\t"))
    weights = balance_kr(map_of(name, n_bins, pixels["i"], pixels["j"], pixels["count"])).weights
    theirs = fanc["fanc_bias"].to_numpy()
    good = ~np.isnan(weights)
    np.testing.assert_array_equal(good, ~np.isnan(theirs))
    np.testing.assert_allclose(by_geometric_mean(weights[good]), by_geometric_mean(theirs[good]), rtol=1e-6)


# Vectors in real files, read under the convention that the reader tells


def map_of_file(file, chrom: str) -> CisMap:
    n_bins = file.info.n_bins(chrom)
    builder = CisMapBuilder(chrom, n_bins)
    for piece in file.source.iter_pixels(chrom, 0, n_bins, None):
        builder.add(piece.bin1, piece.bin2, piece.count)
    return builder.build()


@pytest.mark.parametrize("name", ["KR", "VC", "VC_SQRT"])
@pytest.mark.parametrize(
    ("file_name", "chrom", "binsize"),
    [
        # Sparse: KR dropped the 1st percentile.
        pytest.param("test_chr22.hic", "22", 10_000, marks=pytest.mark.slow),
        ("test_chr22.hic", "22", 25_000),
        ("test_chr22.hic", "22", 500_000),
        ("GSE63525_HMEC_combined_example.hic", "22", 50_000),
        ("hic2cool_0.4.2_single_res.cool", "chr1", 2_500_000),  # multiplies
        ("hic2cool_0.7.0_multi_res.mcool", "chr1", 2_500_000),  # divides
        ("hic2cool_0.7.0_multi_res.mcool", "chrX", 2_500_000),
    ],
)
def test_stored_weights__are_those_of_the_stored_counts(shared, file_name, chrom, binsize, name):
    file = open_contacts_file(shared / "data" / "readers" / file_name, binsize)
    weights = weights_of(map_of_file(file, chrom), name)
    np.testing.assert_allclose(weights, file.weights(name, chrom), rtol=1e-6)


@pytest.mark.slow
def test_kr__is_refused_where_juicer_found_none(shared):
    file = open_contacts_file(shared / "data" / "readers" / "test_chr22.hic", 5_000)
    assert np.isnan(file.weights("KR", "22")).all()
    with pytest.raises(BalancingError, match=r"22 has no Knight-Ruiz balancing: .* Use coarser bins"):
        balance_kr(map_of_file(file, "22"))


# ICE

VARIANTS = {
    "default": IceParameters(),
    "cis": IceParameters(extent="cis"),
    "trans": IceParameters(extent="trans"),
    "nofilter": IceParameters(min_nnz=0, mad_max=0, ignore_diags=0),
    "igd2_madmax5_nnz10_tol1e-8": IceParameters(tol=1e-8, max_iters=1000),
}


#: One makes a hundred passes for each of 18 chromosomes.
ICE_CASES = [
    pytest.param(name, variant, marks=pytest.mark.slow) if (name, variant) == ("yeast10kb", "cis") else (name, variant)
    for name in ("yeast10kb", "hg19_GM12878_2000kb")
    for variant in VARIANTS
]


@pytest.fixture(scope="module")
def ice_case(request, shared, tmp_path_factory):
    folder = shared / "refs" / "cooler_ice"
    bins = pd.read_csv(folder / f"{request.param}_bins_weights.tsv.gz", sep="\t", dtype={"chrom": str})
    pixels = pd.read_csv(folder / f"{request.param}_pixels.tsv.gz", sep="\t")
    path = tmp_path_factory.mktemp("ice") / "a.cool"
    cooler.create_cooler(str(path), bins[["chrom", "start", "end"]], pixels)
    file = open_contacts_file(path, int((bins["end"] - bins["start"]).max()))
    stats = json.loads((folder / "balance_stats.json").read_text())
    return file, bins, {name: stats[f"{request.param}:{name}"] for name in VARIANTS}


@pytest.mark.parametrize(("ice_case", "variant"), ICE_CASES, indirect=["ice_case"])
def test_ice__is_coolers(ice_case, variant):
    file, bins, stats = ice_case
    found = balance_ice(file, VARIANTS[variant], allow_unconverged=True)
    expected = bins[f"weight_{variant}"].to_numpy()
    weights = np.concatenate([found.weights[chrom] for chrom in bins["chrom"].unique()])
    np.testing.assert_array_equal(np.isnan(weights), np.isnan(expected))
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    told = stats[variant]
    assert [fit.converged for fit in found.fits] == np.atleast_1d(told["converged"]).tolist()
    np.testing.assert_allclose([fit.scale for fit in found.fits], np.atleast_1d(told["scale"]), rtol=1e-5)
    np.testing.assert_allclose([fit.variance for fit in found.fits], np.atleast_1d(told["var"]), rtol=1e-3, atol=1e-12)


def test_ice__of_a_banded_map_does_not_converge_and_says_so(shared):
    file = open_contacts_file(shared / "data" / "readers" / "GSE63525_HMEC_combined_example.hic", 50_000)
    with pytest.raises(BalancingError, match=r"did not converge in 60 iterations on 21 .*, 22 "):
        balance_ice(file, IceParameters(extent="cis", max_iters=60))


def test_ice__of_a_real_hic_converges(shared):
    file = open_contacts_file(shared / "data" / "readers" / "test_chr22.hic", 50_000)
    found = balance_ice(file, IceParameters(extent="cis"))
    assert np.isfinite(found.weights["22"]).sum() > 600
    assert np.isnan(found.weights["21"]).all()
