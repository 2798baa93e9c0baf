"""Tracks matched to those of training: one binding in training, prediction and evaluation, and what it is bound to."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from epizarr.errors import TransformError
from epizarr.evaluate.maps import open_maps
from epizarr.io import track_binding
from epizarr.io.store import group_path, open_prediction, open_tracks, write_region
from epizarr.io.track_binding import fit_own_quantiles
from epizarr.predict import predict_contacts
from epizarr.quantiles import fit_quantiles
from epizarr.train import sources
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.fits import fit_transforms
from epizarr.train.loop import train_model
from epizarr.train.reader import PieceKey, fast_decoding
from epizarr.train.sampler import open_samplers
from epizarr.train.sources import open_training_data
from epizarr.transforms import Transform, fit_track_transform
from tests._runs import TRACK_BINSIZE, TRACKS, blacklist, draw_signal, write_checkpoint, write_store
from tests._training import tiny_config


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Cell types A and B, and C with the tracks of B in units four times as large."""
    names = ("A", "B", "C")
    path = write_store(tmp_path_factory.mktemp("matching") / "s.zarr", cell_types=names, with_contacts=names)
    rescale(path, "C", 1, lambda values: 4 * values)
    return path


def rescale(store: Path, cell_type: str, seed: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    group = group_path("tracks", cell_type, TRACK_BINSIZE)
    for row, values in enumerate(change(draw_signal(seed))):
        write_region(store, group, "signal", {"track": slice(row, row + 1)}, values[None])


def predicted(store: Path, checkpoint: Path, cell_type: str) -> xr.Dataset:
    run = checkpoint.parent.name
    predict_contacts(store, checkpoint, cell_type=cell_type, regions=["chr2"], n_threads=1)
    return open_prediction(store, cell_type, run, 1_000)


@pytest.fixture(scope="module", params=["quantile", "background"])
def checkpoint(request, tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("runs") / request.param, match=request.param)


@pytest.mark.parametrize("limit", [1 << 25, 20_000])
def test_fit_own_quantiles__is_that_of_the_whole_track_without_the_blacklist(store, monkeypatch, limit):
    monkeypatch.setattr(track_binding, "FIT_MAX_BINS", limit)
    monkeypatch.setattr(track_binding, "TRACK_SHARD", 4_096)
    tracks = open_tracks(store, "B", TRACK_BINSIZE)
    found = fit_own_quantiles(tracks["signal"].isel(track=0), tracks["blacklisted"])
    wanted = fit_quantiles(draw_signal(1)[0][~blacklist()])
    assert found.n_bins <= limit
    if limit > wanted.n_bins:
        np.testing.assert_array_equal(found.values, wanted.values)
        np.testing.assert_array_equal(found.upto, wanted.upto)
    share = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(found.quantile(share), wanted.quantile(share), rtol=0.1)


def test_predict__units_of_a_matched_track_do_not_matter(store, checkpoint):
    one, other = (predicted(store, checkpoint, name)["contact"].values for name in "BC")
    assert np.isfinite(one).any()
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_predict__units_of_an_unmatched_track_do(store, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "plain")
    one, other = (predicted(store, checkpoint, name)["contact"].values for name in "BC")
    assert np.nanmax(np.abs(other / one - 1)) > 0.01


def test_predict__records_that_tracks_were_matched_and_to_what(store, checkpoint, tmp_path):
    attrs = {name: predicted(store, checkpoint, name).attrs for name in "BC"}
    records = {name: json.loads(attrs[name]["track_matches"]) for name in "BC"}
    assert set(records["B"]) == set(TRACKS)
    assert {record["match"] for record in records["B"].values()} == {checkpoint.parent.name}
    assert records["B"]["CTCF"]["map"] != records["C"]["CTCF"]["map"]
    # What a file was bound to is not written down as if it belonged to the network.
    assert attrs["B"]["track_transforms"] == attrs["C"]["track_transforms"]
    assert "track_matches" not in predicted(store, write_checkpoint(tmp_path / "unmatched"), "B").attrs


def test_open_maps__binds_each_cell_type_to_its_own_tracks(store, checkpoint):
    prediction = predicted(store, checkpoint, "B")
    b, a = open_maps(store, "B", prediction), open_maps(store, "A", prediction)
    transform = load_checkpoint(checkpoint).track_transforms["CTCF"]
    for maps, seed in ((b, 1), (a, 0)):
        whole = draw_signal(seed)[0]
        wanted = transform.bind(fit_quantiles(whole[~blacklist()])).apply(whole, blacklist())[:20_000]
        np.testing.assert_array_equal(maps.signal(0, 2_000)[0], wanted)


def test_transform__that_matches_is_not_applied_unbound(checkpoint):
    transform = load_checkpoint(checkpoint).track_transforms["CTCF"]
    with pytest.raises(TransformError, match="was not bound to a file"):
        transform.apply(np.ones(3, dtype=np.float32), np.zeros(3, dtype=bool))


def test_transform__what_it_is_bound_to_is_not_written():
    values = np.arange(100.0)
    transform = fit_track_transform("log1p", [values], match="quantile", own=[fit_quantiles(values)])
    bound = transform.bind(fit_quantiles(values / 3))
    assert bound.to_json() == transform.to_json()
    with pytest.raises(TransformError, match="was not bound"):
        Transform.from_json(bound.to_json()).apply(values)


@pytest.mark.parametrize("match", ["quantile", "background"])
def test_fit_track_transform__later_steps_learn_from_matched_values(match):
    rng = np.random.default_rng(0)
    first = rng.gamma(2.0, 1.0, 5_000).astype(np.float32)
    second = 10 * rng.gamma(2.0, 1.0, 5_000).astype(np.float32)
    own = [fit_quantiles(first), fit_quantiles(second)]
    transform = fit_track_transform("blacklist_clip_log1p_standardise", [first, second], match=match, own=own)
    assert transform.steps == ("blacklist", "match", "clip", "log1p", "standardise")
    nowhere = np.zeros(5_000, dtype=bool)
    out = [transform.bind(o).apply(v, nowhere) for o, v in zip(own, (first, second), strict=True)]
    both = np.concatenate(out)
    assert abs(both.mean()) < 1e-3
    assert abs(both.std() - 1) < 1e-3
    # Two files of one shape in two units become one distribution.
    np.testing.assert_allclose(*(np.quantile(v, [0.1, 0.5, 0.9]) for v in out), atol=0.05)


def test_bind_transforms__says_which_track_cannot_be_matched(store, tmp_path):
    path = write_store(tmp_path / "peaks.zarr", cell_types=("B",))
    rescale(path, "B", 1, lambda values: np.where(values > 5, values, 0).astype(np.float32))
    with pytest.raises(TransformError, match="track 'CTCF': the backgrounds cannot be matched: this file's is 0"):
        predict_contacts(path, write_checkpoint(tmp_path / "run", match="background"), cell_type="B")
    assert not (path / "B" / "predictions").exists()


@pytest.mark.parametrize("match", ["quantile", "background"])
def test_open_samplers__training_reads_cell_types_in_other_units_alike(store, match):
    with fast_decoding(store):
        data = open_training_data(store, tiny_config([f"data.match={match}"]), cell_types=["B", "C"])
        train, _ = open_samplers(data, *fit_transforms(data))
    keys = [PieceKey(False, source, 0) for source in (0, 1)]
    b, c = (piece.result().values for piece in train.reader.request(keys).values())
    train.reader.close()
    assert b.std() > 0.1
    np.testing.assert_allclose(b, c, rtol=1e-4, atol=1e-5)


def test_train_model__reads_each_matched_track_whole_once(store, tmp_path, monkeypatch):
    read, fit = [], sources.fit_own_quantiles
    monkeypatch.setattr(sources, "fit_own_quantiles", lambda *args: read.append(args) or fit(*args))
    config = tiny_config(["data.match=quantile", "execution.max_steps=1"])
    train_model(store, config, tmp_path / "run", cell_types=["A", "B"])
    assert len(read) == 2 * len(config.data.tracks)


def test_train_model__matched_run_that_was_stopped_goes_on_to_the_same_bytes(store, tmp_path):
    whole = train_model(store, tiny_config(["data.match=quantile"]), tmp_path / "whole", cell_types=["A", "B"])
    train_model(
        store, tiny_config(["data.match=quantile", "execution.max_steps=5"]), tmp_path / "cut", cell_types=["A", "B"]
    )
    cut = train_model(store, tiny_config(["data.match=quantile"]), tmp_path / "cut", cell_types=["A", "B"])
    assert load_checkpoint(whole.last).sha256 == load_checkpoint(cut.last).sha256
