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
from epizarr.cluster import Progress, run_tasks
from epizarr.errors import SplitError, StoreError
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
from epizarr.evaluate.intervals import MapMoments, describe, intervals, plan_intervals
from epizarr.evaluate.maps import (
    Maps,
    Rows,
    check_truth,
    compared_inputs,
    inputs_id,
    lacking_tracks,
    missing_tracks,
    open_maps,
    region_rows,
)
from epizarr.genome import Assembly, Region
from epizarr.io.group_choice import find_prediction
from epizarr.io.ledger import Lease
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import (
    ArraySpec,
    create_group,
    finish_group,
    group_attrs,
    group_path,
    has_group,
    list_groups,
    open_evaluation,
    read_region,
    remove_group,
    sweep_group,
    write_region,
)
from epizarr.metrics.baselines import (
    LinearFit,
    PixelMoments,
    fit_insulation,
    fit_ridge,
    fit_training_mean,
    pixel_features,
)
from epizarr.metrics.ceiling import replicate_ceiling
from epizarr.metrics.correlation import MIN_PIXELS, DistanceCorrelations, DistanceScores, skill
from epizarr.schema import GROUPS

PREDICTION, INSULATION, RIDGE = "prediction", "CTCF insulation", "ridge"
TRAINING_MEAN = "training mean"
_PEAK_DERIVED = "Peak-derived signal, not coverage"
#: The track that the insulation heuristic reads, in any case.
INSULATOR = "ctcf"
#: Values of all predictors that are held at a time; more pixels are scored a few diagonals at a time.
MAX_SCORE_BYTES = 1 << 30

_TRUTHS = {
    CEILING: "noise-free contacts of the simulator, scaled to the observed mean of each diagonal",
    TRACK_CEILING: "mean of the simulator's noise-free contacts over redraws of what the tracks leave open, scaled likewise: "
    "the best that a predictor from the tracks could do",
}


@dataclass(frozen=True)
class _FitTask:
    maps: Maps
    rows: Rows


@dataclass(frozen=True)
class _ScoreTask:
    """What one block's comparison needs; ``diagonals`` are those to return.

    ``scales`` has a factor a diagonal for each of the references, whose sums are taken first.
    """

    maps: Maps
    rows: Rows
    prediction_store: Place
    prediction_group: str
    fits: tuple[LinearFit, ...]
    references: References
    scales: Mapping[str, np.ndarray]
    diagonals: tuple[int, int]


def evaluate_run(
    store: StorePath,
    run: str,
    *,
    cell_type: str,
    regions: Sequence[str] | None = None,
    truth: str | Path | None = None,
    predictions: StorePath | None = None,
    binsize: int | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> xr.Dataset:
    """Score a prediction and the baselines, and keep the scores in the store.

    Where the contacts were merged from replicates (``count_replicate``) and the target is proportional to the counts, the
    agreement of the replicates gives a ceiling (:mod:`epizarr.metrics.ceiling`), which stands beside the scores.

    At most about 2 GiB of values are held at a time, and a thread's block: 15 MB a track at 100 diagonals, 30 MB at 200.

    Parameters
    ----------
    store
        Store with the measured contacts, and with contacts and tracks of the training cell types.
    run, cell_type
        Prediction to score.
    regions
        Regions to score on. Default: the test regions of the run. Regions that overlap those seen in training are scored too,
        and a note says so.
    truth
        A simulated cell type's noise-free contacts (``OUT/<cell type>/truth.zarr``): its agreement with the observed map is
        the noise ceiling. The folder ``OUT/<cell type>`` gives the track ceiling too, if it has ``truth_given_tracks.zarr``.
    predictions
        Store that holds the prediction, where it is another one; the scores are written there. Default: ``store``.
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
    StoreNotFoundError, StoreError
        If the prediction, the contacts or a track is missing, no pixel can be compared, or other scores of this run are there.
    """
    store, home = place_of(store), place_of(predictions or store)
    prediction = find_prediction(home, cell_type, run, binsize)
    trained_on = json.loads(str(prediction.attrs["trained_on"]))
    trained, source_notes, left_out = _baseline_sources(store, prediction, trained_on["cell_types"])
    maps = open_maps(store, cell_type, prediction, is_predicted=True, left_out=left_out)
    scored = _regions(maps, regions, trained_on)
    sources = [open_maps(store, name, prediction, left_out=left_out) for name in trained]
    truths = find_truths(truth)
    truth_attrs = [check_truth(Path(path), maps) for _, path in truths]
    group = group_path("evaluations", cell_type, maps.binsize, run)
    attrs = {
        "binsize": maps.binsize,
        "target": maps.variable,
        "transform": maps.transform.to_json(),
        "min_diagonal": maps.min_diagonal,
        "regions": json.dumps([str(region) for region in scored]),
        "inputs_id": inputs_id(prediction, [maps, *sources], truth_attrs),
        "checkpoint_sha256": str(prediction.attrs["checkpoint_sha256"]),
        "epizarr_version": __version__,
    }
    with Lease.acquire(home, group, take_over):
        if not _is_to_do(home, group, attrs, overwrite):
            return open_evaluation(home, cell_type, run, maps.binsize)
        splits = {name: _parse(maps.assembly, trained_on["splits"][name]) for name in ("train", "validation")}
        plan, cells = plan_intervals(maps, scored)
        blocks = region_rows(maps.grid, scored)
        n_fits = sum(len(region_rows(source.grid, r)) for source in sources for r in splits.values())
        replicates, no_ceiling = find_replicates(maps)
        references = References(truths, replicates)
        n_passes = _n_passes(blocks, maps.n_diagonals, len(references.keys))
        ticker = _Ticker(progress, n_fits + len(blocks) * (n_passes + bool(references.keys)))
        workers = {"client": client, "n_threads": n_threads}
        fits, missing = _fit_baselines(sources, splits, ticker, workers)
        task = _ScoreTask(
            maps=maps,
            rows=blocks[0],
            prediction_store=home,
            prediction_group=group_path("predictions", cell_type, maps.binsize, run),
            fits=tuple(fits),
            references=references,
            scales={},
            diagonals=(0, maps.n_diagonals),
        )
        tasks = [replace(task, rows=rows) for rows in blocks]
        total: dict[str, np.ndarray] = {}
        if references.keys:
            sums = run_tasks(_reference_sums, tasks, progress=ticker.part(len(tasks)), **workers)
            total = {name: np.sum([block[name] for block in sums], axis=0) for name in references.keys}
            scales = {name: depth_scale(*pair) for name, pair in total.items()}
            tasks = [replace(t, scales=scales) for t in tasks]
        moments, ceiling, n_observed = _score(tasks, cells, n_passes, ticker, workers)
        scores = {name: found.scores() for name, found in moments.items()}
        notes = _notes(maps, scored, splits, scores[PREDICTION], n_observed, trained_on)
        notes += source_notes + missing + no_ceiling
        about = {PREDICTION: f"run {run!r}", **{fit.name: fit.about for fit in fits}}
        rows: dict[str, DistanceCorrelations | None] = {
            name: scores.get(name) for name in (PREDICTION, TRAINING_MEAN, INSULATION, RIDGE)
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
        found |= intervals(plan, moments, list(rows), prediction=PREDICTION, reference=TRAINING_MEAN)
        late = {"predictors": json.dumps(about), "notes": json.dumps(notes), "bootstrap": describe(plan)}
        _write(home, group, found, attrs, late)
    return open_evaluation(home, cell_type, run, maps.binsize)


# ------------------------------------------------------------------------------------------------------------- baselines


def _baseline_sources(
    store: Place, prediction: xr.Dataset, trained: Sequence[str]
) -> tuple[list[str], list[str], set[str]]:
    """Training cell types that the store has, tracks that some of them lack, and the notes that say what is left out."""
    has_group_of = {info.cell_type for info in list_groups(store) if info.kind == "contacts"}
    there = [name for name in trained if name in has_group_of]
    notes = []
    if elsewhere := [name for name in trained if name not in there]:
        notes.append(f"Baselines are not fitted on {', '.join(elsewhere)}, trained on as well: not in this store.")
    lacking = lacking_tracks(store, there, prediction)
    notes += [f"Baselines leave out {', '.join(names)}, which {name} lacks." for name, names in lacking.items()]
    if fed := missing_tracks(prediction):
        notes.append(f"Fed to the network as missing, and left out of baselines: {', '.join(fed)}.")
    if sources := json.loads(prediction.attrs.get("track_sources", "{}")):
        notes.append(
            "Read in the place of another track: " + ", ".join(f"{s} as {n}" for n, s in sources.items()) + "."
        )
    return there, notes, {track for names in lacking.values() for track in names}


def _fit_baselines(
    sources: Sequence[Maps], splits: Mapping[str, Sequence[Region]], ticker: "_Ticker", workers: dict[str, Any]
) -> tuple[list[LinearFit], list[str]]:
    """Fit what can be fitted; the notes say what cannot, and why."""
    sums = {}
    for name, regions in splits.items():
        tasks = [_FitTask(source, rows) for source in sources for rows in region_rows(source.grid, regions)]
        parts = run_tasks(_fit_sums, tasks, progress=ticker.part(len(tasks)), **workers)
        sums[name] = PixelMoments.total(parts) if parts else None
    train, validation = sums["train"], sums["validation"]
    if train is None or not train.n_target.any():
        raise StoreError(
            "the training regions of this run have no valid pixel in this store, so that neither a baseline nor the skill can "
            "be computed. Use the store that the run was trained on."
        )
    fits, notes = [fit_training_mean(train)], []
    tracks = sources[0].tracks
    insulators = [index for index, name in enumerate(tracks) if name.lower() == INSULATOR]
    if insulators and train.n.any():
        fits.append(fit_insulation(train, insulators[0], len(tracks)))
    else:
        why = "no track is named CTCF" if not insulators else "no training pixel has all tracks measured"
        notes.append(f"{INSULATION}: n/a, {why}.")
    if validation is not None and validation.n.any() and train.n.any():
        fits.append(fit_ridge(train, validation))
    else:
        notes.append(f"{RIDGE}: n/a, no training or no validation pixel has all tracks measured.")
    return fits, notes


def _fit_sums(task: _FitTask) -> PixelMoments:
    maps, rows = task.maps, task.rows
    target = maps.transform.apply(maps.observed(rows))
    return PixelMoments.of_block(pixel_features(maps.bin_tracks(rows), *target.shape), target)


# --------------------------------------------------------------------------------------------------------------- scoring


def _n_passes(blocks: Sequence[Rows], n_diagonals: int, n_references: int) -> int:
    """In how many groups of diagonals the values of all predictors are held: one, unless the regions are very long."""
    n_maps = 5 + n_references  # observed, prediction, three baselines
    n_bytes = 4 * n_maps * n_diagonals * sum(rows.hi - rows.lo for rows in blocks)
    return min(max(1, -(-n_bytes // MAX_SCORE_BYTES)), n_diagonals)


def _score(
    tasks: Sequence[_ScoreTask], cells: np.ndarray, n_passes: int, ticker: "_Ticker", workers: dict[str, Any]
) -> tuple[dict[str, MapMoments], DistanceCorrelations | None, int]:
    """Moments of each predictor; the replicates' ceiling; the number of observed pixels, whether or not all have a value there.

    ``cells`` has the cell of each row of the tasks, strung together.
    """
    parts: list[dict[str, MapMoments]] = []
    ceilings: list[DistanceCorrelations] = []
    replicates = [replicate_key(name) for name in tasks[0].references.replicates]
    n_observed = 0
    for columns in np.array_split(np.arange(tasks[0].maps.n_diagonals), n_passes):
        diagonals = (int(columns[0]), int(columns[-1]) + 1)
        results = run_tasks(
            _compare_block,
            [replace(t, diagonals=diagonals) for t in tasks],
            progress=ticker.part(len(tasks)),
            **workers,
        )
        n_observed += sum(n for _, n in results)
        values = {name: np.concatenate([block[name] for block, _ in results]) for name in results[0][0]}
        observed = values.pop("observed")
        of_replicates = [values.pop(key) for key in replicates]
        if of_replicates:
            ceilings.append(replicate_ceiling(*of_replicates, min_pixels=MIN_PIXELS))
        parts.append({name: MapMoments.of(band, observed, cells) for name, band in values.items()})
    moments = {name: MapMoments.joined(part[name] for part in parts) for name in parts[0]}
    if not moments[PREDICTION].pairs.n.any():
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


def _compare_block(task: _ScoreTask) -> tuple[dict[str, np.ndarray], int]:
    """Transformed values of the observed map and of each predictor, NaN wherever one has none; and the observed pixels."""
    maps, rows = task.maps, task.rows
    own = maps.observed(rows)
    part = {"bin": slice(rows.lo, rows.hi), "diagonal": slice(0, maps.n_diagonals)}
    predicted = read_region(task.prediction_store, task.prediction_group, "contact", part)
    with np.errstate(divide="ignore", invalid="ignore"):  # a prediction below what the transform is defined for
        bands = {"observed": maps.transform.apply(own), PREDICTION: maps.transform.apply(predicted)}
    features = pixel_features(maps.bin_tracks(rows), *own.shape)
    bands |= {fit.name: fit.predict(features) for fit in task.fits}
    for name, band in task.references.bands(maps, rows, own).items():
        bands[name] = maps.transform.apply(band * task.scales[name].astype(np.float32))
    columns = slice(*task.diagonals)
    counts = np.all([np.isfinite(band[:, columns]) for band in bands.values()], axis=0)
    n_observed = int(np.isfinite(bands["observed"][:, columns]).sum())
    return {name: np.where(counts, band[:, columns], np.nan) for name, band in bands.items()}, n_observed


def _reference_sums(task: _ScoreTask) -> dict[str, np.ndarray]:
    return task.references.sums(task.maps, task.rows)


# ------------------------------------------------------------------------------------------------- regions, notes, writing


def _parse(assembly: Assembly, texts: Sequence[str]) -> list[Region]:
    return [assembly.region(text) for text in texts]


def _regions(maps: Maps, regions: Sequence[str] | None, trained_on: dict[str, Any]) -> list[Region]:
    texts = list(regions or trained_on["splits"].get("test", ()))
    if not texts:
        raise SplitError("this run has no test regions; say which regions to score on (--region).")
    view = maps.assembly.view(texts)
    chosen = [Region(str(c), int(s), int(e)) for c, s, e in view[["chrom", "start", "end"]].itertuples(index=False)]
    empty = [str(region) for region in chosen if not region_rows(maps.grid, [region])]
    if empty:
        raise SplitError(f"regions {empty} hold no whole bin of {maps.binsize:,} bp; widen them.")
    return chosen


def _notes(
    maps: Maps,
    scored: Sequence[Region],
    splits: Mapping[str, Sequence[Region]],
    prediction: DistanceScores,
    n_observed: int,
    trained_on: dict[str, Any],
) -> list[str]:
    notes = _data_notes(maps)
    if maps.cell_type in trained_on.get("held_out_cell_types", ()):
        notes.append(
            f"Cell type {maps.cell_type} was held out: it neither trained the network nor chose the checkpoint."
        )
    for name, what in (("train", "training"), ("validation", "the choice of the checkpoint")):
        for region in scored:
            seen = [other for other in splits[name] if region.overlaps(other)]
            if seen:
                notes.append(
                    f"SEEN in {what}: {region} overlaps {', '.join(map(str, seen))} (cell types "
                    f"{', '.join(trained_on['cell_types'])}). These scores do not say how the model does on new data."
                )
    n_scored = int(prediction.n_pixels.sum())
    if n_scored < n_observed:
        notes.append(
            f"{n_observed - n_scored:,} of {n_observed:,} observed pixels have no value in the prediction or in a baseline "
            "and are left out of all scores."
        )
    undefined = int((np.isnan(prediction.pearson) & (prediction.n_pixels > 0)).sum())
    if undefined:
        notes.append(f"The prediction's correlation is undefined on {undefined} diagonals; the means leave them out.")
    return notes


def _data_notes(maps: Maps) -> list[str]:
    """What kind of data was compared, where a reader must know it first."""
    origins = [str(entry.get("origin", "")) for entry in compared_inputs(maps)]
    notes = []
    if "simulated" in maps.assembly.name.lower() or any("SIMULATED" in origin for origin in origins):
        notes.append("SIMULATED data: genome, tracks and contacts were drawn by epizarr's simulator, not measured.")
    if any(_PEAK_DERIVED.lower() in origin.lower() for origin in origins):
        notes.append(f"{_PEAK_DERIVED}: tracks were made from peak files, with zero outside the peaks.")
    return notes


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
        "n_pixels": scores[PREDICTION].n_pixels,
        "pearson": np.stack([s.pearson if s else nothing for s in by_predictor]),
        "spearman": np.stack([s.spearman if s else nothing for s in by_predictor]),
        "mean_pearson": np.array([s.mean_pearson if s else np.nan for s in by_predictor]),
        "mean_spearman": np.array([s.mean_spearman if s else np.nan for s in by_predictor]),
        "mse": mse,
        "skill": np.array([skill(value, reference) for value in mse]),
    }


def _is_to_do(store: Place, group: str, attrs: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether the scores are yet to be computed; others of this run are refused, or removed if told."""
    if not has_group(store, group):
        return True
    found = group_attrs(store, group)
    different = sorted(key for key, value in attrs.items() if found.get(key) != value)
    is_complete = found.get("state") == "complete"
    if is_complete and not different and not overwrite:
        return False
    if is_complete and not overwrite:
        raise StoreError(
            f"{store}: {group!r} holds scores of this run that were made with another {', '.join(different)}. Replace them with "
            "--overwrite."
        )
    remove_group(store, group)  # scores that were being written are computed again: they are small
    return True


def _write(
    store: Place, group: str, values: dict[str, np.ndarray], attrs: Mapping[str, Any], late: Mapping[str, str]
) -> None:
    n_diagonals = len(values["n_pixels"])
    diagonal = np.arange(n_diagonals, dtype=np.int64)
    coords = {
        "predictor": values.pop("predictor"),
        "diagonal": diagonal,
        "distance": diagonal * int(attrs["binsize"]),
    }
    declared = {v.name: v for v in GROUPS["evaluations"].variables}
    arrays = {name: ArraySpec(declared[name].dims, array.shape, declared[name].dtype) for name, array in values.items()}
    create_group(store, group, "evaluations", coords=coords, arrays=arrays, attrs={**attrs, **late})
    sweep_group(store, group)
    for name, array in values.items():
        write_region(store, group, name, {}, array)
    finish_group(store, group)


class _Ticker:
    """One count of finished tasks over several calls of ``run_tasks``."""

    def __init__(self, progress: Progress | None, n_tasks: int) -> None:
        self._progress = progress
        self._n_tasks = n_tasks
        self._before = 0

    def part(self, n_tasks: int) -> Progress | None:
        """Progress of the next ``n_tasks`` tasks."""
        before, progress = self._before, self._progress
        self._before += n_tasks
        return None if progress is None else lambda done, _: progress(before + done, self._n_tasks)
