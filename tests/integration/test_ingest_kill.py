"""Kill an ingest with SIGKILL anywhere, start it again: the same store, to the byte.

The store has two shards a track, two blocks of contacts and two tracks; then a track is added to it. Kills are spread
evenly over the run's duration and over the calls of every function that writes.
"""

import shutil
import time

import pytest

from epizarr.io.store import list_groups, open_contacts, open_group, open_tracks
from tests._inputs import build, make_inputs, write_manifest
from tests._killing import Phase, evenly, run_child, tree_digest

pytestmark = pytest.mark.fault

LENGTHS = {"chr1": 700_350, "chr2": 280_217, "chr3": 120_001}  # 1.1 million track bins: two shards

# How many calls of each function to die at, spread over the run. os.replace makes every file of the package and every chunk of
# Zarr appear; the others are the steps between.
BEFORE = {
    "os.replace": 16,
    "epizarr.io.store_write:create_group": 2,
    "epizarr.io.store_write:write_region": 3,
    "epizarr.io.ledger:Ledger.save": 2,
    "epizarr.io.ledger:Ledger.mark": 3,
    "epizarr.io.ledger:Ledger.clear": 4,
}
AFTER = {
    "epizarr.io.store_write:finish_group": 2,
    "epizarr.io.store_write:grow_group": 1,
    "epizarr.io.ledger:Ledger.mark": 3,
    "epizarr.io.ledger:Lease.release": 2,
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Manifests without and with the third track, and what uninterrupted runs make of them."""
    folder = tmp_path_factory.mktemp("kill")
    inputs = make_inputs(
        folder / "inputs", lengths=LENGTHS, tracks=("CTCF", "DNase", "H3K27ac"), binsize=100, reach_bins=12
    )
    options = {"span_bp": 1000, "track_binsize": 1}
    first = write_manifest(inputs, name="first.toml", tracks=("CTCF", "DNase"), **options)
    grown = write_manifest(inputs, name="grown.toml", tracks=("CTCF", "DNase", "H3K27ac"), **options)
    whole = run_child(build, (first, folder / "first.zarr"), count=list(BEFORE | AFTER))
    assert whole.exitcode == 0, whole.error
    shutil.copytree(folder / "first.zarr", folder / "grown.zarr")
    added = run_child(build, (grown, folder / "grown.zarr"), count=list(BEFORE | AFTER))
    assert added.exitcode == 0, added.error
    return folder, first, grown, whole, added


def assert_nothing_opens_half_written(store):
    """A reader sees complete groups or a refusal; complete groups are whole."""
    if not (store / "zarr.json").exists():
        return
    for info in list_groups(store):
        if info.state == "complete":
            open_group(store, info.path, info.kind)


def finish(manifest, store, expected):
    again = run_child(build, (manifest, store))
    assert again.exitcode == 0, again.error
    assert tree_digest(store) == expected
    shutil.rmtree(store)


def phases(result):
    return [
        Phase(target, n, when)
        for when, targets in (("before", BEFORE), ("after", AFTER))
        for target, wanted in targets.items()
        for n in evenly(result.counts[target], wanted)
    ]


def test_ingest__killed_inside_every_write_phase(case, tmp_path):
    folder, first, _, whole, _ = case
    expected, n_killed = tree_digest(folder / "first.zarr"), 0
    for phase in phases(whole):
        n_killed += run_child(build, (first, tmp_path / "s.zarr"), kill_at=phase).was_killed
        assert_nothing_opens_half_written(tmp_path / "s.zarr")
        finish(first, tmp_path / "s.zarr", expected)
    assert n_killed >= 20


def test_ingest__killed_at_any_time(case, tmp_path):
    folder, first, _, whole, _ = case
    expected, seconds = tree_digest(folder / "first.zarr"), whole.seconds
    for i in range(1, 21):
        for _ in range(5):
            child = run_child(build, (first, tmp_path / "s.zarr"), kill_at=seconds * i / 21)
            if child.was_killed:
                break
            seconds = child.seconds  # the machine is faster than it was: this run ended before its time
            shutil.rmtree(tmp_path / "s.zarr")
        assert child.was_killed
        assert_nothing_opens_half_written(tmp_path / "s.zarr")
        finish(first, tmp_path / "s.zarr", expected)


def test_ingest__killed_again_and_again(case, tmp_path):
    """Runs are killed one after the other, each a few writes further into what is left, until one gets to the end."""
    folder, first, _, _, _ = case
    n_killed = 0
    while run_child(build, (first, tmp_path / "s.zarr"), kill_at=Phase("os.replace", 10 + 4 * n_killed)).was_killed:
        n_killed += 1
    assert n_killed >= 4
    finish(first, tmp_path / "s.zarr", tree_digest(folder / "first.zarr"))


def test_ingest__killed_while_a_track_is_added(case, tmp_path):
    folder, _, grown, _, added = case
    expected, n_killed = tree_digest(folder / "grown.zarr"), 0
    for phase in phases(added):
        store = tmp_path / "s.zarr"
        shutil.copytree(folder / "first.zarr", store)
        n_killed += run_child(build, (grown, store), kill_at=phase).was_killed
        # The group stays complete throughout, with two tracks or with three.
        names = open_tracks(store, "K562", 1)["track"].values.tolist()
        assert names in (["CTCF", "DNase"], ["CTCF", "DNase", "H3K27ac"])
        assert open_contacts(store, "K562", 100).attrs["state"] == "complete"
        finish(grown, store, expected)
    assert n_killed >= 10


def test_ingest__killed_writer_holds_no_lease(case, tmp_path):
    _, first, _, _, _ = case
    run_child(build, (first, tmp_path / "s.zarr"), kill_at=Phase("epizarr.io.ledger:Ledger.mark", 2))
    began = time.monotonic()
    assert run_child(build, (first, tmp_path / "s.zarr")).exitcode == 0
    assert time.monotonic() - began < 60
