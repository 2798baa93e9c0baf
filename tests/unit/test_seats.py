"""Leases in object stores: one writer a group, by files that only one process can create."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest

from epizarr.errors import LeaseError, RemoteError, StoreError, StoreNotFoundError
from epizarr.io import ledger as ledger_module
from epizarr.io.ledger import Lease, Ledger, lease_owner, work_folder
from epizarr.io.object_store import RemoteFolder
from epizarr.io.places import place_of
from epizarr.io.seats import Owner, RemoteSeat

GROUP = "K562/tracks/100"


@pytest.fixture(params=["memory", "s3"])
def store(request):
    """Address of a store that has a root and nothing else."""
    if request.param == "memory":
        url = f"memory://{uuid.uuid4().hex}/s.zarr"
    else:
        url = f"{request.getfixturevalue('bucket')}/s.zarr"
    place_of(url).write("zarr.json", b"{}")
    return url


@pytest.fixture
def memory():
    url = f"memory://{uuid.uuid4().hex}/s.zarr"
    place_of(url).write("zarr.json", b"{}")
    return url


def put_owner(store, number=1, **changes):
    """Write the lease of another process, with another token."""
    owner = json.loads(Owner.this_process().to_json()) | changes
    work_folder(store, GROUP).write(f"lease-{number:06d}.json", json.dumps(owner).encode())
    return owner["token"]


def ended_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.fixture
def all_old(monkeypatch):
    """Every lease has been silent for an hour."""
    monkeypatch.setattr(RemoteFolder, "age_s", lambda self, name: 3600.0)


def test_lease__refuses_a_second_writer_and_names_the_first(store):
    with Lease.acquire(store, GROUP), pytest.raises(LeaseError, match=f"process {os.getpid()} of"):
        Lease.acquire(store, GROUP, take_over=True)


def test_lease__leaves_nothing(store):
    with Lease.acquire(store, GROUP):
        assert lease_owner(store, GROUP).pid == os.getpid()
    assert lease_owner(store, GROUP) is None
    assert place_of(store).names() == ["zarr.json"]


def test_lease__of_a_dead_process_is_taken_over(store):
    put_owner(store, number=7, pid=ended_process())
    with Lease.acquire(store, GROUP) as lease:
        assert not lease.is_lost
        assert work_folder(store, GROUP).names() == ["lease-000008.json"]


def test_lease__of_another_host_is_not_taken_while_it_beats(store):
    put_owner(store, host="elsewhere", pid=ended_process())
    with pytest.raises(LeaseError, match="elsewhere"):
        Lease.acquire(store, GROUP, take_over=True)


def test_lease__without_heartbeat_asks_for_take_over(memory, all_old):
    put_owner(memory, host="elsewhere")
    with pytest.raises(LeaseError, match="--take-over"):
        Lease.acquire(memory, GROUP)


def test_lease__that_was_taken_over_is_lost_and_leaves_the_new_one(memory, all_old):
    first = Lease.acquire(memory, GROUP)
    with Lease.acquire(memory, GROUP, take_over=True) as second:
        with pytest.raises(LeaseError, match="taken over by process"):
            first.check()
        first.release()
        second.check()


def test_lease__beats(store, monkeypatch):
    monkeypatch.setattr(ledger_module, "HEARTBEAT_S", 0.01)
    beaten = threading.Event()
    beat = RemoteSeat.beat
    monkeypatch.setattr(RemoteSeat, "beat", lambda self, owner: (beat(self, owner), beaten.set()))
    with Lease.acquire(store, GROUP) as lease:
        assert beaten.wait(10)
        assert not lease.is_lost


def test_lease__outlives_a_store_that_does_not_answer(memory, monkeypatch):
    monkeypatch.setattr(ledger_module, "HEARTBEAT_S", 0.01)
    calls = []

    def beat(self, owner):
        calls.append(owner)
        raise RemoteError("no answer")

    monkeypatch.setattr(RemoteSeat, "beat", beat)
    with Lease.acquire(memory, GROUP):
        deadline = time.monotonic() + 10
        while len(calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert len(calls) >= 3


def test_lease__needs_a_store(store):
    with pytest.raises(StoreNotFoundError, match="no such store"):
        Lease.acquire(f"{store}.not", GROUP)


def test_lease__goes_to_one_of_many(store):
    """All begin in the same moment. Whoever is refused says so; two never hold it."""
    held, refused, gate = [], [], threading.Barrier(8)

    def take():
        gate.wait()
        try:
            held.append(Lease.acquire(store, GROUP))
        except LeaseError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
    held[0].check()
    held[0].release()


def test_lease__that_takes_a_free_number_again_sees_the_other(memory, monkeypatch):
    """One that looked when a dead process had number 1, and creates 2 when another has begun again with 1, withdraws."""
    put_owner(memory, pid=ended_process())
    create, others = RemoteFolder.create, []

    def late(self, name, data):
        if not others:
            others.append(put_owner(memory, number=1))
        create(self, name, data)

    monkeypatch.setattr(RemoteFolder, "create", late)
    with pytest.raises(LeaseError, match="a moment ago"):
        Lease.acquire(memory, GROUP)
    assert lease_owner(memory, GROUP).token == others[0]


def test_lease__knows_its_own_request_that_was_sent_twice(memory, monkeypatch):
    """The answer to the first was lost, and the second is refused because of the first."""
    create, calls = RemoteFolder.create, []

    def twice(self, name, data):
        calls.append(name)
        create(self, name, data)
        if len(calls) == 1:
            create(self, name, data)

    monkeypatch.setattr(RemoteFolder, "create", twice)
    with Lease.acquire(memory, GROUP) as lease:
        assert not lease.is_lost


def test_lease__is_refused_by_a_server_that_writes_over_what_is_there(memory, monkeypatch):
    monkeypatch.setattr(RemoteFolder, "create", RemoteFolder.write)
    with pytest.raises(StoreError, match="If-None-Match"):
        Lease.acquire(memory, GROUP)
    assert place_of(memory).names() == ["zarr.json"]


def test_lease__is_refused_where_files_cannot_be_created_exclusively():
    work = RemoteFolder("sftp://host/s.zarr/.epizarr/g")
    with pytest.raises(StoreError, match="not written to sftp://"):
        RemoteSeat(work).take(Owner.this_process(), lambda current: None)


def test_create__knows_a_refusal_that_does_not_say_which_condition_failed(memory, monkeypatch):
    class ClientError(Exception):
        def __init__(self):
            self.response = {"Error": {"Code": "PreconditionFailed"}}

    def refuse(self, path, value, mode="overwrite", **options):
        raise OSError(22, "a precondition failed") from ClientError()

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    with pytest.raises(FileExistsError):
        place_of(memory).create("a", b"")


def test_ledger__is_the_same_in_an_object_store(store):
    ledger = Ledger(work_folder(store, GROUP))
    assert not ledger.is_there
    ledger.save("block-0", {"sums": np.array([1.0, np.nan])})
    ledger.mark("block-0", "abc")
    assert ledger.is_there
    tasks = [SimpleNamespace(name=n, digest=d) for n, d in (("block-0", "abc"), ("block-0", "abd"), ("block-1", "abc"))]
    assert ledger.left(tasks) == tasks[1:]
    np.testing.assert_array_equal(ledger.load("block-0")["sums"], [1.0, np.nan])
    ledger.clear()
    assert place_of(store).names() == ["zarr.json"]


def test_ledger__gives_the_tasks_that_are_left(store):
    tasks = [SimpleNamespace(name=f"block-{i}", digest=f"d{i}") for i in range(4)]
    ledger = Ledger(work_folder(store, GROUP))
    ledger.mark("block-1", "d1")
    ledger.mark("block-2", "another")
    assert [task.name for task in ledger.left(tasks)] == ["block-0", "block-2", "block-3"]


def test_ledger__misses_marks_that_workers_made_elsewhere(memory):
    with pytest.raises(StoreError, match="do not see the same store"):
        Ledger(work_folder(memory, GROUP)).check_done([SimpleNamespace(name="block-0", digest="d")])
