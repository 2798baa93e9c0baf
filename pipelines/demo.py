"""The demo: a simulated genome from files to a report on chromosomes that the model never saw.

Each step is a command that one would type oneself; it is printed before it runs. ``make demo`` runs this file. A second run
with the same folder and seed goes on where the first was stopped.
"""

import argparse
import sys
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run

HERE = Path(__file__).parent
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
    special = [name for name in pearson.index if name == "prediction" or name.startswith("noise ceiling")]
    baselines = pearson.drop(special).dropna()
    best = str(baselines.idxmax())
    ceiling = pearson[[name for name in special if name != "prediction"]].max()
    skill = float(results["skill"].sel(predictor="prediction"))
    return [
        f"mean per-distance Pearson: prediction {pearson['prediction']:.3f}, best baseline ({best}) {baselines[best]:.3f}, "
        f"difference {pearson['prediction'] - baselines[best]:+.3f}; noise ceiling {ceiling:.3f}",
        f"skill {skill:.3f} (0 = the training mean at each distance)",
    ]


def steps(out: Path, seed: int, settings: list[str]) -> list[list[str]]:
    """Build the commands, in order."""
    genome, store, run_dir = out / f"genome-{seed}", out / f"store-{seed}.zarr", out / f"run-{seed}"
    train = [
        "train",
        str(store),
        "--config",
        str(HERE / "demo.toml"),
        "-o",
        str(run_dir),
        "--set",
        f"training.seed={seed}",
    ]
    train += [word for setting in settings for word in ("--set", setting)]
    commands = [
        ["simulate", str(genome), "--size", "small", "--seed", str(seed)],
        ["ingest", str(genome / "manifest.toml"), "-o", str(store)],
        ["info", str(store)],
        train,
        ["predict", str(store), "--checkpoint", str(run_dir / "best"), "--cell-type", CELL_TYPE],
        ["evaluate", str(store), "--run", run_dir.name, "--cell-type", CELL_TYPE]
        + ["--truth", str(genome / CELL_TYPE), "--report", str(out / f"report-{seed}.html")],
    ]
    return commands[1:] if (genome / "manifest.toml").exists() else commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything")
    parser.add_argument("--seed", type=int, default=1, help="seed of the genome and of the training")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a training setting, for example training.epochs=2",
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for command in steps(options.out, options.seed, options.set):
        print(f"\n$ epizarr {' '.join(command)}", flush=True)
        status = run(command)
        if status:
            sys.exit(status)
    results = compute(options.out / f"store-{options.seed}.zarr", f"run-{options.seed}")
    print("", *verdict(results), sep="\n")
    print(f"Report: {options.out / f'report-{options.seed}.html'}")


if __name__ == "__main__":
    main()
