"""Real data: GM12878 chr21 (in situ Hi-C, ICE at 10 kb) from five peak-derived tracks, from files to a report.

``make chr21`` runs this file; EPIZARR_SHARED names the folder that holds the reference data. The small network is trained to
the end; with ``--full-size`` the published network is trained for one epoch instead, by the same four commands, to show that it
runs.
"""

import argparse
import os
import sys
from pathlib import Path

import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run_each

ROOT = Path(__file__).resolve().parents[1]
CELL_TYPE = "GM12878"
BINSIZE = 10_000


def compute(store: Path, run_name: str) -> xr.Dataset:
    """Scores of the prediction and the baselines, as the evaluation wrote them into the store."""
    return ez.open_evaluation(store, CELL_TYPE, run_name, BINSIZE).load()


def plot(results: xr.Dataset) -> Figure:
    """Correlation by distance."""
    return ez.distance_figure(results)


def steps(out: Path, *, is_full_size: bool) -> list[list[str]]:
    """Build the commands, in order; the full-size network takes one epoch."""
    store, name = str(out / "chr21.zarr"), "full-size" if is_full_size else "small"
    config = os.path.relpath(ROOT / "pipelines" / ("chr21-full-size.toml" if is_full_size else "chr21.toml"))
    return [
        ["ingest", os.path.relpath(ROOT / "stores" / "gm12878-chr21.toml"), "-o", store],
        ["train", store, "--config", config, "-o", str(out / name)],
        ["predict", store, "--checkpoint", str(out / name / "best"), "--cell-type", CELL_TYPE],
        ["evaluate", store, "--run", name, "--cell-type", CELL_TYPE, "--report", str(out / f"{name}.html")],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("chr21"), help="folder for everything")
    parser.add_argument(
        "--full-size", action="store_true", help="the published network for one epoch, not the small one"
    )
    options = parser.parse_args()
    shared = Path(os.environ.get("EPIZARR_SHARED", ROOT / ".." / "shared"))
    if not (shared / "data" / "gm12878_chr21").is_dir():
        sys.exit("chr21: set EPIZARR_SHARED to the folder that holds data/gm12878_chr21/.")
    os.environ["EPIZARR_SHARED"] = str(shared.resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    run_each(steps(options.out, is_full_size=options.full_size))


if __name__ == "__main__":
    main()
