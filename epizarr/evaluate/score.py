"""Scores of a prediction and of the baselines on held-out regions, written into the store.

All maps are compared after the target's transform, on the same pixels: those where the observed map and every predictor have
a value. A correlation needs :data:`epizarr.metrics.correlation.MIN_PIXELS` pixels of a diagonal. The mean scores have confidence
intervals (:mod:`epizarr.evaluate.intervals`). Baselines are fitted on the training regions of the training cell types, and choose
what they have to choose on the validation regions, as the network did.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from epizarr import __version__
from epizarr.cluster import Progress, ProgressParts, run_tasks
from epizarr.errors import SplitError, StoreError
from epizarr.evaluate.baselines import (
    INSULATION,
    RIDGE,
    TRAINING_MEAN,
    baseline_sources,
    fit_baselines,
    fit_sums,
    fit_tasks,
)
from epizarr.evaluate.ceilings import (
    CEILING,
    REPLICATE_CEILING,
    TRACK_CEILING,
    References,
    depth_notes,
    depth_scale,
    find_replicates,
    find_truths,
    replicate_key,
)
from epizarr.evaluate.compare import OBSERVED, Bands, Comparison, joined
from epizarr.evaluate.intervals import MapMoments, describe, intervals, plan_intervals
from epizarr.evaluate.maps import (
    Maps,
    Rows,
    check_truth,
    inputs_id,
    open_maps,
    region_rows,
    whole_regions,
)
from epizarr.evaluate.notes import PREDICTION, data_notes, pixel_notes, run_notes, seen_notes
from epizarr.evaluate.sections import (
    Loops,
    Realism,
    Section,
    SectionTask,
    Specificity,
    Variables,
    choose_sections,
    measure_region,
)
from epizarr.evaluate.training import baseline_training, imported_notes
from epizarr.genome import Assembly, Region
from epizarr.io.bed import read_loops
from epizarr.io.group_choice import find_prediction
from epizarr.io.group_state import group_state, make_way
from epizarr.io.ledger import Lease
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import (
    ArraySpec,
    create_group,
    finish_group,
    group_path,
    has_group,
    open_evaluation,
    sweep_group,
    write_region,
)
from epizarr.metrics.baselines import PixelMoments
from epizarr.metrics.ceiling import replicate_ceiling
from epizarr.metrics.correlation import MIN_PIXELS, DistanceCorrelations, DistanceScores, skill
from epizarr.schema import GROUPS

#: Values of all predictors that are held at a time; more pixels are scored a few diagonals at a time.
MAX_SCORE_BYTES = 1 << 30

_TRUTHS = {
    CEILING: "noise-free contacts of the simulator, scaled to the observed mean of each diagonal",
    TRACK_CEILING: "mean of the simulator's noise-free contacts over redraws of what the tracks leave open, scaled likewise: "
    "the best that a predictor from the tracks could do",
}


@dataclass(frozen=True)
class _ReferenceTask:
    maps: Maps
    rows: Rows
    references: References


@dataclass(frozen=True)
class _ScoreTask:
    """What one block's comparison needs; ``diagonals`` are those to return."""

    comparison: Comparison
    rows: Rows
    diagonals: tuple[int, int]


def evaluate_run(
    store: StorePath,
    run: str | Sequence[str],
    *,
    cell_type: str,
    regions: Sequence[str] | None = None,
    truth: str | Path | None = None,
    sections: Sequence[str] | None = None,
    loops: str | Path | None = None,
    other_cell_type: str | None = None,
    predictions: StorePath | None = None,
    binsize: int | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> xr.Dataset:
    """Score predictions and the baselines, and keep the scores in the store.

    Where the contacts were merged from replicates (``count_replicate``) and the target is proportional to the counts, the
    agreement of the replicates gives a ceiling (:mod:`epizarr.metrics.ceiling`), which stands beside the scores.

    At most about 2 GiB of values are held at a time, and a thread's block: 15 MB a track at 100 diagonals, 30 MB at 200. Sections
    hold all maps of one region a thread: 8 bytes a pixel and map, and about 100 bytes a pixel while one is measured (600 MB for
    a human chromosome of 25,000 bins and 100 diagonals with five maps).

    Parameters
    ----------
    store
        Store with the measured contacts, and with contacts and tracks of the training cell types.
    run, cell_type
        Prediction to score, or several: they are scored on the same pixels and beside the same baselines, those of the first.
    regions
        Regions to score on. Default: the test regions of the (first) run. Regions that overlap those seen in training are scored
        too, and a note says so.
    truth
        A simulated cell type's noise-free contacts (``OUT/<cell type>/truth.zarr``): its agreement with the observed map is
        the noise ceiling. The folder ``OUT/<cell type>`` gives the track ceiling too, if it has ``truth_given_tracks.zarr``.
    sections
        Names of the sections to compute besides the correlations (:data:`epizarr.evaluate.sections.SECTIONS`). Default: all
        that apply; attribute ``not_scored`` says why the others do not. ``realism`` trains classifiers and is computed only if
        it is named: in this process, 100 bytes a pixel of the regions.
    loops
        BEDPE file of loops that count as true ones. Default: those called in the observed map.
    other_cell_type
        Cell type of the store whose measured contacts, and the runs' predictions of it where there are any, the predictions are
        to be told from (section ``specificity``).
    predictions
        Store that holds the predictions, where it is another one; the scores are written there. Default: ``store``.
    binsize
        Bin width of the prediction, where the run has several.
    client, n_threads
        Dask client, or threads of this process.
    progress
        Told after each block, of the fits and the scores together.
    overwrite
        Replace scores of this run that were made on other regions or inputs.
    take_over
        Take the place of a writer that has given no sign of life for ten minutes.

    Returns
    -------
    Dataset as :data:`epizarr.schema.EVALUATIONS` declares it. Scores that are undefined are NaN: the correlation of the
    training mean, whatever a missing track makes impossible, and diagonals below the first that counts.

    Raises
    ------
    SplitError
        If the run has no test regions and none are given.
    ConfigError
        If a section is unknown.
    StoreNotFoundError, StoreError
        If a prediction, the contacts or a track is missing, the runs cannot be compared, no pixel can be compared, or other
        scores of this run are there.
    """
    store, home = place_of(store), place_of(predictions or store)
    runs = [run] if isinstance(run, str) else list(run)
    predicted = _find_predictions(home, cell_type, runs, binsize)
    names = predictor_names(runs)
    prediction = predicted[0]
    of_first, training_notes = baseline_training(prediction, cell_type, regions)
    training_notes += [note for each in predicted[1:] for note in imported_notes(each)]
    trained_on = [of_first, *(json.loads(str(each.attrs["trained_on"])) for each in predicted[1:])]
    trained, source_notes, left_out = baseline_sources(store, prediction, of_first["cell_types"])
    maps = open_maps(store, cell_type, prediction, is_predicted=True, left_out=left_out)
    given: list[Section] = [Loops(*read_loops(loops, maps.assembly))] if loops is not None else []
    sources = [open_maps(store, name, prediction, left_out=left_out) for name in trained]
    replicates, no_ceiling = find_replicates(maps)
    others = [open_maps(store, other_cell_type, prediction, left_out=left_out)] if other_cell_type else []
    for other in others:
        of_other = [
            (name, home, group_path("predictions", other.cell_type, maps.binsize, r))
            for name, r in zip(names, runs, strict=True)
        ]
        given.append(
            Specificity(
                other,
                tuple(each for each in of_other if has_group(home, each[2])),
                tuple(source for source in sources if source.cell_type != cell_type),
                (replicates, find_replicates(other)[0]),
            )
        )
    scored = _regions(maps, regions, trained_on[0])
    if "realism" in (sections or ()):
        of_runs = tuple(zip(names, runs, strict=True))
        texts, folder = tuple(map(str, scored)), None if truth is None else str(truth)
        given.append(Realism(store, home, cell_type, maps.binsize, of_runs, texts, folder))
    chosen = choose_sections(sections, given)
    truths = find_truths(truth)
    truth_attrs = [check_truth(Path(path), maps) for _, path in truths]
    group = group_path("evaluations", cell_type, maps.binsize, group_name(runs))
    attrs = {
        "binsize": maps.binsize,
        "target": maps.variable,
        "transform": maps.transform.to_json(),
        "min_diagonal": maps.min_diagonal,
        "regions": json.dumps([str(region) for region in scored]),
        "runs": json.dumps(dict(zip(names, runs, strict=True))),
        "sections": json.dumps({section.name: section.parameters() for section in chosen}),
        "inputs_id": inputs_id(predicted, [maps, *sources, *others], truth_attrs),
        "checkpoint_sha256": " ".join(str(each.attrs["checkpoint_sha256"]) for each in predicted),
        "epizarr_version": __version__,
    }
    with Lease.acquire(home, group, take_over):
        # Scores that were being written are computed again: they are small.
        state = group_state(home, group, attrs, overwrite=overwrite, called=None, resumes=False)
        if not make_way(home, group, state):
            return open_evaluation(home, cell_type, group_name(runs), maps.binsize)
        splits = {name: _parse(maps.assembly, trained_on[0]["splits"][name]) for name in ("train", "validation")}
        plan, cells = plan_intervals(maps, scored)
        blocks, wholes = region_rows(maps.grid, scored), whole_regions(maps.grid, scored)
        fitted = {name: fit_tasks(sources, of_split) for name, of_split in splits.items()}
        references = References(truths, replicates)
        n_passes = _n_passes(blocks, maps.n_diagonals, len(references.keys) + len(runs))
        n_tasks = sum(map(len, fitted.values())) + len(blocks) * (n_passes + bool(references.keys))
        ticker = ProgressParts(progress, n_tasks + (len(wholes) if chosen else 0))
        workers = {"client": client, "n_threads": n_threads}
        sums = {
            name: PixelMoments.total(run_tasks(fit_sums, tasks, progress=ticker.part(len(tasks)), **workers))
            for name, tasks in fitted.items()
            if tasks
        }
        fits, missing = fit_baselines(sums.get("train"), sums.get("validation"), maps.tracks)
        groups = [group_path("predictions", cell_type, maps.binsize, each) for each in runs]
        comparison = Comparison(
            maps=maps,
            predictions=tuple((name, home, path) for name, path in zip(names, groups, strict=True)),
            fits=tuple(fits),
            references=references,
            scales={},
        )
        total: dict[str, np.ndarray] = {}
        if references.keys:
            of_blocks = [_ReferenceTask(maps, rows, references) for rows in blocks]
            parts = run_tasks(_reference_sums, of_blocks, progress=ticker.part(len(blocks)), **workers)
            total = {name: np.sum([part[name] for part in parts], axis=0) for name in references.keys}
            comparison = replace(comparison, scales={name: depth_scale(*pair) for name, pair in total.items()})
        moments, ceiling, n_observed = _score(comparison, blocks, cells, n_passes, ticker, workers)
        scores = {name: found.scores() for name, found in moments.items()}
        notes = training_notes + data_notes(maps)
        for name, seen in zip(names, trained_on, strict=True):
            notes += seen_notes(maps, name, scored, seen)
        notes += pixel_notes(names[0], scores[names[0]], n_observed) + run_notes(names, predicted)
        notes += source_notes + missing + no_ceiling
        about = {name: f"run {each!r}" for name, each in zip(names, runs, strict=True)}
        about |= {fit.name: fit.about for fit in fits}
        rows: dict[str, DistanceCorrelations | None] = {
            name: scores.get(name) for name in (*names, TRAINING_MEAN, INSULATION, RIDGE)
        }
        for name, _ in truths:
            rows[name] = scores[name]
            about[name] = _TRUTHS[name]
        if ceiling is not None:
            rows[REPLICATE_CEILING] = ceiling
            about[REPLICATE_CEILING] = (
                f"what the noise-free map would score against these contacts, by how well the replicates {', '.join(replicates)} "
                "agree, each scaled to the observed mean of each diagonal (Spearman-Brown; for rank correlations approximate)"
            )
            notes += depth_notes(
                maps.variable, {name: float(total[replicate_key(name)][1].sum()) for name in replicates}
            )
        found = _arrays(maps, rows, scores)
        found |= intervals(plan, moments, list(rows), prediction=names[0], reference=TRAINING_MEAN)
        coords, more, absent = _measure_sections(comparison, wholes, chosen, list(rows), ticker, workers)
        late = {
            "predictors": json.dumps(about),
            "notes": json.dumps(notes),
            "not_scored": json.dumps(absent),
            "bootstrap": describe(plan),
            "definitions": json.dumps({section.name: section.definition() for section in chosen}),
        }
        _write(home, group, found, attrs, late, coords, more)
    return open_evaluation(home, cell_type, group_name(runs), maps.binsize)


def predictor_names(runs: Sequence[str]) -> list[str]:
    """Names of the runs among the predictors: one is ``prediction``, several are told apart by their own names."""
    return [PREDICTION] if len(runs) == 1 else [f"run {run}" for run in runs]


def group_name(runs: str | Sequence[str]) -> str:
    """Name of the evaluation of a run, or of several together: their names, joined with ``+``."""
    return runs if isinstance(runs, str) else "+".join(runs)


def _find_predictions(home: Place, cell_type: str, runs: Sequence[str], binsize: int | None) -> list[xr.Dataset]:
    """Predictions of the runs, which must be of one target on one grid."""
    if not runs or len(set(runs)) < len(runs):
        raise StoreError(f"runs {list(runs)}: name at least one, and each once.")
    found = [find_prediction(home, cell_type, run, binsize) for run in runs]
    kinds = {
        run: (str(each.attrs["target"]), int(each.attrs["binsize"]), each.sizes["diagonal"])
        for run, each in zip(runs, found, strict=True)
    }
    if len(set(kinds.values())) > 1:
        listed = "; ".join(f"{run}: {kind[0]}, {kind[1]:,} bp, {kind[2]} diagonals" for run, kind in kinds.items())
        raise StoreError(
            f"{home}: these runs cannot be scored side by side, for their maps are not of one kind ({listed}). Evaluate each on "
            "its own."
        )
    return found


# -------------------------------------------------------------------------------------------------------------- sections


def _measure_sections(
    comparison: Comparison,
    wholes: Sequence[Rows],
    chosen: Sequence[Section],
    predictors: Sequence[str],
    ticker: ProgressParts,
    workers: dict[str, Any],
) -> tuple[Variables, Variables, dict[str, str]]:
    """Coordinates and variables of the sections that apply, and why the others do not."""
    lacking = {section.name: why for section in chosen if (why := section.lacks(comparison))}
    able = [section for section in chosen if section.name not in lacking]
    progress = ticker.part(len(wholes) if chosen else 0)
    coords: Variables = {}
    variables: Variables = {}
    if able:
        # Long regions first, so that no worker is left alone with one.
        order = sorted(range(len(wholes)), key=lambda i: wholes[i].lo - wholes[i].hi)
        tasks = [SectionTask(comparison, wholes[i], tuple(able)) for i in order]
        parts = dict(zip(order, run_tasks(measure_region, tasks, progress=progress, **workers), strict=True))
        for section in able:
            found = section.combine([parts[i][section.name] for i in range(len(wholes))], predictors)
            coords, variables = coords | found[0], variables | found[1]
            if not found[1]:
                lacking[section.name] = "the scored regions are too short for it"
    empty = {dim for dims, values in coords.values() for dim, size in zip(dims, values.shape, strict=True) if not size}
    kept = {name: (dims, values) for name, (dims, values) in variables.items() if not empty & set(dims)}
    if any("map" in dims for dims, _ in kept.values()):
        coords["map"] = ("map",), np.array([OBSERVED, *predictors], dtype=object)
    return {name: value for name, value in coords.items() if value[1].size}, kept, lacking


# --------------------------------------------------------------------------------------------------------------- scoring


def _n_passes(blocks: Sequence[Rows], n_diagonals: int, n_more: int) -> int:
    """In how many groups of diagonals the values of all predictors are held: one, unless the regions are very long."""
    n_maps = 4 + n_more  # observed and three baselines, besides runs and ceilings
    n_bytes = 4 * n_maps * n_diagonals * sum(rows.hi - rows.lo for rows in blocks)
    return min(max(1, -(-n_bytes // MAX_SCORE_BYTES)), n_diagonals)


def _score(
    comparison: Comparison,
    blocks: Sequence[Rows],
    cells: np.ndarray,
    n_passes: int,
    ticker: ProgressParts,
    workers: dict[str, Any],
) -> tuple[dict[str, MapMoments], DistanceCorrelations | None, int]:
    """Moments of each predictor; the replicates' ceiling; the number of observed pixels, whether or not all have a value there.

    ``cells`` has the cell of each row of the blocks, strung together.
    """
    parts: list[dict[str, MapMoments]] = []
    ceilings: list[DistanceCorrelations] = []
    replicates = [replicate_key(name) for name in comparison.references.replicates]
    n_observed = 0
    for columns in np.array_split(np.arange(comparison.maps.n_diagonals), n_passes):
        diagonals = (int(columns[0]), int(columns[-1]) + 1)
        tasks = [_ScoreTask(comparison, rows, diagonals) for rows in blocks]
        results = run_tasks(_compare_block, tasks, progress=ticker.part(len(tasks)), **workers)
        n_observed += sum(block.n_observed for block in results)
        values = joined([block.values for block in results])
        observed = values.pop(OBSERVED)
        of_replicates = [values.pop(key) for key in replicates]
        if of_replicates:
            ceilings.append(replicate_ceiling(*of_replicates, min_pixels=MIN_PIXELS))
        parts.append({name: MapMoments.of(band, observed, cells) for name, band in values.items()})
    moments = {name: MapMoments.joined(part[name] for part in parts) for name in parts[0]}
    if not moments[comparison.predictions[0][0]].pairs.n.any():
        raise StoreError(
            f"no pixel can be compared: {n_observed:,} are observed in the regions, and none of them is predicted. Predict these "
            "regions, or evaluate others."
        )
    return moments, _joined(ceilings) if ceilings else None, n_observed


def _joined(parts: Sequence[DistanceCorrelations]) -> DistanceCorrelations:
    """Ceilings of groups of diagonals, in one."""
    return DistanceCorrelations(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(DistanceCorrelations))
    )


def _compare_block(task: _ScoreTask) -> Bands:
    """Transformed values of the observed map and of each predictor on some diagonals, NaN wherever one has none."""
    return task.comparison.bands(task.rows, task.diagonals, linear=False)


def _reference_sums(task: _ReferenceTask) -> dict[str, np.ndarray]:
    return task.references.sums(task.maps, task.rows)


# ------------------------------------------------------------------------------------------------- regions, notes, writing


def _parse(assembly: Assembly, texts: Sequence[str]) -> list[Region]:
    return [assembly.region(text) for text in texts]


def _regions(maps: Maps, regions: Sequence[str] | None, trained_on: dict[str, Any]) -> list[Region]:
    texts = list(regions or trained_on["splits"].get("test", ()))
    if not texts:
        raise SplitError("this run has no test regions; say which regions to score on (--region).")
    chosen = maps.assembly.disjoint(texts)
    empty = [str(region) for region in chosen if not region_rows(maps.grid, [region])]
    if empty:
        raise SplitError(f"regions {empty} hold no whole bin of {maps.binsize:,} bp; widen them.")
    return chosen


def _arrays(
    maps: Maps, rows: Mapping[str, DistanceCorrelations | None], scores: Mapping[str, DistanceScores]
) -> dict[str, np.ndarray]:
    """Arrays of the evaluations group, one of ``rows`` a predictor; what a predictor does not have is NaN."""
    by_predictor = list(rows.values())
    nothing = np.full(maps.n_diagonals, np.nan)
    reference = scores[TRAINING_MEAN].mse
    mse = np.array([s.mse if isinstance(s, DistanceScores) else np.nan for s in by_predictor])
    return {
        "predictor": np.array(list(rows), dtype=object),
        "n_pixels": scores[TRAINING_MEAN].n_pixels,
        "pearson": np.stack([s.pearson if s else nothing for s in by_predictor]),
        "spearman": np.stack([s.spearman if s else nothing for s in by_predictor]),
        "mean_pearson": np.array([s.mean_pearson if s else np.nan for s in by_predictor]),
        "mean_spearman": np.array([s.mean_spearman if s else np.nan for s in by_predictor]),
        "mse": mse,
        "skill": np.array([skill(value, reference) for value in mse]),
    }


def _write(
    store: Place,
    group: str,
    values: dict[str, np.ndarray],
    attrs: Mapping[str, Any],
    late: Mapping[str, str],
    more_coords: Variables,
    sections: Variables,
) -> None:
    n_diagonals = len(values["n_pixels"])
    diagonal = np.arange(n_diagonals, dtype=np.int64)
    coords = {
        "predictor": values.pop("predictor"),
        "diagonal": diagonal,
        "distance": diagonal * int(attrs["binsize"]),
        **{name: array for name, (_, array) in more_coords.items()},
    }
    declared = {v.name: v for v in GROUPS["evaluations"].variables}
    values = values | {name: array for name, (_, array) in sections.items()}
    arrays = {name: ArraySpec(declared[name].dims, array.shape, declared[name].dtype) for name, array in values.items()}
    create_group(store, group, "evaluations", coords=coords, arrays=arrays, attrs={**attrs, **late})
    sweep_group(store, group)
    for name, array in values.items():
        write_region(store, group, name, {}, array)
    finish_group(store, group)
