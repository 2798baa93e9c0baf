"""What a predicted band loses at its far edge, and what cures it: a wider window, and a wider band that is cut afterwards.

A contact near the band's edge has its causes near, and beyond, the end of the tracks that its stripe sees, and the pixels that
would continue it are not predicted. On the genome of one seed of simulated.py, networks are trained whose bands are 0.6 and 1 Mb
wide, with windows of several widths; demo.toml's own is one of them. Each predicts the chromosomes that training never saw, and
is compared diagonal by diagonal with the noise-free contacts, up to 0.6 Mb, or further where its band reaches (``--diagonals``).

``.venv/bin/python pipelines/edge.py --out simulated`` runs it; ``--also NAME=CHECKPOINT`` adds a network of the same genome.
Commands are printed before they run; a second run with the same folder goes on where the first was stopped.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run_each

ROOT = Path(__file__).resolve().parents[1]
CELL_TYPE, BINSIZE = "SIM1", 10_000
#: Chromosomes that demo.toml keeps for the test.
TEST_CHROMS = ("sim3", "sim6")
#: Diagonals that are compared, unless told.
N_DIAGONALS = 60
#: What differs from demo.toml; one segment of the adaptive pooling for each 10 kb, as there.
VARIANTS = {
    "band 1 Mb, window 1.4 Mb": (),
    "band 0.6 Mb, window 0.84 Mb": ("network.n_offsets=60", "network.window_bp=840000", "network.adaptive_pool=84"),
    "band 0.6 Mb, window 1.4 Mb": ("network.n_offsets=60",),
    "band 1 Mb, window 1.8 Mb": ("network.window_bp=1800000", "network.adaptive_pool=180"),
}
#: Runs of diagonals that the table compares, as shares of the band: its last thirtieth is the edge.
STRETCHES = {"middle": (0.5, 0.8), "before the edge": (0.85, 0.95), "edge": (0.97, 1.0)}


def compute(
    store: Path,
    checkpoints: Mapping[str, Path],
    truth: Path,
    out: Path,
    chroms: Sequence[str] = TEST_CHROMS,
    n_diagonals: int = N_DIAGONALS,
) -> xr.Dataset:
    """``pearson``, ``error`` (squared) and ``spread`` (sd over that of the truth), each (network, diagonal).

    Networks whose band is narrower than ``n_diagonals`` are left out.

    All are of log(1 + observed / expected) against the noise-free truth, expected of each chromosome, pooled over ``chroms``;
    NaN on diagonals that the network does not predict.
    """
    real = ez.open_truth(truth)["contact"]
    reaches = {name: ez.load_checkpoint(path).network.n_offsets for name, path in checkpoints.items()}
    names = [name for name, reach in reaches.items() if reach >= n_diagonals]
    found = {score: np.full((len(names), n_diagonals), np.nan) for score in ("pearson", "error", "spread")}
    for row, name in enumerate(names):
        run = run_of(name)
        ez.predict_contacts(store, checkpoints[name], cell_type=CELL_TYPE, run=run, regions=list(chroms), out=out)
        predicted = ez.open_prediction(out, CELL_TYPE, run, BINSIZE)
        extents = [slice(*ez.grid_of(predicted).chrom_extent(chrom)) for chrom in chroms]
        first = int(predicted.attrs["min_diagonal"])
        bands = []
        for contact in (predicted["contact"], real):
            rows = [contact[extent, first:n_diagonals].values for extent in extents]
            bands.append(np.concatenate([np.log1p(np.maximum(band / np.nanmean(band, axis=0), 0)) for band in rows]))
        found["pearson"][row, first:] = ez.score_by_distance(*bands).pearson
        found["error"][row, first:] = np.nanmean((bands[0] - bands[1]) ** 2, axis=0)
        known = np.isfinite(bands[0]) & np.isfinite(bands[1])
        spreads = [np.nanstd(np.where(known, band, np.nan), axis=0) for band in bands]
        found["spread"][row, first:] = spreads[0] / spreads[1]
    return xr.Dataset(
        {score: (("network", "diagonal"), values) for score, values in found.items()},
        coords={"network": names, "distance": ("diagonal", np.arange(n_diagonals) * BINSIZE)},
    )


def run_of(name: str) -> str:
    """Name of a network as that of a prediction and of a folder."""
    return name.replace(", ", "-").replace(" ", "-")


def summary(results: xr.Dataset) -> pd.DataFrame:
    """A line a network: Pearson and squared error in each stretch of diagonals."""
    n = results.sizes["diagonal"]
    table = pd.DataFrame(index=pd.Index(results["network"].values, name="network"))
    for name, (low, high) in STRETCHES.items():
        found = results.isel(diagonal=slice(round(low * n), round(high * n))).mean("diagonal")
        table[f"{name}, Pearson"], table[f"{name}, error"] = found["pearson"].values, found["error"].values
    return table.reset_index()


def plot(results: xr.Dataset) -> Figure:
    """Pearson, squared error and spread along the farther half of the band."""
    far = results.isel(diagonal=slice(results.sizes["diagonal"] // 2, None))
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    labels = {"pearson": "Pearson", "error": "squared error", "spread": "sd / sd of the truth"}
    for axes, (score, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
        for network in far["network"].values:
            axes.plot(far["distance"] / 1e6, far[score].sel(network=network), label=str(network))
        axes.set(xlabel="distance, Mb", ylabel=label)
    figure.axes[0].legend(fontsize="small")
    figure.suptitle("SIMULATED: log(1 + observed / expected) against the noise-free truth", fontsize=9)
    return figure


def steps(out: Path, seed: int) -> list[list[str]]:
    """Build the commands that make the genome, its store and the networks; all but the wider networks are simulated.py's."""
    genome, store = out / f"genome-default-{seed}", str(out / f"store-default-{seed}.zarr")
    simulate = ["simulate", str(genome), "--size", "small", "--seed", str(seed), "--rules", "default"]
    simulate += ["--redraws", "32"]
    config = os.path.relpath(ROOT / "pipelines" / "demo.toml")
    commands = [simulate, ["ingest", str(genome / "manifest.toml"), "-o", store]]
    for name, folder in folders(out, seed).items():
        settings = (f"training.seed={seed}", *VARIANTS[name])
        overrides = [word for setting in settings for word in ("--set", setting)]
        commands.append(["train", store, "--config", config, "-o", str(folder), *overrides])
    return commands[1:] if (genome / "manifest.toml").exists() else commands


def folders(out: Path, seed: int) -> dict[str, Path]:
    """Run folder of each variant; the first is simulated.py's ``mse``."""
    return {name: out / (run_of(f"edge-{name}-{seed}") if VARIANTS[name] else f"mse-{seed}") for name in VARIANTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("simulated"), help="folder for everything, as of simulated.py")
    parser.add_argument("--seed", type=int, default=1, help="seed of genome and training")
    parser.add_argument("--also", nargs="+", default=[], metavar="NAME=CHECKPOINT", help="networks of the same genome")
    parser.add_argument("--diagonals", type=int, default=N_DIAGONALS, help="how far maps are compared, in bins")
    options = parser.parse_args()
    out, seed = options.out, options.seed
    out.mkdir(parents=True, exist_ok=True)
    run_each(steps(out, seed))
    checkpoints = {name: folder / "best" for name, folder in folders(out, seed).items()}
    checkpoints |= {name: Path(path) for name, path in (text.split("=", 1) for text in options.also)}
    truth = out / f"genome-default-{seed}" / CELL_TYPE
    results = compute(
        out / f"store-default-{seed}.zarr",
        checkpoints,
        truth,
        out / f"edge-{seed}.zarr",
        n_diagonals=options.diagonals,
    )
    print(f"SIMULATED, {', '.join(TEST_CHROMS)}, against the noise-free truth")
    print(summary(results).round(4).to_string(index=False))
    plot(results).savefig(out / "edge.png", dpi=150)
    print(f"Figure: {out / 'edge.png'}")


if __name__ == "__main__":
    main()
