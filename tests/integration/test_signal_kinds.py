"""Kinds of signal: told alike from a file and from the store, recorded in training, and compared before prediction."""

import dataclasses
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from epizarr.cli import run
from epizarr.ingest import assess_store, ingest_manifest, input_kinds, load_manifest, plan_ingest
from epizarr.io.store import group_path, open_tracks, write_region
from epizarr.io.track_kinds import stored_kinds
from epizarr.predict import predict_contacts
from epizarr.signal_kind import SignalKind, sample_extents
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.loop import train_model
from tests._inputs import make_inputs, write_manifest
from tests._runs import TRACK_BINSIZE, TRACKS, draw_signal, write_checkpoint, write_store
from tests._training import tiny_config

COVERAGE = SignalKind("coverage", "high", "")


def write_tracks(store: Path, cell_type: str, signal: np.ndarray) -> None:
    group = group_path("tracks", cell_type, TRACK_BINSIZE)
    for row, values in enumerate(signal):
        write_region(store, group, "signal", {"track": slice(row, row + 1)}, values[None].astype(np.float32))


def as_reads(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).poisson(np.nan_to_num(draw_signal(seed)) * 5) / 10


def as_log_ratio(seed: int) -> np.ndarray:
    return np.log2(draw_signal(seed) + 0.1)


@pytest.fixture
def store(tmp_path) -> Path:
    """Cell type A holds reads; of B, CTCF does and DNase is a log ratio."""
    path = write_store(tmp_path / "s.zarr")
    write_tracks(path, "A", as_reads(0))
    write_tracks(path, "B", np.stack([as_reads(1)[0], as_log_ratio(1)[1]]))
    return path


@pytest.mark.parametrize("n_bins", [1, 100_000, 100_001, 31_000_000])
def test_sample_extents__are_spread_over_the_grid_and_bounded(n_bins):
    extents = sample_extents(n_bins)
    assert (extents[0][0], extents[-1][1]) == (0, n_bins)
    assert all(lo < hi for lo, hi in extents)
    assert sum(hi - lo for lo, hi in extents) <= 100_000
    assert all(a[1] <= b[0] or n_bins < 200_000 for a, b in zip(extents, extents[1:], strict=False))


@pytest.mark.parametrize("limits", [(20, 5_000), (3, 400)])
def test_input_kinds__are_those_of_the_store_made_of_the_files(tmp_path, monkeypatch, limits):
    for name, value in zip(("N_STRETCHES", "STRETCH_BINS"), limits, strict=True):
        monkeypatch.setattr(f"epizarr.signal_kind.{name}", value)
    inputs = make_inputs(tmp_path / "in")
    manifest = write_manifest(inputs)
    found = input_kinds(plan_ingest(load_manifest(manifest), tmp_path / "s.zarr"))["K562/tracks/100"]
    ingest_manifest(manifest, tmp_path / "s.zarr", n_threads=1)
    tracks = open_tracks(tmp_path / "s.zarr", "K562", 100)
    assert set(found) == set(inputs.tracks)
    assert found == stored_kinds({name: tracks["signal"].isel(track=i) for i, name in enumerate(found)})
    assert "measured bins" not in str(found["CTCF"])  # it was told from values


def test_assess_store__warns_where_one_name_holds_two_kinds(store):
    quality = assess_store(store, n_threads=1)
    told = [str(finding) for finding in quality.warnings if "seems to hold" in str(finding)]
    assert len(told) == 1
    assert "track 'DNase' seems to hold coverage in A and signed in B" in told[0]
    assert list(quality.tracks["A/tracks/100"]["signal_kind"].values) == ["coverage", "coverage"]
    # Looking at one cell type still compares it with the others.
    alone = assess_store(store, cell_type="B", n_threads=1)
    assert told == [str(finding) for finding in alone.warnings if "seems to hold" in str(finding)]


def test_assess_store__does_not_warn_of_kinds_that_look_alike(store):
    smooth = np.random.default_rng(0).gamma(4.0, 0.25, draw_signal(0).shape)
    write_tracks(store, "A", smooth)
    write_tracks(store, "B", 30 * smooth)
    quality = assess_store(store, n_threads=1)
    kinds = {str(quality.tracks[f"{cell}/tracks/100"]["signal_kind"].values[0]) for cell in "AB"}
    assert kinds == {"fold change", "coverage"}
    assert not [finding for finding in quality.warnings if "seems to hold" in str(finding)]


def told(caplog) -> list[str]:
    """Warnings but that of a cell type that was seen in training, as all of these were."""
    return [message for message in caplog.messages if "was seen in training" not in message]


def test_predict__warns_of_another_kind_than_in_training(store, tmp_path, caplog):
    result = train_model(
        store, tiny_config(["execution.max_steps=1", "data.track_transform=linear"]), tmp_path / "run", cell_types=["A"]
    )
    kinds = load_checkpoint(result.last).signal_kinds
    assert {name: dataclasses.replace(kind, evidence="") for name, kind in kinds["A"].items()} == dict.fromkeys(
        TRACKS, COVERAGE
    )
    with caplog.at_level(logging.WARNING, logger="epizarr"):
        predict_contacts(store, result.last, cell_type="A", regions=["chr3"], n_threads=1)
        assert told(caplog) == []
        predict_contacts(store, result.last, cell_type="B", regions=["chr3"], n_threads=1)
    # The second one is of the values, which lie elsewhere as well: tests/integration/test_missing_tracks.py
    assert len(told(caplog)) == 2
    assert "track 'DNase' of B seems to hold signed, and the network was trained on coverage in A" in told(caplog)[0]


def test_load_checkpoint__of_before_kinds_were_recorded_predicts_without_warnings(store, tmp_path, caplog):
    checkpoint = write_checkpoint(tmp_path / "run", match="quantile")
    card = checkpoint / "checkpoint.json"
    document = json.loads(card.read_text())
    del document["signal_kinds"]
    card.write_text(json.dumps(document | {"checkpoint_version": "1.0"}))
    assert load_checkpoint(checkpoint).signal_kinds == {}
    predict_contacts(store, checkpoint, cell_type="A", regions=["chr3"], n_threads=1)
    assert told(caplog) == []


@pytest.fixture
def manifest(tmp_path) -> Path:
    return write_manifest(make_inputs(tmp_path / "in"))


def test_ingest__dry_run_tells_the_kinds_of_the_files(manifest, tmp_path, capsys):
    assert run(["ingest", str(manifest), "-o", str(tmp_path / "s.zarr"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "K562/tracks/100 seems to hold:" in printed
    assert "  CTCF: " in printed
    assert " confidence)" in printed


def test_ingest__tells_kinds_and_warnings_of_what_it_wrote_and_of_nothing_else(manifest, tmp_path, capsys):
    command = ["ingest", str(manifest), "-o", str(tmp_path / "s.zarr"), "--threads", "1"]
    assert run(command) == 0
    printed = capsys.readouterr().out
    assert "  CTCF: " in printed
    assert "warning: K562/tracks/100: track 'DNase': nothing is measured on chr3" in printed
    assert run(command) == 0
    assert "CTCF" not in capsys.readouterr().out


def test_ingest__report_is_the_page_of_qc(manifest, tmp_path, capsys):
    store, pages = str(tmp_path / "s.zarr"), [tmp_path / "ingest.html", tmp_path / "qc.html"]
    assert run(["ingest", str(manifest), "-o", store, "--report", str(pages[0]), "--threads", "1"]) == 0
    assert f"Report: {pages[0]}" in capsys.readouterr().out.replace("\n", "")
    assert run(["qc", store, "--report", str(pages[1]), "--threads", "1"]) == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert "seems to hold" in pages[0].read_text()


def test_ingest__report_of_a_dry_run_is_refused(manifest, tmp_path, capsys):
    arguments = [
        "ingest",
        str(manifest),
        "-o",
        str(tmp_path / "s.zarr"),
        "--dry-run",
        "--report",
        str(tmp_path / "q.html"),
    ]
    assert run(arguments) == 2
    assert "give one of the two" in capsys.readouterr().err
