"""Leases and ledgers: one writer a group, and marks that carry the hash of what a task was made from."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from epizarr.errors import LeaseError, StoreError, StoreNotFoundError
from epizarr.io import ledger as ledger_module
from epizarr.io.ledger import Lease, Ledger, lease_owner, work_folder

GROUP = "K562/tracks/100"


def rewrite_owner(store, age_s=0.0, **changes):
    path = work_folder(store, GROUP) / "lease.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    then = time.time() - age_s
    os.utime(path, (then, then))


def ended_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_lease__refuses_a_second_writer_and_names_the_first(tmp_path):
    with Lease.acquire(tmp_path, GROUP), pytest.raises(LeaseError, match=f"process {os.getpid()} of"):
        Lease.acquire(tmp_path, GROUP)


def test_lease__of_other_groups_is_free(tmp_path):
    with Lease.acquire(tmp_path, GROUP), Lease.acquire(tmp_path, "K562/contacts/10000"):
        assert lease_owner(tmp_path, GROUP) is not None


def test_lease__is_given_back(tmp_path):
    with Lease.acquire(tmp_path, GROUP):
        pass
    assert lease_owner(tmp_path, GROUP) is None


def test_lease__leaves_no_folder(tmp_path):
    with Lease.acquire(tmp_path, GROUP):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lease__is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), Lease.acquire(tmp_path, GROUP):
        raise ZeroDivisionError
    assert lease_owner(tmp_path, GROUP) is None


def test_lease__of_a_dead_process_is_taken_over(tmp_path):
    first = Lease.acquire(tmp_path, GROUP)
    rewrite_owner(tmp_path, pid=ended_process())
    with Lease.acquire(tmp_path, GROUP) as second:
        assert (first.is_lost, second.is_lost) == (True, False)
    first.release()


def test_lease__of_a_process_whose_number_is_used_again_is_taken_over(tmp_path):
    first = Lease.acquire(tmp_path, GROUP)
    rewrite_owner(tmp_path, pid_started=first.owner.pid_started - 1)
    with Lease.acquire(tmp_path, GROUP):
        assert first.is_lost
    first.release()


def test_lease__of_another_host_is_not_taken_while_it_beats(tmp_path):
    with Lease.acquire(tmp_path, GROUP):
        rewrite_owner(tmp_path, host="elsewhere", pid=ended_process())
        with pytest.raises(LeaseError, match="elsewhere"):
            Lease.acquire(tmp_path, GROUP, take_over=True)


def test_lease__without_heartbeat_asks_for_take_over(tmp_path):
    with Lease.acquire(tmp_path, GROUP):
        rewrite_owner(tmp_path, age_s=3600, host="elsewhere")
        with pytest.raises(LeaseError, match="--take-over"):
            Lease.acquire(tmp_path, GROUP)


def test_lease__without_heartbeat_is_taken_over_when_told_to(tmp_path):
    first = Lease.acquire(tmp_path, GROUP)
    rewrite_owner(tmp_path, age_s=3600, host="elsewhere")
    with Lease.acquire(tmp_path, GROUP, take_over=True), pytest.raises(LeaseError, match="taken over by process"):
        first.check()
    first.release()


def test_lease__that_was_lost_leaves_the_new_owners(tmp_path):
    first = Lease.acquire(tmp_path, GROUP)
    rewrite_owner(tmp_path, pid=ended_process())
    with Lease.acquire(tmp_path, GROUP) as second:
        first.release()
        assert not second.is_lost


def test_lease__beats(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "HEARTBEAT_S", 0.01)
    with Lease.acquire(tmp_path, GROUP) as lease:
        os.utime(lease.seat.path, (0, 0))
        deadline = time.monotonic() + 5
        while lease.seat.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert lease_owner(tmp_path, GROUP).heartbeat_s < 60


def test_lease__needs_a_store(tmp_path):
    with pytest.raises(StoreNotFoundError, match="no such store"):
        Lease.acquire(tmp_path / "none", GROUP)


def test_ledger__knows_a_marked_task(tmp_path):
    Ledger(tmp_path).mark("block-0", "abc")
    assert Ledger(tmp_path).left([SimpleNamespace(name="block-0", digest="abc")]) == []


def test_ledger__asks_for_a_task_again_when_its_hash_changed(tmp_path):
    Ledger(tmp_path).mark("block-0", "abc")
    again = SimpleNamespace(name="block-0", digest="abd")
    assert Ledger(tmp_path).left([again]) == [again]


def test_ledger__returns_saved_arrays(tmp_path):
    Ledger(tmp_path).save("block-0", {"sums": np.array([1.0, np.nan])})
    np.testing.assert_array_equal(Ledger(tmp_path).load("block-0")["sums"], [1.0, np.nan])


def test_ledger__forgets_everything(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.save("block-0", {"sums": np.zeros(2)})
    ledger.mark("block-0", "abc")
    ledger.clear()
    assert list(tmp_path.iterdir()) == []


def test_ledger__sweeps_what_a_killed_writer_left(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/block-0.f00.partial").write_text("ab")
    Ledger(tmp_path).sweep_partial()
    assert list((tmp_path / "tasks").iterdir()) == []


@pytest.mark.parametrize("task", ["", "../x", "a/b", ".x"])
def test_ledger__refuses_task_names_that_leave_its_folder(tmp_path, task):
    with pytest.raises(ValueError, match="name files"):
        Ledger(tmp_path).mark(task, "abc")


@pytest.mark.parametrize("link", ["K562/tracks/100/signal", ".epizarr/K562__tracks__100/tasks"])
def test_lease__refuses_a_group_with_a_link_in_it(tmp_path, link):
    (tmp_path / "outside").mkdir()
    store = tmp_path / "s.zarr"
    (store / link).parent.mkdir(parents=True)
    (store / link).symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(StoreError, match="is a link to"):
        Lease.acquire(store, GROUP)
