"""A small store and a small checkpoint, made without ingest and without training, for tests of what comes behind them.

The genome has three chromosomes of 1-kb bins: one longer than a task's block, one shorter, and one shorter than a tile. Contacts
follow a rule that the tracks show, so that baselines and networks have something to find.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from epizarr import __version__
from epizarr.bands import band_on_chromosome, mask_band
from epizarr.genome import Assembly, BinGrid
from epizarr.io.places import place_of
from epizarr.io.store import (
    BAND_ROWS,
    TRACK_CHUNK,
    TRACK_SHARD,
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    group_path,
    write_region,
)
from epizarr.nn import Epiphany, NetworkConfig
from epizarr.perturbed.locus import Locus, open_locus, plan_effects
from epizarr.quantiles import fit_quantiles
from epizarr.train.card import ModelCard
from epizarr.train.checkpoint import Position, load_checkpoint, save_checkpoint
from epizarr.train.config_text import load_config
from epizarr.transforms import diagonal_sums, fit_target_transform, fit_track_transform, mean_of_sums

ASSEMBLY = Assembly.from_table("test", [("chr1", 4_700_450), ("chr2", 1_500_000), ("chr3", 30_020)])
BINSIZE, TRACK_BINSIZE = 1_000, 100
N_DIAGONALS, MIN_DIAGONAL = 12, 1
TRACKS = ("CTCF", "DNase")
SPLITS = {
    "train": ["chr1:0-3,000,000"],
    "validation": ["chr1:3,200,000-4,700,450"],
    "test": ["chr2"],
}
NETWORK = NetworkConfig(
    n_tracks=2,
    mask_channels=True,
    n_offsets=N_DIAGONALS,
    stride=BINSIZE // TRACK_BINSIZE,
    window=400,
    conv_channels=(6, 6, 6, 4),
    conv_kernels=(5, 3, 3, 3),
    pool=2,
    adaptive_pool=5,
    hidden=8,
    n_layers=2,
    head_hidden=10,
)


def draw_signal(seed: int) -> np.ndarray:
    """Tracks (track, bin): sparse peaks over a low background, a hole that was not measured."""
    rng = np.random.default_rng(seed)
    n = ASSEMBLY.bins(TRACK_BINSIZE).n_bins
    signal = rng.gamma(2.0, 0.2, (len(TRACKS), n)).astype(np.float32)
    signal += rng.gamma(2.0, 10.0, signal.shape) * (rng.random(signal.shape) < 0.004)
    signal[:, 20_000:20_300] = np.nan
    return signal.astype(np.float32)


def draw_contacts(signal: np.ndarray, seed: int, noise: float = 0.15) -> np.ndarray:
    """Band (bin, diagonal) that falls with the distance and with CTCF between the bins, and rises with DNase at them."""
    grid = ASSEMBLY.bins(BINSIZE)
    per_bin = bin_means(signal, grid)
    padded = np.pad(np.nan_to_num(per_bin), ((0, 0), (0, N_DIAGONALS)))
    to_bin = np.cumsum(padded, axis=1)
    k = np.arange(N_DIAGONALS)
    rows = np.arange(grid.n_bins)[:, None]
    between = (to_bin[0][rows + k] - to_bin[0][rows]) / np.maximum(k, 1)
    log_oe = 0.4 * (padded[1][rows] + padded[1][rows + k]) - 0.8 * between
    log_oe += np.random.default_rng([seed, 1]).normal(0, noise, log_oe.shape)
    band = 5.0 / (1.0 + k) * np.exp(np.clip(log_oe, -2, 2))
    return np.where(band_on_chromosome(grid, 0, grid.n_bins, N_DIAGONALS), band, np.nan).astype(np.float32)


def bin_means(signal: np.ndarray, grid: BinGrid) -> np.ndarray:
    """Mean of the measured track bins of each contact bin, (track, bin), chromosome by chromosome."""
    parts = []
    fine = ASSEMBLY.bins(TRACK_BINSIZE)
    for chrom in ASSEMBLY.chrom_names:
        lo, hi = fine.chrom_extent(chrom)
        edges = np.arange(0, hi - lo, grid.binsize // TRACK_BINSIZE)
        values = signal[:, lo:hi]
        total = np.add.reduceat(np.nan_to_num(values), edges, axis=1)
        number = np.add.reduceat(~np.isnan(values), edges, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(total / number)
    return np.concatenate(parts, axis=1)


def bad_bins() -> np.ndarray:
    """A few bins of each chromosome are bad."""
    bad = np.zeros(ASSEMBLY.bins(BINSIZE).n_bins, dtype=bool)
    bad[[5, 700, 701, 702, 4_750, 5_000, 6_200]] = True
    return bad


def write_store(
    path: Path,
    *,
    cell_types: tuple[str, ...] = ("A", "B"),
    with_contacts: tuple[str, ...] = ("A", "B"),
    tracks: tuple[str, ...] = TRACKS,
    origin: str = "test",
    strands: Mapping[str, str] | None = None,
) -> Path:
    """Write a store whose cell types have the named tracks, stored in the order given; ``strands`` has a letter a track."""
    create_store(path, ASSEMBLY)
    fine = ASSEMBLY.bins(TRACK_BINSIZE)
    for seed, cell_type in enumerate(cell_types):
        signal = draw_signal(seed)
        inputs = [
            {"name": t, "kind": "track", "uri": f"{t}.bw", "sha256": f"{seed}{t}", "size": 1, "origin": origin}
            for t in tracks
        ]
        attrs = {"epizarr_version": __version__, "manifest": "schema = 1", "inputs": json.dumps(inputs)}
        group = group_path("tracks", cell_type, TRACK_BINSIZE)
        names = {
            "track": np.array(tracks, dtype=object),
            "accession": np.array(["" for _ in tracks], dtype=object),
            "strand": np.array(list((strands or {}).get(cell_type, "." * len(tracks))), dtype=object),
        }
        create_group(
            path,
            group,
            "tracks",
            coords={**grid_coords(fine, bin_table=False), **names},
            arrays={
                "signal": ArraySpec(
                    ("track", "bin"), (len(tracks), fine.n_bins), "f4", (1, TRACK_CHUNK), (1, TRACK_SHARD)
                ),
                "blacklisted": ArraySpec(("bin",), (fine.n_bins,), "b1"),
            },
            attrs={**attrs, "binsize": TRACK_BINSIZE},
        )
        for row, name in enumerate(tracks):
            values = signal[TRACKS.index(name)] if name in TRACKS else np.zeros(fine.n_bins, np.float32)
            write_region(path, group, "signal", {"track": slice(row, row + 1)}, values[None])
        write_region(path, group, "blacklisted", {}, blacklist())
        finish_group(path, group)
        if cell_type in with_contacts:
            band = draw_contacts(signal, seed)
            write_contacts(path, cell_type, {"count": np.round(band), "ice": band}, attrs)
    return path


def write_contacts(
    path: Path,
    cell_type: str,
    bands: Mapping[str, np.ndarray],
    attrs: Mapping[str, str],
    replicates: tuple[str, ...] = (),
) -> None:
    """Write a group of contacts with these variables; ``bands`` has a ``count_replicate`` where there are replicates."""
    group, grid = group_path("contacts", cell_type, BINSIZE), ASSEMBLY.bins(BINSIZE)
    names = {"replicate": np.array(replicates, dtype=object)} if replicates else {}
    inputs = [{"name": "ice", "kind": "contacts", "uri": "c.cool", "sha256": cell_type, "size": 1, "origin": "test"}]
    create_group(
        path,
        group,
        "contacts",
        coords=grid_coords(grid, N_DIAGONALS) | names,
        arrays={
            name: ArraySpec(
                ("replicate", "bin", "diagonal")[3 - band.ndim :],
                band.shape,
                "f4",
                (1, BAND_ROWS, N_DIAGONALS)[3 - band.ndim :],
            )
            for name, band in bands.items()
        }
        | {"bad_bin": ArraySpec(("bin",), (grid.n_bins,), "b1")},
        attrs={
            **attrs,
            "inputs": json.dumps(inputs),
            "binsize": BINSIZE,
            "span_bp": BINSIZE * N_DIAGONALS,
            "ignore_diags": json.dumps({"ice": 1}),
            "min_diagonal": MIN_DIAGONAL,
            "bad_bin_rule": "test",
        },
    )
    for name, band in bands.items():
        write_region(path, group, name, {}, band.astype(np.float32))
    write_region(path, group, "bad_bin", {}, bad_bins())
    finish_group(path, group)


def write_prediction(
    path: Path,
    cell_type: str,
    run: str,
    band: np.ndarray,
    *,
    grid: BinGrid | None = None,
    target: str = "ice",
    transform: str = "{}",
    trained: tuple[str, ...] = ("A",),
) -> Path:
    """Write a prediction's group as if a model trained on some cell types had made it; ``transform`` is JSON."""
    grid = grid or ASSEMBLY.bins(BINSIZE)
    group = group_path("predictions", cell_type, grid.binsize, run)
    said = {
        "transform": transform,
        "checkpoint_sha256": "0",
        "input_id": "0",
        "tracks": "[]",
        "track_binsize": TRACK_BINSIZE,
        "track_transforms": "[]",
        "min_diagonal": MIN_DIAGONAL,
        "trained_on": json.dumps({"cell_types": list(trained), "splits": SPLITS}),
        "regions": "[]",
        "settings": "{}",
        "epizarr_version": __version__,
    }
    create_group(
        path,
        group,
        "predictions",
        coords=grid_coords(grid, band.shape[1]),
        arrays={"contact": ArraySpec(("bin", "diagonal"), band.shape, "f4", (BAND_ROWS, band.shape[1]))},
        attrs={**said, "binsize": grid.binsize, "span_bp": grid.binsize * band.shape[1], "target": target},
    )
    write_region(path, group, "contact", {}, band.astype(np.float32))
    finish_group(path, group)
    return path


def add_track(store: Path, name: str) -> None:
    """Give cell types A and B of a store from :func:`write_store` one more track; the others stay byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        grown = write_store(Path(folder) / "grown.zarr", with_contacts=(), tracks=(*TRACKS, name))
        for cell_type in ("A", "B"):
            group = group_path("tracks", cell_type, TRACK_BINSIZE)
            shutil.rmtree(store / group)
            shutil.copytree(grown / group, store / group)


def blacklist() -> np.ndarray:
    """Track bins that are blacklisted."""
    blacklisted = np.zeros(ASSEMBLY.bins(TRACK_BINSIZE).n_bins, dtype=bool)
    blacklisted[31_000:31_050] = True
    return blacklisted


def write_checkpoint(
    run_dir: Path,
    *,
    transform: str = "obs_over_exp_log1p",
    seed: int = 0,
    match: str = "none",
    network: NetworkConfig = NETWORK,
) -> Path:
    """Write a checkpoint of an untrained network, with transforms fitted on cell type A; returns ``RUNDIR/best``."""
    signal = draw_signal(0)
    grid = ASSEMBLY.bins(BINSIZE)
    band = draw_contacts(signal, 0)
    good = np.append(~bad_bins(), np.zeros(N_DIAGONALS - 1, dtype=bool))
    lo, hi = grid.region_extent(ASSEMBLY.region(SPLITS["train"][0]))
    expected = mean_of_sums(*diagonal_sums(mask_band(band, good, MIN_DIAGONAL)[lo:hi]))
    torch.manual_seed(seed)
    model = Epiphany(network)
    card = ModelCard(
        network=network,
        tracks=TRACKS,
        track_binsize=TRACK_BINSIZE,
        binsize=BINSIZE,
        n_bins=50,
        target_variable="ice",
        target_transform=fit_target_transform(transform, expected),
        track_transforms={
            name: fit_track_transform(
                "blacklist_clip_log1p", [values[:30_000]], match=match, own=[fit_quantiles(values[~blacklist()])]
            )
            for name, values in zip(TRACKS, signal, strict=True)
        },
        min_diagonal=MIN_DIAGONAL,
        assembly=ASSEMBLY.name,
        chrom_lengths=dict(ASSEMBLY),
        trained_on={"cell_types": ["A"], "splits": SPLITS},
        inputs={},
        config=load_config("small"),
    )
    optimizer = torch.optim.Adam(model.parameters())
    save_checkpoint(run_dir, card, (model, optimizer), Position(epoch=1, step=10, best_value=1.0, best_step=10))
    return run_dir / "best"


def locus_of(store: Path, checkpoint: Path, chrom: str) -> Locus:
    """A chromosome of cell type B, to be predicted in tiles of 60 bins."""
    card = load_checkpoint(checkpoint)
    place = place_of(store)
    plan = plan_effects(
        place,
        card,
        cell_type="B",
        run="x",
        regions=None,
        use={},
        without=[],
        out=place,
        tile_bins=60,
        overlap_bins=15,
        batch_size=8,
        torch_threads=1,
    )
    return open_locus(plan.job, chrom, card.tracks)


def predict_in_small_blocks(store: str, checkpoint: str, out: str) -> None:
    """Predict cell type B in seven blocks, one after the other: what the fault tests kill.

    It lies here and not in the test's module because each killed child imports the module it comes from.
    """
    from epizarr.predict import plan, predict_contacts

    plan.BLOCK_BINS = BAND_ROWS
    predict_contacts(store, checkpoint, cell_type="B", out=out, n_threads=1)


def screen_in_small_blocks(store: str, checkpoint: str, out: str) -> None:
    """Screen tiles of cell type B in several tasks, one after the other: what the fault tests kill."""
    from epizarr.screen import block, screen_contacts

    block.MOST_SITES = 4
    screen_contacts(
        store,
        checkpoint,
        cell_type="B",
        edit="mask",
        tile_bp=5_000,
        regions=["chr1:4,660,000-4,700,450", "chr3"],
        bands=True,
        tile_bins=40,
        overlap_bins=10,
        run="x",
        out=out,
        n_threads=1,
    )
