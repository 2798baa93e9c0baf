"""Normalisations that an ingest computes are those of the pure functions on the whole input, whatever the blocks."""

import json

import cooler
import numpy as np
import pytest

from epizarr.bands import balance_band
from epizarr.errors import BalancingError, FitError, ManifestError
from epizarr.ingest import groups as groups_module
from epizarr.ingest.check import check_store
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.plan import plan_ingest
from epizarr.ingest.run import ingest_manifest
from epizarr.io.balance import IceParameters, balance_ice
from epizarr.io.bin_features import read_bin_features
from epizarr.io.contacts import open_contacts_file
from epizarr.io.store import open_contacts, select
from epizarr.normalize.akita import AkitaParameters, akita_band_rows
from epizarr.normalize.cis_map import CisMapBuilder
from epizarr.normalize.hicdcplus import (
    HicdcplusSettings,
    PairGeometry,
    PairRows,
    evaluate,
    fit_hicdcplus,
    p_values,
    q_values,
)
from epizarr.normalize.kr import balance_kr, balance_vc
from tests._inputs import make_inputs
from tests._killing import tree_digest

LENGTHS = {"chr1": 1_300_350, "chr2": 400_217}
BINSIZE, K = 1000, 40
ALL = (
    *("ice", "kr", "vc", "vc_sqrt", "akita"),
    *("hicdcplus_oe", "hicdcplus_zscore", "hicdcplus_mu", "hicdcplus_pvalue", "hicdcplus_qvalue"),
)
SETTINGS = HicdcplusSettings(max_distance=40_000, max_result_distance=35_000, sample_fraction=0.5)
TABLES = """
[cell_type.contacts.ice]
extent = "cis"
max_iters = 30
allow_unconverged = true
scale = "hicexplorer"
[cell_type.contacts.hicdcplus]
features = "fasta"
fasta = "genome.fa"
enzymes = ["DpnII"]
max_distance = 40_000
max_result_distance = 35_000
sample_fraction = 0.5
seed = 3
[cell_type.contacts.akita]
smoothing_sd_bins = 1
max_bad_fraction = 1.0
"""


def manifest_of(inputs, compute=ALL, tables=TABLES, keys="", name="computed.toml", file="contacts.cool"):
    path = inputs.folder / name
    path.write_text(
        'schema = 1\n[store]\nassembly = "toy"\nchrom_sizes = "sizes.tsv"\nblacklist = "blacklist.bed"\n'
        f'span_bp = {K * BINSIZE}\n[[cell_type]]\nname = "K562"\n[[cell_type.contacts]]\nfile = "{file}"\n'
        f'binsize = {BINSIZE}\nnormalisations = {{}}\nrename_chroms = {{ "1" = "chr1", "2" = "chr2" }}\n'
        f"compute = {json.dumps(list(compute))}\n{keys}\n{tables}"
    )
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    made = make_inputs(tmp_path_factory.mktemp("inputs"), lengths=LENGTHS, binsize=BINSIZE, reach_bins=90)
    rng = np.random.default_rng(1)
    with (made.folder / "genome.fa").open("w") as file:
        for chrom, length in LENGTHS.items():
            file.write(f">{chrom}\n{''.join(rng.choice(list('ACGT'), length))}\n")
    return made


@pytest.fixture(scope="module")
def store(inputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    ingest_manifest(manifest_of(inputs), path, n_threads=1)
    return path


@pytest.fixture(scope="module")
def contacts(store):
    return open_contacts(store, "K562", BINSIZE)


@pytest.fixture(scope="module")
def file(inputs):
    return open_contacts_file(inputs.folder / "contacts.cool", BINSIZE)


def stored(contacts, name, chrom):
    return select(contacts[name], chrom).values


@pytest.mark.parametrize("chrom", LENGTHS)
@pytest.mark.parametrize("name", ["kr", "vc", "vc_sqrt"])
def test_ingest__chromosome_weights_are_those_of_the_whole_cis_map(contacts, file, name, chrom):
    old = chrom.removeprefix("chr")
    builder = CisMapBuilder(chrom, file.info.n_bins(old))
    for piece in file.source.iter_pixels(old, 0, file.info.n_bins(old), None):
        builder.add(piece.bin1, piece.bin2, piece.count)
    cis_map = builder.build()
    weights = balance_kr(cis_map).weights if name == "kr" else balance_vc(cis_map, sqrt=name == "vc_sqrt")
    np.testing.assert_array_equal(stored(contacts, f"weight_{name}", chrom), weights)
    reach = np.pad(weights, (0, K - 1), constant_values=np.nan)
    wanted = balance_band(file.band(chrom, 0, len(weights), K, old), reach)
    np.testing.assert_allclose(stored(contacts, name, chrom), wanted, rtol=1e-6)


def test_ingest__ice_is_coolers(contacts, file):
    parameters = IceParameters(extent="cis", max_iters=30)
    weights = balance_ice(file, parameters, scale="hicexplorer", allow_unconverged=True).weights
    for chrom in LENGTHS:
        np.testing.assert_array_equal(stored(contacts, "weight_ice", chrom), weights[chrom.removeprefix("chr")])
        assert np.isnan(stored(contacts, "ice", chrom)[:, :2]).all()
    record = json.loads(contacts.attrs["computed"])["ice"]
    assert record["extent"] == "cis"
    assert record["converged"] is (not record["unconverged"])


@pytest.mark.parametrize("chrom", LENGTHS)
def test_ingest__hicdcplus_is_that_of_the_whole_chromosome(contacts, inputs, file, chrom):
    table = read_bin_features(inputs.folder / "genome.fa", inputs.assembly, BINSIZE, enzymes=["DpnII"])
    first, last = inputs.assembly.bins(BINSIZE).chrom_extent(chrom)
    features = {name: table[name].to_numpy()[first:last] for name in table}
    geometry = PairGeometry(LENGTHS[chrom], BINSIZE, SETTINGS.max_distance)
    counts = file.band(chrom, 0, geometry.n_bins, geometry.n_diagonals, chrom.removeprefix("chr"))
    counts[:, 0] = np.nan  # empty in the file
    fit, _ = fit_hicdcplus(PairRows(chrom, geometry, counts, features), SETTINGS, seed=3)
    result = evaluate(fit, counts, features)
    p = p_values(fit, counts, result.mu)
    bad = stored(contacts, "bad_bin", chrom)
    reach = np.pad(bad, (0, K), constant_values=True)
    masked = bad[:, None] | np.lib.stride_tricks.sliding_window_view(reach, K)[: len(bad)]
    wanted = {"oe": result.oe, "zscore": result.zscore, "mu": result.mu, "pvalue": p, "qvalue": q_values(p)}
    for name, values in wanted.items():
        found = stored(contacts, f"hicdcplus_{name}", chrom)
        np.testing.assert_allclose(found, np.where(masked, np.nan, values[:, :K]), rtol=1e-6)
        assert np.isnan(found[:, 36:]).all()
        assert np.isfinite(found[:, 1:36]).mean() > 0.5
    record = json.loads(contacts.attrs["computed"])["hicdcplus"]
    assert record["fits"][chrom]["theta"] == pytest.approx(fit.theta)
    assert "left out" in record["fits"][chrom]["main_diagonal"]


@pytest.mark.parametrize("chrom", LENGTHS)
def test_ingest__akita_is_that_of_the_whole_chromosome(contacts, file, chrom):
    old = chrom.removeprefix("chr")
    n_bins = file.info.n_bins(old)
    counts = file.band(chrom, 0, n_bins, 2 * K, old).astype(np.float64)
    weights = np.where(stored(contacts, "bad_bin", chrom), np.nan, stored(contacts, "weight_ice", chrom))
    balanced = balance_band(counts, np.pad(weights, (0, 2 * K - 1), constant_values=np.nan), 2)
    parameters = AkitaParameters(smoothing_sd_bins=1, max_bad_fraction=1.0)
    wanted = akita_band_rows(counts, balanced, 0, n_bins, n_bins=n_bins, n_diagonals=K, parameters=parameters)
    found = stored(contacts, "akita", chrom)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
    assert np.isfinite(found).mean() > 0.5
    assert found[np.isfinite(found)].std() > 0.05


def test_ingest__min_diagonal_and_expected_follow_the_computed_variables(contacts):
    assert contacts.attrs["min_diagonal"] == 2
    assert json.loads(contacts.attrs["ignore_diags"]) == {"akita": 2, "ice": 2, "kr": 0, "vc": 0, "vc_sqrt": 0}
    assert "expected_hicdcplus_zscore" in contacts
    assert "expected_hicdcplus_pvalue" not in contacts


def test_ingest__computed_variables_do_not_depend_on_blocks_threads_or_kills(inputs, store, tmp_path, monkeypatch):
    monkeypatch.setattr(groups_module, "_BLOCK_CHUNKS", 1)
    path = tmp_path / "s.zarr"
    done = []

    def stop(what, n_done, n_all):
        done.append(what)
        if len(done) > 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_manifest(manifest_of(inputs), path, n_threads=1, progress=stop)
    ingest_manifest(manifest_of(inputs), path, n_threads=2)
    assert tree_digest(path) == tree_digest(store)


def test_ingest__a_manifest_changed_half_way_leaves_no_features_behind(inputs, tmp_path):
    fasta = TABLES[TABLES.index("[cell_type.contacts.hicdcplus]") : TABLES.index("[cell_type.contacts.akita]")]
    plain = '[cell_type.contacts.hicdcplus]\nfeatures = "none"\nmax_distance = 40_000\nmax_result_distance = 35_000\n'

    def stop(what, n_done, n_all):
        if what.endswith("fits"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_manifest(manifest_of(inputs, ["hicdcplus_oe"], fasta), tmp_path / "a.zarr", n_threads=1, progress=stop)
    for name in ("a.zarr", "b.zarr"):
        ingest_manifest(manifest_of(inputs, ["hicdcplus_oe"], plain), tmp_path / name, n_threads=1)
    assert tree_digest(tmp_path / "a.zarr") == tree_digest(tmp_path / "b.zarr")


def test_check__finds_a_computed_store_whole(inputs, store):
    findings = check_store(store, deep=True, manifest=manifest_of(inputs))
    assert [f for f in findings if f.severity != "info"] == []


def test_ingest__text_gives_what_its_cool_gives(inputs, store, tmp_path):
    clr = cooler.Cooler(str(inputs.folder / "contacts.cool"))
    pixels = clr.pixels(join=True)[:]
    columns = ["chrom1", "start1", "end1", "chrom2", "start2", "end2", "count"]
    pixels[columns].to_csv(inputs.folder / "contacts.txt.gz", sep="\t", header=False, index=False)
    compute = [v for v in ALL if v not in ("ice", "akita")]
    tables = TABLES[TABLES.index("[cell_type.contacts.hicdcplus]") : TABLES.index("[cell_type.contacts.akita]")]
    path = tmp_path / "s.zarr"
    ingest_manifest(manifest_of(inputs, compute, tables, name="text.toml", file="contacts.txt.gz"), path, n_threads=1)
    found, wanted = open_contacts(path, "K562", BINSIZE), open_contacts(store, "K562", BINSIZE)
    for name in ("count", "bad_bin", *compute):
        np.testing.assert_array_equal(found[name].values, wanted[name].values)


def test_ingest__extent_leaves_the_rest_missing(inputs, tmp_path):
    tables = TABLES[TABLES.index("[cell_type.contacts.hicdcplus]") : TABLES.index("[cell_type.contacts.akita]")]
    keys = 'extent = "chr1:200,000-900,000"'
    path = tmp_path / "s.zarr"
    tables += 'leave_out = ["chr2"]\n'
    ingest_manifest(manifest_of(inputs, ["hicdcplus_oe"], tables, keys, name="locus.toml"), path, n_threads=1)
    ds = open_contacts(path, "K562", BINSIZE)
    for name in ("count", "hicdcplus_oe"):
        band = stored(ds, name, "chr1")
        i, k = np.nonzero(np.isfinite(band))
        assert i.min() >= 200
        assert (i + k).max() < 900
        assert np.isnan(stored(ds, name, "chr2")).all()
    assert stored(ds, "bad_bin", "chr1")[:200].all()
    assert json.loads(ds.attrs["computed"])["hicdcplus"]["fits"]["chr2"] == {"left_out": "as the manifest says"}


def test_ingest__unconverged_ice_is_an_error(inputs, tmp_path):
    tables = '[cell_type.contacts.ice]\nextent = "cis"\nmax_iters = 1\n'
    with pytest.raises(BalancingError, match="did not converge"):
        ingest_manifest(manifest_of(inputs, ["ice"], tables, name="ice.toml"), tmp_path / "s.zarr", n_threads=1)


def test_ingest__a_chromosome_that_cannot_be_fitted_is_named(inputs, tmp_path):
    tables = '[cell_type.contacts.hicdcplus]\nfeatures = "none"\nsample_fraction = 0.0005\nmax_distance = 40_000\n'
    with pytest.raises(FitError, match="chromosome chr"):
        ingest_manifest(
            manifest_of(inputs, ["hicdcplus_oe"], tables, name="few.toml"), tmp_path / "s.zarr", n_threads=1
        )


@pytest.mark.parametrize(
    ("compute", "tables", "keys", "problem"),
    [
        (["krr"], "", "", "does not compute. Did you mean 'kr'"),
        (["akita"], "", "", "starts from ICE-balanced contacts"),
        (["hicdcplus_oe"], "", "", "hicdcplus needs 'features'"),
        (["hicdcplus_oe"], '[cell_type.contacts.hicdcplus]\nfeatures = "fasta"\n', "", "needs 'fasta'"),
        (["hicdcplus_oe"], '[cell_type.contacts.hicdcplus]\nfeatures = "fasta"\nfasta = "g"\n', "", "needs 'enzymes'"),
        (
            ["hicdcplus_oe"],
            '[cell_type.contacts.hicdcplus]\nfeatures = "none"\nenzymes = ["DpnII"]\n',
            "",
            "features = \"none\" and 'enzymes'",
        ),
        (["kr"], "[cell_type.contacts.ice]\nmax_iters = 5\n", "", "has a table 'ice', but 'compute' names none"),
        (["ice"], "[cell_type.contacts.ice]\nmax_iter = 5\n", "", "unknown key 'max_iter'. Did you mean 'max_iters'"),
        (["ice"], '[cell_type.contacts.ice]\nmax_iters = "5"\n', "", "'max_iters' is '5', a value like 200"),
        (["ice"], '[cell_type.contacts.ice]\nextent = "all"\n', "", "extent must be one of"),
        (["kr"], "", 'extent = "chr1:0-500,000"', "balancing assumes"),
        (["kr", "kr"], "", "", "more than once"),
    ],
)
def test_load_manifest__refuses_what_cannot_be_computed(inputs, compute, tables, keys, problem):
    with pytest.raises(ManifestError) as refusal:
        load_manifest(manifest_of(inputs, compute, tables, keys, name="bad.toml"))
    assert problem in str(refusal.value)


def test_plan_ingest__refuses_genome_wide_ice_of_a_file_without_trans_contacts(inputs, tmp_path):
    (inputs.folder / "few.txt").write_text("1\t0\t1\t5000\t3\n2\t0\t2\t5000\t3\n")
    manifest = load_manifest(manifest_of(inputs, ["ice"], "", name="genome.toml", file="few.txt"))
    with pytest.raises(ManifestError, match=r"extent 'genome' needs contacts between chromosomes.*\(extent 'cis'\)"):
        plan_ingest(manifest, tmp_path / "s.zarr")


def test_plan_ingest__refuses_a_sequence_of_another_assembly(inputs, tmp_path):
    (inputs.folder / "other.fa").write_text(">chr1\nACGT\n>chr2\nACGT\n")
    tables = (
        '[cell_type.contacts.hicdcplus]\nfeatures = "fasta"\nfasta = "other.fa"\nenzymes = []\nleave_out = ["chr9"]\n'
    )
    manifest = load_manifest(manifest_of(inputs, ["hicdcplus_oe"], tables, name="other.toml"))
    with pytest.raises(ManifestError, match="another assembly") as refusal:
        plan_ingest(manifest, tmp_path / "s.zarr")
    assert "'leave_out' names 'chr9'" in str(refusal.value)
