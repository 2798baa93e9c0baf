"""Screens that are killed and started again leave what an uninterrupted one leaves, to the byte."""

import numpy as np
import pytest

from tests._killing import Phase, evenly, run_child, tree_digest
from tests._runs import screen_in_small_blocks, write_checkpoint, write_store

pytestmark = pytest.mark.fault

PHASES = (
    "os.replace",
    "epizarr.io.store_write:create_group",
    "epizarr.io.store_write:write_region",
    "epizarr.io.ledger:Ledger.save",
    "epizarr.io.ledger:Ledger.mark",
    "epizarr.io.store_write:finish_group",
    "epizarr.io.ledger:Ledger.clear",
)
N_UNIFORM = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("made")
    return str(write_store(folder / "atlas.zarr", with_contacts=())), str(write_checkpoint(folder / "RUN"))


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory) -> tuple[dict[str, str], float, dict[str, int]]:
    """Digest of an uninterrupted screen, its seconds, and how often each phase is entered."""
    out = tmp_path_factory.mktemp("whole") / "out.zarr"
    counted = run_child(screen_in_small_blocks, (*made, str(out)), count=PHASES)
    assert counted.exitcode == 0, counted.error
    assert counted.counts["epizarr.io.ledger:Ledger.mark"] > 4
    return tree_digest(out), counted.seconds, counted.counts


def test_screen__killed_uniformly_in_time(made, whole, tmp_path):
    digest, seconds, _ = whole
    n_killed = 0
    for index, moment in enumerate(np.linspace(0.05, 0.9, N_UNIFORM) * seconds):
        out = tmp_path / f"{index}.zarr"
        n_killed += run_child(screen_in_small_blocks, (*made, str(out)), kill_at=float(moment)).was_killed
        again = run_child(screen_in_small_blocks, (*made, str(out)))
        assert again.exitcode == 0, again.error
        assert tree_digest(out) == digest, f"killed after {moment:.3f} s"
    assert n_killed


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("target", PHASES)
def test_screen__killed_inside_every_phase(made, whole, tmp_path, target, when):
    digest, _, counts = whole
    assert counts[target] > 0
    for n in evenly(counts[target], 2):
        out = tmp_path / f"{n}.zarr"
        assert run_child(screen_in_small_blocks, (*made, str(out)), kill_at=Phase(target, n, when)).was_killed
        again = run_child(screen_in_small_blocks, (*made, str(out)))
        assert again.exitcode == 0, again.error
        assert tree_digest(out) == digest, f"killed {when} call {n} of {target}"
