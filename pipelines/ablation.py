"""Which tracks the contacts of GM12878 chr21 are predicted from, and by which core: the small network of chr21.toml, varied.

Each subset of tracks is tried in two ways: a network *retrained* without the other tracks (``data.zeroed_tracks``, as in the
paper's ablation), and one network trained with *track dropout* (``training.track_dropout``), which predicts every subset
(``epizarr predict --without``). With all five tracks, the LSTMs are compared with the other cores. Beside each score stand
those of the baselines from the same subset. A subset with a track that the store lacks is left out, which is said.

The two ways stand beside each other in one table (the paper's Fig. 5A). Then each network attributes one target (``--target``, by
default the strongest measured boundary of the test regions) to its tracks: which of them take the place of one that is gone (the
paper's Fig. 5B).

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

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.cli import run_each
from epizarr.errors import ConfigError

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
#: Window of the insulation score, and distance of a default target from the ends of its region.
WINDOW_BP, MARGIN_BP = 200_000, 1_000_000


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


def beside(results: xr.Dataset) -> pd.DataFrame:
    """One row a subset: Pearson of the prediction, retrained and by track dropout, and what dropout lacks."""
    pearson = results["pearson"].sel(predictor=PREDICTORS[0]).to_series()
    found = pd.DataFrame(
        {
            "way": [VARIANTS[name].way for name in pearson.index],
            "tracks": [" ".join(VARIANTS[name].tracks) for name in pearson.index],
            "Pearson": pearson.values,
        }
    )
    table = found[found["way"] != "core"].pivot_table(index="tracks", columns="way", values="Pearson", sort=False)
    table = table.reindex(columns=["retrained", "track dropout"])
    return table.assign(difference=table["track dropout"] - table["retrained"]).reset_index()


def strongest_boundary(store: Path, cell_type: str, regions: Sequence[str]) -> str:
    """Attribution target at the measured boundary of these regions whose insulation stands out most, off their ends.

    Raises
    ------
    ConfigError
        If the measured map has no boundary there.
    """
    contacts = ez.open_contacts(store, cell_type, BINSIZE)["ice"]
    found = ez.insulation_boundaries(ez.insulation(contacts, WINDOW_BP, regions=list(regions), threshold=0.1))
    margin = min(MARGIN_BP, min(ez.select(contacts, region).sizes["bin"] for region in regions) * BINSIZE // 4)
    ends = [ez.grid_of(contacts).assembly.region(region) for region in regions]
    inside = [
        any(r.chrom == row.chrom and r.start + margin <= row.start and row.end <= r.end - margin for r in ends)
        for row in found.itertuples()
    ]
    found = found[inside]
    if found.empty:
        raise ConfigError(f"ablation: {cell_type} has no measured boundary in {', '.join(regions)}; give --target.")
    best = found.loc[found["strength"].idxmax()]
    return f"boundary:{best['chrom']}:{best['start']}-{best['end']}"


def run_dir_of(out: Path, name: str) -> Path:
    """Folder of the training behind a variant; those with track dropout share one."""
    return out / ("dropout" if VARIANTS[name].way == "track dropout" else name)


def attribute(store: Path, out: Path, names: Sequence[str], target: str, cell_type: str = CELL_TYPE) -> xr.Dataset:
    """Attribution of one target by each variant (integrated gradients against zero), kept in ``out/attributions.zarr``.

    Returns
    -------
    ``share`` (variant, track): share of the absolute attribution; NaN for a track that the variant does not predict from.
    ``attribution`` (variant, track, bin): summed over each contact bin of the stretch that any variant reaches.
    """
    found = []
    for name in names:
        run = f"{name}-{target.replace(':', '-')}"
        there = ez.load_checkpoint(run_dir_of(out, name) / "best").tracks
        without = [track for track in there if track not in VARIANTS[name].tracks]
        if VARIANTS[name].way != "track dropout":
            without = []  # it has been trained on zeros there
        home = out / "attributions.zarr"
        ez.attribute_contacts(
            store,
            run_dir_of(out, name) / "best",
            cell_type=cell_type,
            targets=[target],
            run=run,
            without=without,
            out=home,
        )
        ds = ez.open_attribution(home, cell_type, run)
        fine = BINSIZE // int(ds.attrs["binsize"])
        chrom = target.split(":")[1]
        first, end = ez.grid_of(ds).chrom_extent(chrom)
        values = ds["attribution"].isel(target=0, bin=slice(first, end)).load()
        size = np.abs(values).sum("bin").where(values["track"].isin(list(VARIANTS[name].tracks)))
        starts = np.arange(0, end - first, fine)
        coarse = np.add.reduceat(np.nan_to_num(values.values), starts, axis=1)
        found.append(
            xr.Dataset(
                {"share": ("track", (size / size.sum()).values), "attribution": (("track", "bin"), coarse)},
                coords={"track": values["track"].values.astype(str), "start": ("bin", starts // fine * BINSIZE)},
            ).reindex(track=list(ALL_TRACKS))
        )
    dim = pd.Index(list(names), name="variant")
    shares = xr.concat(found, dim=dim, coords="minimal", compat="override", join="exact")
    reached = np.flatnonzero((np.nan_to_num(shares["attribution"].values) != 0).any((0, 1)))
    kept = shares.isel(bin=slice(int(reached[0]), int(reached[-1]) + 1)).dropna("track", how="all", subset=["share"])
    return kept.assign_attrs(target=target)


def plot_attribution(shares: xr.Dataset) -> Figure:
    """Shares of the tracks in each variant's attribution, and where along the genome the attribution lies; one row a variant."""
    names, tracks = shares["variant"].values.tolist(), shares["track"].values.tolist()
    figure = Figure(figsize=(11.0, 1.6 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, sharex="col", squeeze=False, width_ratios=[1, 2.4])
    edges = np.append(shares["start"].values, shares["start"].values[-1] + BINSIZE) / 1e6
    for (bar, along), name in zip(axes, names, strict=True):
        left = 0.0
        one = shares.sel(variant=name)
        size = float(np.abs(one["attribution"]).max()) or 1.0
        for colour, track in enumerate(tracks):
            share = float(np.nan_to_num(one["share"].sel(track=track)))
            bar.barh(0, share, left=left, color=f"C{colour}", label=track)
            left += share
            values = np.nan_to_num(one["attribution"].sel(track=track).values) / size
            along.stairs(values, edges, color=f"C{colour}", linewidth=0.9)
        bar.set_yticks([0], [name])
        bar.set_xlim(0, 1)
        along.axhline(0, color="#999999", linewidth=0.5)
        along.set(ylim=(-1.05, 1.05), yticks=[])
    place = shares.attrs["target"].split(":")
    axes[-1, 0].set_xlabel("share of the absolute attribution")
    axes[-1, 1].set_xlabel(f"{place[1]} (Mb); each row over its own largest")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(tracks), frameon=False)
    figure.suptitle(f"Attribution of {shares.attrs['target']}", fontsize=9)
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
            run_dir, known = run_dir_of(out, variant.name), [track for track in ALL_TRACKS if track in there]
            tracks = (f"data.tracks={known}",)
            without = [word for track in known if track not in variant.tracks for word in ("--without", track)]
        else:
            run_dir, known = run_dir_of(out, variant.name), list(dict.fromkeys((*FIVE, *variant.tracks)))
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
    parser.add_argument("--target", help="what each network attributes, such as boundary:chr21:44,000,000-44,010,000")
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
    print("\nMean Pearson per distance, retrained beside track dropout:")
    print(beside(results).round(4).to_string(index=False))
    for name in (name for name in options.variants if name not in chosen):
        lacking = [track for track in VARIANTS[name].tracks if track not in there]
        print(f"{name}: left out, the store has no track {', '.join(lacking)}.")
    plot(results).savefig(options.out / "ablation.png", dpi=150)
    test = json.loads(ez.open_evaluation(store, CELL_TYPE, chosen[0], BINSIZE).attrs["regions"])
    target = options.target or strongest_boundary(store, CELL_TYPE, test)
    shares = attribute(store, options.out, chosen, target)
    print(f"\nShare of the absolute attribution of {target}:")
    print(shares["share"].to_pandas().round(3).to_string(na_rep=""))
    plot_attribution(shares).savefig(options.out / "attribution.png", dpi=150)
    print(f"Figures: {options.out / 'ablation.png'}, {options.out / 'attribution.png'}")


if __name__ == "__main__":
    main()
