"""Prediction killed at any moment and started again gives the bytes of one that was not."""

import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest

from epizarr.cluster import open_client
from epizarr.io.store import BAND_ROWS
from epizarr.predict import plan, predict_contacts
from tests._killing import Phase, evenly, killed_and_resumed, run_child, tree_digest
from tests._runs import predict_in_small_blocks, write_checkpoint, write_store

pytestmark = pytest.mark.fault

#: Every function behind which something new lies on disk.
PHASES = (
    "os.replace",
    "epizarr.io.store_write:create_group",
    "epizarr.io.store_write:write_region",
    "epizarr.io.ledger:Ledger.mark",
    "epizarr.io.store_write:finish_group",
    "epizarr.io.ledger:Ledger.clear",
)
N_UNIFORM = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("made")
    return str(write_store(folder / "atlas.zarr", with_contacts=())), str(write_checkpoint(folder / "RUN"))


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory) -> tuple[dict[str, str], float, dict[str, int]]:
    """Digest of an uninterrupted run, its seconds, and how often each phase is entered."""
    out = tmp_path_factory.mktemp("whole") / "out.zarr"
    counted = run_child(predict_in_small_blocks, (*made, str(out)), count=PHASES)
    assert counted.exitcode == 0, counted.error
    timed = run_child(predict_in_small_blocks, (*made, str(out.parent / "again.zarr")))
    return tree_digest(out), timed.seconds, counted.counts


def test_predict__killed_uniformly_in_time(made, whole, tmp_path):
    digest, seconds, _ = whole
    n_killed = 0
    # A kill may fall before or behind the run; more moments than needed, so that enough fall inside.
    for index, moment in enumerate(np.linspace(0.02, 1.0, N_UNIFORM + 10) * seconds):
        out = tmp_path / f"{index}.zarr"
        n_killed += killed_and_resumed(predict_in_small_blocks, (*made, str(out)), float(moment))
        assert tree_digest(out) == digest, f"killed after {moment:.3f} s"
    assert n_killed >= N_UNIFORM


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("target", PHASES)
def test_predict__killed_inside_every_phase(made, whole, tmp_path, target, when):
    digest, _, counts = whole
    assert counts[target] > 0
    for n in evenly(counts[target], 4):
        out = tmp_path / f"{n}.zarr"
        assert killed_and_resumed(predict_in_small_blocks, (*made, str(out)), Phase(target, n, when))
        assert tree_digest(out) == digest, f"killed {when} call {n} of {target}"


def test_predict__killed_again_and_again(made, whole, tmp_path):
    """Each attempt dies a little further on; the last one finishes."""
    digest, _, counts = whole
    out = tmp_path / "out.zarr"
    for _ in range(counts["epizarr.io.store_write:write_region"]):
        killed = run_child(
            predict_in_small_blocks, (*made, str(out)), kill_at=Phase("epizarr.io.ledger:Ledger.mark", 1, "after")
        )
        assert killed.was_killed
    assert run_child(predict_in_small_blocks, (*made, str(out))).exitcode == 0
    assert tree_digest(Path(out)) == digest


def test_predict__worker_process_killed_in_the_middle(made, whole, tmp_path, monkeypatch):
    """Its blocks are run elsewhere, to the bytes of the run in one thread."""
    monkeypatch.setattr(plan, "BLOCK_BINS", BAND_ROWS)
    killed = []

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_client("local:3") as client:

            def kill_one(done: int, total: int) -> None:
                if not killed:
                    killed.extend(client.run(os.getpid).values())
                    os.kill(killed[0], signal.SIGKILL)
                    assert done < total

            predict_contacts(
                made[0], made[1], cell_type="B", out=tmp_path / "out.zarr", client=client, progress=kill_one
            )
    assert len(killed) == 3
    assert tree_digest(tmp_path / "out.zarr") == whole[0]
