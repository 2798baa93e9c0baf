"""Training killed with SIGKILL, uniformly in its duration and inside every write, then run again: the same bytes."""

import csv
from pathlib import Path

import pytest

from tests._killing import Phase, evenly, run_child, tree_digest
from tests._runs import write_store
from tests._training import train_tiny

pytestmark = pytest.mark.fault

N_UNIFORM = 20
SETTINGS = ("execution.pictures=true",)
#: Calls in which something appears on disk, and how many of each are hit.
WRITES = {
    "os.replace": 8,  # config, log, checkpoint folders, links
    "os.fsync": 6,  # between the files of a checkpoint, and rows of the log
    "epizarr.train.checkpoint.save_file": 6,  # weights and moments
    "shutil.rmtree": 4,  # old checkpoints
    "pathlib:Path.write_text": 4,  # card and config of a checkpoint
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr", cell_types=("A",), with_contacts=("A",))


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """Uninterrupted run: what it leaves, how long it takes, and how often it calls each writer."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    child = run_child(train_tiny, (store, run_dir, SETTINGS), count=list(WRITES))
    assert child.exitcode == 0, child.error
    return what_is_left(run_dir), child


def what_is_left(run_dir: Path) -> dict[str, object]:
    """Every file but the logs, the links, and the log without its wall times."""
    left: dict[str, object] = dict(tree_digest(run_dir, ignore=["log.csv", "provenance.json"]))
    left |= {name: str((run_dir / name).readlink()) for name in ("best", "last")}
    with (run_dir / "log.csv").open(newline="") as file:
        left["log"] = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return left


def kill_and_resume(store: Path, run_dir: Path, kill_at: float | Phase) -> bool:
    """Whether the child was killed before its end; the run is finished by the same command."""
    was_killed = run_child(train_tiny, (store, run_dir, SETTINGS), kill_at=kill_at).was_killed
    again = run_child(train_tiny, (store, run_dir, SETTINGS))
    assert again.exitcode == 0, again.error
    return was_killed


@pytest.mark.parametrize("share", [(i + 0.5) / N_UNIFORM for i in range(N_UNIFORM)])
def test_train_model__killed_at_any_time_resumes_to_the_same_bytes(store, whole, tmp_path, share):
    left, child = whole
    kill_and_resume(store, tmp_path / "run", child.seconds * share)
    assert what_is_left(tmp_path / "run") == left


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("target", "place"), [(t, i) for t, n in WRITES.items() for i in range(n)])
def test_train_model__killed_inside_a_write_resumes_to_the_same_bytes(store, whole, tmp_path, target, place, when):
    left, child = whole
    calls = evenly(child.counts[target], WRITES[target])
    if place >= len(calls):
        pytest.skip(f"{target} is called {len(calls)} times only")
    assert kill_and_resume(store, tmp_path / "run", Phase(target, calls[place], when))
    assert what_is_left(tmp_path / "run") == left


def test_train_model__killed_over_and_over_resumes_to_the_same_bytes(store, whole, tmp_path):
    left, _ = whole
    for _ in range(6):
        assert run_child(train_tiny, (store, tmp_path / "run", SETTINGS), kill_at=Phase("os.replace", 7)).was_killed
    kill_and_resume(store, tmp_path / "run", Phase("os.replace", 6))
    assert what_is_left(tmp_path / "run") == left
