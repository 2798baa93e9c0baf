"""`check` finds what is wrong with a store and nothing in one that is right."""

import json
import shutil

import numpy as np
import pytest

from epizarr.ingest.check import check_store, describe_store
from epizarr.ingest.run import ingest_manifest
from epizarr.io.store import read_region, write_region
from tests._inputs import make_inputs, write_manifest

CONTACTS, TRACKS = "K562/contacts/1000", "K562/tracks/100"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store, and the manifest it was made from."""
    folder = tmp_path_factory.mktemp("check")
    manifest = write_manifest(make_inputs(folder / "inputs"))
    ingest_manifest(manifest, folder / "s.zarr", n_threads=1)
    return folder / "s.zarr", manifest


@pytest.fixture
def store(whole, tmp_path):
    """A copy to damage."""
    shutil.copytree(whole[0], tmp_path / "s.zarr")
    return tmp_path / "s.zarr"


def errors(path, **options):
    return [str(f) for f in check_store(path, n_threads=1, **options) if f.severity == "error"]


def change(store, group, variable, function):
    values = read_region(store, group, variable, {})
    write_region(store, group, variable, {}, function(values).astype(values.dtype))


def test_check_store__finds_nothing_wrong_with_a_whole_store(whole):
    found = check_store(whole[0], deep=True, manifest=whole[1], n_threads=1)
    assert [str(f) for f in found if f.severity != "info"] == []


def test_check_store__tells_shares_and_ranges(whole):
    said = {f.where: f.message for f in check_store(whole[0], n_threads=1)}
    assert said[f"{CONTACTS}/count"].startswith("0.0% missing, 0 to ")


def test_check_store__finds_an_unfinished_group(store):
    file = store / CONTACTS / "zarr.json"
    file.write_text(file.read_text().replace('"complete"', '"writing"'))
    assert errors(store) == [f"error: {CONTACTS}: is not complete; run the command that made it again to finish it"]


def test_check_store__finds_a_lost_variable(store):
    shutil.rmtree(store / CONTACTS / "bad_bin")
    assert "'bad_bin' is missing" in errors(store)[0]


def test_check_store__finds_lost_chunks_of_counts(store):
    change(store, CONTACTS, "count", lambda v: np.where(np.arange(len(v))[:, None] < 50, np.nan, v))
    assert "chunks were lost" in errors(store)[0]


def test_check_store__finds_a_damaged_chunk(store):
    (store / CONTACTS / "count/c/0/0").write_bytes(b"\0" * 100)
    assert "cannot be read" in errors(store)[0]


def test_check_store__finds_negative_contacts(store):
    change(store, CONTACTS, "ice", lambda v: -v)
    assert "contacts are negative" in errors(store)[0]


def test_check_store__finds_infinite_values(store):
    values = read_region(store, TRACKS, "signal", {"track": slice(0, 1)})
    values[0, 3] = np.inf
    write_region(store, TRACKS, "signal", {"track": slice(0, 1)}, values)
    assert errors(store) == [f"error: {TRACKS}/signal 'CTCF': 1 values are infinite"]


def test_check_store__warns_of_an_empty_track(store):
    n_bins = read_region(store, TRACKS, "blacklisted", {}).size
    write_region(store, TRACKS, "signal", {"track": slice(0, 1)}, np.full((1, n_bins), np.nan, dtype=np.float32))
    warnings = [f for f in check_store(store, n_threads=1) if f.severity == "warning"]
    assert [(f.where, f.message) for f in warnings] == [(f"{TRACKS}/signal 'CTCF'", "every value is missing")]


def test_check_store__finds_tables_of_another_grid(store):
    change(store, CONTACTS, "start", lambda v: v + 1)
    assert errors(store) == [f"error: {CONTACTS}: start is not what the assembly gives at 1000 bp"]


def test_check_store__deep_finds_balanced_values_that_do_not_follow(store):
    change(store, CONTACTS, "ice", lambda v: v * 1.5)
    found = errors(store, deep=True)
    assert "are not count × weight × weight" in found[0]


def test_check_store__deep_finds_wrong_expected_values(store):
    change(store, CONTACTS, "expected_ice", lambda v: v * 1.001)
    assert errors(store, deep=True) == [f"error: {CONTACTS}/ice: expected_ice is not the mean over valid pixels"]


def test_check_store__deep_finds_values_that_the_input_does_not_hold(store, whole):
    values = read_region(store, TRACKS, "signal", {"track": slice(1, 2)})
    values[0, 5] += 1
    write_region(store, TRACKS, "signal", {"track": slice(1, 2)}, values)
    assert errors(store, deep=True, manifest=whole[1]) == [
        f"error: {TRACKS}/signal 'DNase': bins [0, {values.size}) are not what DNase.bw holds"
    ]


def test_check_store__deep_does_not_compare_with_another_file(store, whole, tmp_path):
    inputs = make_inputs(tmp_path / "other", seed=5)
    found = check_store(store, deep=True, manifest=write_manifest(inputs), n_threads=1)
    assert sum("is not the file that this was made from" in f.message for f in found) == 3


def test_check_store__warns_of_leftovers(store):
    (store / CONTACTS / "count/c/0/1.abc.partial").write_text("")
    (store / ".epizarr/K562__tracks__100/tasks").mkdir(parents=True)
    found = [f.message for f in check_store(store, n_threads=1) if f.severity == "warning"]
    assert sorted(m.split()[1] for m in found) == ["*.partial", "a"]


def test_describe_store__names_tracks_and_variables(whole):
    described = describe_store(whole[0])
    assert [(g.info.path, g.names) for g in described.groups] == [
        (CONTACTS, ("count", "ice")),
        (TRACKS, ("CTCF", "DNase")),
    ]


def test_describe_store__shows_unfinished_groups(store):
    file = store / CONTACTS / "zarr.json"
    file.write_text(file.read_text().replace('"complete"', '"writing"'))
    assert f"{CONTACTS} [writing]" in str(describe_store(store))


def test_stored_attributes__are_json_text_where_the_schema_says_so(whole):
    attrs = json.loads((whole[0] / CONTACTS / "zarr.json").read_text())["attributes"]
    assert json.loads(attrs["ignore_diags"]) == {"ice": 2}


@pytest.mark.parametrize("group", [CONTACTS, TRACKS])
@pytest.mark.parametrize("lost", ["*", "chrom_length/c", "chrom_length", "track", "signal"])
def test_describe_store__shows_groups_whose_metadata_are_half_written(store, group, lost):
    file = store / group / "zarr.json"
    file.write_text(file.read_text().replace('"complete"', '"writing"'))
    for path in (store / group).glob(lost):
        if path.is_dir():
            shutil.rmtree(path)
    assert f"{group} [writing]" in str(describe_store(store))
