"""Several cell types and stores in one run: what is read, how it is shared out, what is held out."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from epizarr.cli import run
from epizarr.errors import AssemblyMismatchError, ConfigError
from epizarr.evaluate import evaluate_run
from epizarr.genome import Assembly
from epizarr.predict import predict_contacts
from epizarr.train import leave_one_out, load_config
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.fits import fit_distributions, fit_transforms
from epizarr.train.loop import train_model
from epizarr.train.sampler import Sampler, Share, open_samplers
from epizarr.train.sources import open_training_data
from tests import _runs
from tests._killing import tree_digest
from tests._runs import write_store
from tests._training import tiny_config


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> list[Path]:
    """One store with cell types A and B, and one with C, whose contacts are those that seed 0 draws."""
    folder = tmp_path_factory.mktemp("stores")
    write_store(folder / "one.zarr")
    return [folder / "one.zarr", write_store(folder / "two.zarr", cell_types=("C",), with_contacts=("C",))]


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> Path:
    """All three in one store, byte for byte."""
    path = write_store(tmp_path_factory.mktemp("joint") / "all.zarr")
    return write_store(path, cell_types=("C",), with_contacts=("C",))


def open_sampler(stores, overrides=()) -> Sampler:
    data = open_training_data(stores, tiny_config(overrides))
    target, tracks = fit_transforms(data)
    return open_samplers(data, target, tracks, {n: d.sd for n, d in fit_distributions(data, tracks).items()})[0]


def test_train_model__several_stores_give_the_bytes_of_one(stores, joint, tmp_path):
    config = tiny_config(["execution.max_steps=3"])
    runs = [train_model(where, config, tmp_path / str(i)) for i, where in enumerate((stores, joint))]
    digests = [tree_digest(run.run_dir, ignore=["log.csv", "provenance.json"]) for run in runs]
    assert digests[0] == digests[1]
    assert load_checkpoint(runs[0].last).trained_on["cell_types"] == ["A", "B", "C"]


def test_sampler__sees_every_cell_type_equally_often(stores):
    sampler = open_sampler(stores)
    plan = sampler.plan(0)
    source = np.array([s.source for s in sampler.reader.stretches])[plan.stretch]
    n_bins = [int((source == i).sum()) * sampler.reader.geometry.n_bins for i in range(3)]
    assert max(n_bins) - min(n_bins) <= sampler.reader.geometry.n_bins


def test_open_training_data__refuses_a_cell_type_of_two_stores(stores, tmp_path):
    other = write_store(tmp_path / "other.zarr", cell_types=("B", "D"), with_contacts=("B", "D"))
    with pytest.raises(
        ConfigError, match=r"cell type 'B' is in .*one\.zarr and in .*other\.zarr; choose other cell types"
    ):
        open_training_data([stores[0], other], tiny_config())
    chosen = open_training_data([stores[0], other], tiny_config(["data.cell_types=['A', 'D']"]))
    assert [source.cell_type for source in chosen.sources] == ["A", "D"]
    held_out = open_training_data([stores[0], other], tiny_config(["splits.held_out_cell_types=['B']"]))
    assert [source.cell_type for source in held_out.sources] == ["A", "D"]


def test_open_training_data__refuses_stores_of_two_assemblies(stores, tmp_path, monkeypatch):
    longer = Assembly.from_table("test", [("chr1", 4_700_450), ("chr2", 1_500_001), ("chr3", 30_020)])
    monkeypatch.setattr(_runs, "ASSEMBLY", longer)
    other = write_store(tmp_path / "other.zarr", cell_types=("D",), with_contacts=("D",))
    with pytest.raises(AssemblyMismatchError, match=r"chr2 \(1,500,001 bp, not 1,500,000\)"):
        open_training_data([stores[0], other], tiny_config())


@pytest.mark.parametrize("override", ["data.cell_types=['A', 'E']", "splits.held_out_cell_types=['E']"])
def test_open_training_data__refuses_a_cell_type_that_no_store_has(stores, override):
    with pytest.raises(ConfigError, match=r"no store has a cell type 'E'; there are \['A', 'B', 'C'\]"):
        open_training_data(stores, tiny_config([override]))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["training.delta_weight=0.1"], "needs training.pairs"),
        (["training.pairs=true", "data.cell_types=['A']"], "two cell types"),
        (["training.pairs=true", "splits.held_out_cell_types=['A', 'B']"], "two cell types"),
        (["training.pairs=true", "training.batch_size=3"], "must be even"),
        (["data.cell_types=['A']", "splits.held_out_cell_types=['A']"], "take them out of one"),
    ],
)
def test_open_training_data__refuses_what_does_not_fit_together(stores, overrides, says):
    with pytest.raises(ConfigError, match=says):
        open_training_data(stores, tiny_config(overrides))


PAIRS = ["training.pairs=true", "training.delta_weight=0.5", "training.mirror=true"]


def test_sampler__pairs_share_bins_and_direction_in_every_batch(stores):
    data = open_training_data(stores[0], tiny_config(PAIRS))
    sampler, _ = open_samplers(data, *fit_transforms(data))
    plan = sampler.plan(0)
    for batch in sampler.batches(range(1)):
        one, other = batch.examples[::2], batch.examples[1::2]
        assert (batch.locus[::2] == batch.locus[1::2]).all()
        assert (plan.start[one] == plan.start[other]).all()
        # The same pixels are off the region, whichever cell type: only bad bins differ, and these cell types have the same.
        assert np.array_equal(batch.valid[::2], batch.valid[1::2])
        assert not np.array_equal(batch.target[::2], batch.target[1::2], equal_nan=True)


@pytest.mark.parametrize("world", [2, 3])
def test_sampler__ranks_never_part_a_pair(stores, world):
    sampler = open_sampler(stores, PAIRS)
    whole = np.concatenate([batch.examples for batch in sampler.batches(range(1))])
    found = []
    for rank in range(world):
        for batch in sampler.batches(range(1), share=Share(rank, world)):
            first, second = batch.examples[: len(batch.examples) // 2 * 2].reshape(-1, 2).T
            assert (second == first + 1).all()
            assert (first % 2 == 0).all()
            found.append(batch.examples)
    assert np.array_equal(np.sort(np.concatenate(found)), np.sort(whole))


CHANGED = ["network.mask_channels=true", "training.track_dropout=0.3", "training.track_noise=0.1"]
CHANGED += ["training.scale_jitter=0.2", "training.mirror=true"]


def test_sampler__augmentation_is_the_same_for_any_share_worker_and_resume(stores):
    sampler = open_sampler(stores, CHANGED)
    whole = {(b.epoch, i): b.signal[p] for b in sampler.batches(range(2)) for p, i in enumerate(b.examples)}
    parts = [b for rank in range(2) for b in sampler.batches(range(2), share=Share(rank, 2))]
    parts += list(sampler.batches(range(2), 5))
    for b in parts:
        assert all(np.array_equal(b.signal[p], whole[b.epoch, i]) for p, i in enumerate(b.examples))
    elsewhere = pickle.loads(pickle.dumps(sampler))  # what a DataLoader's process is given
    for b in elsewhere.batches(range(1), share=Share(0, 1, 1, 2)):
        assert all(np.array_equal(b.signal[p], whole[0, i]) for p, i in enumerate(b.examples))


@pytest.mark.parametrize("mask", ["true", "false"])
def test_sampler__augmentation_leaves_targets_and_validation_alone(stores, mask):
    changed = [*CHANGED[2:], f"network.mask_channels={mask}"]
    plain = [c for c in changed if "noise" not in c and "jitter" not in c]
    after, before = open_sampler(stores, changed), open_sampler(stores, plain)
    for a, b in zip(after.batches(range(1)), before.batches(range(1)), strict=True):
        assert np.array_equal(a.target, b.target, equal_nan=True)
        assert a.signal.shape == b.signal.shape
        # Only what was not measured, or lies outside, is 0 here; it stays so, and the rest of the signal changes.
        assert not a.signal[:, :2][b.signal[:, :2] == 0].any()
        assert (a.signal[:, :2] != b.signal[:, :2]).mean() > 0.5
        assert np.array_equal(a.signal[:, 2:], b.signal[:, 2:])
    data = open_training_data(stores, tiny_config(changed))
    held_out = open_samplers(data, *fit_transforms(data), {"CTCF": 1.0, "DNase": 1.0})[1]
    unchanged = open_training_data(stores, tiny_config(plain))
    wanted = open_samplers(unchanged, *fit_transforms(unchanged))[1]
    for a, b in zip(held_out.batches(range(1)), wanted.batches(range(1)), strict=True):
        assert np.array_equal(a.signal, b.signal)


def test_train_model__stopped_with_pairs_and_augmentation_goes_on_to_the_same_bytes(stores, tmp_path):
    config = [*PAIRS, *CHANGED, "training.epochs=2"]
    whole = train_model(stores, tiny_config(config), tmp_path / "whole")
    train_model(stores, tiny_config([*config, "execution.max_steps=5"]), tmp_path / "cut")
    cut = train_model(stores, tiny_config(config), tmp_path / "cut")
    assert load_checkpoint(whole.last).sha256 == load_checkpoint(cut.last).sha256
    assert tree_digest(whole.run_dir, ignore=["log.csv", "provenance.json"]) == tree_digest(
        cut.run_dir, ignore=["log.csv", "provenance.json"]
    )


def test_train_model__held_out_cell_type_changes_nothing(stores, tmp_path):
    """Neither training nor the choice of the checkpoint reads it: poisoned, every file is the same."""
    config = tiny_config(["splits.held_out_cell_types=['B']", "training.epochs=2"])
    poisoned = Path(shutil.copytree(stores[0], tmp_path / "poisoned.zarr"))
    for path in (poisoned / "B").rglob("c/**/*"):
        if path.is_file():
            path.write_bytes(b"not a chunk")
    runs = [train_model(store, config, tmp_path / str(i)) for i, store in enumerate((stores[0], poisoned))]
    assert tree_digest(runs[0].run_dir, ignore=["log.csv", "provenance.json"]) == tree_digest(
        runs[1].run_dir, ignore=["log.csv", "provenance.json"]
    )
    assert load_checkpoint(runs[0].best).trained_on["held_out_cell_types"] == ["B"]
    with pytest.raises(Exception, match=r"."):  # what was written there is no chunk: whoever reads it fails
        train_model(poisoned, tiny_config(), tmp_path / "control")


def test_evaluate__says_that_the_cell_type_was_held_out_and_what_baselines_are_fitted_on(stores, tmp_path):
    store = Path(shutil.copytree(stores[0], tmp_path / "one.zarr"))
    config = tiny_config(["splits.held_out_cell_types=['B']", "training.epochs=1"])
    best = train_model([store, stores[1]], config, tmp_path / "run").best
    predict_contacts(store, best, cell_type="B", regions=["chr2"], n_threads=1)
    notes = json.loads(evaluate_run(store, "run", cell_type="B", n_threads=1).attrs["notes"])
    assert any("B was held out" in note for note in notes)
    assert any("not fitted on C" in note for note in notes)


def test_leave_one_out__trains_on_all_but_one():
    folds = leave_one_out(load_config("small"), ["A", "B", "C"])
    assert {k: (f.data.cell_types, f.splits.held_out_cell_types) for k, f in folds.items()} == {
        "A": (("B", "C"), ("A",)),
        "B": (("A", "C"), ("B",)),
        "C": (("A", "B"), ("C",)),
    }
    with pytest.raises(ConfigError, match="too few"):
        leave_one_out(load_config("small"), ["A"])
    with pytest.raises(ConfigError, match="two cell types"):
        leave_one_out(load_config("small", ["training.pairs=true"]), ["A", "B"])


def test_config_leave_one_out__writes_configs_that_train_reads(stores, tmp_path, capsys):
    arguments = [
        "config",
        "leave-one-out",
        "small",
        "--cell-type",
        "A,B,C",
        "-o",
        str(tmp_path),
        "--set",
        "training.lr=0.5",
    ]
    assert run(arguments) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["without-A.toml", "without-B.toml", "without-C.toml"]
    config = load_config(tmp_path / "without-B.toml")
    assert (config.data.cell_types, config.splits.held_out_cell_types, config.training.lr) == (("A", "C"), ("B",), 0.5)
    assert "without-B" in capsys.readouterr().out


def test_difference_loss__needs_no_pair_to_be_whole(stores):
    """A batch of one rank holds whole pairs, so that the loss sees each of them once."""
    sampler = open_sampler(stores[0], PAIRS)
    n_pairs = sum(
        int(torch.triu(torch.from_numpy(b.locus[:, None] == b.locus), 1).sum())
        for rank in range(2)
        for b in sampler.batches(range(1), share=Share(rank, 2))
    )
    assert n_pairs == len(sampler.plan(0)) // 2
