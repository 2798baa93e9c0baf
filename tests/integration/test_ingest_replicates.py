"""Replicates and thinning in manifests: the sum of the files, each file's own counts beside it, and refusals before work."""

import json
import shutil

import cooler
import hictkpy
import numpy as np
import pandas as pd
import pytest

from epizarr.errors import ManifestError, StoreError
from epizarr.ingest import groups as groups_module
from epizarr.ingest.check import check_store
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.plan import plan_ingest
from epizarr.ingest.run import ingest_manifest
from epizarr.io.contacts import open_contacts_file
from epizarr.io.contacts_thinned import thin_contacts
from epizarr.io.store import open_contacts, open_tracks, read_region, select, write_region
from epizarr.thinning import named_seed
from tests._inputs import build, make_inputs
from tests._killing import Phase, run_child, tree_digest

LENGTHS = {"chr1": 1_300_350, "chr2": 400_217}
BINSIZE, K = 1000, 40
CONTACTS = f"K562/contacts/{BINSIZE}"
RENAME = 'rename_chroms = { "1" = "chr1", "2" = "chr2" }'
FIRST, OTHER_FORMAT = f'{{ name = "a", file = "a.cool", {RENAME} }}', '{ name = "b", file = "b.hic" }'
SECOND = f'{{ name = "b", file = "b.cool", {RENAME} }}'
ONE = f'file = "a.cool"\n{RENAME}'
FITS = """compute = ["ice", "kr", "hicdcplus_oe"]
[cell_type.contacts.ice]
extent = "cis"
max_iters = 30
allow_unconverged = true
[cell_type.contacts.hicdcplus]
features = "none"
max_distance = 40_000
"""


def several(*files):
    return f"replicates = [{', '.join(files)}]"


def manifest_of(folder, files, keys="", name="m.toml"):
    path = folder / name
    path.write_text(
        'schema = 1\n[store]\nassembly = "toy"\nchrom_sizes = "sizes.tsv"\nblacklist = "blacklist.bed"\n'
        f'span_bp = {K * BINSIZE}\n[[cell_type]]\nname = "K562"\n[[cell_type.contacts]]\nbinsize = {BINSIZE}\n'
        f"{files}\n{keys}\n"
    )
    return path


def tracks_manifest(folder, *tracks, name="tracks.toml"):
    path = folder / name
    path.write_text(
        'schema = 1\n[store]\nassembly = "toy"\nchrom_sizes = "sizes.tsv"\n[[cell_type]]\nname = "K562"\n'
        + "".join(f'[[cell_type.tracks]]\nname = "{n}"\nuncovered = "nan"\n{files}\n' for n, files in tracks)
    )
    return path


def ingested(manifest, path, **options):
    ingest_manifest(manifest, path, n_threads=1, **options)
    return open_contacts(path, "K562", BINSIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two experiments, ``a.cool`` and ``b.cool``; the second as ``b.hic`` with other names; and cooler's merger of both."""
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate("ab"):
        make_inputs(folder, seed=seed, lengths=LENGTHS, binsize=BINSIZE, reach_bins=60)
        (folder / "contacts.cool").rename(folder / f"{name}.cool")
    pixels = cooler.Cooler(str(folder / "b.cool")).pixels()[:]
    writer = hictkpy.hic.FileWriter(folder / "b.hic", LENGTHS, BINSIZE, tmpdir=folder)
    writer.add_pixels_from_dict({name: column.tolist() for name, column in pixels.items()})
    writer.finalize()
    cooler.merge_coolers(str(folder / "both.cool"), [str(folder / f"{n}.cool") for n in "ab"], mergebuf=100_000)
    return folder


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s.zarr"
    ingest_manifest(manifest_of(folder, several(FIRST, OTHER_FORMAT), FITS), path, n_threads=1)
    return path


@pytest.fixture(scope="module")
def contacts(store):
    return open_contacts(store, "K562", BINSIZE).load()


# ---------------------------------------------------------------------------------------------------------------- contacts


def test_ingest__replicates_add_up_to_count_exactly(contacts):
    np.testing.assert_array_equal(contacts["count_replicate"].values.sum(axis=0), contacts["count"].values)
    assert float(contacts["count"].sum()) > 50_000


def test_ingest__keeps_the_counts_of_each_replicate(contacts, folder, tmp_path):
    assert list(contacts["replicate"].values) == ["a", "b"]
    for name in "ab":
        alone = ingested(manifest_of(folder, f'file = "{name}.cool"\n{RENAME}', name=f"{name}.toml"), tmp_path / name)
        assert "count_replicate" not in alone
        np.testing.assert_array_equal(contacts["count_replicate"].sel(replicate=name), alone["count"])


def test_ingest__replicates_give_what_coolers_merged_file_gives(contacts, folder, tmp_path):
    wanted = ingested(manifest_of(folder, f'file = "both.cool"\n{RENAME}', FITS, "both.toml"), tmp_path / "s.zarr")
    for name in ("count", "bad_bin", "kr", "weight_kr", "hicdcplus_oe", "expected_count", "n_valid_kr"):
        np.testing.assert_array_equal(contacts[name], wanted[name], err_msg=name)
    np.testing.assert_allclose(contacts["weight_ice"], wanted["weight_ice"], rtol=1e-9)


def test_ingest__replicates_do_not_depend_on_blocks_threads_or_kills(folder, store, tmp_path, monkeypatch):
    monkeypatch.setattr(groups_module, "_BLOCK_CHUNKS", 1)
    manifest, path = manifest_of(folder, several(FIRST, OTHER_FORMAT), FITS), tmp_path / "s.zarr"
    n_done = []

    def stop(*_):
        n_done.append(1)
        if len(n_done) > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_manifest(manifest, path, n_threads=1, progress=stop)
    ingest_manifest(manifest, path, n_threads=2)
    assert tree_digest(path) == tree_digest(store)


def test_ingest__extent_holds_for_replicates_and_their_sum(folder, tmp_path):
    keys = 'extent = "chr1:200,000-900,000"'
    ds = ingested(manifest_of(folder, several(FIRST, SECOND), keys, "locus.toml"), tmp_path / "s.zarr")
    first = select(ds, "chr1")
    for band in (first["count"].values, *first["count_replicate"].values):
        i, k = np.nonzero(np.isfinite(band))
        assert (i.min(), (i + k).max()) == (200, 899)
    assert np.isnan(select(ds, "chr2")["count_replicate"]).all()


def test_ingest__records_each_replicate_and_one_file_as_before(contacts, folder, tmp_path):
    inputs = [e for e in json.loads(contacts.attrs["inputs"]) if e["kind"] == "contacts"]
    assert [(e["name"], e["replicate"], e["uri"]) for e in inputs] == [
        ("contacts", "a", "a.cool"),
        ("contacts", "b", "b.hic"),
    ]
    alone = ingested(manifest_of(folder, ONE, name="one.toml"), tmp_path / "s.zarr")
    (entry,) = (e for e in json.loads(alone.attrs["inputs"]) if e["kind"] == "contacts")
    assert set(entry) == {"kind", "name", "uri", "sha256", "size", "origin", "parameters"}
    assert set(entry["parameters"]) == {"group", "normalisations", "rename_chroms"}


# ---------------------------------------------------------------------------------------------------------------- thinning


def test_ingest__one_thinned_file_is_that_of_thin_contacts(folder, tmp_path):
    keys = "thin = { fraction = 0.3, seed = 5 }"
    ds = ingested(manifest_of(folder, ONE, keys, "thin.toml"), tmp_path / "s.zarr")
    thinned = thin_contacts(open_contacts_file(folder / "a.cool", BINSIZE), fraction=0.3, seed=5)
    for chrom in LENGTHS:
        band = thinned.band(chrom, 0, thinned.info.n_bins(chrom[3:]), K, chrom[3:])
        np.testing.assert_array_equal(select(ds, chrom)["count"], band)


def test_ingest__replicates_are_thinned_to_one_depth_together(contacts, folder, tmp_path):
    depth = 20_000
    manifest = manifest_of(folder, several(FIRST, SECOND), f"thin = {{ depth = {depth} }}", "depth.toml")
    ds = ingested(manifest, tmp_path / "s.zarr").load()
    totals = {name: int(cooler.Cooler(str(folder / f"{name}.cool")).pixels()[:]["count"].sum()) for name in "ab"}
    record = json.loads(ds.attrs["thinned"])
    assert record == {
        "depth": depth,
        "n_contacts": sum(totals.values()),
        "seed": 0,
        "fraction": depth / sum(totals.values()),
    }
    for name in "ab":
        whole = contacts["count_replicate"].sel(replicate=name)
        own = ds["count_replicate"].sel(replicate=name)
        assert (own.fillna(0) <= whole.fillna(0)).all()
        # Binomial: within 5 standard deviations, the seed being fixed.
        n, p = float(whole.sum()), record["fraction"]
        assert abs(float(own.sum()) - n * p) < 5 * np.sqrt(n * p * (1 - p))
        file = open_contacts_file(folder / f"{name}.cool", BINSIZE)
        alone = thin_contacts(file, fraction=p, seed=named_seed(0, name))
        np.testing.assert_array_equal(select(own, "chr2"), alone.band("chr2", 0, 401, K, "2"))
    np.testing.assert_array_equal(ds["count_replicate"].values.sum(axis=0), ds["count"].values)


def test_ingest__thinned_counts_and_fits_do_not_depend_on_blocks_threads_or_kills(folder, tmp_path, monkeypatch):
    keys = 'thin = { depth = 60_000, seed = 2 }\ncompute = ["vc"]'
    manifest = manifest_of(folder, several(FIRST, SECOND), keys, "cuts.toml")
    ingest_manifest(manifest, tmp_path / "whole.zarr", n_threads=1)
    monkeypatch.setattr(groups_module, "_BLOCK_CHUNKS", 1)

    def stop(what, n_done, n_all):
        if what.endswith("marginals and weights") and n_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_manifest(manifest, tmp_path / "cut.zarr", n_threads=1, progress=stop)
    ingest_manifest(manifest, tmp_path / "cut.zarr", n_threads=2)
    assert tree_digest(tmp_path / "cut.zarr") == tree_digest(tmp_path / "whole.zarr")
    findings = check_store(tmp_path / "cut.zarr", deep=True, manifest=manifest)
    assert [f for f in findings if f.severity != "info"] == []


def test_ingest__refuses_a_depth_that_the_files_do_not_have(folder, tmp_path):
    manifest = manifest_of(folder, ONE, "thin = { depth = 1_000_000_000 }", "deep.toml")
    with pytest.raises(
        ManifestError, match=r"K562/contacts/1000: thinning to a depth of 1,000,000,000 contacts: the map has"
    ):
        ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)


def test_ingest__refuses_another_seed_of_a_complete_group(folder, tmp_path):
    for seed, refused in ((0, False), (0, False), (1, True)):
        manifest = manifest_of(folder, ONE, f"thin = {{ fraction = 0.5, seed = {seed} }}", "seed.toml")
        if refused:
            with pytest.raises(StoreError, match="`thin` was"):
                ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)
        else:
            ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)


# ------------------------------------------------------------------------------------------------------ refusals, planning


def test_plan_ingest__refuses_genome_wide_ice_of_merged_and_of_thinned_counts(folder, tmp_path):
    for files, keys in ((several(FIRST, SECOND), ""), (ONE, "thin = { depth = 10 }")):
        manifest = load_manifest(manifest_of(folder, files, f'compute = ["ice"]\n{keys}', "ice.toml"))
        with pytest.raises(
            ManifestError, match=r"extent 'genome' needs contacts between chromosomes.*\(extent 'cis'\)"
        ):
            plan_ingest(manifest, tmp_path / "s.zarr")


def test_plan_ingest__names_the_replicate_that_cannot_be_used(folder, tmp_path):
    files = several(FIRST, SECOND.replace(RENAME, "rename_chroms = {}"), '{ name = "c", file = "none.cool" }')
    with pytest.raises(ManifestError) as refusal:
        plan_ingest(load_manifest(manifest_of(folder, files, name="bad.toml")), tmp_path / "s.zarr")
    assert "2 problems" in str(refusal.value)
    for text in ("1000 bp, replicate 'b': ", "Only the prefix differs", "1000 bp, replicate 'c': "):
        assert text in str(refusal.value)


def test_plan_ingest__refuses_a_chromosome_that_only_one_replicate_has(folder, tmp_path):
    bins = cooler.binnify(pd.Series({"chr1": LENGTHS["chr1"]}), BINSIZE)
    pixels = pd.DataFrame({"bin1_id": [0], "bin2_id": [1], "count": [1]})
    cooler.create_cooler(str(tmp_path / "part.cool"), bins, pixels)
    files = several(FIRST, f'{{ name = "part", file = "{tmp_path / "part.cool"}" }}')
    with pytest.raises(ManifestError, match=r"chr2 is not in .*part\.cool"):
        plan_ingest(load_manifest(manifest_of(folder, files, name="part.toml")), tmp_path / "s.zarr")


def test_plan_ingest__asks_for_the_memory_of_merging(folder, tmp_path):
    plans = [
        plan_ingest(load_manifest(manifest_of(folder, files, keys, "memory.toml")), tmp_path / "s.zarr")
        for files, keys in ((ONE, ""), (several(FIRST, SECOND), ""), (several(FIRST, SECOND), "thin = { depth = 10 }"))
    ]
    assert np.diff([p.peak_bytes for p in plans]).tolist() == [2 * 160 << 20, 120 << 20]
    assert np.diff([p.n_tasks for p in plans]).tolist() == [0, 4]


def test_ingest__refuses_one_experiment_under_two_names(folder, tmp_path):
    (tmp_path / "again.cool").write_bytes((folder / "a.cool").read_bytes())
    files = several(FIRST, f'{{ name = "again", file = "{tmp_path / "again.cool"}", {RENAME} }}')
    with pytest.raises(ManifestError, match="replicates 'a', 'again' have the same content"):
        ingest_manifest(manifest_of(folder, files, name="twice.toml"), tmp_path / "s.zarr", n_threads=1)


def test_check__deep_finds_replicates_that_do_not_add_up(folder, tmp_path):
    manifest, path = manifest_of(folder, several(SECOND, FIRST), name="check.toml"), tmp_path / "s.zarr"
    ingest_manifest(manifest, path, n_threads=1)
    assert [f for f in check_store(path, deep=True, manifest=manifest) if f.severity != "info"] == []
    # The manifest's order is not the store's.
    manifest = manifest_of(folder, several(FIRST, SECOND), name="check.toml")
    assert [f for f in check_store(path, deep=True, manifest=manifest) if f.severity != "info"] == []
    region = {"replicate": slice(0, 1), "bin": slice(0, 1024)}
    write_region(path, CONTACTS, "count_replicate", region, read_region(path, CONTACTS, "count_replicate", region) + 1)
    found = [str(f) for f in check_store(path, deep=True, manifest=manifest) if f.severity == "error"]
    assert any("pixels are not the sum over replicates" in f for f in found)
    assert any("count_replicate 'b': bins [0, 1024) are not what" in f for f in found)


# ------------------------------------------------------------------------------------------------------------------ tracks


@pytest.fixture(scope="module")
def bigwigs(tmp_path_factory):
    """Three bigWigs; the second does not list the last chromosome."""
    folder = tmp_path_factory.mktemp("tracks")
    make_inputs(folder, tracks=("r1", "r2", "r3"))
    return folder


MERGED = 'replicates = [{ name = "r1", file = "r1.bw" }, { name = "r2", file = "r2.bw" }]'


def test_ingest__replicates_of_a_track_are_the_mean_of_their_tracks(bigwigs, tmp_path):
    singles = [(n, f'file = "{n}.bw"') for n in ("r1", "r2")]
    ingest_manifest(tracks_manifest(bigwigs, ("CTCF", MERGED), *singles), tmp_path / "s.zarr", n_threads=1)
    merged, first, second = open_tracks(tmp_path / "s.zarr", "K562")["signal"].values
    both = np.stack([first, second])
    known = ~np.isnan(both)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(both, axis=0, dtype=np.float64) / known.sum(axis=0)
    assert (known.sum(axis=0) == 1).any()
    np.testing.assert_array_equal(merged, mean.astype(np.float32))


def test_ingest__another_replicate_of_a_track_is_a_change_and_no_growth(bigwigs, tmp_path):
    ingest_manifest(tracks_manifest(bigwigs, ("CTCF", MERGED)), tmp_path / "s.zarr", n_threads=1)
    more = MERGED.replace("]", ', { name = "r3", file = "r3.bw" }]')
    grown = tracks_manifest(bigwigs, ("CTCF", more), ("new", 'file = "r3.bw"'), name="more.toml")
    with pytest.raises(StoreError, match="track 'CTCF', replicate 'r3' is new"):
        ingest_manifest(grown, tmp_path / "s.zarr", n_threads=1)


def test_ingest__a_track_of_replicates_can_be_added(bigwigs, tmp_path):
    one = ("one", 'file = "r3.bw"')
    ingest_manifest(tracks_manifest(bigwigs, one), tmp_path / "a.zarr", n_threads=1)
    manifest = tracks_manifest(bigwigs, one, ("CTCF", MERGED))
    for name in ("a.zarr", "b.zarr"):
        ingest_manifest(manifest, tmp_path / name, n_threads=1)
    assert tree_digest(tmp_path / "a.zarr") == tree_digest(tmp_path / "b.zarr")
    assert [f for f in check_store(tmp_path / "a.zarr", deep=True, manifest=manifest) if f.severity != "info"] == []


@pytest.mark.fault
def test_ingest__killed_with_replicates_and_a_depth(folder, tmp_path):
    keys = 'thin = { depth = 60_000 }\ncompute = ["vc"]'
    manifest = manifest_of(folder, several(FIRST, SECOND), keys, "kill.toml")
    mark, path = "epizarr.io.ledger:Ledger.mark", tmp_path / "s.zarr"
    whole = run_child(build, (manifest, tmp_path / "whole.zarr"), count=[mark])
    assert whole.exitcode == 0, whole.error
    # Totals, marginals, weights and blocks; two files, two chromosomes, one block.
    assert whole.counts[mark] == 4 + 2 + 2 + 1
    for n in range(1, whole.counts[mark] + 1):
        assert run_child(build, (manifest, path), kill_at=Phase(mark, n, "before")).was_killed
        assert run_child(build, (manifest, path)).exitcode == 0
        assert tree_digest(path) == tree_digest(tmp_path / "whole.zarr")
        shutil.rmtree(path)
