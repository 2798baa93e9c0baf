"""The demo: a simulated genome from files to a report on chromosomes that the model never saw.

Each step is a command that one would type oneself; it is printed before it runs. ``make demo`` runs this file. A second run
with the same folder and seed goes on where the first was stopped.
"""

import argparse
import os
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run_each

ROOT = Path(__file__).resolve().parents[1]
CELL_TYPE = "SIM1"
BINSIZE = 10_000


def compute(store: Path, run_name: str) -> xr.Dataset:
    """Scores of the prediction, the baselines and the noise ceiling, as the evaluation wrote them into the store."""
    return ez.open_evaluation(store, CELL_TYPE, run_name, BINSIZE).load()


def plot(results: xr.Dataset) -> Figure:
    """Correlation by distance."""
    return ez.distance_figure(results)


def verdict(results: xr.Dataset) -> list[str]:
    """Compare the prediction with the best baseline and the ceiling, in words."""
    pearson = results["mean_pearson"].to_series()
    ceilings = [name for name in pearson.index if "ceiling" in name]
    baselines = pearson.drop(["prediction", *ceilings]).dropna()
    best, ours = str(baselines.idxmax()), float(pearson["prediction"])
    return [
        f"mean per-distance Pearson: prediction {ours:.3f}, best baseline ({best}) {baselines[best]:.3f}, difference "
        f"{ours - baselines[best]:+.3f}; noise ceiling {pearson[pearson.index.str.startswith('noise ceiling')].max():.3f}",
        f"skill {float(results['skill'].sel(predictor='prediction')):.3f} (0 = the training mean at each distance)",
    ]


def steps(out: Path, seed: int, settings: list[str]) -> list[list[str]]:
    """Build the commands, in order."""
    genome, store, run_dir = out / f"genome-{seed}", str(out / f"store-{seed}.zarr"), out / f"run-{seed}"
    overrides = [word for setting in (f"training.seed={seed}", *settings) for word in ("--set", setting)]
    config = os.path.relpath(ROOT / "pipelines" / "demo.toml")
    scored = ["evaluate", store, "--run", run_dir.name, "--cell-type", CELL_TYPE, "--truth", str(genome / CELL_TYPE)]
    commands = [
        ["simulate", str(genome), "--size", "small", "--seed", str(seed)],
        ["ingest", os.path.relpath(ROOT / "stores" / "demo.toml"), "-o", store],
        ["info", store],
        ["train", store, "--config", config, "-o", str(run_dir), *overrides],
        ["predict", store, "--checkpoint", str(run_dir / "best"), "--cell-type", CELL_TYPE],
        [*scored, "--report", str(out / f"report-{seed}.html")],
    ]
    return commands[1:] if (genome / "manifest.toml").exists() else commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything")
    parser.add_argument("--seed", type=int, default=1, help="seed of the genome and of the training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a training setting")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["DEMO_GENOME"] = str((options.out / f"genome-{options.seed}").resolve())
    print(f"$ export DEMO_GENOME={options.out / f'genome-{options.seed}'}")
    run_each(steps(options.out, options.seed, options.set))
    results = compute(options.out / f"store-{options.seed}.zarr", f"run-{options.seed}")
    print("", *verdict(results), f"Report: {options.out / f'report-{options.seed}.html'}", sep="\n")


if __name__ == "__main__":
    main()
