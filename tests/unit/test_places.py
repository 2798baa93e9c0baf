"""Stores in object stores: read through the same functions, with the same values and the same errors."""

import pickle
from pathlib import Path

import dask
import fsspec
import numpy as np
import pytest

from epizarr.errors import IncompleteStoreError, RemoteError, StoreError, StoreNotFoundError
from epizarr.ingest import ingest_manifest
from epizarr.io.places import RemoteFolder, place_of, zarr_store
from epizarr.io.store import (
    cell_types,
    check_store_path,
    has_group,
    list_groups,
    open_contacts,
    open_tracks,
    read_region,
    select,
    store_assembly,
)
from tests._inputs import make_inputs, write_manifest

URL = "memory://bucket/a[1]/toy.zarr"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    ingest_manifest(write_manifest(make_inputs(folder / "inputs")), folder / "toy.zarr", n_threads=1)
    return folder / "toy.zarr"


@pytest.fixture
def remote(local):
    fs = fsspec.filesystem("memory")
    for file in local.rglob("*"):
        if file.is_file():
            fs.pipe(f"/bucket/a[1]/toy.zarr/{file.relative_to(local).as_posix()}", file.read_bytes())
    yield fs
    fs.store.clear()


@pytest.mark.parametrize("path", [URL, RemoteFolder(URL)])
def test_open_contacts__is_the_same_from_an_object_store(local, remote, path):
    found, expected = open_contacts(path, "K562", 1000), open_contacts(local, "K562", 1000)
    assert found.compute().identical(expected.compute())
    assert found["ice"].chunks == expected["ice"].chunks


def test_open_tracks__stays_lazy_and_travels_to_workers(local, remote):
    signal = select(open_tracks(URL, "K562")["signal"], "chr2:10,000-20,000")
    assert dask.is_dask_collection(signal)
    again = pickle.loads(pickle.dumps(signal))
    expected = select(open_tracks(local, "K562")["signal"], "chr2:10,000-20,000").values
    np.testing.assert_array_equal(again.values, expected)


def test_list_groups__is_the_same_from_an_object_store(local, remote):
    assert list_groups(URL) == list_groups(local)
    assert cell_types(URL) == ["K562"]
    assert store_assembly(URL) == store_assembly(local)
    assert [has_group(URL, g) for g in ("K562/contacts/1000", "K562/contacts/5000")] == [True, False]


def test_read_region__reads_from_an_object_store(local, remote):
    where = ("K562/contacts/1000", "count", {"bin": slice(3, 9)})
    np.testing.assert_array_equal(read_region(URL, *where), read_region(local, *where))


def test_open_contacts__says_that_there_is_no_store(remote):
    with pytest.raises(StoreNotFoundError, match=r"memory://bucket/none\.zarr: no store there"):
        open_contacts("memory://bucket/none.zarr", "K562", 1000)


def test_open_contacts__lists_what_an_object_store_has(remote):
    with pytest.raises(StoreNotFoundError, match=r"Did you mean 'K562/contacts/1000'.*K562/tracks/100"):
        open_contacts(URL, "K562", 5000)


def test_open_contacts__refuses_an_unfinished_group_of_an_object_store(remote):
    file = "/bucket/a[1]/toy.zarr/K562/contacts/1000/zarr.json"
    remote.pipe(file, remote.cat_file(file).replace(b'"complete"', b'"writing"'))
    with pytest.raises(IncompleteStoreError, match="is not complete"):
        open_contacts(URL, "K562", 1000)


def test_place_of__hands_options_to_the_file_system(monkeypatch):
    asked = []
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url, **options: asked.append(options) or ("fs", "root/"))
    assert RemoteFolder("s3://bucket/x.zarr", {"anon": True}).open() == ("fs", "root")
    assert asked == [{"anon": True, "use_listings_cache": False}]


def test_place_of__refuses_web_servers():
    with pytest.raises(StoreError, match="does not list what a store holds"):
        place_of("https://host/toy.zarr")


def test_read__tells_what_an_object_store_answers(monkeypatch, remote):
    def refuse(self, path, **options):
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(type(remote), "cat_file", refuse)
    with pytest.raises(RemoteError, match=r"cannot be read: PermissionError: AccessDenied\. Check"):
        store_assembly(URL)


def test_zarr_store__is_not_written_where_two_writers_would_not_see_each_other():
    with pytest.raises(StoreError, match="not written to sftp://"):
        zarr_store(place_of("sftp://host/s.zarr"), read_only=False)


def test_check_store_path__an_address_in_a_path_is_not_taken_for_a_folder(local):
    with pytest.raises(StoreError, match="looks like an address"):
        check_store_path(Path("gs://bucket/new.zarr"), store_assembly(local))
