"""5 kb from files to an exported map, by the same commands as 10 kb: only the genome and the configuration say so."""

from dataclasses import replace
from pathlib import Path

import cooler
import numpy as np
import pytest

import epizarr as ez
from epizarr.cli import run
from epizarr.simulate import DEFAULT, write_genome

BINSIZE, N_OFFSETS = 5_000, 60
SETTINGS = [
    "data.cell_types=['SIM1']",
    f"data.binsize={BINSIZE}",
    "network.window_bp=700_000",
    f"network.n_offsets={N_OFFSETS}",
    "network.conv_channels=[6, 6]",
    "network.conv_kernels=[5, 3]",
    "network.hidden=8",
    "network.n_layers=1",
    "network.head_hidden=8",
    "training.n_bins=80",
    "training.epochs=1",
    "splits.train=['sim1:0-1,500,000']",
    "splits.validation=['sim1:2,200,000-2,803,000']",
    "splits.test=['sim2']",
    "execution.pictures=false",
    "execution.threads=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("five")
    config = replace(DEFAULT, binsize=BINSIZE, span_bp=500_000, chrom_lengths=(2_803_000, 1_101_234))
    write_genome(folder / "genome", seed=5, config=config)
    store, options = str(folder / "s.zarr"), ["--run", "five", "--cell-type", "SIM1"]
    commands = [
        ["ingest", str(folder / "genome" / "manifest.toml"), "-o", store],
        ["train", store, "--config", "small", "-o", str(folder / "five")]
        + [word for setting in SETTINGS for word in ("--set", setting)],
        ["predict", store, "--checkpoint", str(folder / "five" / "best"), "--cell-type", "SIM1"],
        ["evaluate", store, *options, "--truth", str(folder / "genome" / "SIM1"), "--report", str(folder / "r.html")],
        ["export", store, *options, "-o", str(folder / "five.mcool")],
        ["export", store, *options, "--insulation", "100000", "-o", str(folder / "five.bw")],
    ]
    for command in commands:
        assert run(command) == 0, command
    return folder


def test_5kb__prediction_covers_both_chromosomes_at_5_kb(folder):
    contact = ez.open_prediction(folder / "s.zarr", "SIM1", "five", BINSIZE)["contact"].values
    n_bins = [-(-n // BINSIZE) for n in (2_803_000, 1_101_234)]
    assert contact.shape == (sum(n_bins), N_OFFSETS)
    left = np.concatenate([np.arange(n, 0, -1) for n in n_bins])
    on_chromosome = np.arange(N_OFFSETS) < left[:, None]
    np.testing.assert_array_equal(~np.isnan(contact[:, 2:]), on_chromosome[:, 2:])


def test_5kb__evaluation_scores_every_distance_up_to_the_networks(folder):
    scores = ez.open_evaluation(folder / "s.zarr", "SIM1", "five", BINSIZE).load()
    assert scores["distance"].values[-1] == (N_OFFSETS - 1) * BINSIZE
    assert np.isfinite(scores["pearson"].sel(predictor="prediction").values[2:]).all()
    assert any("ceiling" in str(name) for name in scores["predictor"].values)


def test_5kb__exported_map_is_the_prediction(folder):
    contact = ez.open_prediction(folder / "s.zarr", "SIM1", "five", BINSIZE)["contact"].values
    clr = cooler.Cooler(f"{folder / 'five.mcool'}::resolutions/{BINSIZE}")
    matrix = clr.matrix(balance=True).fetch("sim2")
    first = clr.offset("sim2")
    for k in (2, 20, N_OFFSETS - 1):
        np.testing.assert_array_equal(np.diagonal(matrix, k), contact[first : first + len(matrix) - k, k])


def test_simulate__takes_the_bin_width_and_refuses_one_that_the_tracks_do_not_divide(tmp_path, capsys):
    assert run(["simulate", str(tmp_path / "g"), "--size", "tiny", "--binsize", "5050"]) == 1
    assert "must divide `binsize` = 5050" in " ".join(capsys.readouterr().err.split())
