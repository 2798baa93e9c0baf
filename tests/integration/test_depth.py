"""Half the reads of every track: a matched network's map barely changes, an unmatched one's does."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from epizarr.ingest import ingest_manifest
from epizarr.io.store import group_path, open_contacts, open_prediction, read_region, write_region
from epizarr.predict import predict_contacts
from epizarr.simulate import DEFAULT, write_genome
from epizarr.train.config_text import load_config
from epizarr.train.loop import train_model

N_DIAGONALS = 28
SETTINGS = [
    "network.conv_channels=[16, 16, 16, 8]",
    "network.adaptive_pool=10",
    "network.hidden=16",
    "network.n_layers=1",
    "network.head_hidden=32",
    f"network.n_offsets={N_DIAGONALS}",
    "network.window_bp=400_000",
    "network.dropout=0.0",
    "training.n_bins=50",
    "training.batch_size=1",
    "training.epochs=24",
    "training.lr=0.003",
    "training.halve_epochs=24",
    "training.warmup_steps=20",
    "splits.train=['sim1:0-3,500,000']",
    "splits.validation=['sim1:4,000,000-5,000,000']",
    "splits.test=['sim2']",
]


def thin_tracks(store: Path, share: float) -> None:
    """Keep each read with probability ``share``; the file's units stay, so that its level falls with its depth."""
    group = group_path("tracks", "SIM1", 100)
    rng = np.random.default_rng(0)
    for row, values in enumerate(read_region(store, group, "signal", {})):
        reads = np.rint(np.nan_to_num(values, nan=0.0) * DEFAULT.reads_per_100bp).astype(np.int64)
        thinned = np.where(np.isnan(values), np.nan, rng.binomial(reads, share) / DEFAULT.reads_per_100bp)
        write_region(store, group, "signal", {"track": slice(row, row + 1)}, thinned[None].astype(np.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("depth")
    write_genome(folder / "genome", size="tiny", seed=3)
    ingest_manifest(folder / "genome" / "manifest.toml", folder / "full.zarr", n_threads=1)
    shutil.copytree(folder / "full.zarr", folder / "half.zarr")
    thin_tracks(folder / "half.zarr", 0.5)
    return folder


def change(folder: Path, match: str) -> tuple[float, float, float]:
    """Train at full depth; compare the held-out chromosome's maps at full and at half depth.

    Means over distances of the correlation of the two maps, of the mean change over the standard deviation at full depth, and of
    the correlation of the map at full depth with the contacts.
    """
    train_model(folder / "full.zarr", load_config("small", [*SETTINGS, f"data.match={match}"]), folder / match)
    maps = []
    for depth in ("full", "half"):
        store = folder / f"{depth}.zarr"
        predict_contacts(store, folder / match / "best", cell_type="SIM1", regions=["sim2"], n_threads=1)
        maps.append(open_prediction(store, "SIM1", match, 10_000)["contact"].values)
    observed = open_contacts(folder / "full.zarr", "SIM1", 10_000)["ice"].values
    same, moved, true = [], [], []
    for k in range(2, N_DIAGONALS):
        known = np.isfinite(maps[0][:, k]) & np.isfinite(observed[:, k])
        full, half = (band[known, k] for band in maps)
        same.append(np.corrcoef(full, half)[0, 1])
        moved.append(np.abs(full - half).mean() / full.std())
        true.append(np.corrcoef(full, observed[known, k])[0, 1])
    return tuple(float(np.mean(values)) for values in (same, moved, true))  # type: ignore[return-value]


@pytest.mark.slow
def test_predict__half_the_depth_barely_changes_the_map_if_tracks_are_matched(folder):
    unmatched, matched = change(folder, "none"), change(folder, "quantile")
    # Measured: correlation 0.40 and 0.99, change 0.96 and 0.09 standard deviations, correlation with the contacts 0.58 and 0.48.
    assert min(unmatched[2], matched[2]) > 0.3
    assert unmatched[0] < 0.93
    assert unmatched[1] > 0.25
    assert matched[0] > 0.98
    assert matched[1] < 0.13
