"""Manifest to store: values as in the inputs, refusals before work, growth that touches nothing that is there."""

import json
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from epizarr.bands import balance_band
from epizarr.errors import LeaseError, ManifestError, StoreError
from epizarr.ingest import run as run_module
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.plan import plan_ingest
from epizarr.ingest.run import ingest_manifest
from epizarr.io.ledger import Lease
from epizarr.io.store import create_store, open_contacts, open_tracks, select
from tests._inputs import make_inputs, write_manifest
from tests._killing import tree_digest

CONTACTS, TRACKS = "K562/contacts/1000", "K562/tracks/100"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def store(inputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "toy.zarr"
    ingest_manifest(write_manifest(inputs), path, n_threads=1)
    return path


def own_inputs(tmp_path, **changes):
    """Inputs that a test may change."""
    return make_inputs(tmp_path / "inputs", **changes)


def times(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def bin_means(values, binsize, uncovered):
    out = []
    for start in range(0, len(values), binsize):
        part = values[start : start + binsize].astype(np.float64)
        part = np.nan_to_num(part) if uncovered == "zero" else part[~np.isnan(part)]
        out.append(part.mean() if len(part) else np.nan)
    return np.array(out, dtype=np.float32)


@pytest.mark.parametrize("uncovered", ["nan", "zero"])
def test_ingest__stores_means_of_tracks(inputs, tmp_path, uncovered):
    ingest_manifest(
        write_manifest(inputs, name=f"{uncovered}.toml", uncovered=uncovered), tmp_path / "s.zarr", n_threads=1
    )
    signal = open_tracks(tmp_path / "s.zarr", "K562")["signal"]
    for name, chroms in inputs.tracks.items():
        for chrom, values in chroms.items():
            found = select(signal, chrom).sel(track=name).values
            np.testing.assert_allclose(found, bin_means(values, 100, uncovered), rtol=1e-6)


def test_ingest__a_chromosome_that_a_track_does_not_list_is_missing(store):
    assert np.isnan(select(open_tracks(store, "K562")["signal"], "chr3").sel(track="DNase").values).all()


def test_ingest__stores_counts(inputs, store):
    ds = open_contacts(store, "K562", 1000)
    for chrom, near in inputs.counts.items():
        found = select(ds["count"], chrom).values
        n, k = np.indices(found.shape)
        expected = np.where(n + k < len(near), near[:, : found.shape[1]], np.nan)
        np.testing.assert_array_equal(found, expected)


def test_ingest__stores_balanced_contacts(inputs, store):
    ds = open_contacts(store, "K562", 1000)
    for chrom, weight in inputs.weights.items():
        count = select(ds["count"], chrom).values
        reach = np.append(weight, np.full(count.shape[1] - 1, np.nan))
        np.testing.assert_array_equal(select(ds["ice"], chrom).values, balance_band(count, reach, 2).astype(np.float32))


def test_ingest__records_ignored_diagonals(store):
    ds = open_contacts(store, "K562", 1000)
    assert (json.loads(ds.attrs["ignore_diags"]), ds.attrs["min_diagonal"]) == ({"ice": 2}, 2)


@pytest.mark.parametrize(("is_empty", "expected"), [(True, 1), (False, 0)])
def test_ingest__min_diagonal_follows_the_main_diagonal(tmp_path, is_empty, expected):
    manifest = write_manifest(own_inputs(tmp_path, empty_diagonal=is_empty), tracks=())
    manifest.write_text(manifest.read_text().replace('normalisations = { ice = "weight" }', "normalisations = {}"))
    ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)
    assert open_contacts(tmp_path / "s.zarr", "K562", 1000).attrs["min_diagonal"] == expected


def test_ingest__bad_bins_are_empty_or_blacklisted(inputs, store):
    bad = select(open_contacts(store, "K562", 1000)["bad_bin"], "chr1").values
    near = inputs.counts["chr1"]
    marginal = near.sum(axis=1)
    for k in range(1, near.shape[1]):
        marginal[k:] += near[: len(near) - k, k]
    listed = np.isin(np.arange(len(bad)), [5, 6, 7, 8])  # 5,050-9,000
    np.testing.assert_array_equal(bad, (marginal == 0) | listed)


def test_ingest__expected_is_the_mean_over_good_pixels(store):
    ds = open_contacts(store, "K562", 1000)
    good = ~select(ds["bad_bin"], "chr2").values
    ice = select(ds["ice"], "chr2").values.astype(np.float64)
    for k in range(2, 20):
        valid = ice[: len(good) - k, k][good[: len(good) - k] & good[k:]]
        valid = valid[~np.isnan(valid)]
        np.testing.assert_allclose(ds["expected_ice"].values[1, k], valid.mean(), rtol=1e-12)
        assert ds["n_valid_ice"].values[1, k] == len(valid)


def test_ingest__marks_blacklisted_track_bins(store):
    listed = select(open_tracks(store, "K562")["blacklisted"], "chr1").values
    assert np.flatnonzero(listed).tolist() == list(range(50, 90))


def test_ingest__records_inputs_without_this_machines_paths(inputs, store):
    text = (store / TRACKS / "zarr.json").read_text()
    assert str(inputs.folder) not in text
    assert [e["uri"] for e in json.loads(open_tracks(store, "K562").attrs["inputs"])] == [
        "blacklist.bed",
        "CTCF.bw",
        "DNase.bw",
    ]


def test_ingest__is_the_same_to_the_byte_with_any_number_of_threads(inputs, store, tmp_path):
    ingest_manifest(write_manifest(inputs), tmp_path / "s.zarr", n_threads=4)
    assert tree_digest(tmp_path / "s.zarr") == tree_digest(store)


def test_ingest__again_touches_nothing(inputs, store):
    before = times(store)
    report = ingest_manifest(write_manifest(inputs), store, n_threads=1)
    assert times(store) == before
    assert {g.action for g in report.groups} == {"complete already"}


def test_ingest__leaves_no_work_folder(store):
    assert not (store / ".epizarr").exists()


def test_plan__writes_nothing(inputs, tmp_path):
    text = str(plan_ingest(load_manifest(write_manifest(inputs)), tmp_path / "s.zarr"))
    assert not (tmp_path / "s.zarr").exists()
    assert "signal" in text
    assert "tasks" in text


def test_plan__collects_the_problems_of_all_inputs(tmp_path):
    inputs = own_inputs(tmp_path)
    (inputs.folder / "CTCF.bw").write_text("no bigWig")
    manifest = write_manifest(inputs)
    manifest.write_text(manifest.read_text().replace('"weight"', '"KR"'))
    with pytest.raises(ManifestError, match=r"(?s)2 problems.*track 'CTCF'.*no normalisation 'KR'"):
        plan_ingest(load_manifest(manifest), tmp_path / "s.zarr")


def test_plan__refuses_names_that_differ_by_prefix(tmp_path):
    manifest = write_manifest(own_inputs(tmp_path))
    lines = [line for line in manifest.read_text().splitlines() if not line.startswith("rename_chroms")]
    manifest.write_text("\n".join(lines))
    with pytest.raises(ManifestError, match="Only the prefix differs"):
        plan_ingest(load_manifest(manifest), tmp_path / "s.zarr")


def test_tasks__can_be_sent_to_other_processes(inputs, tmp_path, monkeypatch):
    sent = []
    run_tasks = run_module.run_tasks

    def send(function, tasks, **options):
        sent.extend(tasks)
        return run_tasks(function, [pickle.loads(pickle.dumps(t)) for t in tasks], **options)

    monkeypatch.setattr(run_module, "run_tasks", send)
    ingest_manifest(write_manifest(inputs), tmp_path / "s.zarr", n_threads=1)
    assert max(len(pickle.dumps(t)) for t in sent) < 4096


def test_ingest__refuses_a_file_with_another_sha256(tmp_path):
    inputs = own_inputs(tmp_path)
    with pytest.raises(ManifestError, match="the manifest says 0000"):
        ingest_manifest(write_manifest(inputs, extra=f'sha256 = "{"0" * 64}"'), tmp_path / "s.zarr", n_threads=1)


def test_ingest__refuses_changed_inputs_of_a_complete_group(tmp_path):
    ingest_manifest(write_manifest(own_inputs(tmp_path)), tmp_path / "s.zarr", n_threads=1)
    before = times(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match=r"track 'CTCF': its sha256 was"):
        ingest_manifest(write_manifest(own_inputs(tmp_path, seed=1)), tmp_path / "s.zarr", n_threads=1)
    assert {k: v for k, v in times(tmp_path / "s.zarr").items() if ".epizarr" not in str(k)} == before


def test_ingest__refuses_changed_parameters_of_a_complete_group(tmp_path):
    inputs = own_inputs(tmp_path)
    ingest_manifest(write_manifest(inputs), tmp_path / "s.zarr", n_threads=1)
    with pytest.raises(StoreError, match="`uncovered` was 'nan', is 'zero'"):
        ingest_manifest(write_manifest(inputs, uncovered="zero"), tmp_path / "s.zarr", n_threads=1)


def test_ingest__overwrite_equals_a_new_store(tmp_path):
    ingest_manifest(write_manifest(own_inputs(tmp_path), span_bp=10_000), tmp_path / "s.zarr", n_threads=1)
    manifest = write_manifest(own_inputs(tmp_path, seed=1))
    ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1, overwrite=True)
    ingest_manifest(manifest, tmp_path / "new.zarr", n_threads=1)
    assert tree_digest(tmp_path / "s.zarr") == tree_digest(tmp_path / "new.zarr")


def test_ingest__a_moved_file_of_the_same_content_is_the_same(tmp_path):
    inputs = own_inputs(tmp_path)
    ingest_manifest(write_manifest(inputs), tmp_path / "s.zarr", n_threads=1)
    (inputs.folder / "CTCF.bw").rename(inputs.folder / "moved.bw")
    manifest = write_manifest(inputs)
    manifest.write_text(manifest.read_text().replace("CTCF.bw", "moved.bw"))
    assert {g.action for g in ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1).groups} == {
        "complete already"
    }


def test_ingest__adding_a_track_touches_no_chunk_that_is_there(tmp_path):
    inputs = own_inputs(tmp_path)
    path = tmp_path / "s.zarr"
    ingest_manifest(write_manifest(inputs, tracks=("CTCF",)), path, n_threads=1)
    before = times(path)
    ingest_manifest(write_manifest(inputs), path, n_threads=1)
    after = times(path)
    changed = {str(p) for p in before if after[p] != before[p]}
    assert changed == {f"{TRACKS}/{p}" for p in ("zarr.json", "signal/zarr.json")} | {
        f"{TRACKS}/{name}/{p}" for name in ("track", "accession", "strand") for p in ("zarr.json", "c/0")
    }


def test_ingest__adding_a_track_equals_having_had_it(tmp_path, inputs, store):
    path = tmp_path / "s.zarr"
    ingest_manifest(write_manifest(inputs, name="one.toml", tracks=("CTCF",)), path, n_threads=1)
    ingest_manifest(write_manifest(inputs), path, n_threads=1)
    ours, theirs = tree_digest(path), tree_digest(store)
    # The contacts' manifest is the text of the day they were made.
    assert {p for p in ours if ours[p] != theirs[p]} == {f"{CONTACTS}/zarr.json"}


def test_ingest__refuses_to_lose_a_track(tmp_path):
    inputs = own_inputs(tmp_path)
    ingest_manifest(write_manifest(inputs), tmp_path / "s.zarr", n_threads=1)
    with pytest.raises(ManifestError, match=r"has tracks \['DNase'\] that the manifest does not list"):
        ingest_manifest(write_manifest(inputs, tracks=("CTCF",)), tmp_path / "s.zarr", n_threads=1)


def test_ingest__overwrite_may_lose_a_track(tmp_path):
    inputs = own_inputs(tmp_path)
    ingest_manifest(write_manifest(inputs), tmp_path / "s.zarr", n_threads=1)
    ingest_manifest(write_manifest(inputs, tracks=("CTCF",)), tmp_path / "s.zarr", n_threads=1, overwrite=True)
    assert open_tracks(tmp_path / "s.zarr", "K562")["track"].values.tolist() == ["CTCF"]


def test_ingest__adding_a_cell_type_touches_nothing(tmp_path):
    inputs = own_inputs(tmp_path)
    ingest_manifest(write_manifest(inputs), tmp_path / "s.zarr", n_threads=1)
    before = times(tmp_path / "s.zarr")
    ingest_manifest(write_manifest(inputs, cell_types=("K562", "H1")), tmp_path / "s.zarr", n_threads=1)
    after = times(tmp_path / "s.zarr")
    assert {p: after[p] for p in before} == before
    assert (tmp_path / "s.zarr/H1/contacts/1000/zarr.json").exists()


def test_ingest__refuses_a_second_writer(inputs, store, tmp_path):
    path = tmp_path / "s.zarr"
    path.mkdir()
    with Lease.acquire(path, TRACKS), pytest.raises(LeaseError, match="is being written by process"):
        ingest_manifest(write_manifest(inputs), path, n_threads=1)


class StoppedError(Exception):
    pass


def test_ingest__redoes_tasks_of_changed_inputs_when_resumed(tmp_path, monkeypatch):
    """A run stops before the end; one input changes; the same command makes what the new inputs say."""
    path = tmp_path / "s.zarr"
    monkeypatch.setattr(run_module, "finish_group", lambda *a, **k: (_ for _ in ()).throw(StoppedError))
    with pytest.raises(StoppedError):
        ingest_manifest(write_manifest(own_inputs(tmp_path)), path, n_threads=1)
    monkeypatch.undo()
    manifest = write_manifest(own_inputs(tmp_path, seed=1))
    ingest_manifest(manifest, path, n_threads=1)
    ingest_manifest(manifest, tmp_path / "new.zarr", n_threads=1)
    assert tree_digest(path) == tree_digest(tmp_path / "new.zarr")


def test_ingest__leaves_out_tasks_that_are_done(tmp_path, monkeypatch):
    manifest = write_manifest(own_inputs(tmp_path))
    monkeypatch.setattr(run_module, "finish_group", lambda *a, **k: (_ for _ in ()).throw(StoppedError))
    with pytest.raises(StoppedError):
        ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)
    monkeypatch.undo()
    report = ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)
    assert (report.groups[0].n_run, report.groups[0].n_done_before) == (0, 3)


def test_ingest__an_abandoned_growth_leaves_the_group_as_it_was(tmp_path, monkeypatch):
    """Killed when the coordinates are longer already; then the manifest goes back to the tracks it had."""
    inputs, path = own_inputs(tmp_path), tmp_path / "s.zarr"
    first = write_manifest(inputs, name="one.toml", tracks=("CTCF",))
    ingest_manifest(first, path, n_threads=1)
    expected = tree_digest(path)
    grow_group = run_module.grow_group

    def stop_before_the_shape(*args, sizes, **options):
        grow_group(*args, sizes={}, **options)
        raise StoppedError

    monkeypatch.setattr(run_module, "grow_group", stop_before_the_shape)
    with pytest.raises(StoppedError):
        ingest_manifest(write_manifest(inputs), path, n_threads=1)
    monkeypatch.undo()
    ingest_manifest(first, path, n_threads=1)
    orphan = f"{TRACKS}/signal/c/1/0"
    assert {p: d for p, d in tree_digest(path).items() if p != orphan and "contacts" not in p} == {
        p: d for p, d in expected.items() if "contacts" not in p
    }


def test_ingest__resumed_without_a_variable_leaves_nothing_of_it(tmp_path, monkeypatch):
    """What a stopped run began and the manifest no longer asks for must not stand in a complete group."""
    manifest = write_manifest(own_inputs(tmp_path))
    text = manifest.read_text()
    manifest.write_text(text.replace('{ ice = "weight" }', '{ ice = "weight", kr = "weight" }'))
    monkeypatch.setattr(run_module, "write_expected", lambda *a: (_ for _ in ()).throw(StoppedError))
    with pytest.raises(StoppedError):
        ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)
    monkeypatch.undo()
    manifest.write_text(text)
    ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)
    ingest_manifest(manifest, tmp_path / "new.zarr", n_threads=1)
    assert tree_digest(tmp_path / "s.zarr" / CONTACTS) == tree_digest(tmp_path / "new.zarr" / CONTACTS)


def test_ingest__does_not_grow_what_another_ingest_has_grown(tmp_path, monkeypatch):
    """Both would write their tracks to the same rows."""
    inputs, path = own_inputs(tmp_path, tracks=("CTCF", "DNase", "H3K27ac")), tmp_path / "s.zarr"
    ingest_manifest(write_manifest(inputs, tracks=("CTCF",)), path, n_threads=1)
    other = write_manifest(inputs, name="other.toml", tracks=("CTCF", "DNase", "H3K27ac"))
    mine = write_manifest(inputs, name="mine.toml", tracks=("CTCF", "H3K27ac", "DNase"))

    def acquire_late(*args):
        monkeypatch.undo()
        ingest_manifest(other, path, n_threads=1)
        return Lease.acquire(*args)

    monkeypatch.setattr(run_module, "Lease", SimpleNamespace(acquire=acquire_late))
    with pytest.raises(StoreError, match="Start this one again"):
        ingest_manifest(mine, path, n_threads=1)
    assert open_tracks(path, "K562")["track"].values.tolist() == ["CTCF", "DNase", "H3K27ac"]


def test_ingest__does_not_remove_what_another_ingest_has_added_meanwhile(tmp_path):
    """H1 gets a track while this run, which does not know of it, writes K562."""
    inputs, path = own_inputs(tmp_path), tmp_path / "s.zarr"
    ingest_manifest(write_manifest(inputs, cell_types=("H1",), tracks=("CTCF",)), path, n_threads=1)
    other = write_manifest(inputs, name="other.toml", cell_types=("H1",))
    waiting = iter([True])

    def ingest_meanwhile(what, *_):
        if what.startswith("K562") and next(waiting, False):
            ingest_manifest(other, path, n_threads=1)

    mine = write_manifest(inputs, name="mine.toml", cell_types=("K562", "H1"), tracks=("CTCF",))
    with pytest.raises(StoreError, match="track 'DNase' is no longer there"):
        ingest_manifest(mine, path, n_threads=1, progress=ingest_meanwhile)
    assert open_tracks(path, "H1")["track"].values.tolist() == ["CTCF", "DNase"]


@pytest.mark.parametrize("link", ["K562", "K562/tracks", ".epizarr", "chrom_name"])
def test_ingest__writes_nothing_through_a_link(inputs, tmp_path, link):
    outside, path = tmp_path / "outside", tmp_path / "s.zarr"
    (outside / "inputs").mkdir(parents=True)
    create_store(path, inputs.assembly)
    (path / link).parent.mkdir(exist_ok=True)
    if link == "chrom_name":
        shutil.rmtree(path / link)
        (path / "zarr.json").unlink()
    (path / link).symlink_to(outside, target_is_directory=True)
    with pytest.raises(StoreError, match="is a link to"):
        ingest_manifest(write_manifest(inputs), path, n_threads=1)
    assert [p.name for p in outside.rglob("*")] == ["inputs"]
