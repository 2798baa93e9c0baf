"""Stores written to object stores: object by object the same bytes as in a folder, killed and resumed, one writer at a time."""

import json
import uuid

import pytest

from epizarr.cli import run
from epizarr.errors import LeaseError, RemoteError, StoreError
from epizarr.evaluate import evaluate_run, write_report
from epizarr.ingest import check_store, describe_store, ingest_manifest
from epizarr.ingest.qc import assess_store
from epizarr.ingest.qc_page import write_quality_page
from epizarr.io.ledger import Lease
from epizarr.io.object_store import RemoteFolder
from epizarr.io.places import place_of
from epizarr.io.store import BAND_ROWS, check_store_path, open_contacts, store_assembly
from epizarr.io.store_read import open_array
from epizarr.predict import plan, predict_contacts
from epizarr.train.reader import fast_decoding
from tests._inputs import make_inputs, write_manifest
from tests._killing import Phase, run_child, tree_digest
from tests._object_stores import build, objects
from tests._runs import write_checkpoint, write_store
from tests._training import train_tiny

CONTACTS = "K562/contacts/1000"


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Predictions of several tasks on a small genome."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BLOCK_BINS", 2 * BAND_ROWS)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"), tracks=("CTCF", "DNase", "H3K27ac"))


@pytest.fixture(scope="module")
def first(inputs):
    return write_manifest(inputs, name="first.toml", tracks=("CTCF", "DNase"))


@pytest.fixture(scope="module")
def grown(inputs):
    return write_manifest(inputs, name="grown.toml")


@pytest.fixture(scope="module")
def other(inputs):
    """A manifest that makes other, smaller groups of the same names: without ICE."""
    path = write_manifest(inputs, name="other.toml", tracks=("CTCF", "DNase"), span_bp=10_000)
    path.write_text(path.read_text().replace('normalisations = { ice = "weight" }', "normalisations = {}"))
    return path


@pytest.fixture(scope="module")
def local(first, grown, tmp_path_factory):
    """A folder as an ingest leaves it, and what it holds before and after a track was added."""
    store = tmp_path_factory.mktemp("local") / "s.zarr"
    ingest_manifest(first, store, n_threads=1)
    before = tree_digest(store)
    ingest_manifest(grown, store, n_threads=1)
    return store, before, tree_digest(store)


# A request to the local server takes some ten milliseconds, and each of these tests makes hundreds.
@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def url(request):
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/s.zarr"
    return f"{request.getfixturevalue('bucket')}/deep/er/s.zarr"


def test_ingest__writes_the_same_to_an_object_store(url, first, grown, local):
    report = ingest_manifest(first, url, n_threads=2)
    assert [group.action for group in report.groups] == ["written", "written"]
    assert objects(url) == local[1]
    assert [group.action for group in ingest_manifest(first, url).groups] == ["complete already"] * 2
    ingest_manifest(grown, url, n_threads=2)
    assert objects(url) == local[2]


@pytest.mark.fault
def test_ingest__killed_is_finished_by_the_same_command(bucket, s3_environment, first, local):
    """Killed before a mark of each group, with the lease held, chunks written and marks of other tasks there."""
    url, arguments = f"{bucket}/s.zarr", (str(first), f"{bucket}/s.zarr", s3_environment)
    for n in (3, 4):
        assert run_child(build, arguments, kill_at=Phase("epizarr.io.ledger:Ledger.mark", n)).was_killed
        assert ".epizarr" in place_of(url).names()
    with pytest.raises(StoreError, match="is not complete"):
        open_contacts(url, "K562", 1000)
    report = ingest_manifest(first, url, n_threads=1)
    assert sum(group.n_done_before for group in report.groups) > 0
    assert objects(url) == local[1]


def test_ingest__made_anew_leaves_nothing_of_what_was_there(url, first, other, tmp_path):
    with_sums = CONTACTS + "/expected_ice/zarr.json"
    for store in (url, tmp_path / "s.zarr"):
        ingest_manifest(first, store, n_threads=1)
        with pytest.raises(StoreError, match="--overwrite"):
            ingest_manifest(other, store)
        ingest_manifest(other, store, n_threads=1, overwrite=True)
    assert objects(url) == tree_digest(tmp_path / "s.zarr")
    assert with_sums not in objects(url)


def test_ingest__ends_a_removal_that_was_killed(url, first, local):
    ingest_manifest(first, url, n_threads=1)
    place_of(url).remove(f"{CONTACTS}/zarr.json")
    place_of(url).write(f"{CONTACTS}/akita/zarr.json", b"{}")  # what no array of this manifest writes over
    place_of(url).write(f"{CONTACTS}/count/c/99/0", b"")
    ingest_manifest(first, url, n_threads=1)
    assert objects(url) == local[1]


def test_ingest__tells_who_writes(url, first):
    ingest_manifest(first, url, n_threads=1)
    place = place_of(url)
    attrs = json.loads(place.read(f"{CONTACTS}/zarr.json"))
    attrs["attributes"]["state"] = "writing"
    place.write(f"{CONTACTS}/zarr.json", json.dumps(attrs).encode())
    with Lease.acquire(url, CONTACTS):
        with pytest.raises(LeaseError, match=r"is being written by process \d+ of"):
            ingest_manifest(first, url)
        assert any("is being written by" in str(finding) for finding in check_store(url))


def test_ingest__without_a_bucket_is_refused(s3_environment, first):
    with pytest.raises(RemoteError, match="no such bucket"):
        ingest_manifest(first, "s3://there-is-none/s.zarr")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("sftp://host/s.zarr", "create a file there only if nobody else has"),
        ("s3://bucket/a[1]/s.zarr", "for a pattern"),
        ("https://host/s.zarr", "a web server does not list"),
    ],
)
def test_check_store_path__refuses_what_cannot_be_written_safely(local, address, why):
    with pytest.raises(StoreError, match=why):
        check_store_path(address, store_assembly(local[0]))


def test_check_store_path__refuses_an_address_with_other_things(local, url):
    place_of(url).write("notes.txt", b"mine")
    with pytest.raises(StoreError, match=r"is not a store \(it holds \['notes.txt'\]"):
        check_store_path(url, store_assembly(local[0]))


def test_check_and_qc__say_the_same_of_an_object_store(url, grown, local, tmp_path):
    ingest_manifest(grown, url, n_threads=1)
    remote = [str(f).replace(url, "STORE") for f in check_store(url, True, manifest=grown, n_threads=1)]
    folder = [str(f).replace(str(local[0]), "STORE") for f in check_store(local[0], True, manifest=grown, n_threads=1)]
    assert remote == folder
    assert str(describe_store(url)).replace(url, "") == str(describe_store(local[0])).replace(str(local[0]), "")
    found, expected = assess_store(url, n_threads=1), assess_store(local[0], n_threads=1)
    assert "s.zarr" in write_quality_page(found, tmp_path / "qc.html").read_text()
    assert found.warnings == expected.warnings
    for group, figures in expected.contacts.items():
        assert found.contacts[group].identical(figures)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A folder with a prediction and its scores, and the checkpoint."""
    folder = tmp_path_factory.mktemp("scored")
    store, checkpoint = write_store(folder / "s.zarr"), write_checkpoint(folder / "RUN")
    predict_contacts(store, checkpoint, cell_type="B", n_threads=1)
    evaluate_run(store, "RUN", cell_type="B", n_threads=1)
    return store, checkpoint


@pytest.mark.slow
def test_predict_and_evaluate__write_the_same_to_an_object_store(bucket, scored, tmp_path):
    store, checkpoint = scored
    url = f"{bucket}/s.zarr"
    write_store(url)
    predict_contacts(url, checkpoint, cell_type="B", n_threads=2)
    evaluate_run(url, "RUN", cell_type="B", n_threads=2)
    assert objects(url) == tree_digest(store)
    page = write_report(url, "RUN", cell_type="B", path=tmp_path / "page.html", n_windows=1).read_text()
    assert url in page


def test_predict__is_resumed_in_an_object_store(url, scored, monkeypatch):
    from epizarr.predict import run as module

    store, checkpoint = scored
    write_store(url)
    done, predict_block = [], module.predict_block

    def fail_at_second(block, job):
        if done:
            raise ZeroDivisionError
        done.append(block)
        predict_block(block, job)

    monkeypatch.setattr(module, "predict_block", fail_at_second)
    with pytest.raises(ZeroDivisionError):
        predict_contacts(url, checkpoint, cell_type="B", n_threads=1)
    monkeypatch.setattr(module, "predict_block", lambda block, job: (done.append(block), predict_block(block, job)))
    predict_contacts(url, checkpoint, cell_type="B", n_threads=1)
    assert len({block.lo for block in done}) == len(done) >= 2
    evaluate_run(url, "RUN", cell_type="B", n_threads=1)
    assert objects(url) == tree_digest(store)


def test_train__reads_an_object_store(url, scored, tmp_path):
    write_store(url)
    for place, name in ((url, "remote"), (scored[0], "local")):
        train_tiny(place, tmp_path / name, ["training.epochs=1"])
    remote, local = (tree_digest(tmp_path / name / "last") for name in ("remote", "local"))
    assert remote == local


def test_fast_decoding__leaves_object_stores_to_zarr(url, scored):
    write_store(url)
    for place, is_fast in ((url, False), (scored[0], True)):
        with fast_decoding(place):
            array = open_array(place_of(place), "A/tracks/100", "signal")
        assert ("Zarrs" in type(array.async_array.codec_pipeline).__name__) == is_fast


def test_train__refuses_a_run_folder_that_is_an_address(scored):
    with pytest.raises(StoreError, match="where a folder is needed"):
        train_tiny(scored[0], "s3://bucket/run")


@pytest.mark.slow
def test_cli__takes_addresses(bucket, first, local, capsys):
    url = f"{bucket}/s.zarr"
    for arguments in (
        ["ingest", str(first), "-o", url, "--dry-run"],
        ["ingest", str(first), "-o", url, "--threads", "1"],
        ["info", url],
        ["check", url],
    ):
        assert run(arguments) == 0, arguments
        assert url in capsys.readouterr().out.replace("\n", "")
    assert objects(url) == local[1]


@pytest.mark.slow
def test_ingest__takes_options_of_the_file_system(bucket, first, local, s3_environment, monkeypatch):
    """An endpoint and keys in the options instead of the environment; they travel with the tasks."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    options = {"endpoint_url": s3_environment["AWS_ENDPOINT_URL"], "key": "test", "secret": "test"}
    ingest_manifest(first, RemoteFolder(f"{bucket}/s.zarr", options), n_threads=2)
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    assert objects(f"{bucket}/s.zarr") == local[1]


@pytest.mark.slow
def test_ingest__by_worker_processes(bucket, first, local):
    from epizarr.cluster import open_client

    with open_client("local:2") as client:
        ingest_manifest(first, f"{bucket}/s.zarr", client=client)
        assert objects(f"{bucket}/s.zarr") == local[1]
