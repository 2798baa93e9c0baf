"""The store: created once, written in whole units, opened only when complete."""

import json

import fsspec
import numpy as np
import pytest
import xarray as xr

from epizarr.errors import (
    AssemblyMismatchError,
    IncompleteStoreError,
    RegionError,
    SchemaError,
    StoreError,
    StoreNotFoundError,
)
from epizarr.genome import Assembly
from epizarr.io import store_read, store_write
from epizarr.io.ledger import Lease
from epizarr.io.places import place_of
from epizarr.io.store import (
    ArraySpec,
    cell_types,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    grid_of,
    group_differences,
    group_id,
    group_path,
    grow_group,
    list_groups,
    open_contacts,
    open_tracks,
    read_region,
    remove_group,
    select,
    store_assembly,
    write_region,
    write_unit,
)
from epizarr.schema import SCHEMA_VERSION

ASSEMBLY = Assembly.from_table("toy", [("chr1", 250_050), ("chr2", 33_333)])
GROUP = "K562/tracks/100"
N_BINS = ASSEMBLY.bins(100).n_bins


def inputs_json(names):
    return json.dumps([{"kind": "track", "name": n, "sha256": n * 8, "uri": f"{n}.bw", "origin": ""} for n in names])


def track_group(names, chunk=256, shard=1024):
    coords = grid_coords(ASSEMBLY.bins(100), bin_table=False)
    for name in ("track", "accession", "strand"):
        coords[name] = np.array(names, dtype=object)
    return {
        "coords": coords,
        "arrays": {
            "signal": ArraySpec(("track", "bin"), (len(names), N_BINS), "f4", (1, chunk), (1, shard)),
            "blacklisted": ArraySpec(("bin",), (N_BINS,), "b1"),
        },
        "attrs": {"binsize": 100, "epizarr_version": "0", "manifest": "", "inputs": inputs_json(names)},
    }


def fill(path, names, finish=True):
    create_store(path, ASSEMBLY)
    create_group(path, GROUP, "tracks", **track_group(names))
    for i in range(len(names)):
        write_region(path, GROUP, "signal", {"track": slice(i, i + 1)}, row(i))
    if finish:
        finish_group(path, GROUP)


def row(i):
    return (1000 * i + np.arange(N_BINS, dtype=np.float32))[None]


def test_create_store__again_changes_nothing(tmp_path):
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    before = (tmp_path / "s.zarr/zarr.json").stat().st_mtime_ns
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    assert (tmp_path / "s.zarr/zarr.json").stat().st_mtime_ns == before


def test_create_store__finishes_one_that_was_killed(tmp_path):
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    (tmp_path / "s.zarr/zarr.json").unlink()
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    assert store_assembly(tmp_path / "s.zarr") == ASSEMBLY


@pytest.mark.parametrize(
    "table", [[("chr1", 250_050)], [("chr1", 250_051), ("chr2", 33_333)], [("1", 250_050), ("2", 33_333)]]
)
def test_create_store__refuses_another_assembly(tmp_path, table):
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    with pytest.raises(AssemblyMismatchError, match="one assembly"):
        create_store(tmp_path / "s.zarr", Assembly.from_table("toy", table))


def test_create_store__refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreError, match="thesis"):
        create_store(tmp_path, ASSEMBLY)


@pytest.mark.parametrize(("least", "n_units"), [(1, 1), (2500, 2), (10**6, 3)])
def test_open_tracks__gives_whole_write_units_as_blocks(tmp_path, monkeypatch, least, n_units):
    monkeypatch.setattr(store_read, "_BLOCK_VALUES", least)
    fill(tmp_path / "s.zarr", ["a", "b"])
    signal = open_tracks(tmp_path / "s.zarr", "K562")["signal"]
    assert signal.data.chunks[0] == (1, 1)
    assert signal.data.chunks[1][0] == min(n_units * 1024, signal.sizes["bin"])


def test_open_tracks__gives_what_was_written(tmp_path):
    fill(tmp_path / "s.zarr", ["a", "b"])
    signal = open_tracks(tmp_path / "s.zarr", "K562")["signal"]
    np.testing.assert_array_equal(signal.sel(track="b").values, row(1)[0])


def test_open_tracks__loads_coordinates(tmp_path):
    fill(tmp_path / "s.zarr", ["a", "b"])
    ds = open_tracks(tmp_path / "s.zarr", "K562")
    assert {
        name: isinstance(c.variable._data, np.ndarray) for name, c in ds.coords.items() if name != "track"
    } == dict.fromkeys(["accession", "strand", "chrom_name", "chrom_length", "chrom_offset"], True)


def test_open_group__opens_with_xarray_alone_too(tmp_path):
    fill(tmp_path / "s.zarr", ["a", "b"])
    ds = xr.open_zarr(tmp_path / "s.zarr", group=GROUP, consolidated=False)
    np.testing.assert_array_equal(ds["signal"].sel(track="b").values, row(1)[0])


def test_open_group__opens_as_a_datatree(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    tree = xr.open_datatree(tmp_path / "s.zarr", engine="zarr", consolidated=False)
    assert tree[GROUP].attrs["binsize"] == 100


def test_open_group__refuses_an_unfinished_group(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    with pytest.raises(IncompleteStoreError, match="Run the command that made it again"):
        open_tracks(tmp_path / "s.zarr", "K562")


def test_open_group__names_who_is_writing(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    with (
        Lease.acquire(tmp_path / "s.zarr", GROUP),
        pytest.raises(IncompleteStoreError, match="being written by process"),
    ):
        open_tracks(tmp_path / "s.zarr", "K562")


def test_open_group__lists_what_is_there(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    with pytest.raises(StoreNotFoundError, match=r"Did you mean 'K562/tracks/100'"):
        open_tracks(tmp_path / "s.zarr", "K563")


def test_open_group__says_that_there_is_no_store(tmp_path):
    with pytest.raises(StoreNotFoundError, match="no store there"):
        open_contacts(tmp_path / "none.zarr", "K562", 10_000)


def test_store_assembly__says_that_the_root_is_damaged(tmp_path):
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    (tmp_path / "s.zarr/zarr.json").write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        store_assembly(tmp_path / "s.zarr")


def test_open_group__refuses_another_major_version_first(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    file = tmp_path / "s.zarr" / GROUP / "zarr.json"
    now = f'"epizarr_schema_version": "{SCHEMA_VERSION}"'
    file.write_text(file.read_text().replace(now, '"epizarr_schema_version": "7.0"'))
    with pytest.raises(SchemaError, match=r"'7\.0'"):
        open_tracks(tmp_path / "s.zarr", "K562")


def test_open_group__refuses_a_group_that_lacks_a_variable(tmp_path):
    path = tmp_path / "s.zarr"
    create_store(path, ASSEMBLY)
    spec = track_group(["a"])
    del spec["arrays"]["blacklisted"]
    create_group(path, GROUP, "tracks", **spec)
    finish_group(path, GROUP)
    with pytest.raises(SchemaError, match="'blacklisted' is missing"):
        open_tracks(path, "K562")


def test_create_group__again_changes_nothing(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "s.zarr").rglob("*") if p.is_file()}
    create_group(tmp_path / "s.zarr", GROUP, "tracks", **track_group(["a"]))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "s.zarr").rglob("*") if p.is_file()} == before


def test_create_group__refuses_another_layout(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    with pytest.raises(StoreError, match=r"signal/zarr\.json"):
        create_group(tmp_path / "s.zarr", GROUP, "tracks", **track_group(["a"], shard=2048), update=True)


def test_create_group__refuses_arrays_that_do_not_belong_to_it(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    spec = track_group(["a"])
    del spec["coords"]["accession"]
    with pytest.raises(StoreError, match=r"accession/zarr\.json"):
        create_group(tmp_path / "s.zarr", GROUP, "tracks", **spec, update=True)


def test_create_group__updates_attributes_of_an_unfinished_group(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    spec = track_group(["a"])
    spec["attrs"]["manifest"] = "another"
    create_group(tmp_path / "s.zarr", GROUP, "tracks", **spec, update=True)
    assert group_differences(tmp_path / "s.zarr", GROUP, "tracks", **spec) == []


def test_create_group__refuses_a_complete_group(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    with pytest.raises(StoreError, match=r"\(complete\)"):
        create_group(tmp_path / "s.zarr", GROUP, "tracks", **track_group(["a"]), update=True)


def test_create_group__refuses_an_undeclared_variable(tmp_path):
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    spec = track_group(["a"])
    spec["arrays"]["signl"] = spec["arrays"].pop("signal")
    with pytest.raises(SchemaError, match="Did you mean 'signal'"):
        create_group(tmp_path / "s.zarr", GROUP, "tracks", **spec)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a..b", "/tmp", "zarr.json", "chrom_name"])
def test_group_path__refuses_names_that_leave_the_store(name):
    with pytest.raises(StoreError, match="cannot be used"):
        group_path("tracks", name, 100)


def test_create_group__refuses_a_path_that_leaves_the_store(tmp_path):
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    with pytest.raises(StoreError, match="cannot be used"):
        create_group(tmp_path / "s.zarr", "K562/../../tracks", "tracks", **track_group(["a"]))


def test_write_unit__is_the_shard(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    assert write_unit(tmp_path / "s.zarr", GROUP, "signal") == {"track": 1, "bin": 1024}


@pytest.mark.parametrize("part", [slice(0, 256), slice(256, 1024), slice(1024, 2047)])
def test_write_region__refuses_part_of_a_write_unit(tmp_path, part):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    values = np.zeros((1, part.stop - part.start), dtype=np.float32)
    with pytest.raises(ValueError, match="write unit of 1024"):
        write_region(tmp_path / "s.zarr", GROUP, "signal", {"bin": part}, values)


def test_write_region__takes_the_partial_last_unit(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    last = slice(N_BINS // 1024 * 1024, N_BINS)
    values = np.full((1, last.stop - last.start), 7, dtype=np.float32)
    write_region(tmp_path / "s.zarr", GROUP, "signal", {"bin": last}, values)
    np.testing.assert_array_equal(read_region(tmp_path / "s.zarr", GROUP, "signal", {"bin": last}), values)


def test_write_region__refuses_another_dtype(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    with pytest.raises(StoreError, match="float64"):
        write_region(tmp_path / "s.zarr", GROUP, "signal", {}, row(0).astype(np.float64))


def test_write_region__refuses_what_lies_off_the_array(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    with pytest.raises(StoreError, match="does not lie on the array"):
        write_region(tmp_path / "s.zarr", GROUP, "signal", {"track": slice(1, 2)}, row(0))


def test_write_region__unwritten_values_are_missing(tmp_path):
    create_store(tmp_path / "s.zarr", ASSEMBLY)
    create_group(tmp_path / "s.zarr", GROUP, "tracks", **track_group(["a"]))
    assert np.isnan(read_region(tmp_path / "s.zarr", GROUP, "signal", {})).all()


def grow(path):
    write_region(path, GROUP, "signal", {"track": slice(2, 3)}, row(2), grown={"track": 3})
    coords = {name: np.array(["a", "b", "c"], dtype=object) for name in ("track", "accession", "strand")}
    grow_group(path, GROUP, "tracks", coords=coords, sizes={"track": 3}, attrs={"inputs": inputs_json("abc")})


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("is_remote", [False, True])
def test_grow_group__is_whole_wherever_it_stops(tmp_path, monkeypatch, n, is_remote):
    store = f"memory:/{tmp_path}/s.zarr" if is_remote else tmp_path / "s.zarr"
    fill(store, ["a", "b"])
    write_bytes, calls = store_write.write_bytes, iter(range(1, 100))

    def stop_at_n(place, name, data):
        if next(calls) == n:
            raise StoppedError
        write_bytes(place, name, data)

    monkeypatch.setattr(store_write, "write_bytes", stop_at_n)
    with pytest.raises(StoppedError):
        grow(store)
    ds = open_tracks(store, "K562")
    names = [e["name"] for e in json.loads(ds.attrs["inputs"])]
    assert (list(ds["track"].values), names, ds["signal"].shape[0]) == (["a", "b"], ["a", "b"], 2)


def test_grow_group__shows_the_new_track(tmp_path):
    fill(tmp_path / "s.zarr", ["a", "b"])
    grow(tmp_path / "s.zarr")
    np.testing.assert_array_equal(open_tracks(tmp_path / "s.zarr", "K562")["signal"].sel(track="c").values, row(2)[0])


def test_grow_group__an_opened_dataset_stays_as_it_was(tmp_path):
    fill(tmp_path / "s.zarr", ["a", "b"])
    ds = open_tracks(tmp_path / "s.zarr", "K562")
    grow(tmp_path / "s.zarr")
    np.testing.assert_array_equal(ds["signal"].values, np.concatenate([row(0), row(1)]))


def test_select__cuts_a_region_and_gives_its_coordinates(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    part = select(open_tracks(tmp_path / "s.zarr", "K562")["signal"], "chr2:150-400")
    assert (part.start.values.tolist(), part.end.values.tolist(), part.chrom.values.tolist(), part.values[0].tolist()) == (
        [100, 200, 300], [200, 300, 400], [1, 1, 1], [2502.0, 2503.0, 2504.0]
    )  # fmt: skip


def test_select__refuses_a_variable_that_was_cut_before(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    signal = open_tracks(tmp_path / "s.zarr", "K562")["signal"]
    with pytest.raises(ValueError, match="once"):
        select(select(signal, "chr2"), "chr2:100-400")


def test_select__refuses_a_region_off_the_assembly(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    with pytest.raises(RegionError, match="33,333"):
        select(open_tracks(tmp_path / "s.zarr", "K562")["signal"], "chr2:0-40000")


def test_grid_of__agrees_for_dataset_and_variable(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    ds = open_tracks(tmp_path / "s.zarr", "K562")
    assert grid_of(ds) == grid_of(ds["signal"]) == ASSEMBLY.bins(100)


def test_group_id__does_not_depend_on_where_files_lay(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    ds = open_tracks(tmp_path / "s.zarr", "K562")
    moved = ds.assign_attrs(inputs=ds.attrs["inputs"].replace("a.bw", "elsewhere/a.bw"))
    changed = ds.assign_attrs(inputs=ds.attrs["inputs"].replace("a" * 8, "b" * 8))
    assert group_id(moved) == group_id(ds) != group_id(changed)


def test_list_groups__shows_unfinished_groups_too(tmp_path):
    fill(tmp_path / "s.zarr", ["a"], finish=False)
    assert [(g.path, g.kind, g.cell_type, g.binsize, g.run, g.state) for g in list_groups(tmp_path / "s.zarr")] == [
        (GROUP, "tracks", "K562", 100, None, "writing")
    ]


def test_remove_group__leaves_nothing(tmp_path):
    fill(tmp_path / "s.zarr", ["a"])
    remove_group(tmp_path / "s.zarr", GROUP)
    assert cell_types(tmp_path / "s.zarr") == []
    assert not list((tmp_path / "s.zarr").rglob("signal"))


def test_write_region__is_one_request_a_write_unit(tmp_path, monkeypatch):
    store, written = f"memory:/{tmp_path}/s.zarr", []
    fill(store, ["a", "b"], finish=False)
    file_system = type(fsspec.filesystem("memory"))
    pipe_file = file_system.pipe_file

    def count(self, path, value, **options):
        written.append(path)
        pipe_file(self, path, value, **options)

    monkeypatch.setattr(file_system, "pipe_file", count)
    write_region(store, GROUP, "signal", {"track": slice(1, 2)}, row(1))
    array = store_read.open_array(place_of(store), GROUP, "signal")
    assert len(written) == -(-array.shape[1] // (array.shards or array.chunks)[1])
    assert all("/signal/c/1/" in path for path in written)
