"""No leak: what a run must not see is poisoned in the store, and the run must not notice.

All three splits lie on one chromosome, as near to each other as is allowed, so that windows, stripes and halos of training
reach for their neighbours. Poison is a thousand times the largest value.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.loop import TrainResult, train_model
from tests._killing import tree_digest
from tests._runs import BINSIZE, TRACK_BINSIZE, write_store
from tests._training import tiny_config

TRAIN, VALIDATION, TEST = (
    (500, 2_474),
    (2_500, 3_474),
    (3_500, 4_700),
)  # bins of chr1; 26 kb apart, the least that is allowed
SETTINGS = [
    *(
        f"splits.{name}=['chr1:{lo * BINSIZE}-{hi * BINSIZE}']"
        for name, (lo, hi) in {"train": TRAIN, "validation": VALIDATION, "test": TEST}.items()
    ),
    # Everything that is fitted on data: scales of the tracks, expected and mean of the target.
    "data.track_transform=blacklist_clip_log1p_standardise",
    "training.start_at_mean=true",
    "network.head=variance",
    "training.mirror=true",
]
#: Steps, of about 11 an epoch, that runs are compared after.
N_STEPS = 15
#: Track bins on either side of a training region that its windows see.
HALO = 200


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


def poison_targets(store: Path, lo: int, hi: int) -> None:
    """Poison all contacts that have a bin in ``[lo, hi)`` of chr1, in both cell types and all variables."""
    for variable in store.glob(f"*/contacts/{BINSIZE}/*"):
        if variable.name not in ("ice", "count"):
            continue
        band = zarr.open_array(variable, mode="r+")
        values = band[...]
        first = np.arange(len(values))[:, None]
        second = first + np.arange(values.shape[1])
        touched = ((first >= lo) & (first < hi)) | ((second >= lo) & (second < hi))
        poisoned = touched & ~np.isnan(values)
        assert poisoned.sum() >= (hi - lo) * 5
        values[poisoned] = 1000 * np.nanmax(values)
        band[...] = values


def poison_tracks(store: Path, lo: int, hi: int) -> None:
    """Poison all tracks in track bins ``[lo, hi)`` of chr1, in both cell types."""
    for folder in store.glob(f"*/tracks/{TRACK_BINSIZE}/signal"):
        signal = zarr.open_array(folder, mode="r+")
        values = signal[...]
        values[:, lo:hi] = 1000 * np.nanmax(values)
        signal[...] = values


def outside_training(values: int, stride: int = 1, reach: int = 0) -> list[tuple[int, int]]:
    """What lies farther than ``reach`` outside the training region, in bins that are ``stride`` to a bin of the contacts."""
    lo, hi = (edge * stride for edge in TRAIN)
    return [(0, lo - reach), (hi + reach, values)]


def copy_of(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "poisoned.zarr"))


def run(store: Path, run_dir: Path, overrides=()) -> TrainResult:
    return train_model(store, tiny_config([*SETTINGS, *overrides]), run_dir)


def trained(result: TrainResult) -> dict[str, str]:
    """Hash of the parameters, and of the optimiser's moments and random states, after the last step."""
    return tree_digest(load_checkpoint(result.last).path, ignore=["*.json", "*.toml"])


@pytest.fixture(scope="module")
def clean_run(store, tmp_path_factory) -> TrainResult:
    return run(store, tmp_path_factory.mktemp("clean") / "run")


@pytest.fixture(scope="module")
def clean_steps(store, tmp_path_factory) -> TrainResult:
    overrides = [f"execution.max_steps={N_STEPS}"]
    result = run(store, tmp_path_factory.mktemp("clean") / "run", overrides)
    assert load_checkpoint(result.last).step == N_STEPS
    assert len(result.rows) == 1  # a validation lies among the steps
    return result


def test_train_model__poisoned_test_targets_leave_the_best_checkpoint_identical(store, clean_run, tmp_path):
    poisoned = copy_of(store, tmp_path)
    poison_targets(poisoned, *TEST)
    result = run(poisoned, tmp_path / "run")
    assert result.best.readlink() == clean_run.best.readlink()
    assert tree_digest(result.best.resolve()) == tree_digest(clean_run.best.resolve())


def test_train_model__whatever_training_may_not_see_leaves_the_parameters_identical(store, clean_steps, tmp_path):
    poisoned = copy_of(store, tmp_path)
    for lo, hi in outside_training(4_701):
        poison_targets(poisoned, lo, hi)
    for lo, hi in outside_training(47_005, BINSIZE // TRACK_BINSIZE, HALO):
        poison_tracks(poisoned, lo, hi)
    result = run(poisoned, tmp_path / "run", [f"execution.max_steps={N_STEPS}"])
    assert trained(result) == trained(clean_steps)
    # The poison is there: validation, which may see it, does.
    assert result.rows[0].validation_loss > 10 * clean_steps.rows[0].validation_loss


@pytest.mark.parametrize(
    "bin_id", [TRAIN[0], (TRAIN[0] + TRAIN[1]) // 2, TRAIN[1] - 1], ids=["first", "middle", "last"]
)
def test_train_model__one_poisoned_training_target_changes_the_parameters(store, clean_steps, tmp_path, bin_id):
    poisoned = copy_of(store, tmp_path)
    poison_targets(poisoned, bin_id, bin_id + 1)
    assert trained(run(poisoned, tmp_path / "run", [f"execution.max_steps={N_STEPS}"])) != trained(clean_steps)


@pytest.mark.parametrize("place", [TRAIN[0] * 10 - HALO, TRAIN[1] * 10 + HALO - 1], ids=["first", "last"])
def test_train_model__one_poisoned_track_bin_at_the_end_of_the_halo_changes_the_parameters(
    store, clean_steps, tmp_path, place
):
    poisoned = copy_of(store, tmp_path)
    poison_tracks(poisoned, place, place + 1)
    assert trained(run(poisoned, tmp_path / "run", [f"execution.max_steps={N_STEPS}"])) != trained(clean_steps)
