"""Training on a small store: what an example holds, what a run leaves, and what it refuses."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from epizarr.bands import band_on_chromosome, gather_stripes, mask_band
from epizarr.errors import CheckpointError, ConfigError, LeaseError, SplitError, StoreNotFoundError, TrainingError
from epizarr.io.ledger import Lease, work_folder
from epizarr.io.store import open_contacts, open_tracks
from epizarr.nn.epiphany import MAX_LOG_VARIANCE
from epizarr.train import loop, start
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.dataset import WindowDataset, load_batches
from epizarr.train.fits import fit_transforms
from epizarr.train.loop import TrainResult, train_model
from epizarr.train.sampler import Batch, Sampler, Share, open_samplers
from epizarr.train.sources import TrainingData, open_training_data
from epizarr.train.validation import Validation, ValidationScores
from epizarr.transforms import Transform, network_input
from epizarr.windows import cut_padded, track_extent
from tests._killing import tree_digest
from tests._runs import (
    ASSEMBLY,
    BINSIZE,
    MIN_DIAGONAL,
    N_DIAGONALS,
    SPLITS,
    TRACK_BINSIZE,
    add_track,
    bad_bins,
    draw_contacts,
    draw_signal,
    write_store,
)
from tests._training import tiny_config

N_BINS, STRIDE, HALO = 100, BINSIZE // TRACK_BINSIZE, 200


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.fixture(scope="module")
def whole_run(store, tmp_path_factory) -> TrainResult:
    """A run that was not interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return train_model(store, tiny_config(), run_dir, cell_types=["A"])


def run_digest(run_dir: Path) -> dict[str, str]:
    """Hash of every file that must not depend on how often a run was stopped; the links too."""
    links = {name: str((run_dir / name).readlink()) for name in ("best", "last")}
    return tree_digest(run_dir, ignore=["log.csv", "provenance.json"]) | links


def open_data(store: Path, overrides=(), cell_types=("A", "B")) -> tuple[TrainingData, Transform, dict[str, Transform]]:
    data = open_training_data(store, tiny_config(overrides), cell_types=cell_types)
    return data, *fit_transforms(data)


@pytest.fixture(scope="module")
def prepared(store) -> tuple[TrainingData, Transform, dict[str, Transform], Sampler, Sampler]:
    data, target, tracks = open_data(store, ["network.mask_channels=true"])
    return data, target, tracks, *open_samplers(data, target, tracks)


def by_hand(prepared, sampler: Sampler, batch: Batch, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Signal and target of one example from whole arrays in memory, by the public functions of the geometry."""
    data, target_transform, track_transforms, *_ = prepared
    plan, example = sampler.plan(batch.epoch), batch.examples[place]
    source_index, segment, is_confined = sampler.reader.stretches[plan.stretch[example]]
    source, start = data.sources[source_index], int(plan.start[example])
    first, last = source.track_grid.chrom_extent(segment.chrom)
    blacklisted = source.blacklisted.values
    tracks = [
        track_transforms[name].apply(array.values, blacklisted)[first:last]
        for name, array in zip(data.config.data.tracks, source.signal, strict=True)
    ]
    signal = np.stack(tracks)
    if is_confined:
        lo, hi = track_extent(segment.lo, segment.n_bins, STRIDE, HALO)
        place_of = np.arange(signal.shape[1])
        signal[:, (place_of < lo) | (place_of >= hi)] = np.nan
    cut = cut_padded(signal, 0, *track_extent(start, N_BINS, STRIDE, HALO))
    row, end = source.grid.chrom_extent(segment.chrom)
    inside = np.zeros(end - row + N_DIAGONALS - 1, dtype=bool)
    inside[segment.lo : segment.hi] = ~source.bad_bin[row + segment.lo : row + segment.hi]
    band = mask_band(source.band.values[row:end], inside, data.config.target.min_diagonal)
    stripes = gather_stripes(target_transform.apply(band), start, N_BINS, N_DIAGONALS)
    return network_input(cut, mask_channels=True), stripes


@pytest.mark.parametrize("which", ["train", "validation"])
def test_sampler__examples_equal_those_cut_from_whole_arrays(prepared, which):
    sampler = prepared[3] if which == "train" else prepared[4]
    for batch in sampler.batches(range(2 if which == "train" else 1)):
        for place in range(len(batch.examples)):
            signal, target = by_hand(prepared, sampler, batch, place)
            np.testing.assert_array_equal(batch.signal[place], signal)
            np.testing.assert_array_equal(batch.target[place], target)
            np.testing.assert_array_equal(batch.valid[place], np.isfinite(target))


def test_sampler__every_valid_pixel_of_the_training_regions_is_seen_once(prepared):
    data, _, _, sampler, _ = prepared
    n_seen = sum(int(batch.valid.sum()) for batch in sampler.batches(range(1)))
    n_there = 0
    for source in data.sources:
        good = np.append(~source.bad_bin[:3000], np.zeros(N_DIAGONALS - 1, dtype=bool))
        n_there += int(np.isfinite(mask_band(source.band.values[:3000], good, 1)).sum())
    assert n_seen == n_there


@pytest.mark.parametrize(("world", "n_workers"), [(2, 1), (1, 3), (3, 2)])
def test_sampler__shares_make_up_the_whole(prepared, world, n_workers):
    sampler = prepared[3]
    whole = {(b.epoch, i): b.target[p] for b in sampler.batches(range(2)) for p, i in enumerate(b.examples)}
    shared = {}
    for rank in range(world):
        steps = []
        for worker in range(n_workers):
            for b in sampler.batches(range(2), share=Share(rank, world, worker, n_workers)):
                steps.append((b.epoch, b.step))
                assert all(i % world == rank for i in b.examples)
                shared |= {(b.epoch, i): b.target[p] for p, i in enumerate(b.examples)}
        assert sorted(steps) == [(e, s) for e in range(2) for s in range(sampler.n_steps(e))]
    assert whole.keys() == shared.keys()
    assert all(np.array_equal(whole[key], shared[key], equal_nan=True) for key in whole)


def test_sampler__resumes_at_any_step(prepared):
    sampler = prepared[3]
    whole = list(sampler.batches(range(2)))
    n = sampler.n_steps(0)
    for first in (0, 1, n - 1, n):
        rest = list(sampler.batches(range(2), first))
        assert [(b.epoch, b.step) for b in rest] == [(b.epoch, b.step) for b in whole[first:]]
        assert np.array_equal(rest[0].signal, whole[first].signal)


def test_sampler__does_not_depend_on_cache_or_prefetch(prepared, store):
    data = open_data(store, ["network.mask_channels=true", "execution.cache_bytes=0", "execution.prefetch_blocks=1"])
    starved, _ = open_samplers(*data)
    for a, b in zip(prepared[3].batches(range(2)), starved.batches(range(2)), strict=True):
        assert np.array_equal(a.signal, b.signal)
        assert np.array_equal(a.target, b.target, equal_nan=True)


def test_sampler__reads_each_track_bin_once(store):
    data = open_data(store, cell_types=["A"])
    sampler, _ = open_samplers(*data)
    for _ in sampler.batches(range(3)):
        pass
    assert sampler.reader.n_track_bins_read == data[0].sources[0].track_grid.n_bins


def test_load_batches__workers_make_the_same_batches_in_the_same_order(prepared):
    alone = list(load_batches(WindowDataset(prepared[3], range(2), 3), 0))
    helped = list(load_batches(WindowDataset(prepared[3], range(2), 3), 2))
    assert [(b.epoch, b.step) for b in alone] == [(b.epoch, b.step) for b in helped]
    assert all(np.array_equal(a.signal, b.signal) for a, b in zip(alone, helped, strict=True))


def test_fit_transforms__sees_training_regions_only(store, tmp_path):
    changed = Path(shutil.copytree(store, tmp_path / "store.zarr"))
    scramble_outside_training(changed, halo_bp=0)
    assert open_data(store)[1:] == open_data(changed)[1:]


def test_training__nothing_beyond_the_halo_changes_any_example(store, tmp_path):
    changed = Path(shutil.copytree(store, tmp_path / "store.zarr"))
    scramble_outside_training(changed, halo_bp=HALO * TRACK_BINSIZE)
    ours, theirs = (open_samplers(*open_data(path))[0] for path in (store, changed))
    for a, b in zip(ours.batches(range(3)), theirs.batches(range(3)), strict=True):
        assert np.array_equal(a.signal, b.signal)
        assert np.array_equal(a.target, b.target, equal_nan=True)


def scramble_outside_training(store: Path, halo_bp: int) -> None:
    """Change tracks farther than ``halo_bp`` outside the training region chr1:0-3,000,000, and all contacts outside it."""
    rng = np.random.default_rng(9)
    for cell_type in ("A", "B"):
        signal = zarr.open_array(store / cell_type / "tracks" / str(TRACK_BINSIZE) / "signal", mode="r+")
        values = signal[...]
        lo = (3_000_000 + halo_bp) // TRACK_BINSIZE
        values[:, lo:] = rng.gamma(9.0, size=values[:, lo:].shape)
        signal[...] = values
        band = zarr.open_array(store / cell_type / "contacts" / str(BINSIZE) / "ice", mode="r+")
        values = band[...]
        row = np.arange(len(values))[:, None]
        outside = row + np.arange(values.shape[1]) >= 3_000_000 // BINSIZE
        values[outside] = rng.gamma(9.0, size=values.shape)[outside]
        values[~band_on_chromosome(open_contacts_grid(store, cell_type), 0, len(values), values.shape[1])] = np.nan
        band[...] = values


def open_contacts_grid(store: Path, cell_type: str):
    from epizarr.io.store import grid_of

    return grid_of(open_contacts(store, cell_type, BINSIZE))


def test_train_model__validation_does_see_its_own_tracks(store, tmp_path):
    changed = Path(shutil.copytree(store, tmp_path / "store.zarr"))
    scramble_outside_training(changed, halo_bp=HALO * TRACK_BINSIZE)
    ours, theirs = (open_samplers(*open_data(path))[1] for path in (store, changed))
    assert not np.array_equal(next(ours.batches(range(1))).signal, next(theirs.batches(range(1))).signal)


def test_sampler__missing_targets_are_zeros_where_the_released_code_is_followed(store):
    masked, zeroed = (
        open_samplers(*open_data(store, [f"target.missing={how}", "training.random_phase=false"]))
        for how in ("masked", "zero")
    )
    for one, other in zip(masked[0].batches(range(1)), zeroed[0].batches(range(1)), strict=True):
        assert other.valid.all()
        np.testing.assert_array_equal(other.target, np.where(one.valid, one.target, 0))
    for one, other in zip(
        masked[1].batches(range(1)), zeroed[1].batches(range(1)), strict=True
    ):  # validation stays masked
        np.testing.assert_array_equal(other.target, one.target)
        np.testing.assert_array_equal(other.valid, one.valid)
    for sampler in (*masked, *zeroed):
        sampler.reader.close()


def test_sampler__fixed_windows_begin_with_the_region_every_epoch(store):
    sampler, _ = open_samplers(*open_data(store, ["training.random_phase=false"]))
    starts = [sorted(zip(plan.stretch, plan.start, strict=True)) for plan in map(sampler.plan, (0, 1))]
    first = {i: sampler.reader.stretches[i].segment.lo for i in sampler.stretches}
    assert starts[0] == starts[1]
    assert all((start - first[stretch]) % sampler.reader.geometry.n_bins == 0 for stretch, start in starts[0])
    sampler.reader.close()


@pytest.mark.slow
def test_train_model__overfits_a_short_region(store, tmp_path):
    overrides = [
        "splits.train=['chr1:0-200,000']",
        "training.epochs=80",
        "training.lr=0.01",
        "training.halve_epochs=50",
        "network.dropout=0",
        "network.hidden=32",
        "network.head_hidden=32",
        "network.conv_channels=[12, 12, 12, 12]",
        "training.n_bins=50",
        "execution.checkpoint_steps=1000",
    ]
    rows = train_model(store, tiny_config(overrides), tmp_path / "run", cell_types=["A"]).rows
    assert rows[-1].train_loss < 0.3 * rows[4].train_loss


def test_train_model__best_is_the_lowest_validation_loss(whole_run):
    losses = [row.validation_loss for row in whole_run.rows]
    assert load_checkpoint(whole_run.best).epoch == 1 + int(np.argmin(losses))
    assert whole_run.best_value == min(losses)


def test_train_model__records_what_the_store_decided(whole_run):
    checkpoint = load_checkpoint(whole_run.best)
    config = checkpoint.config
    assert (config.data.cell_types, config.data.tracks) == (("A",), ("CTCF", "DNase"))
    assert (config.target.transform, config.target.min_diagonal) == ("obs_over_exp_log1p", 1)
    assert checkpoint.trained_on["splits"]["test"] == ["chr2"]


def test_train_model__same_run_twice_gives_the_same_bytes(store, whole_run, tmp_path):
    train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"])
    assert run_digest(tmp_path / "run") == run_digest(whole_run.run_dir)


class StopRunError(Exception):
    """Raised to end a run at a chosen step or epoch."""


class Stopper:
    def __init__(self, n: int, what: str) -> None:
        self.left, self.what = n, what

    def _count(self, what: str) -> None:
        self.left -= what == self.what
        if self.left < 0:
            raise StopRunError

    def on_step(self, report) -> None:
        self._count("step")

    def on_epoch(self, row) -> None:
        self._count("epoch")


@pytest.mark.parametrize(
    ("n", "what"), [(0, "step"), (2, "step"), (3, "step"), (8, "step"), (13, "step"), (0, "epoch")]
)
def test_train_model__interrupted_and_resumed_gives_the_same_bytes(store, whole_run, tmp_path, n, what):
    run_dir = tmp_path / "run"
    with pytest.raises(StopRunError):
        train_model(store, tiny_config(), run_dir, cell_types=["A"], progress=Stopper(n, what))
    train_model(store, tiny_config(), run_dir, cell_types=["A"])
    assert run_digest(run_dir) == run_digest(whole_run.run_dir)


def test_train_model__log_has_no_row_twice_after_resuming(store, tmp_path):
    with pytest.raises(StopRunError):
        train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"], progress=Stopper(10, "step"))
    train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"])
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3"]


@pytest.mark.parametrize("is_old", [False, True])
def test_train_model__goes_on_with_the_training_mean_of_its_checkpoint(store, whole_run, tmp_path, monkeypatch, is_old):
    """Read again only where a checkpoint is of a format without it; the run comes to the same bytes either way."""
    stopped = train_model(store, tiny_config(["execution.max_steps=9"]), tmp_path / "run", cell_types=["A"])
    if is_old:
        card = stopped.last / "checkpoint.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"target_mean": [], "checkpoint_version": "1.1"}))
    else:
        monkeypatch.setattr(start, "transformed_mean", lambda *args: pytest.fail("the targets were read again"))
    train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"])
    assert run_digest(tmp_path / "run") == run_digest(whole_run.run_dir)


def test_train_model__stops_at_max_steps_and_goes_on(store, whole_run, tmp_path):
    run_dir = tmp_path / "run"
    stopped = train_model(store, tiny_config(["execution.max_steps=10"]), run_dir, cell_types=["A"])
    assert (stopped.is_finished, load_checkpoint(stopped.last).step) == (False, 10)
    finished = train_model(store, tiny_config(), run_dir, cell_types=["A"])
    assert finished.is_finished
    assert run_digest(run_dir) == run_digest(whole_run.run_dir)


def test_train_model__stopped_at_max_steps_the_same_command_does_no_more(store, tmp_path):
    config = tiny_config(["execution.max_steps=4"])
    for _ in range(2):
        again = train_model(store, config, tmp_path / "run", cell_types=["A"])
        assert (again.is_finished, load_checkpoint(again.last).step) == (False, 4)


def test_train_model__stopped_with_an_epoch_it_is_saved_once_and_validated(store, whole_run, tmp_path, monkeypatch):
    # Saved again under the same name, `last` would name a folder that is not there for a moment.
    saved = []
    save = loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", lambda *args, **kw: saved.append(args[3].step) or save(*args, **kw))
    n = whole_run.rows[0].step
    stopped = train_model(store, tiny_config([f"execution.max_steps={n}"]), tmp_path / "run", cell_types=["A"])
    assert (stopped.is_finished, len(stopped.rows), stopped.best_value) == (False, 1, whole_run.rows[0].validation_loss)
    train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"])
    assert len(saved) == len(set(saved))
    assert run_digest(tmp_path / "run") == run_digest(whole_run.run_dir)


def test_train_model__finished_run_does_nothing(store, whole_run):
    before = {p: p.stat().st_mtime_ns for p in whole_run.run_dir.glob("checkpoints/*/*")}
    again = train_model(store, tiny_config(), whole_run.run_dir, cell_types=["A"])
    assert str(again.rows) == str(whole_run.rows)  # as text: a NaN does not equal itself
    assert before == {p: p.stat().st_mtime_ns for p in whole_run.run_dir.glob("checkpoints/*/*")}


def test_train_model__leaves_random_state_and_threads_of_the_caller(store, tmp_path):

    state, threads = torch.get_rng_state(), torch.get_num_threads()
    overrides = ["execution.max_steps=1", f"execution.threads={threads + 1}"]
    train_model(store, tiny_config(overrides), tmp_path / "run", cell_types=["A"])
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("strands", "says"),
    [
        ({"A": "+-", "B": "+-"}, "no partner on the other strand"),
        ({"A": "..", "B": ".+"}, "track 'DNase' has strand '.' in \\['A'\\] and '\\+' in \\['B'\\]"),
    ],
)
def test_open_training_data__refuses_strands_that_cannot_be_mirrored(tmp_path, strands, says):
    path = write_store(tmp_path / "s.zarr", strands=strands)
    with pytest.raises(ConfigError, match=says):
        open_training_data(path, tiny_config(["training.mirror=true"]))


@pytest.mark.parametrize("override", ["training.block_windows=1", "training.buffer_blocks=16"])
def test_config__blocks_and_buffer_change_the_order_of_examples(prepared, override):
    base = dataclasses.replace(prepared[3], buffer_blocks=4)
    key, _, value = override.removeprefix("training.").partition("=")
    assert not np.array_equal(base.plan(0).start, dataclasses.replace(base, **{key: int(value)}).plan(0).start)


def test_train_model__refuses_folder_of_another_run(store, whole_run):
    with pytest.raises(ConfigError, match=r"training\.lr: 0\.001 there, 0\.5 here"):
        train_model(store, tiny_config(["training.lr=0.5"]), whole_run.run_dir, cell_types=["A"])


def test_train_model__resumes_with_what_the_run_resolved_though_the_store_grew(tmp_path):
    store = write_store(tmp_path / "store.zarr", cell_types=("A",), with_contacts=("A",))
    config = tiny_config(["execution.max_steps=2"])
    train_model(store, config, tmp_path / "run")
    write_store(store, cell_types=("A", "B")[1:], with_contacts=("B",))
    resumed = train_model(store, tiny_config(["execution.max_steps=4"]), tmp_path / "run")
    assert load_checkpoint(resumed.last).config.data.cell_types == ("A",)


def test_train_model__refuses_to_go_on_with_other_input_files(store, tmp_path):
    run_dir = tmp_path / "run"
    train_model(store, tiny_config(["execution.max_steps=2"]), run_dir, cell_types=["A"])
    changed = Path(shutil.copytree(store, tmp_path / "store.zarr"))
    file = changed / "A" / "tracks" / str(TRACK_BINSIZE) / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["attributes"]["inputs"] = metadata["attributes"]["inputs"].replace("0CTCF", "1CTCF")
    file.write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match="CTCF"):
        train_model(changed, tiny_config(), run_dir, cell_types=["A"])


def test_train_model__goes_on_though_the_store_has_another_track(store, tmp_path):
    changed = Path(shutil.copytree(store, tmp_path / "store.zarr"))
    train_model(changed, tiny_config(["execution.max_steps=2"]), tmp_path / "run", cell_types=["A"])
    add_track(changed, "other")
    resumed = train_model(changed, tiny_config(["execution.max_steps=4"]), tmp_path / "run", cell_types=["A"])
    assert load_checkpoint(resumed.last).step == 4


def test_train_model__refuses_to_go_on_with_files_read_in_another_way(store, tmp_path):
    run_dir = tmp_path / "run"
    train_model(store, tiny_config(["execution.max_steps=2"]), run_dir, cell_types=["A"])
    changed = Path(shutil.copytree(store, tmp_path / "store.zarr"))
    file = changed / "A" / "tracks" / str(TRACK_BINSIZE) / "zarr.json"
    metadata = json.loads(file.read_text())
    inputs = json.loads(metadata["attributes"]["inputs"])
    inputs[0]["parameters"] = {"uncovered": "zero"}
    metadata["attributes"]["inputs"] = json.dumps(inputs)
    file.write_text(json.dumps(metadata))
    with pytest.raises(CheckpointError, match="A: tracks"):
        train_model(changed, tiny_config(), run_dir, cell_types=["A"])


@pytest.mark.parametrize(
    ("overrides", "error", "says"),
    [
        (["data.tracks=['CTFC', 'DNase']"], ConfigError, "Did you mean 'CTCF'"),
        (["target.variable=kr"], ConfigError, "no target 'kr'"),
        (["network.n_offsets=13"], ConfigError, "stores 12 diagonals"),
        (["data.binsize=2000"], StoreNotFoundError, "contacts/2000"),
        (["data.track_transforms={H3K27ac = 'linear'}", "data.tracks=[]"], ConfigError, "H3K27ac"),
        (["splits.train=[]"], SplitError, "no train regions"),
        (["splits.train=['chr9']"], SplitError, "chr9"),
        (["splits.test=['chr1:2,000,000-3,100,000']"], SplitError, "overlap"),
        (["splits.train=['chr1:0-3,174,001']"], SplitError, "25,999 bp apart"),
        (["network.conv_kernels=[300, 100, 3, 3]"], ConfigError, "window is 400"),
        (["execution.device=cuda:99"], ConfigError, "CUDA"),
    ],
)
def test_train_model__refuses_before_it_makes_a_folder(store, tmp_path, overrides, error, says):
    with pytest.raises(error, match=says):
        train_model(store, tiny_config(overrides), tmp_path / "run", cell_types=["A", "B"])
    assert not (tmp_path / "run").exists()


def test_train_model__allows_exactly_the_margin(store):
    open_training_data(store, tiny_config(["splits.train=['chr1:0-3,174,000']"]), cell_types=["A"])


def test_train_model__says_what_each_cell_type_lacks(tmp_path):
    store = write_store(tmp_path / "store.zarr", cell_types=("A",), with_contacts=("A",))
    write_store(store, cell_types=("B",), with_contacts=("B",), tracks=("DNase",))
    with pytest.raises(ConfigError, match="'B' has no track 'CTCF'"):
        open_training_data(store, tiny_config(), cell_types=["A", "B"])


def test_train_model__matches_tracks_by_name(tmp_path):
    straight = write_store(tmp_path / "a.zarr", cell_types=("A",), with_contacts=("A",))
    swapped = write_store(tmp_path / "b.zarr", cell_types=("A",), with_contacts=("A",), tracks=("DNase", "CTCF"))
    config = tiny_config()
    first, second = (open_training_data(path, config).sources[0].signal for path in (straight, swapped))
    assert list(open_tracks(swapped, "A")["track"].values) == ["DNase", "CTCF"]
    assert all(np.array_equal(a.values, b.values, equal_nan=True) for a, b in zip(first, second, strict=True))


def test_train_model__refuses_a_second_process_in_the_folder(store, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with Lease.acquire(run_dir, "run"), pytest.raises(LeaseError):
        train_model(store, tiny_config(), run_dir, cell_types=["A"])


def hold_lease_elsewhere(run_dir: Path) -> None:
    """Leave the lease of a process on another machine that was last heard of an hour ago."""
    file = work_folder(run_dir, "run") / "lease.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    owner = {"host": "elsewhere", "pid": 1, "pid_started": 0, "user": "someone", "started": "then", "token": "other"}
    file.write_text(json.dumps(owner))
    os.utime(file, (1e9, 1e9))


def test_train_model__takes_a_stale_lease_over_if_told(store, tmp_path):
    run_dir, config = tmp_path / "run", tiny_config(["execution.max_steps=1"])
    hold_lease_elsewhere(run_dir)
    with pytest.raises(LeaseError, match="--take-over"):
        train_model(store, config, run_dir, cell_types=["A"])
    train_model(store, config, run_dir, cell_types=["A"], take_over=True)
    assert load_checkpoint(run_dir / "last").step == 1


def test_train_model__writes_no_checkpoint_once_its_lease_is_lost(store, tmp_path):
    class TakenOver(Stopper):
        def on_step(self, report) -> None:
            if report.step == 2:
                hold_lease_elsewhere(tmp_path / "run")

    with pytest.raises(LeaseError, match="someone on elsewhere"):
        train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"], progress=TakenOver(0, "step"))
    assert not (tmp_path / "run" / "last").exists()


def test_train_model__leaves_files_of_others_in_the_folder(store, tmp_path):
    mine = [tmp_path / "run" / "download.partial", tmp_path / "run" / "sub" / "log.csv.0.partial"]
    mine[1].parent.mkdir(parents=True)
    swept = tmp_path / "run" / "config.toml.0.partial"
    for path in (*mine, swept):
        path.touch()
    train_model(store, tiny_config(["execution.max_steps=1"]), tmp_path / "run", cell_types=["A"])
    assert [path.exists() for path in (*mine, swept)] == [True, True, False]


def test_train_model__validation_that_is_not_finite_is_no_best(store, tmp_path, monkeypatch):
    broken = Validation(ValidationScores(*[float("nan")] * 4, n_pixels=1))
    monkeypatch.setattr(loop, "validate", lambda *args, **kwargs: broken)
    with pytest.raises(TrainingError, match="validation loss of epoch 1 is nan"):
        train_model(store, tiny_config(), tmp_path / "run", cell_types=["A"])
    assert not (tmp_path / "run" / "best").exists()


def test_train_model__stops_when_the_loss_is_not_finite(store, tmp_path):
    with pytest.raises(TrainingError, match=r"Lower training\.lr"):
        train_model(store, tiny_config(["training.lr=1e30"]), tmp_path / "run", cell_types=["A"])


def test_train_model__starts_at_the_training_mean(store, tmp_path):
    overrides = ["training.start_at_mean=true", "training.lr=0.0", "training.lr_floor=0.0", "training.epochs=1"]
    result = train_model(store, tiny_config(overrides), tmp_path / "run", cell_types=["A"])
    model = load_checkpoint(result.last).model()
    # The mean of log(1 + observed / expected) lies below log 2, its value at the mean, and well above 0.
    bias = model.fc2.bias.detach().numpy()[2:]
    assert ((bias > 0.3) & (bias < np.log(2.0))).all()


def test_train_model__a_variance_head_starts_at_the_variance_of_the_training_target(store, tmp_path):
    overrides = ["training.start_at_mean=true", "training.lr=0.0", "training.lr_floor=0.0", "training.epochs=1"]
    result = train_model(store, tiny_config([*overrides, "network.head=variance"]), tmp_path / "run", cell_types=["A"])
    checkpoint = load_checkpoint(result.last)
    lo, hi = ASSEMBLY.bins(BINSIZE).region_extent(ASSEMBLY.region(SPLITS["train"][0]))
    good = np.append(~bad_bins()[lo:hi], np.zeros(N_DIAGONALS - 1, dtype=bool))
    target = checkpoint.target_transform.apply(mask_band(draw_contacts(draw_signal(0), 0)[lo:hi], good, MIN_DIAGONAL))
    sd = np.nanstd(target[:, MIN_DIAGONAL:], axis=0)
    np.testing.assert_allclose(checkpoint.target_sd[MIN_DIAGONAL:], sd, rtol=1e-3)
    assert checkpoint.target_sd[0] == 0
    with torch.no_grad():
        hidden = torch.zeros(1, checkpoint.network.head_hidden)
        model = checkpoint.model()
        raw = model.fc_log_variance(hidden)[0, MIN_DIAGONAL:]
    np.testing.assert_allclose(torch.exp(MAX_LOG_VARIANCE / 2 * torch.tanh(raw / MAX_LOG_VARIANCE)), sd, rtol=1e-3)
