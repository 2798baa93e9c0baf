"""Does attribution find the sites that make a boundary, and does removing them in the tracks remove it? On a simulated genome.

The simulator knows which CTCF sites stop loops (and which peaks are decoys of the same height), and what the map is without them.
For boundaries of unseen chromosomes this study asks three things of a trained network. *Attribution*: are the CTCF peaks within
300 kb ranked by (minus) the attribution of the insulation score such that the boundary's own sites come first, and better than by
the peaks' height? A boundary's sites are also the nearest ones, so that distance alone ranks them. *Decoys*: asked at each peak's
own place, does the gradient times the signal of that peak tell the sites that stop loops from decoys? *Removal*: with the sites
of the strongest boundaries masked in the CTCF and DNase tracks, does the predicted change agree with the change of the noise-free
map?

``.venv/bin/python pipelines/attribution.py --store STORE --checkpoint RUN/best`` runs it on a store and a network of
pipelines/demo.py; a second run with the same folder goes on where the first was stopped.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.metrics.interactions import ranking_scores
from epizarr.simulate import DEFAULT, World, chrom_lengths_of, expected_contacts, simulate_world

CELL_TYPE, BINSIZE = "SIM1", 10_000
#: Chromosomes that demo.toml keeps for the test.
TEST_CHROMS = ("sim3", "sim6")
#: Sites nearer than this are one boundary; peaks this near compete with its sites; so much around a peak counts as its own.
SAME_BP, NEAR_BP, PEAK_BP = 20_000, 300_000, 1_500
#: Least distance of a boundary from a chromosome's end.
MARGIN_BP = 1_500_000
#: Bins on each side of a removed boundary whose contacts are compared.
AROUND_BINS = 60
WANTED_AUROC, WANTED_CORRELATION = 0.9, 0.6


def boundaries_of(world: World, chroms: Sequence[str]) -> pd.DataFrame:
    """Boundaries of some chromosomes: ``chrom``, ``position`` (bp), ``barrier`` (−log of the share that passes), ``sites``."""
    rows = []
    for chrom in chroms:
        sites = world.sites_of(chrom, "ctcf")
        group = (sites["position"].diff() > SAME_BP).cumsum()
        for _, own in sites.groupby(group):
            position = int(own["position"].mean())
            if MARGIN_BP < position < world.assembly.length(chrom) - MARGIN_BP:
                barrier = float(-np.log1p(-own["strength"]).sum())
                rows.append((chrom, position, barrier, tuple(own.index)))
    return pd.DataFrame(rows, columns=["chrom", "position", "barrier", "sites"]).sort_values(
        "barrier", ascending=False, ignore_index=True
    )


def auroc(score: np.ndarray, is_positive: np.ndarray) -> float:
    """Area under the ROC curve: the share of pairs (positive, negative) in order, ties counted half; NaN without both."""
    return ranking_scores(score, is_positive.astype(float), 0.5).auroc


def is_predicted(store: Path, run: str, boundaries: pd.DataFrame) -> np.ndarray:
    """Whether the prediction has an insulation boundary within two bins of each boundary."""
    band = ez.open_prediction(store, CELL_TYPE, run, BINSIZE).contact
    chroms = sorted(set(boundaries["chrom"]))
    insulated = ez.insulation(band, 200_000, regions=chroms, threshold=0.1)
    at = insulated["is_boundary"].values[0]
    found = [
        (
            at
            & (insulated["chrom"].values == chrom)
            & (abs(insulated["start"].values + BINSIZE // 2 - position) <= 25_000)
        ).any()
        for chrom, position in boundaries[["chrom", "position"]].itertuples(index=False)
    ]
    return np.array(found)


def rank_peaks(store: Path, checkpoint: Path, out: Path, world: World, boundaries: pd.DataFrame) -> xr.Dataset:
    """AUROC of each boundary's own sites among the CTCF peaks near it, by attribution and by height (boundary)."""
    targets = [
        f"boundary:{chrom}:{position}-{position + 1}"
        for chrom, position in boundaries[["chrom", "position"]].itertuples(index=False)
    ]
    ez.attribute_contacts(store, checkpoint, cell_type=CELL_TYPE, targets=targets, run="boundaries", out=out)
    ds = ez.open_attribution(out, CELL_TYPE, "boundaries")
    grid = ez.grid_of(ds)
    scores: dict[str, list[float]] = {"by_attribution": [], "by_height": [], "by_distance": []}
    pooled: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for index, row in enumerate(boundaries.itertuples()):
        peaks = world.sites_of(row.chrom, "ctcf", "decoy")
        peaks = peaks[abs(peaks["position"] - row.position) <= NEAR_BP]
        first, _ = grid.chrom_extent(row.chrom)
        values = ds["attribution"].isel(target=index).sum("track")
        found = np.array(
            [
                -float(values.isel(bin=slice(first + (p - PEAK_BP) // 100, first + (p + PEAK_BP) // 100)).sum())
                for p in peaks["position"]
            ]
        )
        own = peaks.index.isin(row.sites)
        height = peaks["height_CTCF"].to_numpy()
        scores["by_attribution"].append(auroc(found, own))
        scores["by_height"].append(auroc(height, own))
        scores["by_distance"].append(auroc(-abs(peaks["position"] - row.position).to_numpy(), own))
        pooled.append((found / np.abs(found).max(), height, own))
    found, height, own = (np.concatenate(part) for part in zip(*pooled, strict=True))
    return xr.Dataset(
        {name: ("boundary", values) for name, values in scores.items()}
        | {
            "completeness_error": ("boundary", (ds["completeness_error"] / (ds["value"] - ds["baseline_value"])).values)
        },
        attrs={"pooled_by_attribution": auroc(found, own), "pooled_by_height": auroc(height, own)},
    )


def tell_decoys(
    store: Path, checkpoint: Path, out: Path, world: World, chroms: Sequence[str], n: int
) -> dict[str, float]:
    """AUROC of stopping sites against decoys: (minus) gradient of the insulation at the peak times the peak's signal, and height.

    Peaks with another within 20 kb are left out, and every m-th of the others is taken: at most ``n`` of each kind.
    """
    chosen = []
    for kind in ("ctcf", "decoy"):
        alone = []
        for chrom in chroms:
            position = world.sites_of(chrom, "ctcf", "decoy")["position"]
            near = np.minimum(position.diff().fillna(np.inf), -position.diff(-1).fillna(-np.inf)) < SAME_BP
            inside = position.between(MARGIN_BP, world.assembly.length(chrom) - MARGIN_BP)
            alone += [i for i in position.index[~near & inside] if world.sites.loc[i, "kind"] == kind]
        chosen += [alone[i] for i in np.unique(np.linspace(0, len(alone) - 1, min(n, len(alone))).astype(int))]
    peaks = world.sites.loc[chosen]
    targets = [f"boundary:{chrom}:{p}-{p + 1}" for chrom, p in peaks[["chrom", "position"]].itertuples(index=False)]
    ez.attribute_contacts(
        store, checkpoint, cell_type=CELL_TYPE, targets=targets, method="saliency", run="peaks", out=out
    )
    ds, tracks = ez.open_attribution(out, CELL_TYPE, "peaks"), ez.open_tracks(store, CELL_TYPE)
    grid = ez.grid_of(ds)
    signal = tracks["signal"].isel(track=[list(tracks["track"].values).index(name) for name in ds["track"].values])
    score = []
    for index, (chrom, p) in enumerate(peaks[["chrom", "position"]].itertuples(index=False)):
        first, _ = grid.chrom_extent(chrom)
        part = slice(first + (p - PEAK_BP) // 100, first + (p + PEAK_BP) // 100)
        gradient = ds["attribution"].isel(target=index, bin=part).values
        score.append(-float(np.nansum(gradient * signal.isel(bin=part).values)))
    is_site = (peaks["kind"] == "ctcf").to_numpy()
    return {
        "decoys_by_attribution": auroc(np.array(score), is_site),
        "decoys_by_height": auroc(peaks["height_CTCF"].to_numpy(), is_site),
        "n_peaks": len(peaks),
    }


def remove_sites(
    store: Path, checkpoint: Path, out: Path, world: World, boundaries: pd.DataFrame
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Correlation of the predicted with the true change of each boundary (boundary), and the maps of the first one."""
    correlations, example = [], {}
    for row in boundaries.itertuples():
        sites = world.sites.loc[list(row.sites)]
        edits = [
            f"mask:CTCF+DNase:{row.chrom}:{p - 2 * PEAK_BP}-{p + 2 * PEAK_BP}:to=background" for p in sites["position"]
        ]
        run = f"without-{row.chrom}-{row.position}"
        ez.perturb_contacts(store, checkpoint, cell_type=CELL_TYPE, edits=edits, run=run, out=out)
        ds = ez.open_perturbation(out, CELL_TYPE, run, BINSIZE)
        n_diagonals, k0 = ds.sizes["diagonal"], int(ds.attrs["min_diagonal"])
        middle = row.position // BINSIZE
        lo, hi = middle - AROUND_BINS, middle + AROUND_BINS
        first, _ = ez.grid_of(ds).chrom_extent(row.chrom)
        predicted = [ds[name].isel(bin=slice(first + lo, first + hi)).values for name in ("before", "after")]
        without = replace(world, sites=world.sites.drop(index=list(row.sites)))
        true = [expected_contacts(w, row.chrom, lo, hi, n_diagonals) for w in (world, without)]
        # Contacts of each map over the same curve of distance, as the network's scale has it.
        changes = []
        for before, after in (predicted, true):
            with np.errstate(invalid="ignore", divide="ignore"):
                expected = np.nansum(before, axis=0) / (~np.isnan(before)).sum(axis=0)
                changes.append(np.log1p(after / expected) - np.log1p(before / expected))
        inside = np.arange(lo, hi)[:, None] + np.arange(n_diagonals) < hi
        counts = inside & (np.arange(n_diagonals) >= k0) & np.isfinite(changes[0]) & np.isfinite(changes[1])
        correlations.append(float(np.corrcoef(changes[0][counts], changes[1][counts])[0, 1]))
        if not example:
            example = {"predicted": np.where(counts, changes[0], np.nan), "true": np.where(counts, changes[1], np.nan)}
    return np.array(correlations), example


def compute(
    store: Path,
    checkpoint: Path,
    out: Path,
    world: World,
    *,
    run: str,
    chroms: Sequence[str] = TEST_CHROMS,
    n_ranked: int = 40,
    n_decoys: int = 40,
    n_removed: int = 20,
) -> xr.Dataset:
    """Scores of the three questions; attributions and perturbations are kept in the store ``out``."""
    everywhere = boundaries_of(world, chroms)
    found = everywhere[is_predicted(store, run, everywhere)].reset_index(drop=True)
    # Every n-th of all strengths, not the strongest alone.
    ranked = found.iloc[np.unique(np.linspace(0, len(found) - 1, min(n_ranked, len(found))).astype(int))]
    scores = rank_peaks(store, checkpoint, out, world, ranked)
    decoys = tell_decoys(store, checkpoint, out, world, chroms, n_decoys)
    removed = everywhere.head(n_removed)
    correlation, example = remove_sites(store, checkpoint, out, world, removed)
    return scores.assign(
        chrom=("boundary", ranked["chrom"].to_numpy()),
        position=("boundary", ranked["position"].to_numpy()),
        barrier=("boundary", ranked["barrier"].to_numpy()),
        correlation=("removed", correlation),
        removed_position=("removed", removed["position"].to_numpy()),
        **{f"{name}_change": (("bin", "diagonal"), values) for name, values in example.items()},
    ).assign_attrs(n_boundaries=len(everywhere), n_predicted=len(found), **decoys)


def plot(results: xr.Dataset) -> Figure:
    """AUROC by attribution and by height, the correlations of the changes, and the changes of the strongest boundary."""
    figure = Figure(figsize=(11, 6.5), dpi=130)
    axes = figure.subplots(2, 2)
    bins = np.linspace(0, 1, 21)
    for name, colour in (("by_attribution", "#0072b2"), ("by_height", "#e69f00")):
        axes[0, 0].hist(results[name].values, bins, alpha=0.7, color=colour, label=name.replace("_", " "))
    axes[0, 0].set(xlabel="AUROC of a boundary's own sites among CTCF peaks within 300 kb", ylabel="boundaries")
    axes[0, 0].legend(frameon=False)
    axes[0, 1].hist(results["correlation"].values, np.linspace(-1, 1, 21), color="#0072b2")
    axes[0, 1].axvline(WANTED_CORRELATION, color="#555555", linestyle="--")
    axes[0, 1].set(xlabel="correlation of predicted with true change, sites removed", ylabel="boundaries")
    most = float(np.nanpercentile(np.abs(results["true_change"].values), 99))
    for axis, name in zip(axes[1], ("predicted", "true"), strict=True):
        square = ez.square_from_band(results[f"{name}_change"].values)
        image = axis.imshow(square, cmap="RdBu_r", vmin=-most, vmax=most)
        axis.set_title(f"{name} change, strongest boundary", fontsize=10)
        figure.colorbar(image, ax=axis)
    figure.tight_layout()
    return figure


def verdict(results: xr.Dataset) -> list[str]:
    """What the study says, a sentence a question."""
    by_attribution, by_height = (float(np.nanmean(results[name])) for name in ("by_attribution", "by_height"))
    correlation = float(np.mean(results["correlation"]))
    return [
        f"SIMULATED. {results.attrs['n_predicted']} of {results.attrs['n_boundaries']} boundaries are predicted; over "
        f"{results.sizes['boundary']} of them, AUROC of a boundary's own sites: {by_attribution:.3f} by attribution (pooled "
        f"{results.attrs['pooled_by_attribution']:.3f}; wanted {WANTED_AUROC}), {by_height:.3f} by CTCF height, "
        f"{float(np.nanmean(results['by_distance'])):.3f} by distance alone",
        f"at {results.attrs['n_peaks']} single peaks' own places, AUROC of stopping sites against decoys: "
        f"{results.attrs['decoys_by_attribution']:.3f} by gradient times signal, "
        f"{results.attrs['decoys_by_height']:.3f} by height",
        f"sites of the {results.sizes['removed']} strongest boundaries removed: correlation of predicted with true change "
        f"{correlation:.3f} on average, {float(results['correlation'].min()):.3f} at least (wanted {WANTED_CORRELATION})",
        f"largest completeness error {float(np.abs(results['completeness_error']).max()):.2%} of what is explained",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="store of a simulated genome, with a prediction")
    parser.add_argument("--checkpoint", type=Path, required=True, help="RUN/best")
    parser.add_argument("--run", help="name of the prediction; by default the run folder's")
    parser.add_argument("--seed", type=int, default=1, help="seed of the genome")
    parser.add_argument("--size", default="small", help="size of the genome")
    parser.add_argument("--n-ranked", type=int, default=40)
    parser.add_argument("--n-decoys", type=int, default=40)
    parser.add_argument("--n-removed", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("attribution"))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    world = simulate_world(replace(DEFAULT, chrom_lengths=chrom_lengths_of(options.size)), options.seed, CELL_TYPE)
    results = compute(
        options.store,
        options.checkpoint,
        options.out / "effects.zarr",
        world,
        run=options.run or options.checkpoint.parent.name,
        n_ranked=options.n_ranked,
        n_decoys=options.n_decoys,
        n_removed=options.n_removed,
    )
    table = results[["chrom", "position", "barrier", "by_attribution", "by_height"]].to_dataframe()
    table.to_csv(options.out / "boundaries.tsv", sep="\t", index=False, float_format="%.4g")
    plot(results).savefig(options.out / "attribution.png")
    print("\n".join(verdict(results)))


if __name__ == "__main__":
    main()
