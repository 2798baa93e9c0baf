"""The targets of the paper side by side: ICE, KR, HiC-DC+ O/E and Z-score, and Akita's, computed from raw counts of chr21.

``.venv/bin/python pipelines/targets.py`` runs it; EPIZARR_SHARED names the folder that holds the reference data. The maps look
alike where they should: the same domains, with the distance decay in ICE and KR and without it in the others.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run_each

ROOT = Path(__file__).resolve().parents[1]
CELL_TYPE, BINSIZE = "GM12878", 10_000
REGION = ("chr21", 27_000_000, 32_000_000)
TARGETS = ("ice", "kr", "hicdcplus_oe", "hicdcplus_zscore", "akita")


def compute(store: Path, cell_type: str = CELL_TYPE, binsize: int = BINSIZE, n_diagonals: int = 100) -> xr.Dataset:
    """Correlation of each pair of targets at each distance, on the pixels that all of them have, averaged over distances."""
    ds = ez.open_contacts(store, cell_type, binsize).isel(diagonal=slice(2, n_diagonals))
    names = [name for name in TARGETS if name in ds]
    bands = xr.concat([ds[name] for name in names], dim="target").assign_coords(target=names).load()
    bands = bands.where(bands.notnull().all("target"))
    centred = bands - bands.mean("bin")
    sd = np.sqrt((centred**2).mean("bin"))
    other = centred.rename(target="other")
    pearson = (centred * other).mean("bin") / (sd * sd.rename(target="other"))
    return xr.Dataset({"pearson": pearson.mean("diagonal"), "n_pixels": bands.isel(target=0).notnull().sum()})


def plot(store: Path) -> Figure:
    """One region in all targets."""
    return ez.variables_figure(ez.open_contacts(store, CELL_TYPE, BINSIZE), *REGION, TARGETS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("targets"), help="folder for everything")
    options = parser.parse_args()
    shared = Path(os.environ.get("EPIZARR_SHARED", ROOT / ".." / "shared"))
    if not (shared / "data" / "gm12878_chr21").is_dir():
        sys.exit("targets: set EPIZARR_SHARED to the folder that holds data/gm12878_chr21/.")
    os.environ["EPIZARR_SHARED"] = str(shared.resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / "targets.zarr"
    command = ["ingest", os.path.relpath(ROOT / "stores" / "gm12878-chr21-targets.toml"), "-o", str(store)]
    run_each([command])
    results = compute(store)
    print(f"mean Pearson per distance over {int(results.n_pixels):,} common pixels:")
    print(results.pearson.to_pandas().round(3).to_string())
    plot(store).savefig(options.out / "targets.png")
    print(f"Figure: {options.out / 'targets.png'}")


if __name__ == "__main__":
    main()
