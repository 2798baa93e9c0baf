"""What the benchmarks of prediction share: a store of random tracks, a network with random weights, a process of one's own."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

BINSIZE, TRACK_BINSIZE, N_TRACKS = 10_000, 100, 5
#: Mb of the size ``small``: four blocks.
SMALL_MB = 160
SHARD_BINS = 1 << 20


def make_inputs(
    folder: Path, size: str, *, n_cell_types: int = 1, is_full_size: bool = True, has_values: bool = True
) -> tuple[Path, Path]:
    """Write a store of random tracks and the checkpoint ``random`` of a network with random weights; returns their paths.

    ``size``: small, human, or a number of Mb. Cell types are T1, T2, …. Without values no track is measured anywhere, and
    the store is made in seconds.
    """
    import torch

    from epizarr import __version__
    from epizarr.genome import Assembly
    from epizarr.io.chromsizes import open_assembly
    from epizarr.io.store import (
        ArraySpec,
        create_group,
        create_store,
        finish_group,
        grid_coords,
        group_path,
        write_region,
    )
    from epizarr.nn import Epiphany, NetworkConfig
    from epizarr.train.card import ModelCard
    from epizarr.train.checkpoint import Position, save_checkpoint
    from epizarr.train.config_text import load_config
    from epizarr.transforms import fit_target_transform, fit_track_transform

    if size == "human":
        hg38 = open_assembly("hg38")
        assembly = Assembly.from_table("random", [(c, n) for c, n in hg38 if c != "chrM"])
    else:
        megabases = SMALL_MB if size == "small" else int(size)
        assembly = Assembly.from_table("random", [("chr1", megabases * 1_000_000)])
    store, fine = folder / "store.zarr", assembly.bins(TRACK_BINSIZE)
    tracks = tuple(f"track{i}" for i in range(N_TRACKS))
    create_store(store, assembly)
    names = {name: np.array([""] * len(tracks), dtype=object) for name in ("accession", "strand")}
    layout = {
        "signal": ArraySpec(("track", "bin"), (len(tracks), fine.n_bins), "f4", (1, 1 << 14), (1, SHARD_BINS)),
        "blacklisted": ArraySpec(("bin",), (fine.n_bins,), "b1"),
    }
    coords = {**grid_coords(fine, bin_table=False), "track": np.array(tracks, dtype=object), **names}
    attrs = {"epizarr_version": __version__, "manifest": "schema = 1", "inputs": "[]", "binsize": TRACK_BINSIZE}
    rng = np.random.default_rng(0)
    for cell_type in (f"T{i + 1}" for i in range(n_cell_types)):
        group = group_path("tracks", cell_type, TRACK_BINSIZE)
        create_group(store, group, "tracks", coords=coords, arrays=layout, attrs=attrs)
        for row in range(len(tracks) if has_values else 0):
            for lo in range(0, fine.n_bins, SHARD_BINS):
                hi = min(lo + SHARD_BINS, fine.n_bins)
                values = rng.standard_gamma(0.5, hi - lo).astype(np.float32).round(2)
                write_region(store, group, "signal", {"track": slice(row, row + 1), "bin": slice(lo, hi)}, values[None])
        write_region(store, group, "blacklisted", {}, np.zeros(fine.n_bins, dtype=bool))
        finish_group(store, group)

    network = NetworkConfig() if is_full_size else NetworkConfig(conv_channels=(4, 4, 4, 4), hidden=8, head_hidden=8)
    torch.manual_seed(0)
    transform = fit_track_transform("blacklist_clip_log1p", [rng.standard_gamma(0.5, 10_000)])
    card = ModelCard(
        network=network,
        tracks=tracks,
        track_binsize=TRACK_BINSIZE,
        binsize=BINSIZE,
        n_bins=200,
        target_variable="ice",
        target_transform=fit_target_transform("linear", np.ones(network.n_offsets)),
        track_transforms=dict.fromkeys(tracks, transform),
        min_diagonal=1,
        assembly=assembly.name,
        chrom_lengths=dict(assembly),
        trained_on={"cell_types": ["elsewhere"], "splits": {"train": [], "validation": [], "test": []}},
        inputs={},
        config=load_config("epiphany-10kb"),
    )
    save_checkpoint(folder / "random", card, (Epiphany(network), None), Position(best_value=1.0, best_step=0))
    return store, folder / "random" / "best"


def in_a_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a fresh process, so that its imports and its memory are its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()
