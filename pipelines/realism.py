"""How real predicted maps look: which measure of realism falls for what, on maps whose faults are known.

A replicate of the measured map's depth, the predictions of some runs, and the paper's three synthetic maps (Fig. S1 of Yang et
al. 2023: local mean, local mean per distance, distance mean) go through the same measures:

- a classifier two-sample test, trained on other chromosomes than those scored; 0.5 is indistinguishable;
- the spread at each distance and the power of fine detail, relative to the measured map's;
- the Fréchet distance of fixed features, and of a trained discriminator's;
- that discriminator's score of each submatrix (Fig. S3);
- squared error and correlation, which reward blur, to set beside.

``.venv/bin/python pipelines/realism.py demo/store-1.zarr --cell-type SIM1 --runs run-1 --truth demo/genome-1/SIM1`` runs it after
``make demo``. Nothing is written into the store.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez

#: Detail above this many cycles/bin is fine.
FINE = 0.25


def compute(
    store: Path,
    runs: list[str],
    cell_type: str,
    *,
    truth: Path | None = None,
    judge: Path | None = None,
    predictions: Path | None = None,
    **settings: object,
) -> xr.Dataset:
    """Scores of the maps; see :func:`epizarr.realism_scores`, which takes the other ``settings``."""
    return ez.realism_scores(
        store, runs, cell_type=cell_type, truth=truth, judge=judge, predictions=predictions, **settings
    )


def summary(results: xr.Dataset) -> pd.DataFrame:
    """One row a map: each measure as one number; spreads and detail are geometric means over distances."""
    table = results[["accuracy", "auc", "auc_low", "auc_high"]].to_dataframe()
    table["sd ratio"] = np.exp(np.log(results["sd_ratio"].where(results["sd_ratio"] > 0)).mean("diagonal"))
    fine = results[["power", "reference_power"]].sel(frequency=results["frequency"] > FINE).sum("frequency")
    ratio = fine["power"] / fine["reference_power"]
    table["fine detail"] = np.exp(np.log(ratio.where(ratio > 0)).mean("range")).values
    table["Fréchet"] = results["frechet"].values
    if "perceptual" in results:
        table["Fréchet, judge"] = results["frechet_judge"].values
        scores = results["perceptual"].sel(judged=results["map"].values)
        table["perceptual"] = scores.mean("window").values
    table["MSE"], table["Pearson"] = results["mse"].values, results["mean_pearson"].values
    return table.reset_index()


def plot(results: xr.Dataset) -> Figure:
    """Test, spread by distance, spectra of near and far contacts, and the judge's score along the genome."""
    names = [str(name) for name in results["map"].values]
    colours = {name: f"C{index}" for index, name in enumerate(names)}
    figure = Figure(figsize=(11.0, 7.0), layout="constrained")
    (test, spread), (spectrum, judged) = figure.subplots(2, 2)
    for place, name in enumerate(names):
        row = results.sel(map=name)
        low, high = float(row["auc_low"]), float(row["auc_high"])
        test.plot([low, high], [place, place], color=colours[name], linewidth=3, alpha=0.5)
        test.plot(float(row["auc"]), place, "o", color=colours[name])
        spread.plot(results["distance"] / 1e6, row["sd_ratio"], color=colours[name], linewidth=1.2)
        if results.sizes["range"]:
            ratio = row["power"] / row["reference_power"]
            spectrum.plot(results["frequency"], ratio.isel(range=0), color=colours[name], linewidth=1.2)
            if results.sizes["range"] > 1:
                spectrum.plot(results["frequency"], ratio.isel(range=-1), ":", color=colours[name], linewidth=1.2)
    test.axvline(0.5, color="#999999", linewidth=0.7)
    test.set_yticks(range(len(names)), names)
    test.invert_yaxis()
    test.set_xlim(0, 1.02)
    test.set_xlabel("AUC of a fresh classifier; 0.5: indistinguishable")
    for axis in (spread, spectrum):
        axis.axhline(1, color="#999999", linewidth=0.7)
        axis.set_yscale("log")
    spread.set_xlabel("distance (Mb)")
    spread.set_ylabel("spread / measured map's")
    spectrum.set_xlabel("spatial frequency (cycles/bin)")
    spectrum.set_ylabel("power / measured map's")
    ranges = [f"{a / 1e6:g}-{b / 1e6:g} Mb" for a, b in zip(results["range_start"], results["range_end"], strict=True)]
    styles = zip(("line:", "dots:"), ranges[:1] + ranges[1:][-1:], strict=False)
    spectrum.set_title(" ".join(f"{style} {reach}" for style, reach in styles), fontsize=9)
    if "perceptual" in results:
        for name in results["judged"].values:
            scores = results["perceptual"].sel(judged=name)
            colour = colours.get(name, "black")
            judged.plot(range(len(scores)), scores, "o-", color=colour, markersize=3, linewidth=0.8, label=name)
        judged.set_xlabel("submatrix along the scored regions")
        judged.set_ylabel("discriminator's score")
        judged.set_ylim(-0.02, 1.02)
        judged.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    else:
        judged.text(0.5, 0.5, "no judge", ha="center", va="center")
        judged.set_axis_off()
    regions = ", ".join(json.loads(results.attrs["regions"]))
    figure.suptitle(f"{results.attrs['cell_type']}, {regions}. {about(results)}", fontsize=9, wrap=True)
    return figure


def about(results: xr.Dataset) -> str:
    """What a reader of the scores must know."""
    notes = [f"Replicate: {results.attrs['replicate']}."]
    if "SIMULATED" in results.attrs["origins"]:
        notes.insert(0, "SIMULATED data.")
    if results.attrs["intervals"]:
        notes.append(f"Intervals: {results.attrs['intervals']}.")
    return " ".join(notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="store with the measured contacts")
    parser.add_argument("--cell-type", required=True, help="cell type whose maps are scored")
    parser.add_argument("--runs", nargs="+", required=True, help="runs that predicted it")
    parser.add_argument("--predictions", type=Path, help="store that holds the predictions, if another one")
    parser.add_argument(
        "--truth", type=Path, help="of a simulated cell type: OUT/CELL_TYPE, which the replicate is drawn from"
    )
    parser.add_argument(
        "--judge", type=Path, help="checkpoint of an adversarial run, whose discriminator gives a score"
    )
    parser.add_argument("--out", type=Path, default=Path("realism"), help="folder for the table and the figure")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = compute(
        options.store,
        options.runs,
        options.cell_type,
        truth=options.truth,
        judge=options.judge,
        predictions=options.predictions,
        progress=lambda done, n: print(f"map {done} of {n}", flush=True),
    )
    table = summary(results)
    print(about(results))
    print(table.round(4).to_string(index=False))
    table.to_csv(options.out / "realism.csv", index=False)
    plot(results).savefig(options.out / "realism.png", dpi=150)
    print(f"Figure: {options.out / 'realism.png'}")


if __name__ == "__main__":
    main()
