"""What a prediction owes to where its tiles lie: accuracy by place in the tile, and the seams that blending leaves.

The network of one variant and seed of simulated.py (demo.toml on a simulated genome) predicts a chromosome that training never
saw, by tiles of several lengths and overlaps; each prediction is made a second time with its tiles moved by half a tile. Two
neighbouring tiles differ most where a network remembers far, so an untrained network whose LSTMs forget slowly (forget bias
+1) is the hard case. Commands are printed before they run; a second run with the same folder goes on where the first was stopped.

``.venv/bin/python pipelines/seams.py --out simulated`` runs it.
"""

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure
from safetensors.torch import save_file

import epizarr as ez
from epizarr.cli import run_each

ROOT = Path(__file__).resolve().parents[1]
CELL_TYPE, BINSIZE = "SIM1", 10_000
#: A test chromosome of demo.toml.
CHROM = "sim6"
TRAINED, UNTRAINED = "trained", "untrained, forget bias +1"
#: Lengths of tiles over that of the training windows, and overlaps over the length of a tile.
LENGTHS, OVERLAPS = (1.0, 2.0), (0.0, 0.25, 0.375, 0.5)
#: What is wanted of |difference| / sd on every diagonal: median, 99.9th percentile.
WANTED_MEDIAN, WANTED_TAIL = 0.01, 0.10


@dataclass(frozen=True)
class Tiling:
    """Length and overlap of tiles, in bins."""

    tile_bins: int
    overlap_bins: int

    @property
    def cost(self) -> float:
        """Work of the core over that without overlap."""
        return self.tile_bins / (self.tile_bins - self.overlap_bins)

    @property
    def phase_bins(self) -> int:
        """Half a tile; half the way to the next tile where that is half a tile and the tiling would repeat."""
        step = self.tile_bins - self.overlap_bins
        return self.tile_bins // 2 if self.tile_bins // 2 < step else step // 2


def tilings(n_bins: int) -> list[Tiling]:
    """Tilings of a network that was trained on windows of ``n_bins``."""
    lengths = [round(n_bins * length) for length in LENGTHS]
    return [Tiling(tile, round(tile * overlap)) for tile in lengths for overlap in OVERLAPS]


def forgetful(checkpoint: Path, folder: Path) -> Path:
    """Write a checkpoint of the same network untrained, with forget bias +1; returns its folder."""
    made = folder / "forgetful" / "checkpoint"
    shutil.copytree(checkpoint.resolve(), made, dirs_exist_ok=True)
    trained = ez.load_checkpoint(checkpoint)
    torch.manual_seed(0)
    network = type(trained.model())(trained.network)
    with torch.no_grad():
        for name, bias in network.named_parameters():
            if "bias_ih" in name:  # gates in torch's order: input, forget, cell, output
                bias[len(bias) // 4 : len(bias) // 2] += 1.0
    save_file(network.state_dict(), made / "model.safetensors")
    card = json.loads((made / "checkpoint.json").read_text())
    card["model_sha256"] = hashlib.sha256((made / "model.safetensors").read_bytes()).hexdigest()
    (made / "checkpoint.json").write_text(json.dumps(card))
    return made


def predict(store: Path, checkpoint: Path, out: Path, tiling: Tiling, phase_bins: int, chrom: str) -> np.ndarray:
    """Band of one chromosome by these tiles, (bin, diagonal)."""
    name = f"{checkpoint.parent.name}-{tiling.tile_bins}-{tiling.overlap_bins}-{phase_bins}"
    ez.predict_contacts(
        store,
        checkpoint,
        cell_type=CELL_TYPE,
        run=name,
        regions=[chrom],
        out=out,
        tile_bins=tiling.tile_bins,
        overlap_bins=tiling.overlap_bins,
        tile_phase_bins=phase_bins,
    )
    found = ez.open_prediction(out, CELL_TYPE, name, BINSIZE)
    return found["contact"][slice(*ez.grid_of(found).chrom_extent(chrom))].values


def seams(band: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Median and 99.9th percentile of |difference| / sd, (2, diagonal); NaN where the target has no inverse."""
    known = ~np.isnan(band).all(axis=0)
    out = np.full((2, band.shape[1]), np.nan)
    difference = np.abs(moved - band)[:, known]
    out[:, known] = np.nanpercentile(difference, [50, 99.9], axis=0) / np.nanstd(band[:, known], axis=0)
    return out


def log_obs_over_exp(band: np.ndarray) -> np.ndarray:
    """Return log(1 + contacts over their mean on the diagonal), which is what the network is trained on."""
    known = ~np.isnan(band).all(axis=0)
    out = np.full(band.shape, np.nan)
    out[:, known] = np.log1p(np.maximum(band[:, known] / np.nanmean(band[:, known], axis=0), 0))
    return out


def mean_pearson(band: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the diagonals of the correlation with the truth, both as log(1 + observed / expected)."""
    return ez.score_by_distance(log_obs_over_exp(band), log_obs_over_exp(truth)).mean_pearson


def error_by_place(band: np.ndarray, truth: np.ndarray, tile_bins: int, n_places: int) -> np.ndarray:
    """Mean squared error of log(1 + observed / expected) by where in its tile, without overlap, a pixel's stripe lies."""
    squared = (log_obs_over_exp(band) - log_obs_over_exp(truth)) ** 2
    stripe = np.arange(len(band))[:, None] + (np.arange(band.shape[1]) + 1) // 2
    place = (stripe % tile_bins) * n_places // tile_bins
    whole = stripe < len(band) // tile_bins * tile_bins  # the last tile lies elsewhere
    kept = np.isfinite(squared) & whole
    sums = np.bincount(place[kept], squared[kept], minlength=n_places)
    return sums / np.bincount(place[kept], minlength=n_places)


def compute(
    store: Path, checkpoint: Path, truth: Path, out: Path, chrom: str = CHROM, n_places: int = 20
) -> xr.Dataset:
    """Scores and seams of each tiling.

    Variables: ``pearson`` (tiling) of the trained network against the noise-free truth; ``seam`` (network, tiling, statistic,
    diagonal), the statistics being the median and the 99.9th percentile; ``error`` (length, place), the squared error by place
    in a tile without overlap; coordinates ``tile_bins``, ``overlap_bins`` and ``cost`` (tiling).
    """
    real = ez.open_truth(truth)["contact"]
    extent = slice(*ez.grid_of(ez.open_contacts(store, CELL_TYPE, BINSIZE)).chrom_extent(chrom))
    trained = ez.load_checkpoint(checkpoint)
    wanted, n_diagonals = tilings(trained.n_bins), trained.network.n_offsets
    noise_free = real[extent, :n_diagonals].values
    seam = np.full((2, len(wanted), 2, n_diagonals), np.nan)
    pearson, error = [], []
    for network, path in enumerate((checkpoint, forgetful(checkpoint, out.parent))):
        for index, tiling in enumerate(wanted):
            band, moved = (predict(store, path, out, tiling, phase, chrom) for phase in (0, tiling.phase_bins))
            seam[network, index] = seams(band, moved)
            if path is checkpoint:
                pearson.append(mean_pearson(band, noise_free))
                if not tiling.overlap_bins:
                    error.append(error_by_place(band, noise_free, tiling.tile_bins, n_places))
    return xr.Dataset(
        {
            "pearson": ("tiling", pearson),
            "error": (("length", "place"), error),
            "seam": (("network", "tiling", "statistic", "diagonal"), seam),
        },
        coords={
            "tile_bins": ("tiling", [tiling.tile_bins for tiling in wanted]),
            "overlap_bins": ("tiling", [tiling.overlap_bins for tiling in wanted]),
            "cost": ("tiling", [tiling.cost for tiling in wanted]),
            "length": [tiling.tile_bins for tiling in wanted if not tiling.overlap_bins],
            "place": (np.arange(n_places) + 0.5) / n_places,
            "network": [TRAINED, UNTRAINED],
            "statistic": ["median", "99.9 %"],
        },
    )


def summary(results: xr.Dataset) -> pd.DataFrame:
    """A line a tiling: accuracy, cost, and the seams of the worst diagonal, as shares of the sd."""
    table = results[["pearson"]].to_dataframe()[["tile_bins", "overlap_bins", "cost", "pearson"]]
    worst = results["seam"].max("diagonal")
    for network in results["network"].values:
        for statistic in results["statistic"].values:
            table[f"{str(network).split(',')[0]}, {statistic}"] = worst.sel(network=network, statistic=statistic).values
    return table


def plot(results: xr.Dataset) -> Figure:
    """Error by place in the tile, and the seams along the diagonals for tiles of the default length."""
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    places, *panels = figure.subplots(1, 3)
    for length, color in zip(results["length"].values, ("C0", "C1"), strict=True):
        places.plot(results["place"], results["error"].sel(length=length), color=color, label=f"{length} bins")
    places.set(xlabel="place in the tile", ylabel="squared error of log(1 + obs / exp)", title="SIMULATED, no overlap")
    places.legend(title="tile")
    shown_length = results["length"].values[LENGTHS.index(2.0)]
    chosen = results.isel(tiling=results["tile_bins"].values == shown_length)
    for axes, network in zip(panels, results["network"].values, strict=True):
        for index, overlap in enumerate(chosen["overlap_bins"].values):
            for statistic, style in zip(results["statistic"].values, ("-", ":"), strict=True):
                shown = chosen["seam"].sel(network=network, statistic=statistic).isel(tiling=index)
                label = f"{overlap} bins" if style == "-" else None
                axes.plot(chosen["diagonal"], 100 * shown, style, color=f"C{index}", label=label)
        for level, style in ((WANTED_MEDIAN, "-"), (WANTED_TAIL, ":")):
            axes.axhline(100 * level, color="grey", linestyle=style, linewidth=0.8)
        axes.set_yscale("log")
        axes.set(xlabel="diagonal", ylabel="|difference| / sd, %", title=str(network))
    panels[0].legend(title=f"overlap of {shown_length}", fontsize="small")
    return figure


def steps(out: Path, seed: int) -> list[list[str]]:
    """Build the commands that make the genome, its store and the trained network: the first of simulated.py's, in its folder."""
    genome, store = out / f"genome-default-{seed}", str(out / f"store-default-{seed}.zarr")
    config = os.path.relpath(ROOT / "pipelines" / "demo.toml")
    simulate = ["simulate", str(genome), "--size", "small", "--seed", str(seed), "--rules", "default"]
    simulate += ["--redraws", "32"]
    train = ["train", store, "--config", config, "-o", str(out / f"mse-{seed}"), "--set", f"training.seed={seed}"]
    commands = [simulate, ["ingest", str(genome / "manifest.toml"), "-o", store], train]
    return commands[1:] if (genome / "manifest.toml").exists() else commands


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("simulated"), help="folder for everything, as of simulated.py")
    parser.add_argument("--seed", type=int, default=1, help="seed of genome and training")
    options = parser.parse_args(arguments)
    out, seed = options.out, options.seed
    out.mkdir(parents=True, exist_ok=True)
    run_each(steps(out, seed))
    results = compute(
        out / f"store-default-{seed}.zarr",
        out / f"mse-{seed}" / "best",
        out / f"genome-default-{seed}" / CELL_TYPE,
        out / f"seams-{seed}.zarr",
    )
    print(f"SIMULATED, {CHROM}; seams of the worst diagonal, |difference| / sd")
    print(summary(results).round(4).to_string(index=False))
    plot(results).savefig(out / "seams.png", dpi=150)
    print(f"Figure: {out / 'seams.png'}")


if __name__ == "__main__":
    main()
