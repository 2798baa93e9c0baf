"""Which tracks the contacts of GM12878 chr21 are predicted from, and by which core: the small network of chr21.toml, varied.

Each subset of tracks is tried in two ways: a network *retrained* without the other tracks (``data.zeroed_tracks``, as in the
paper's ablation), and one network trained with *track dropout* (``training.track_dropout``), which predicts every subset
(``epizarr predict --without``). With all five tracks, the LSTMs are compared with the other cores. Beside each score stand
those of the baselines from the same subset. A subset with a track that the store lacks is left out, which is said.

``.venv/bin/python pipelines/ablation.py --out ablation`` runs it; EPIZARR_SHARED names the folder that holds the reference data.
Commands are printed before they run, and a second run with the same folder goes on where the first was stopped.
"""

import argparse
import json
import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run_each

ROOT = Path(__file__).resolve().parents[1]
CELL_TYPE, BINSIZE = "GM12878", 10_000
FIVE = ("DNase", "H3K27ac", "H3K4me3", "H3K27me3", "CTCF")
SUBSETS = {
    "five": FIVE,
    "no-ctcf": ("DNase", "H3K27ac", "H3K4me3", "H3K27me3"),
    "no-dnase": ("H3K27ac", "H3K4me3", "H3K27me3", "CTCF"),
    "ctcf-h3k27ac": ("H3K27ac", "CTCF"),
    "dnase-ctcf": ("DNase", "CTCF"),
    "five-smc3": (*FIVE, "SMC3"),
}
#: Tracks that the network with track dropout is trained on, as far as the store has them.
ALL_TRACKS = tuple(dict.fromkeys(track for subset in SUBSETS.values() for track in subset))
DROPOUT = ("training.track_dropout=0.3", "network.mask_channels=true")
# Seven dilated layers reach 127 bins to either side, past the band's 100; two would reach three. Weights of the cores: two LSTMs
# 0.85 M, conv 1.23 M, dilated 0.66 M, transformer 0.73 M.
CORES = {
    "conv": ("network.core=conv",),
    "dilated": ("network.core=dilated", "network.n_layers=7"),
    "transformer": ("network.core=transformer",),
}
PREDICTORS = ("prediction", "ridge", "CTCF insulation")


@dataclass(frozen=True)
class Variant:
    """One row of the table: a network and the tracks that it predicts from.

    ``way``: retrained, track dropout, or core. ``settings``: what differs from chr21.toml beside tracks.
    """

    name: str
    way: str
    tracks: tuple[str, ...]
    settings: tuple[str, ...] = ()


VARIANTS = {
    variant.name: variant
    for variant in (
        *(
            variant
            for name, tracks in SUBSETS.items()
            for variant in (
                Variant(name, "retrained", tracks),
                Variant(f"{name}-dropout", "track dropout", tracks, DROPOUT),
            )
        ),
        *(Variant(f"five-{core}", "core", FIVE, settings) for core, settings in CORES.items()),
    )
}


def compute(store: Path, names: Sequence[str], cell_type: str = CELL_TYPE) -> xr.Dataset:
    """Scores of variants and of the baselines from the same tracks, as the evaluations wrote them into the store.

    ``pearson`` (mean over distances) and ``skill`` have dims (variant, predictor), NaN where a baseline cannot be made, such as
    the insulation without CTCF; ``n_pixels`` (variant) is what they are computed on.
    """
    evaluations = [ez.open_evaluation(store, cell_type, name, BINSIZE).load() for name in names]
    scores = [
        xr.Dataset(
            {"pearson": found["mean_pearson"], "skill": found["skill"], "n_pixels": found["n_pixels"].sum()}
        ).reindex(predictor=list(PREDICTORS))
        for found in evaluations
    ]
    results = xr.concat(scores, dim="variant", coords="minimal", compat="override", join="exact")
    results = results.assign_coords(
        variant=list(names),
        way=("variant", [VARIANTS[name].way for name in names]),
        tracks=("variant", [" ".join(VARIANTS[name].tracks) for name in names]),
    )
    notes = [json.loads(found.attrs["notes"]) for found in evaluations]
    common = [note for note in notes[0] if all(note in others for others in notes)]
    regions = ", ".join(json.loads(evaluations[0].attrs["regions"]))
    return results.assign_attrs(regions=f"{cell_type}, {regions}", notes=" ".join(common))


def summary(results: xr.Dataset) -> pd.DataFrame:
    """One row a variant: Pearson and skill of the prediction and of the baselines, and the pixels they are computed on."""
    table = results[["way", "tracks"]].to_dataframe()[["way", "tracks"]]
    for predictor in PREDICTORS:
        found = results.sel(predictor=predictor)
        prefix = "" if predictor == PREDICTORS[0] else f"{predictor} "
        table[f"{prefix}Pearson"], table[f"{prefix}skill"] = found["pearson"].values, found["skill"].values
    table["pixels"] = results["n_pixels"].values
    return table.reset_index()


def plot(results: xr.Dataset) -> Figure:
    """Pearson and skill of each variant beside its baselines, one row a variant."""
    n_variants = results.sizes["variant"]
    figure = Figure(figsize=(9.0, 1.4 + 0.3 * n_variants), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axis, score, label in zip(panels, ("pearson", "skill"), ("mean Pearson per distance", "skill"), strict=True):
        for predictor, marker, colour in zip(PREDICTORS, "o|x", ("C0", "black", "grey"), strict=True):
            values = results[score].sel(predictor=predictor)
            axis.plot(values, range(n_variants), marker, color=colour, label=predictor)
        axis.axvline(0, color="#999999", linewidth=0.7, zorder=1)
        axis.set_xlabel(label)
        axis.grid(axis="y", color="#e6e8eb", linewidth=0.7)
        axis.set_axisbelow(True)
    panels[0].set_yticks(range(n_variants), results["variant"].values)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(PREDICTORS), frameon=False)
    figure.suptitle(f"{results.attrs['regions']}\n{results.attrs['notes']}", fontsize=8, wrap=True)
    return figure


def possible(names: Sequence[str], there: Collection[str]) -> list[str]:
    """Those of the variants that need no other tracks than are there."""
    return [name for name in names if set(VARIANTS[name].tracks) <= set(there)]


def steps(
    store: Path,
    out: Path,
    names: Sequence[str],
    there: Collection[str],
    *,
    settings: Sequence[str] = (),
    cell_type: str = CELL_TYPE,
) -> list[list[str]]:
    """Build the commands of variants on a store with the tracks ``there``, in order.

    Each stands there once, though several variants need it: track dropout is trained once. ``settings`` are of every training.
    """
    config = os.path.relpath(ROOT / "pipelines" / "chr21.toml")
    commands: dict[tuple[str, ...], None] = {}  # a set that keeps the order
    for variant in (VARIANTS[name] for name in names):
        if variant.way == "track dropout":
            run_dir, known = out / "dropout", [track for track in ALL_TRACKS if track in there]
            tracks = (f"data.tracks={known}",)
            without = [word for track in known if track not in variant.tracks for word in ("--without", track)]
        else:
            run_dir, known = out / variant.name, list(dict.fromkeys((*FIVE, *variant.tracks)))
            zeroed = [track for track in known if track not in variant.tracks]
            tracks, without = (f"data.tracks={known}", f"data.zeroed_tracks={zeroed}"), []
        overrides = [word for text in (*tracks, *variant.settings, *settings) for word in ("--set", text)]
        of_cell = ["--run", variant.name, "--cell-type", cell_type]
        for command in (
            ["train", str(store), "--config", config, "-o", str(run_dir), *overrides],
            ["predict", str(store), "--checkpoint", str(run_dir / "best"), *of_cell, *without],
            ["evaluate", str(store), *of_cell, "--report", str(out / f"{variant.name}.html")],
        ):
            commands[tuple(command)] = None
    return [list(command) for command in commands]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("ablation"), help="folder for everything")
    names = list(VARIANTS)
    parser.add_argument("--variants", nargs="+", default=names, choices=names, help="rows of the table")
    parser.add_argument("--epochs", type=int, help="epochs of each training, by default those of chr21.toml")
    options = parser.parse_args()
    shared = Path(os.environ.get("EPIZARR_SHARED", ROOT / ".." / "shared"))
    if not (shared / "data" / "gm12878_chr21").is_dir():
        sys.exit("ablation: set EPIZARR_SHARED to the folder that holds data/gm12878_chr21/.")
    os.environ["EPIZARR_SHARED"] = str(shared.resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / "chr21.zarr"
    run_each([["ingest", os.path.relpath(ROOT / "stores" / "gm12878-chr21.toml"), "-o", str(store)]])
    there = [str(name) for name in ez.open_tracks(store, CELL_TYPE)["track"].values]
    chosen = possible([name for name in names if name in options.variants], there)
    settings = [] if options.epochs is None else [f"training.epochs={options.epochs}"]
    run_each(steps(store, options.out, chosen, there, settings=settings))
    results = compute(store, chosen)
    print(f"\n{results.attrs['regions']}. {results.attrs['notes']}")
    print(summary(results).round(4).to_string(index=False))
    for name in (name for name in options.variants if name not in chosen):
        lacking = [track for track in VARIANTS[name].tracks if track not in there]
        print(f"{name}: left out, the store has no track {', '.join(lacking)}.")
    plot(results).savefig(options.out / "ablation.png", dpi=150)
    print(f"Figure: {options.out / 'ablation.png'}")


if __name__ == "__main__":
    main()
