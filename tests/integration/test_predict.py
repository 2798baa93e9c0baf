"""Prediction into a store, against the plain use of the network on whole tiles."""

import json
import pickle
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from epizarr.cluster import open_client
from epizarr.errors import CheckpointError, ConfigError, LeaseError, MemoryBoundError, RegionError, StoreError
from epizarr.io.ledger import Lease, work_folder
from epizarr.io.store import group_attrs, open_prediction, remove_group, store_assembly, write_region
from epizarr.nn import NetworkConfig
from epizarr.nn.cores import Core
from epizarr.nn.epiphany import Head
from epizarr.predict import blocks, plan, predict_contacts, prediction_task_bytes, run
from epizarr.predict.settings import BLOCK_BINS, MAX_TASK_BYTES, most_bins_read
from epizarr.screen.block import screen_task_bytes
from epizarr.tiles import blend_weights, tile_starts
from epizarr.train.checkpoint import load_checkpoint
from epizarr.transforms import network_input
from epizarr.windows import cut_padded
from tests._killing import tree_digest
from tests._runs import (
    ASSEMBLY,
    BINSIZE,
    N_DIAGONALS,
    NETWORK,
    TRACK_BINSIZE,
    TRACKS,
    add_track,
    draw_signal,
    write_checkpoint,
    write_store,
)

GRID = ASSEMBLY.bins(BINSIZE)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """A store and a checkpoint, made once; cell type B has no contacts."""
    folder = tmp_path_factory.mktemp("made")
    return write_store(folder / "atlas.zarr", with_contacts=("A",)), write_checkpoint(folder / "RUN")


@pytest.fixture
def store(made, tmp_path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "atlas.zarr"))


@pytest.fixture
def checkpoint(made) -> Path:
    return made[1]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(plan, "BLOCK_BINS", 2048)


def _contact(store: Path, run: str = "RUN", cell_type: str = "B") -> np.ndarray:
    return open_prediction(store, cell_type, run, BINSIZE)["contact"].values


def _by_tiles(checkpoint: Path, chrom: str, *tiling: int) -> np.ndarray:
    """Band of a chromosome of cell type B: each tile through the whole network, then pixel by pixel."""
    card = load_checkpoint(checkpoint)
    model = card.model()
    signal = draw_signal(1)
    lo, hi = ASSEMBLY.bins(TRACK_BINSIZE).chrom_extent(chrom)
    blacklisted = np.zeros(signal.shape[1], dtype=bool)
    blacklisted[31_000:31_050] = True
    tracks = np.stack(
        [card.track_transforms[n].apply(v, blacklisted)[lo:hi] for n, v in zip(TRACKS, signal, strict=True)]
    )
    first, last = GRID.chrom_extent(chrom)
    n = last - first
    starts, weights = tile_starts(n, *tiling), blend_weights(n, *tiling)
    stripes = np.zeros((n, N_DIAGONALS))
    for start, weight in zip(starts, weights, strict=True):
        begin = int(start) * NETWORK.stride - NETWORK.halo
        cut = cut_padded(tracks, 0, begin, begin + NETWORK.cut_length(len(weight)))
        with torch.no_grad():
            out = model(torch.from_numpy(network_input(cut, mask_channels=True))[None], len(weight))[0].double().numpy()
        stripes[start : start + len(weight)] += weight[:, None] * out
    band = np.full((n, N_DIAGONALS), np.nan)
    for i in range(n):
        for k in range(min(N_DIAGONALS, n - i)):
            band[i, k] = stripes[i + (k + 1) // 2, k]
    expected = np.array(card.target_transform.params["obs_over_exp"]["expected"])
    return np.where(expected > 0, np.expm1(band) * expected, np.nan)


@pytest.mark.parametrize("chrom", ASSEMBLY.chrom_names)
def test_predict__equals_the_network_on_whole_tiles(store, checkpoint, chrom):
    predict_contacts(store, checkpoint, cell_type="B")
    lo, hi = GRID.chrom_extent(chrom)
    np.testing.assert_allclose(_contact(store)[lo:hi], _by_tiles(checkpoint, chrom, 100, 37), rtol=1e-4, atol=1e-6)


def test_predict__reaches_the_chromosome_ends_and_not_beyond(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B")
    on_chromosome = np.arange(N_DIAGONALS) < GRID.n_valid_diagonals(np.arange(GRID.n_bins))[:, None]
    on_chromosome[:, 0] = False  # below the first diagonal that training saw there is no expected to multiply by
    np.testing.assert_array_equal(np.isfinite(_contact(store)), on_chromosome)


def test_predict__does_not_depend_on_the_blocks(store, checkpoint, monkeypatch):
    predict_contacts(store, checkpoint, cell_type="B", run="blocks-2048")
    monkeypatch.setattr(plan, "BLOCK_BINS", 1024)
    predict_contacts(store, checkpoint, cell_type="B", run="blocks-1024")
    np.testing.assert_allclose(_contact(store, "blocks-1024"), _contact(store, "blocks-2048"), rtol=1e-4, atol=1e-6)


def test_predict__scattered_regions_share_batches_within_the_memory_of_one_block(store, checkpoint, monkeypatch):
    predict_contacts(store, checkpoint, cell_type="B", run="whole")
    predict_tiles, read = blocks.predict_tiles, []

    def recorded(model, ranges, **settings):
        read.append([one.signal.shape[1] for one in ranges])
        return predict_tiles(model, ranges, **settings)

    monkeypatch.setattr(blocks, "predict_tiles", recorded)
    monkeypatch.setattr(plan, "BLOCK_BINS", 1024)
    regions = [f"chr1:{start}-{start + 20_000}" for start in range(0, 4_500_000, 60_000)]
    predict_contacts(store, checkpoint, cell_type="B", run="parts", regions=regions)
    most = NETWORK.cut_length(most_bins_read(NETWORK, block_bins=1024, tile_bins=100, overlap_bins=37))
    n_together = [len(track_bins) for track_bins in read]
    assert len(read) > 5  # a block is read in parts
    assert max(n_together) > 1
    assert all(sum(track_bins) <= most for track_bins in read)
    parts, whole = _contact(store, "parts"), _contact(store, "whole")
    predicted = np.isfinite(parts)
    assert predicted.any(axis=1).sum() > 100
    np.testing.assert_allclose(parts[predicted], whole[predicted], rtol=1e-4, atol=1e-6)


def test_predict__any_number_of_threads_gives_the_same_bytes(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B", run="one", n_threads=1)
    predict_contacts(store, checkpoint, cell_type="B", run="four", n_threads=4)
    np.testing.assert_array_equal(_contact(store, "one"), _contact(store, "four"))


def test_predict__several_cell_types_and_checkpoints_equal_single_calls(store, checkpoint, tmp_path):
    other = write_checkpoint(tmp_path / "LINEAR", transform="linear")
    groups = predict_contacts(store, [checkpoint, other], cell_type=["B", "A"], out=tmp_path / "many.zarr")
    assert groups == [f"{cell}/predictions/{run}/{BINSIZE}" for run in ("RUN", "LINEAR") for cell in ("B", "A")]
    for path in (checkpoint, other):
        for cell_type in ("A", "B"):
            predict_contacts(store, path, cell_type=cell_type, out=tmp_path / "single.zarr")
    assert tree_digest(tmp_path / "many.zarr") == tree_digest(tmp_path / "single.zarr")


def test_predict__a_run_is_complete_with_its_last_block(store, checkpoint, monkeypatch):
    predict_block = blocks.predict_block

    def failing(block, job):
        if job.group.startswith("B/"):
            raise OSError("disk full")
        predict_block(block, job)

    monkeypatch.setattr(run, "predict_block", failing)
    with pytest.raises(OSError, match="disk full"):
        predict_contacts(store, checkpoint, cell_type=["A", "B"], n_threads=1)
    assert group_attrs(store, f"A/predictions/RUN/{BINSIZE}")["state"] == "complete"
    assert group_attrs(store, f"B/predictions/RUN/{BINSIZE}")["state"] == "writing"


def test_predict__refuses_the_last_run_before_the_first_begins(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B", regions=["chr3"])
    before = tree_digest(store)
    with pytest.raises(StoreError, match=r"'B/predictions/RUN/.*another regions"):
        predict_contacts(store, checkpoint, cell_type=["A", "B"])
    assert tree_digest(store) == before


@pytest.mark.parametrize(
    ("cell_types", "runs", "says"),
    [
        (["B", "B"], None, "two cell types are called B"),
        (["B"], None, "two runs are called RUN"),
        (["B"], ["x"], "1 names of runs for 2 checkpoints"),
        ([], None, "0 cell types"),
    ],
)
def test_predict__refuses_two_runs_in_one_place(store, checkpoint, cell_types, runs, says):
    with pytest.raises(ConfigError, match=says):
        predict_contacts(store, [checkpoint, checkpoint], cell_type=cell_types, run=runs)


def test_predict__a_tasks_message_is_its_block_alone(store, checkpoint, monkeypatch):
    sent = []
    monkeypatch.setattr(run, "run_tasks", lambda function, tasks, *, shared, **_: sent.append((tasks, shared)))
    predict_contacts(store, checkpoint, cell_type=["A", "B"])
    (tasks, shared), n_blocks = sent[0], len(sent[0][0])
    assert max(len(pickle.dumps(task)) for task in tasks) < 500
    assert len({id(job) for job in shared}) == 2 < n_blocks


@pytest.mark.parametrize(("precision", "share"), [("bfloat16", 0.02), ("int8", 0.05)])
def test_predict__fewer_bits_are_near_and_recorded(store, checkpoint, precision, share):
    predict_contacts(store, checkpoint, cell_type="B")
    group = predict_contacts(store, checkpoint, cell_type="B", run="fewer", precision=precision)
    exact, fewer = _contact(store), _contact(store, "fewer")
    assert 0 < np.nanmedian(np.abs(fewer - exact)) < share * np.nanmedian(np.abs(exact))
    assert json.loads(group_attrs(store, group)["settings"])["precision"] == precision


def test_predict__refuses_a_gpu_that_is_not_there(store, checkpoint, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="this process has no usable CUDA device"):
        predict_contacts(store, checkpoint, cell_type="B", device="cuda")


def test_predict__moved_tiles_equal_the_network_on_them(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B", regions=["chr3"], tile_phase_bins=19)
    lo, hi = GRID.chrom_extent("chr3")
    np.testing.assert_allclose(_contact(store)[lo:hi], _by_tiles(checkpoint, "chr3", 50, 18, 19), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_predict__worker_processes_give_the_same_bytes(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B", run="here", n_threads=1)
    with open_client("local:1") as client:
        predict_contacts(store, checkpoint, cell_type="B", run="there", client=client)
    np.testing.assert_array_equal(_contact(store, "here"), _contact(store, "there"))


def test_predict__leaves_the_torch_threads_as_they_were(store, checkpoint):
    before = torch.get_num_threads()
    predict_contacts(store, checkpoint, cell_type="B", regions=["chr3"], torch_threads=2, n_threads=1)
    assert torch.get_num_threads() == before


def test_predict__region_has_the_values_of_the_whole(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B")
    predict_contacts(store, checkpoint, cell_type="B", run="part", regions=["chr1:2,000,000-2,200,000", "chr3"])
    part, whole = _contact(store, "part"), _contact(store)
    bins = np.arange(GRID.n_bins)[:, None]
    inside = [
        (bins >= lo) & (bins + np.arange(N_DIAGONALS) < hi) for lo, hi in ((2000, 2200), GRID.chrom_extent("chr3"))
    ]
    inside = np.logical_or(*inside)
    np.testing.assert_allclose(part[inside], whole[inside], rtol=1e-4, atol=1e-6)
    assert np.isnan(part[~inside]).all()


def test_predict__matches_tracks_by_name(made, tmp_path):
    swapped = write_store(tmp_path / "swapped.zarr", with_contacts=(), tracks=(TRACKS[1], "other", TRACKS[0]))
    predict_contacts(swapped, made[1], cell_type="B")
    straight = Path(shutil.copytree(made[0], tmp_path / "straight.zarr"))
    predict_contacts(straight, made[1], cell_type="B")
    np.testing.assert_array_equal(_contact(swapped), _contact(straight))


def test_predict__lists_missing_tracks(made, tmp_path):
    store = write_store(tmp_path / "s.zarr", with_contacts=(), tracks=("CTCF", "other"))
    with pytest.raises(CheckpointError, match=r"has \['CTCF', 'other'\] and lacks \['DNase'\]"):
        predict_contacts(store, made[1], cell_type="B")


def test_predict__takes_another_assembly_and_says_so(store, checkpoint, tmp_path, caplog):
    card = json.loads((checkpoint / "checkpoint.json").read_text())
    other = Path(shutil.copytree(checkpoint.resolve(), tmp_path / "OTHER" / "best"))
    (other / "checkpoint.json").write_text(json.dumps({**card, "assembly": "hg19", "chrom_lengths": {"chr1": 7}}))
    predict_contacts(store, other, cell_type="B", regions=["chr1:0-300,000"])
    assert "was trained on assembly 'hg19'" in caplog.text
    assert "overlaps" not in caplog.text  # hg19's chr1 is another one
    attrs = open_prediction(store, "B", "OTHER", BINSIZE).attrs
    assert "track_shift" not in attrs
    told = json.loads(attrs["trained_on"])
    assert (told["assembly"], list(told["splits"]), any(told["splits"].values())) == (
        "hg19",
        ["test", "train", "validation"],
        False,
    )
    caplog.clear()
    predict_contacts(store, checkpoint, cell_type="B", regions=["chr1:0-300,000"], run="same")
    assert "seen in training" in caplog.text
    same = open_prediction(store, "B", "same", BINSIZE).contact
    np.testing.assert_array_equal(open_prediction(store, "B", "OTHER", BINSIZE).contact, same)


@pytest.mark.parametrize("chrom_lengths", [{"chr1": 4_700_449}, {"chr1": 4_700_450, "chr3": 1}])
def test_predict__refuses_another_assembly_of_that_name(store, checkpoint, tmp_path, chrom_lengths):
    other = _with_chroms(checkpoint, tmp_path, chrom_lengths)
    with pytest.raises(CheckpointError, match=r"two assemblies under one name"):
        predict_contacts(store, other, cell_type="B")


def test_predict__chromosomes_that_only_one_side_has_are_no_matter(store, checkpoint, tmp_path):
    other = _with_chroms(checkpoint, tmp_path, {"chr1": 4_700_450, "chrX": 1})
    predict_contacts(store, other, cell_type="B", regions=["chr3"])
    assert np.isfinite(_contact(store, "OTHER")).any()


def _with_chroms(checkpoint: Path, folder: Path, chrom_lengths: dict[str, int]) -> Path:
    """Copy a checkpoint with other chromosomes on its card."""
    card = json.loads((checkpoint / "checkpoint.json").read_text())
    other = Path(shutil.copytree(checkpoint.resolve(), folder / "OTHER" / "best"))
    (other / "checkpoint.json").write_text(json.dumps({**card, "chrom_lengths": chrom_lengths}))
    return other


@pytest.mark.parametrize(
    "settings",
    [
        {"tile_bins": 0},
        {"overlap_bins": 51},
        {"tile_phase_bins": 63},
        {"batch_size": 0},
        {"torch_threads": 0},
        {"precision": "float16"},
        {"precision": "int8", "device": "cuda"},
        {"device": "gpu"},
    ],
)
def test_predict__refuses_impossible_settings(store, checkpoint, settings):
    with pytest.raises(ConfigError, match="prediction"):
        predict_contacts(store, checkpoint, cell_type="B", **settings)


def test_predict__refuses_work_that_does_not_fit_memory(store, checkpoint):
    with pytest.raises(MemoryBoundError, match="batch_size"):
        predict_contacts(store, checkpoint, cell_type="B", max_task_bytes=1 << 20)


def test_predict__refusals_write_nothing(store, checkpoint):
    before = tree_digest(store)
    with pytest.raises(RegionError):
        predict_contacts(store, checkpoint, cell_type="B", regions=["chr9"])
    assert tree_digest(store) == before


def test_predict__complete_run_is_left_alone(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B")
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    predict_contacts(store, checkpoint, cell_type="B")
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()} == before


def test_predict__refuses_another_run_of_that_name(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B")
    with pytest.raises(StoreError, match=r"another regions.*--overwrite"):
        predict_contacts(store, checkpoint, cell_type="B", regions=["chr3"])


def test_predict__overwrite_equals_a_fresh_run(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B", regions=["chr1"])
    predict_contacts(store, checkpoint, cell_type="B", regions=["chr3"], overwrite=True)
    replaced = tree_digest(store)
    remove_group(store, f"B/predictions/RUN/{BINSIZE}")
    predict_contacts(store, checkpoint, cell_type="B", regions=["chr3"])
    assert tree_digest(store) == replaced


def test_predict__resumes_where_it_was_stopped(store, checkpoint, monkeypatch):
    predict_contacts(store, checkpoint, cell_type="B", run="whole")
    written: list[int] = []

    def stopping(path, group, variable, region, values):
        if len(written) == 2:
            raise OSError("disk full")
        written.append(region["bin"].start)
        write_region(path, group, variable, region, values)

    with monkeypatch.context() as patch:
        patch.setattr(blocks, "write_region", stopping)
        with pytest.raises(OSError, match="disk full"):
            predict_contacts(store, checkpoint, cell_type="B", n_threads=1)
    again: list[int] = []
    monkeypatch.setattr(blocks, "write_region", lambda *a: (again.append(a[3]["bin"].start), write_region(*a))[1])
    predict_contacts(store, checkpoint, cell_type="B", n_threads=1)
    assert not set(written) & set(again)
    digests = [tree_digest(store / "B" / "predictions" / run) for run in ("RUN", "whole")]
    assert digests[0] == digests[1]
    assert not work_folder(store, "B").parent.exists()


def test_predict__group_removed_by_hand_is_predicted_again(store, checkpoint, monkeypatch):
    """The marks of a stopped run speak of chunks that are gone."""
    predict_contacts(store, checkpoint, cell_type="B", run="whole")
    with monkeypatch.context() as patch:
        patch.setattr(run, "finish_group", lambda *a: (_ for _ in ()).throw(OSError("stopped")))
        with pytest.raises(OSError, match="stopped"):
            predict_contacts(store, checkpoint, cell_type="B")
    shutil.rmtree(store / "B" / "predictions" / "RUN")
    predict_contacts(store, checkpoint, cell_type="B")
    np.testing.assert_array_equal(_contact(store), _contact(store, "whole"))


def test_predict__changed_settings_do_not_resume_a_stopped_run(store, checkpoint, monkeypatch):
    monkeypatch.setattr(run, "finish_group", lambda *a: (_ for _ in ()).throw(OSError("stopped")))
    with pytest.raises(OSError, match="stopped"):
        predict_contacts(store, checkpoint, cell_type="B")
    with pytest.raises(StoreError, match="another settings"):
        predict_contacts(store, checkpoint, cell_type="B", overlap_bins=10)


def test_predict__unused_tracks_do_not_change_the_run(store, checkpoint):
    predict_contacts(store, checkpoint, cell_type="B")
    before = group_attrs(store, f"B/predictions/RUN/{BINSIZE}")
    add_track(store, "other")
    predict_contacts(store, checkpoint, cell_type="B")
    assert group_attrs(store, f"B/predictions/RUN/{BINSIZE}") == before


def test_predict__second_writer_is_refused(store, checkpoint):
    with Lease.acquire(store, f"B/predictions/RUN/{BINSIZE}"), pytest.raises(LeaseError, match="is being written by"):
        predict_contacts(store, checkpoint, cell_type="B")


def test_predict__writes_to_another_store(store, checkpoint, tmp_path):
    before = tree_digest(store)
    predict_contacts(store, checkpoint, cell_type="B", out=tmp_path / "out.zarr")
    assert tree_digest(store) == before
    assert store_assembly(tmp_path / "out.zarr") == ASSEMBLY
    assert np.isfinite(_contact(tmp_path / "out.zarr")).any()


def test_predict__records_what_it_was_made_of(store, checkpoint):
    group = predict_contacts(store, checkpoint, cell_type="B")
    attrs = group_attrs(store, group)
    assert attrs["checkpoint_sha256"] == load_checkpoint(checkpoint).sha256
    assert json.loads(attrs["tracks"]) == list(TRACKS)
    assert json.loads(attrs["trained_on"])["cell_types"] == ["A"]


def test_predict__linear_target_needs_no_expected(store, tmp_path):
    predict_contacts(store, write_checkpoint(tmp_path / "LINEAR", transform="linear"), cell_type="B")
    assert np.isfinite(_contact(store, "LINEAR")[:, 0]).all()


def test_prediction_task_bytes__bounds_what_a_task_allocates(store, checkpoint, monkeypatch):
    """NumPy's share is traced; torch's own buffers are bounded in the tests of nn."""
    peaks: list[int] = []
    whole_task = blocks.predict_block

    def traced(block, job):
        tracemalloc.start()
        whole_task(block, job)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    monkeypatch.setattr(run, "predict_block", traced)
    predict_contacts(store, checkpoint, cell_type="B", n_threads=1)
    bound = prediction_task_bytes(
        NETWORK, tile_bins=100, overlap_bins=37, batch_size=NETWORK.core_shape.batch_bins // 100, block_bins=2048
    )
    assert len(peaks) == 4
    assert max(peaks) < bound


@pytest.mark.parametrize("head", get_args(Head))
@pytest.mark.parametrize("core", get_args(Core))
def test_prediction_task_bytes__published_sizes_fit_the_default(core, head):
    needed = []
    for published, window in ((NetworkConfig.published_10kb(), 200), (NetworkConfig.published_5kb(), 400)):
        network = replace(published, core=core, head=head)
        tile = window * network.core_shape.tile_windows
        settings = {
            "tile_bins": tile,
            "overlap_bins": 3 * tile // 8,
            "batch_size": network.core_shape.batch_bins // tile,
        }
        needed.append(prediction_task_bytes(network, block_bins=BLOCK_BINS, **settings))
        assert screen_task_bytes(network, widest_bins=1, **settings) < MAX_TASK_BYTES
    assert needed[0] < needed[1] < MAX_TASK_BYTES
