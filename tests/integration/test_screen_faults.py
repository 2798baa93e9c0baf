"""Screens that are killed and started again leave what an uninterrupted one leaves, to the byte."""

import numpy as np
import pytest

from tests._killing import Phase, evenly, run_child, tree_digest
from tests._runs import screen_in_small_blocks, write_checkpoint, write_store

pytestmark = pytest.mark.fault

#: Called once a task, when it is done.
MARK = "epizarr.io.ledger:Ledger.mark"
PHASES = (
    "os.replace",
    "epizarr.io.store_write:create_group",
    "epizarr.io.store_write:write_region",
    "epizarr.nn.epiphany:Epiphany.moments",
    "epizarr.io.ledger:Ledger.save",
    MARK,
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
    assert counted.counts[MARK] > 4
    return tree_digest(out), counted.seconds, counted.counts


def test_screen__killed_uniformly_in_time(made, whole, tmp_path):
    digest, seconds, counts = whole
    n_middle = 0
    # What comes before the first task takes a third of the time and more.
    for index, moment in enumerate(np.linspace(0.3, 1.0, N_UNIFORM) * seconds):
        out = tmp_path / f"{index}.zarr"
        run_child(screen_in_small_blocks, (*made, str(out)), kill_at=float(moment))
        again = run_child(screen_in_small_blocks, (*made, str(out)), count=[MARK])
        assert again.exitcode == 0, again.error
        n_middle += 0 < again.counts[MARK] < counts[MARK]
        assert tree_digest(out) == digest, f"killed after {moment:.3f} s"
    assert n_middle


def test_screen__killed_between_tasks_repeats_none_that_is_done(made, whole, tmp_path):
    digest, _, counts = whole
    for n in evenly(counts[MARK], 4):
        out = tmp_path / f"{n}.zarr"
        assert run_child(screen_in_small_blocks, (*made, str(out)), kill_at=Phase(MARK, n, "after")).was_killed
        again = run_child(screen_in_small_blocks, (*made, str(out)), count=[MARK])
        assert again.exitcode == 0, again.error
        assert again.counts[MARK] == counts[MARK] - n
        assert tree_digest(out) == digest, f"killed after {n} tasks"


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
