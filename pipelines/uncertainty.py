"""How honest predicted uncertainty is: an ensemble, Monte-Carlo dropout and a variance head, with and without conformal factors.

The small network is trained three times with other seeds and once with a variance head, for a quarter of demo.toml's epochs, on
a simulated genome; with ``--data chr21`` on real GM12878 chr21, as long as chr21.toml says (EPIZARR_SHARED names the folder that
holds the reference data). Factors are fitted on the validation regions; coverage is measured on the test regions, which
neither training nor calibration has seen. A second run with the same folder goes on where the first was stopped.

``.venv/bin/python pipelines/uncertainty.py --out uncertainty`` runs it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run_each

ROOT = Path(__file__).resolve().parents[1]
#: Draws of dropout for each checkpoint.
N_DRAWS = 5


@dataclass(frozen=True)
class Data:
    """What is trained on. ``regions`` are those of validation and test, which are predicted."""

    cell_type: str
    config: str
    settings: tuple[str, ...]
    regions: tuple[str, ...]


DATA = {
    "simulated": Data(
        "SIM1", "demo.toml", ("training.epochs=8", "training.halve_epochs=3"), regions=("sim5", "sim3", "sim6")
    ),
    "chr21": Data("GM12878", "chr21.toml", (), regions=("chr21:35,200,000-38,200,000", "chr21:39,400,000-48,100,000")),
}
#: Trainings: name, seed and settings.
TRAININGS = {
    "mean-1": (1, ()),
    "mean-2": (2, ()),
    "mean-3": (3, ()),
    "variance-1": (1, ("network.head=variance",)),
}
#: Predictors: the trainings whose checkpoints they are made of, and draws of dropout.
PREDICTORS: dict[str, tuple[tuple[str, ...], int]] = {
    "ensemble": (("mean-1", "mean-2", "mean-3"), 0),
    "dropout": (("mean-1",), N_DRAWS),
    "variance": (("variance-1",), 0),
}


def compute(store: Path, cell_type: str, runs: Sequence[str], regions: Sequence[str] | None = None) -> xr.Dataset:
    """Calibrate each run on its validation regions and measure it on ``regions``, by default its test regions.

    Returns what `assess_uncertainty` does with the dim ``predictor`` before.
    """
    found = []
    for run in runs:
        calibration = ez.calibrate_run(store, run, cell_type=cell_type)
        found.append(ez.assess_uncertainty(store, run, cell_type=cell_type, calibration=calibration, regions=regions))
    return xr.concat(found, dim=pd.Index(list(runs), name="predictor"), combine_attrs="drop_conflicts")


def summary(results: xr.Dataset) -> pd.DataFrame:
    """Coverage as predicted and with factors, half-width of the 90 % interval, and errors, a row a predictor."""
    table = results[["rmse", "nll"]].to_dataframe()
    for kind, label in (("normal", "as predicted"), ("conformal", "conformal")):
        for wanted in results["wanted"].values:
            table[f"{label} {wanted:.0%}"] = results["mean_coverage"].sel(kind=kind, wanted=wanted).to_series()
    table["half-width 90%"] = results["half_width"].sel(kind="conformal", wanted=0.9).to_series()
    return table.reset_index()


def plot(results: xr.Dataset) -> Figure:
    """Error against predicted standard deviation, and coverage overall and by distance."""
    by_name = {str(name): results.sel(predictor=name) for name in results["predictor"].values}
    return ez.uncertainty_figure(by_name, title=f"{results.attrs['cell_type']}, test regions")


def steps(out: Path, data: str) -> list[list[str]]:
    """Build the commands, in order."""
    chosen, store = DATA[data], str(out / "store.zarr")
    config = os.path.relpath(ROOT / "pipelines" / chosen.config)
    if data == "chr21":
        commands = [["ingest", os.path.relpath(ROOT / "stores" / "gm12878-chr21.toml"), "-o", store]]
    else:
        genome = out / "genome"
        commands = [["simulate", str(genome), "--size", "small", "--seed", "1"]]
        commands = [] if (genome / "manifest.toml").exists() else commands
        commands.append(["ingest", str(genome / "manifest.toml"), "-o", store])
    for name, (seed, more) in TRAININGS.items():
        settings = (f"training.seed={seed}", "execution.threads=1", "execution.pictures=false", *chosen.settings, *more)
        words = [word for setting in settings for word in ("--set", setting)]
        commands.append(["train", store, "--config", config, "-o", str(out / name), *words])
    for run, (trainings, draws) in PREDICTORS.items():
        words = [word for name in trainings for word in ("--checkpoint", str(out / name / "best"))]
        words += ["--ensemble"] if len(trainings) > 1 else []
        words += ["--mc-dropout", str(draws)] if draws else []
        words += [word for region in chosen.regions for word in ("--region", region)]
        commands.append(["predict", store, *words, "--cell-type", chosen.cell_type, "--run", run])
        calibrated = ["--cell-type", chosen.cell_type, "-o", str(out / f"{run}.json")]
        commands.append(["calibrate", store, "--run", run, *calibrated])
    return commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("uncertainty"), help="folder for everything")
    parser.add_argument("--data", choices=list(DATA), default="simulated", help="what is trained on")
    options = parser.parse_args()
    if options.data == "chr21":
        shared = Path(os.environ.get("EPIZARR_SHARED", ROOT / ".." / "shared"))
        if not (shared / "data" / "gm12878_chr21").is_dir():
            sys.exit("uncertainty: set EPIZARR_SHARED to the folder that holds data/gm12878_chr21/.")
        os.environ["EPIZARR_SHARED"] = str(shared.resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    run_each(steps(options.out, options.data))
    results = compute(options.out / "store.zarr", DATA[options.data].cell_type, list(PREDICTORS))
    print(summary(results).round(3).to_string(index=False))
    file = options.out / "uncertainty.png"
    plot(results).savefig(file, dpi=150)
    print(f"Figure: {file}")


if __name__ == "__main__":
    main()
