"""The loci of the paper: what becomes of a boundary without its CTCF sites, and how two cell types differ.

A case (``cases.toml``) names an assembly, a locus, and its *states*: the tracks of a cell type as they are, or with edits (CTCF
masked to the track's mean, as the paper's Methods say, or sequence deleted). Every state is predicted by every checkpoint given
(the squared error beside the adversarial loss, Fig. S14) and compared with the first state; where maps were measured, so are
they: capture Hi-C of the states (``--capture``, lifted from its assembly by a chain file) or, for cell types as they are, the
store's contacts.
What the paper does not say is an option, and a state that lacks one is left out, which is said.

``.venv/bin/python pipelines/cases.py --case sox9-kcnj2 --store mouse.zarr --checkpoint mse=runs/mse/best --checkpoint
gan=runs/gan/best --cell-types limb --genes mm10.gtf.gz --chain mm9ToMm10.over.chain.gz`` runs one; a second run with the same
folder goes on where the first was stopped. ``--list`` says what there is.
"""

import argparse
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

import epizarr as ez
from epizarr.domains.insulation import insulation_scores
from epizarr.errors import ConfigError, EpizarrError, StoreNotFoundError
from epizarr.io.contacts import ContactsFile, open_contacts_file
from epizarr.io.genes import read_genes
from epizarr.io.liftover import Chain, lifted_band, open_chain
from epizarr.report.figures import MapWindow, colour_limits, draw_map, fall_colours
from epizarr.schema import SIGNED_VARIABLES

#: Shown on each side of the edits or genes: as far as the network's stripes reach, and half as much again.
MARGIN_BP = 1_500_000
#: Window of the insulation score.
WINDOW_BP = 200_000
MEASURED = "measured"
TRACK = "CTCF"


@dataclass(frozen=True)
class State:
    """Tracks of a cell type, edited or not.

    ``cell``: which of the case's cell types. ``edit``: what is done in ``regions`` and ``between`` two genes, if anything.
    ``assembly``: that of the regions, where the paper does not give them in the case's.
    """

    name: str
    cell: int = 0
    edit: Literal["", "mask", "delete"] = ""
    regions: Sequence[str] = ()
    between: Sequence[str] = ()
    assembly: str = ""


@dataclass(frozen=True)
class Case:
    """One locus.

    ``site``: where the insulation is read and whose boundary is attributed; ``target``: an interval whose contacts are
    attributed, against the second cell type. ``source``, ``found``, ``not_given``: where it stands in the paper, what was found
    there, and what it does not say.
    """

    name: str
    assembly: str
    cell_types: Sequence[str]
    states: Sequence[State]
    source: str
    found: str
    not_given: str
    locus: str = ""
    genes: Sequence[str] = ()
    chrom: str = ""
    site: str = ""
    target: str = ""


def read_cases(path: Path) -> dict[str, Case]:
    """Read the cases of a file by their names."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["case"]
    cases = [Case(**(entry | {"states": [State(**state) for state in entry["states"]]})) for entry in entries]
    return {case.name: case for case in cases}


CASES = read_cases(Path(__file__).with_suffix(".toml"))


@dataclass(frozen=True)
class Settled:
    """A case with all its places: the window, the edits of each state, the attributed target, and what is left out and why."""

    shown: ez.Region
    edits: dict[str, list[str]]
    target: str | None
    left_out: dict[str, str]


def settle(
    case: Case,
    assembly: ez.Assembly,
    *,
    genes: Path | None = None,
    chain: Chain | None = None,
    region: str | None = None,
) -> Settled:
    """Find the places of a case that the paper leaves to an annotation or gives in another assembly.

    Raises
    ------
    ConfigError
        If no place is left to look at, or the annotation lacks a gene of the case.
    """
    chrom, found = case.chrom, {}
    if genes and case.genes:
        for chrom in [case.chrom] if case.chrom else assembly.chrom_names:
            found = {gene.name: gene for gene in read_genes(genes, assembly, chrom) if gene.name in case.genes}
            if len(found) == len(case.genes):
                break
        else:
            raise ConfigError(
                f"case {case.name}: {genes} does not have {' and '.join(case.genes)} on {case.chrom or 'a chromosome'}."
            )
    edits: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    ends = [(found[name].start, found[name].end) for name in case.genes if name in found]
    for state in case.states:
        regions = [_old_region(text) if state.assembly else assembly.region(text) for text in state.regions]
        if state.assembly and chain is None:
            left_out[state.name] = (
                f"its sites are given in {state.assembly}: give the chain file to {case.assembly} (--chain)"
            )
            continue
        if state.assembly and chain is not None:
            regions = [chain.lift_region(old, assembly) for old in regions]
        if state.between and not found:
            left_out[state.name] = f"the paper gives no places of {' and '.join(state.between)}: give genes (--genes)"
            continue
        if state.between:
            left, right = sorted((found[name] for name in state.between), key=lambda gene: gene.start)
            regions = [ez.Region(chrom, left.end, right.start)]
        what = f"mask:{TRACK}:" if state.edit == "mask" else f"{state.edit}:"
        edits[state.name] = [f"{what}{place}" for place in regions]
        ends += [(place.start, place.end) for place in regions]
    if region or case.locus:
        shown = assembly.region(region or case.locus)
    elif ends:
        start, end = min(a for a, _ in ends) - MARGIN_BP, max(b for _, b in ends) + MARGIN_BP
        shown = ez.Region(chrom, max(0, start), min(end, assembly.length(chrom)))
    else:
        raise ConfigError(f"case {case.name}: the paper gives no place. Give genes (--genes) or a window (--region).")
    target = None
    if case.site:
        target = f"boundary:{case.site}"
    elif case.target or ends:
        within = case.target or f"{chrom}:{ends[0][0]}-{ends[0][1]}"
        target = f"rectangle:{within}:{within}"
    return Settled(shown, edits, target, left_out)


def _old_region(text: str) -> ez.Region:
    chrom, _, place = text.replace(",", "").partition(":")
    start, _, end = place.partition("-")
    return ez.Region(chrom, int(start), int(end))


def problems(
    case: Case, store: Path, checkpoints: Mapping[str, Path], cell_types: Sequence[str], use: Mapping[str, str]
) -> list[str]:
    """What the store or the checkpoints lack for a case, all at once."""
    found: list[str] = []
    held = ez.describe_store(store).assembly.name
    if held != case.assembly:
        found.append(
            f"{store} holds assembly {held!r}; the case lies on {case.assembly}. Ingest the tracks on {case.assembly}"
        )
    if len(cell_types) != len(case.cell_types):
        found.append(
            f"{len(case.cell_types)} cell types are needed (--cell-types; in the paper {' '.join(case.cell_types)})"
        )
    loaded = {name: ez.load_checkpoint(path) for name, path in checkpoints.items()}
    if len({(model.binsize, model.target_variable in SIGNED_VARIABLES) for model in loaded.values()}) > 1:
        found.append("the checkpoints predict bins of different widths, or contacts beside scores of either sign")
    if len({tuple(model.tracks) for model in loaded.values()}) > 1:
        found.append("the checkpoints read different tracks")
    for cell_type in cell_types:
        try:
            there = [str(name) for name in ez.open_tracks(store, cell_type)["track"].values]
        except StoreNotFoundError as error:
            found.append(f"cell type {cell_type!r} has no tracks (--cell-types): {error}")
            continue
        for name, model in loaded.items():
            needed = [track for track in model.tracks if track not in model.config.data.zeroed_tracks]
            lacking = [use.get(track, track) for track in needed if use.get(track, track) not in there]
            if lacking and not model.tracks_may_be_missing:
                found.append(
                    f"{cell_type!r} lacks tracks of checkpoint {name}: {', '.join(lacking)}; it has {', '.join(there)}"
                )
    for name, model in loaded.items():
        if TRACK not in model.tracks and any(state.edit == "mask" for state in case.states):
            found.append(
                f"checkpoint {name} does not read {TRACK}, which this case masks; it reads {', '.join(model.tracks)}"
            )
    return found


def compute(
    store: Path,
    checkpoints: Mapping[str, Path],
    case: Case,
    settled: Settled,
    out: Path,
    *,
    cell_types: Sequence[str],
    captures: Mapping[str, ContactsFile] | None = None,
    chain: Chain | None = None,
    use: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Predict the states of a case, compare them with the first and with measured maps; predictions are kept in ``out``.

    Returns
    -------
    ``scaled`` (source, state, bin, diagonal): log(1 + contact / mean of the first state at its distance), each state
    brought to the first's total; scores of either sign as they are. ``change``: its difference to the first state.
    ``insulation`` (source, state): log2 score at the site. ``correlation`` (source, state): of the change with the measured
    one. ``agreement`` (source, state): mean Pearson per distance with the measured map. ``share`` (source, track): share of the
    absolute attribution. ``signal`` (cell_type, track, bin): largest raw signal. Sources are the checkpoints, and ``measured``
    where there is one; NaN where a state was not measured.
    """
    loaded = {name: ez.load_checkpoint(path) for name, path in checkpoints.items()}
    first_model = next(iter(loaded.values()))
    binsize, k0 = first_model.binsize, max(model.min_diagonal for model in loaded.values())
    n_diagonals = min(model.network.n_offsets for model in loaded.values())
    is_signed = first_model.target_variable in SIGNED_VARIABLES
    grid, shown = ez.grid_of(ez.open_tracks(store, cell_types[0])).assembly.bins(binsize), settled.shown
    lo, hi = grid.region_extent(shown)
    shown = grid.extent_region(lo, hi)
    states = [state for state in case.states if state.name in settled.edits]
    inside = np.arange(hi - lo)[:, None] + np.arange(n_diagonals) < hi - lo
    counted = inside & (np.arange(n_diagonals) >= k0)
    maps: dict[str, list[np.ndarray]] = {}
    shares: dict[str, np.ndarray] = {}
    calls: dict[str, Any] = {"use": use or {}, "out": out}
    for name, path in checkpoints.items():
        maps[name] = []
        for state in states:
            run, cell_type = f"{case.name}-{state.name}-{name}", cell_types[state.cell]
            if settled.edits[state.name]:
                edits = settled.edits[state.name]
                ez.perturb_contacts(store, path, cell_type=cell_type, edits=edits, region=str(shown), run=run, **calls)
                band = ez.open_perturbation(out, cell_type, run, binsize)["after"]
            else:
                ez.predict_contacts(store, path, cell_type=cell_type, regions=[str(shown)], run=run, **calls)
                band = ez.open_prediction(out, cell_type, run, binsize)["contact"]
            values = band.isel(bin=slice(lo, hi), diagonal=slice(n_diagonals)).values.astype(np.float64)
            maps[name].append(np.where(counted, values, np.nan))
        if settled.target:
            baseline = cell_types[1] if len(cell_types) > 1 else "zero"
            run, targets = f"{case.name}-{name}", [settled.target]
            ez.attribute_contacts(
                store, path, cell_type=cell_types[0], targets=targets, baseline=baseline, run=run, **calls
            )
            size = np.abs(ez.open_attribution(out, cell_types[0], run)["attribution"].isel(target=0)).sum("bin").values
            shares[name] = size / size.sum()
    measured = _measured(
        store, states, cell_types, first_model.target_variable, captures or {}, chain, grid, shown, n_diagonals
    )
    if measured:
        blank = np.full((hi - lo, n_diagonals), np.nan)
        maps[MEASURED] = [np.where(counted, measured.get(state.name, blank), np.nan) for state in states]
    scaled = {name: _on_one_scale(bands, is_signed) for name, bands in maps.items()}
    window = min(WINDOW_BP // binsize, (n_diagonals + 1) // 2)
    rows: dict[str, list[list[float]]] = {"insulation": [], "correlation": [], "agreement": []}
    for name, bands in maps.items():
        at = _site_bin(case, grid, lo, hi) if not is_signed else None
        rows["insulation"].append(
            [np.nan if at is None else insulation_scores(b, [window], min_diagonal=k0)[0][0][at] for b in bands]
        )
        against = scaled.get(MEASURED, [np.full_like(band, np.nan) for band in bands])
        pairs = list(zip(scaled[name], against, strict=True))
        rows["correlation"].append([_pearson(own - pairs[0][0], true - pairs[0][1]) for own, true in pairs])
        rows["agreement"].append([ez.score_by_distance(own, true, min_pixels=3).mean_pearson for own, true in pairs])
    array = np.stack([np.stack(bands) for bands in scaled.values()])
    dims = ("source", "state", "bin", "diagonal")
    results = xr.Dataset(
        {
            "scaled": (dims, array),
            "change": (dims, array - array[:, :1]),
            **{key: (("source", "state"), np.array(values, dtype=np.float64)) for key, values in rows.items()},
            "signal": (
                ("cell_type", "track", "bin"),
                _signals(store, cell_types, first_model.tracks, use or {}, shown, binsize),
            ),
        },
        coords={
            "source": list(maps),
            "state": [state.name for state in states],
            "cell_type": list(cell_types),
            "track": list(first_model.tracks),
        },
        attrs={
            "case": case.name,
            "region": str(shown),
            "binsize": binsize,
            "marks": [text for texts in settled.edits.values() for text in texts],
            "target": settled.target or "",
            "variable": first_model.target_variable,
        },
    )
    if shares:
        none = np.full(len(first_model.tracks), np.nan)
        results["share"] = (("source", "track"), np.stack([shares.get(name, none) for name in maps]))
    return results


def _measured(
    store: Path,
    states: Sequence[State],
    cell_types: Sequence[str],
    variable: str,
    captures: Mapping[str, ContactsFile],
    chain: Chain | None,
    grid: Any,
    shown: ez.Region,
    n_diagonals: int,
) -> dict[str, np.ndarray]:
    """Measured map of each state that has one: captures where any is given, else contacts of the store; never both kinds."""
    if captures:
        return {name: lifted_band(file, chain, grid, shown, n_diagonals) for name, file in captures.items()}
    found = {}
    for state in states:
        if state.edit:
            continue
        try:
            contacts = ez.open_contacts(store, cell_types[state.cell], grid.binsize)
        except StoreNotFoundError:
            continue
        if variable in contacts and contacts.sizes["diagonal"] >= n_diagonals:
            found[state.name] = ez.select(contacts[variable], str(shown)).values[:, :n_diagonals].astype(np.float64)
    return found


def _on_one_scale(bands: Sequence[np.ndarray], is_signed: bool) -> list[np.ndarray]:
    """Maps of one source as log(1 + contact / expected), expected and total those of the first."""
    if is_signed:
        return list(bands)
    first = bands[0]
    number = (~np.isnan(first)).sum(axis=0)
    expected = np.nansum(first, axis=0) / np.maximum(number, 1)
    found = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for band in bands:
            both = ~np.isnan(first) & ~np.isnan(band)
            factor = first[both].sum() / band[both].sum() if both.any() else 1.0
            values = np.log1p(band * factor / expected)
            found.append(np.where(np.isfinite(values), values, np.nan))
    return found


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation over all pixels of two maps; NaN where it is undefined."""
    return float(ez.score_by_distance(a.reshape(-1, 1), b.reshape(-1, 1), min_pixels=3).pearson[0])


def _site_bin(case: Case, grid: Any, lo: int, hi: int) -> int | None:
    if not case.site:
        return None
    a, b = grid.region_extent(grid.assembly.region(case.site))
    middle = (a + b - 1) // 2 - lo
    return middle if 0 <= middle < hi - lo else None


def _signals(
    store: Path, cell_types: Sequence[str], names: Sequence[str], use: Mapping[str, str], shown: ez.Region, binsize: int
) -> np.ndarray:
    """Largest raw signal of each contact bin (cell type, track, bin); NaN where a cell type has no such track."""
    n = -(-shown.length // binsize)
    found = np.full((len(cell_types), len(names), n), np.nan)
    for i, cell_type in enumerate(cell_types):
        tracks = ez.open_tracks(store, cell_type)
        there = [str(name) for name in tracks["track"].values]
        for j, name in enumerate(names):
            if use.get(name, name) in there:
                signal = ez.select(tracks["signal"].isel(track=there.index(use.get(name, name))), str(shown)).values
                starts = np.arange(0, len(signal), binsize // int(tracks.attrs["binsize"]))
                found[i, j] = np.fmax.reduceat(signal, starts)
    return found


def summary(results: xr.Dataset) -> pd.DataFrame:
    """One row a source and state: insulation at the site and how far it rises; correlation with what was measured."""
    table = results[["insulation", "correlation", "agreement"]].to_dataframe().reset_index()
    first = results["insulation"].isel(state=0).to_series()
    table.insert(3, "rise", table["insulation"] - table["source"].map(first))
    is_first = table["state"] == results["state"].values[0]
    table.loc[is_first, ["rise", "correlation"]] = np.nan
    return table.rename(
        columns={"correlation": "change, Pearson with measured", "agreement": "map, Pearson with measured"}
    ).dropna(axis="columns", how="all")


def plot(results: xr.Dataset) -> Figure:
    """Maps of the states and their changes, one column a source, over the tracks that were edited or compared."""
    region, binsize = results.attrs["region"], int(results.attrs["binsize"])
    chrom, _, place = region.replace(",", "").partition(":")
    start, end = (int(text) for text in place.split("-"))
    sources, states = results["source"].values.tolist(), results["state"].values.tolist()
    rows = [("scaled", states[0])] + [(kind, state) for state in states[1:] for kind in ("scaled", "change")]
    tracks = [TRACK] if results.sizes["cell_type"] == 1 else results["track"].values.tolist()
    panels = [(cell, track) for track in tracks for cell in results["cell_type"].values.tolist()]
    heights = [1.3] * len(rows) + [0.35] * len(panels)
    figure = Figure(figsize=(1.0 + 5.2 * len(sources), sum(heights) + 1.2), layout="constrained", dpi=130)
    axes = figure.subplots(len(heights), len(sources), sharex=True, squeeze=False, height_ratios=heights)
    window = MapWindow(region, start, end, binsize, 0, (), (), "")
    known = np.abs(results["change"].values[np.isfinite(results["change"].values)])
    most = float(np.percentile(known[known > 0], 99.5)) if (known > 0).any() else 1.0
    signed = Normalize(-most, most)
    for column, source in enumerate(sources):
        norm = Normalize(*colour_limits(results["scaled"].sel(source=source, state=states[0]).values))
        for row, (kind, state) in enumerate(rows):
            axis, band = axes[row, column], results[kind].sel(source=source, state=state).values
            is_change = kind == "change"
            if np.isfinite(band).any():
                draw_map(
                    axis,
                    band,
                    window,
                    _signed_colours() if is_change else fall_colours(),
                    signed if is_change else norm,
                )
            else:
                axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color="#777777")
                axis.set_yticks([])
            label = f"{state} − {states[0]}" if is_change else state
            axis.text(0.01, 0.9, label, transform=axis.transAxes, va="top", fontsize=8, weight="bold")
            axis.set_ylabel("Mb" if column == 0 else "", fontsize=8)
            for a, b in _marks(results):
                axis.axvspan(a / 1e6, b / 1e6, facecolor="none", edgecolor="#333333", linewidth=0.5, linestyle="--")
        for row, (cell, track) in enumerate(panels, start=len(rows)):
            axis, values = axes[row, column], results["signal"].sel(cell_type=cell, track=track).values
            edges = (start + np.arange(len(values) + 1) * binsize) / 1e6
            axis.stairs(np.nan_to_num(values), edges, fill=True, color="#0072b2" if cell == panels[0][0] else "#e69f00")
            axis.set_yticks([])
            axis.set_ylabel(f"{track}\n{cell}" if column == 0 else "", rotation=0, ha="right", va="center", fontsize=7)
        axes[0, column].set_title(source, fontsize=10)
        axes[-1, column].set_xlabel(f"{chrom} (Mb)", fontsize=9)
        axes[-1, column].set_xlim(start / 1e6, end / 1e6)
    figure.suptitle(f"{results.attrs['case']}: log(1 + contact / expected), {region}", fontsize=10)
    return figure


def _marks(results: xr.Dataset) -> list[tuple[int, int]]:
    places = [
        text.replace(",", "").rsplit(":", 1)[1].split("-") for text in np.atleast_1d(results.attrs["marks"]).tolist()
    ]
    return [(int(a), int(b)) for a, b in places]


def _signed_colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["RdBu_r"].with_extremes(bad="#e6e8eb")


def read_named(texts: Sequence[str], option: str) -> dict[str, str]:
    """Read ``NAME=VALUE`` options; a checkpoint may go without a name and then has its run folder's."""
    found: dict[str, str] = {}
    for text in texts:
        name, is_named, value = text.partition("=")
        if not is_named and option == "--checkpoint":
            name, value = Path(text).absolute().parent.name, text
        if not value or name in found or name == MEASURED:
            raise ConfigError(f"{option} {text!r}: needs NAME=VALUE, each name once.")
        found[name] = value
    return found


def describe(case: Case) -> str:
    """What the paper says of a case, and what it does not."""
    states = "; ".join(
        f"{state.name}: {state.edit} {' '.join(state.regions) or 'between ' + ' and '.join(state.between)}"
        f"{f' ({state.assembly})' if state.assembly else ''}"
        if state.edit
        else state.name
        for state in case.states
    )
    return (
        f"{case.name} ({case.assembly}{', ' + case.locus if case.locus else ''})\n  states: {states}\n  paper: {case.source}\n"
        f"  found there: {case.found}\n  not given there: {case.not_given}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="say what the cases are, and end")
    parser.add_argument("--case", choices=list(CASES))
    parser.add_argument("--store", type=Path, help="store with the cell types' tracks")
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="[NAME=]RUN/best", help="repeat to compare"
    )
    parser.add_argument("--cell-types", nargs="+", metavar="NAME", help="their names in the store, in the case's order")
    parser.add_argument("--genes", type=Path, help="annotation (GTF or BED) with the case's genes")
    parser.add_argument("--chain", type=Path, help="chain file from the assembly of the paper's sites and captures")
    parser.add_argument(
        "--capture", action="append", default=[], metavar="STATE=FILE", help="measured contacts of a state"
    )
    parser.add_argument("--capture-binsize", type=int, help="bin width of the captures, by default that of the network")
    parser.add_argument("--capture-is-lifted", action="store_true", help="captures lie on the case's assembly already")
    parser.add_argument("--region", help="window to show")
    parser.add_argument(
        "--use", action="append", default=[], metavar="NAME=TRACK", help="read TRACK for the model's NAME"
    )
    parser.add_argument("--out", type=Path, default=Path("cases"), help="folder for everything")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n\n".join(describe(case) for case in CASES.values()))
        return
    if not (options.case and options.store and options.checkpoint):
        parser.error("needs --case, --store and --checkpoint (or --list)")
    try:
        run_case(CASES[options.case], options)
    except EpizarrError as error:
        sys.exit(f"cases: {error}")


def run_case(case: Case, options: argparse.Namespace) -> None:
    """Check, compute, and write ``OUT/CASE.png`` and ``OUT/CASE.tsv``."""
    print(describe(case))
    checkpoints = {name: Path(path) for name, path in read_named(options.checkpoint, "--checkpoint").items()}
    cell_types, use = options.cell_types or list(case.cell_types), read_named(options.use, "--use")
    if found := problems(case, options.store, checkpoints, cell_types, use):
        raise ConfigError(f"case {case.name} cannot be run:\n" + "\n".join(f"- {text}" for text in found))
    assembly = ez.describe_store(options.store).assembly
    chain = open_chain(options.chain) if options.chain else None
    settled = settle(case, assembly, genes=options.genes, chain=chain, region=options.region)
    captures = {}
    binsize = options.capture_binsize or ez.load_checkpoint(next(iter(checkpoints.values()))).binsize
    for name, path in read_named(options.capture, "--capture").items():
        if name not in settled.edits:
            raise ConfigError(f"--capture {name}={path}: the states are {', '.join(settled.edits)}.")
        captures[name] = open_contacts_file(path, binsize, chrom_lengths=_lengths(assembly, chain))
    if captures and chain is None and not options.capture_is_lifted:
        raise ConfigError("--capture: give the chain file from its assembly (--chain), or say --capture-is-lifted.")
    if captures and case.states[0].name not in captures:
        raise ConfigError(f"--capture: a change needs the first state's too ({case.states[0].name}=FILE).")
    options.out.mkdir(parents=True, exist_ok=True)
    results = compute(
        options.store,
        checkpoints,
        case,
        settled,
        options.out / f"{case.name}.zarr",
        cell_types=cell_types,
        captures=captures,
        chain=None if options.capture_is_lifted else chain,
        use=use,
    )
    for name, why in settled.left_out.items():
        print(f"{name}: left out, {why}.")
    table = summary(results)
    print(table.round(3).to_string(index=False))
    if "share" in results:
        shares = results["share"].dropna("source", how="all").to_pandas().round(3)
        print(f"\nShare of the absolute attribution of {results.attrs['target']}:\n{shares.to_string()}")
    table.to_csv(options.out / f"{case.name}.tsv", sep="\t", index=False, float_format="%.4g")
    plot(results).savefig(options.out / f"{case.name}.png")
    print(f"Figure: {options.out / f'{case.name}.png'}")


def _lengths(assembly: ez.Assembly, chain: Chain | None) -> dict[str, int]:
    """Lengths for contacts in text, which names none: an older assembly's are not known, and may be a little longer."""
    return {chrom: length + (0 if chain is None else 10_000_000) for chrom, length in assembly}


if __name__ == "__main__":
    main()
