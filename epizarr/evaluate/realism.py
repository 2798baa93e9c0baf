"""Realism of predicted maps: how much they look like measured ones, beside a replicate and the paper's three synthetic maps.

Every map, be it the replicate's, a network's or a synthetic one, goes through the same measures, on the same windows, under the
same mask as the measured map that it is compared with: a pixel counts where both have a value.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from epizarr.bands import gather_stripes
from epizarr.cluster import Progress
from epizarr.errors import CheckpointError, SplitError, StoreError
from epizarr.evaluate.depth_matched import Bands, depth_matched_pair
from epizarr.evaluate.intervals import plan_intervals
from epizarr.evaluate.maps import Maps, Rows, compared_inputs, open_maps, whole_regions
from epizarr.genome import Region
from epizarr.io.group_choice import find_prediction
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import group_path
from epizarr.metrics.bootstrap import BlockPlan, interval, resample_weights
from epizarr.metrics.correlation import score_by_distance
from epizarr.metrics.realism import (
    ClassifierProtocol,
    ColumnScale,
    cut_windows,
    score_windows,
    sd_ratio,
    two_sample_scores,
    window_starts_of,
)
from epizarr.metrics.realism_features import scaled_distance, window_features
from epizarr.metrics.realism_synthetic import HALF_WIDTH, synthetic_maps
from epizarr.metrics.spectrum import power_ranges, radial_power

if TYPE_CHECKING:
    from epizarr.nn import Discriminator

OBSERVED, REPLICATE = "observed", "replicate"
#: Side in bins of the squares whose power is compared: small enough for several ranges of distance in a band of 100 diagonals.
SPECTRUM_SIDE = 16
#: How classifiers are trained.
PROTOCOL = ClassifierProtocol()


@dataclass(frozen=True)
class _Pair:
    """A map and what it is compared with: transformed bands, a held-out region each, NaN in both where a pixel does not count."""

    name: str
    bands: Bands
    reference: Bands

    @classmethod
    def of(cls, name: str, bands: Bands, reference: Bands) -> "_Pair":
        masks = [np.isfinite(a) & np.isfinite(b) for a, b in zip(bands, reference, strict=True)]
        masked = (
            [np.where(m, band, np.nan) for m, band in zip(masks, side, strict=True)] for side in (bands, reference)
        )
        return cls(name, *masked)


@dataclass(frozen=True)
class _HeldOut:
    """The regions that are read: ``n_scored`` that are scored, then those that only train classifiers.

    ``groups`` has a number for each: a classifier is scored on one group and trained on the others.
    """

    regions: tuple[Region, ...]
    rows: tuple[Rows, ...]
    n_scored: int
    groups: tuple[int, ...]


def realism_scores(
    store: StorePath,
    runs: Sequence[str],
    *,
    cell_type: str,
    regions: Sequence[str] | None = None,
    fit_on: Sequence[str] | None = None,
    truth: str | Path | None = None,
    judge: str | Path | None = None,
    predictions: StorePath | None = None,
    binsize: int | None = None,
    protocol: ClassifierProtocol = PROTOCOL,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Score how real the maps of some runs look, and beside them a replicate and three synthetic maps.

    Holds the held-out regions of the observed map, of the replicate, and of one other map with its stripes and windows: about 100
    bytes a pixel (0.5 GB for the paper's three test chromosomes at 10 kb and 100 diagonals).

    Parameters
    ----------
    store
        Store with the measured contacts and the tracks.
    runs, cell_type
        Predictions to score; all of one target and one transform.
    regions
        Regions to score on. Default: the test regions of the first run.
    fit_on
        Regions that classifiers are trained on besides the scored ones of other chromosomes. Default: the run's validation
        regions. Not its training regions: a network that learnt these by heart would look real there.
    truth
        A simulated cell type's noise-free contacts, which the replicate is drawn from (:mod:`epizarr.evaluate.depth_matched`).
    judge
        Checkpoint whose discriminator gives the perceptual score, of the runs' target and transform. None: no such score.
    predictions
        Store that holds the predictions, where it is another one.
    binsize
        Bin width of the predictions, where a run has several.
    protocol
        How the classifiers are trained; one for all maps.
    progress
        Told after each map.

    Returns
    -------
    Dataset with the dims ``map`` (the replicate where there is one, the runs, the synthetic maps), ``judged`` (the same with the
    observed map first), ``diagonal``, ``range`` and ``frequency`` (of power), ``window``; the maps are compared with the observed
    map, the replicate with what ``attrs["replicate"]`` says. NaN where undefined.

    - ``accuracy``, ``auc`` (map) with ``_low`` and ``_high``: the classifier two-sample test, 0.5 is indistinguishable; 95 %
      intervals from a moving-block bootstrap of its windows, whose label is ``attrs["intervals"]``. The classifier is not trained
      anew for each resample.
    - ``sd_ratio`` (map, diagonal): spread relative to the reference's.
    - ``power``, ``reference_power`` (map, range, frequency): mean power of detail, squared units of the transformed target.
    - ``frechet`` (map): Fréchet distance of fixed features in the ``n_windows`` windows, without units; ``frechet_judge``: of the
      discriminator's last features.
    - ``perceptual`` (judged, window): the discriminator's score of each submatrix, from 0 to 1 (very Hi-C-like).
    - ``mse``, ``mean_pearson`` (map): agreement with the reference, to set beside.

    ``attrs["held_out"]`` names all regions that were read: a classifier is trained on those of other chromosomes than the
    ones it is scored on (where all lie on one, on the other regions).

    Raises
    ------
    SplitError
        If there is no region to score on.
    RegionError
        If regions to score on overlap.
    StoreNotFoundError, StoreError
        If something is missing in the store, or the runs do not belong together.
    CheckpointError
        If the judge has no discriminator, or knows other maps.
    """
    store, home = place_of(store), place_of(predictions or store)
    opened = _open_runs(home, runs, cell_type, binsize)
    maps = open_maps(store, cell_type, opened[0], is_predicted=True)
    discriminator = None if judge is None else _open_judge(judge, maps)
    held = _held_out(maps, regions, fit_on, json.loads(str(opened[0].attrs["trained_on"]))["splits"])
    observed = [maps.transformed(maps.observed(rows)) for rows in held.rows]
    scored = slice(0, held.n_scored)
    if not any(np.isfinite(band).any() for band in observed[scored]):
        raise StoreError(
            f"{store}: cell type {cell_type!r} has no valid pixel in {', '.join(map(str, held.regions[scored]))}."
        )
    pair, about_replicate = depth_matched_pair(maps, held.rows, truth, protocol.seed)
    plan, cells = plan_intervals(maps, held.regions[scored])
    names = [*([REPLICATE] if pair else []), *runs, *synthetic_maps(observed[0][:1])]
    found = []
    for done, compared in enumerate(_pairs(maps, home, runs, held, observed, pair), 1):
        found.append(_score(compared, held, plan, cells, maps.binsize, protocol, discriminator))
        if progress is not None:
            progress(done, len(names))
    results = xr.concat(found, dim="map", join="exact").assign_coords(map=names)
    if discriminator is not None:
        own = _perceptual([_stripes(band) for band in observed[scored]], held, discriminator)
        others = results["perceptual"].rename(map="judged")
        judged = xr.concat([own.expand_dims(judged=[OBSERVED]), others], dim="judged", join="exact")
        results = results.drop_vars("perceptual").assign(perceptual=judged)
    return results.assign_coords(distance=("diagonal", np.arange(maps.n_diagonals) * maps.binsize)).assign_attrs(
        cell_type=cell_type,
        binsize=maps.binsize,
        target=maps.variable,
        transform=maps.transform.to_json(),
        regions=json.dumps([str(region) for region in held.regions[scored]]),
        held_out=json.dumps([str(region) for region in held.regions]),
        replicate=about_replicate,
        intervals=plan.label,
        protocol=json.dumps(asdict(protocol)),
        judge="" if judge is None else str(judge),
        half_width_bins=HALF_WIDTH,
        origins=json.dumps(sorted({str(entry.get("origin", "")) for entry in compared_inputs(maps)})),
    )


# --------------------------------------------------------------------------------------------------------------- what is read


def _open_runs(home: Place, runs: Sequence[str], cell_type: str, binsize: int | None) -> list[xr.Dataset]:
    if not runs:
        raise StoreError("realism: no run is named; name one at least.")
    opened = [find_prediction(home, cell_type, run, binsize) for run in runs]
    for run, prediction in zip(runs[1:], opened[1:], strict=True):
        different = [
            name for name in ("binsize", "target", "transform") if prediction.attrs[name] != opened[0].attrs[name]
        ]
        if prediction.sizes["diagonal"] != opened[0].sizes["diagonal"]:
            different.append("number of diagonals")
        if different:
            raise StoreError(
                f"runs {runs[0]!r} and {run!r} differ in {', '.join(different)}, so that one measured map cannot stand beside "
                "both. Score them one at a time."
            )
    return opened


def _open_judge(path: str | Path, maps: Maps) -> "Discriminator":
    from epizarr.train import load_checkpoint

    checkpoint = load_checkpoint(path)
    judge = checkpoint.judge()
    known = {"target": maps.variable, "bin width": maps.binsize, "transform": maps.transform.to_json()}
    own = {
        "target": checkpoint.target_variable,
        "bin width": checkpoint.binsize,
        "transform": checkpoint.target_transform.to_json(),
    }
    different = [name for name, value in known.items() if own[name] != value]
    if judge.config.n_offsets > maps.n_diagonals:
        different.append(f"width ({judge.config.n_offsets} offsets, the maps have {maps.n_diagonals})")
    if different:
        raise CheckpointError(
            f"checkpoint {path}: its discriminator knows maps of another {', '.join(different)}. Take the judge from a run with "
            "the target and the training regions of the runs that are scored."
        )
    return judge


def _held_out(
    maps: Maps, regions: Sequence[str] | None, fit_on: Sequence[str] | None, splits: dict[str, Any]
) -> _HeldOut:
    texts = list(regions or splits.get("test", ()))
    if not texts:
        raise SplitError("this run has no test regions; say which regions to score on (regions).")
    scored = maps.assembly.disjoint(texts)  # pixels in two regions would count twice
    more = [maps.assembly.region(text) for text in (splits.get("validation", ()) if fit_on is None else fit_on)]
    more = [region for region in more if not any(region.overlaps(other) for other in scored)]
    every = (*scored, *more)
    rows = tuple(whole_regions(maps.grid, every))
    empty = [str(region) for region, part in zip(every, rows, strict=True) if part.hi <= part.lo]
    if empty:
        raise SplitError(f"regions {', '.join(empty)} hold no whole bin of {maps.binsize:,} bp; widen them.")
    chroms = list(dict.fromkeys(region.chrom for region in every))
    # On one chromosome, held-out regions are as far from each other as other splits are.
    groups = [chroms.index(region.chrom) for region in every] if len(chroms) > 1 else range(len(every))
    return _HeldOut(every, rows, len(scored), tuple(groups))


def _pairs(
    maps: Maps, home: Place, runs: Sequence[str], held: _HeldOut, observed: Bands, pair: tuple[Bands, Bands] | None
) -> Iterator[_Pair]:
    """Every map with its reference, one after the other."""
    if pair is not None:
        yield _Pair.of(REPLICATE, *([maps.transformed(band) for band in bands] for bands in pair))
    for run in runs:
        group = group_path("predictions", maps.cell_type, maps.binsize, run)
        bands = [maps.transformed(maps.predicted(home, group, rows)) for rows in held.rows]
        yield _Pair.of(run, bands, observed)
    synthetic = [synthetic_maps(band) for band in observed]
    for name in synthetic[0]:
        yield _Pair.of(name, [made[name] for made in synthetic], observed)


# -------------------------------------------------------------------------------------------------------------------- scores


def _stripes(band: np.ndarray) -> np.ndarray:
    return gather_stripes(band, 0, len(band), band.shape[1])


def _score(
    pair: _Pair,
    held: _HeldOut,
    plan: BlockPlan,
    cells: np.ndarray,
    binsize: int,
    protocol: ClassifierProtocol,
    judge: "Discriminator | None",
) -> xr.Dataset:
    """All measures of one map."""
    n_scored, n_bins = held.n_scored, protocol.n_bins
    band, reference = (np.concatenate(bands[:n_scored]) for bands in (pair.bands, pair.reference))
    agreement = score_by_distance(band, reference)
    power, reference_power, ranges, frequency = _powers(pair, n_scored)
    own, other = ([_stripes(b) for b in bands] for bands in (pair.bands, pair.reference))
    values = _two_sample(own, other, held, plan, cells, protocol)
    scale = ColumnScale.of(other[:n_scored])
    windows = _windows(own, other, n_scored, n_bins)
    values |= {
        "frechet": scaled_distance(*(window_features(w, scale) for w in windows)),
        "n_windows": len(windows[0]),
        "mse": agreement.mse,
        "mean_pearson": agreement.mean_pearson,
    }
    found = xr.Dataset(
        {
            **values,
            "sd_ratio": ("diagonal", sd_ratio(band, reference)),
            "power": (("range", "frequency"), power),
            "reference_power": (("range", "frequency"), reference_power),
        },
        coords={
            "diagonal": np.arange(band.shape[1]),
            "frequency": frequency,
            "range_start": ("range", [a * binsize for a, _ in ranges]),
            "range_end": ("range", [b * binsize for _, b in ranges]),
        },
    )
    if judge is not None:
        from epizarr.evaluate.classifier import judge_features

        n_offsets = judge.config.n_offsets
        both = _windows(own, other, n_scored, judge.config.n_bins)
        found["frechet_judge"] = scaled_distance(*(judge_features(judge, w[..., :n_offsets]) for w in both))
        found["perceptual"] = _perceptual(own[:n_scored], held, judge)
    return found


def _windows(own: Bands, other: Bands, n_scored: int, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of both maps in the scored regions, half overlapping, at the same places."""
    starts = [window_starts_of(stripes, n_bins, max(n_bins // 2, 1)) for stripes in other[:n_scored]]
    first, second = (
        np.concatenate([cut_windows(s, at, n_bins) for s, at in zip(side[:n_scored], starts, strict=True)])
        for side in (own, other)
    )
    return first, second


def _powers(pair: _Pair, n_scored: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]], np.ndarray]:
    """Radial power of both maps in each range of distance."""
    n_diagonals = pair.bands[0].shape[1]
    ranges = power_ranges(n_diagonals, SPECTRUM_SIDE)
    gap = np.full((SPECTRUM_SIDE, n_diagonals), np.nan)  # no square crosses from one region into the next
    powers = [np.zeros((len(ranges), SPECTRUM_SIDE // 2 - 1)) for _ in range(2)]
    for power, bands in zip(powers, (pair.bands, pair.reference), strict=True):
        joined = np.concatenate([part for band in bands[:n_scored] for part in (band, gap)])
        for index, (first, _) in enumerate(ranges):
            power[index] = radial_power(joined, side=SPECTRUM_SIDE, least_diagonal=first).power
    return powers[0], powers[1], ranges, np.arange(1, SPECTRUM_SIDE // 2) / SPECTRUM_SIDE


def _two_sample(
    own: Bands, other: Bands, held: _HeldOut, plan: BlockPlan, cell_of_row: np.ndarray, protocol: ClassifierProtocol
) -> dict[str, float]:
    """Train a classifier for each group of scored regions on all other groups; pool their windows."""
    from epizarr.evaluate.classifier import train_classifier

    real, fake, cells = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    ends = np.cumsum([0, *(rows.hi - rows.lo for rows in held.rows[: held.n_scored])])
    for group in dict.fromkeys(held.groups[: held.n_scored]):
        others = [index for index, g in enumerate(held.groups) if g != group]
        classify = train_classifier([other[i] for i in others], [own[i] for i in others], protocol) if others else None
        if classify is None:
            continue
        for index in (i for i in range(held.n_scored) if held.groups[i] == group):
            starts = window_starts_of(other[index], protocol.n_bins, protocol.n_bins)
            for side, scores in ((other, real), (own, fake)):
                windows = cut_windows(side[index], starts, protocol.n_bins)
                scores.append(classify(windows, ~np.isnan(windows)) if len(windows) else np.zeros(0))
            cells.append(cell_of_row[ends[index] + starts + protocol.n_bins // 2])
    joined = np.concatenate(real), np.concatenate(fake)
    whole = two_sample_scores(*joined)
    n_cells = int(cell_of_row[-1]) + 1
    by_cell = resample_weights(np.ones(n_cells, dtype=bool), plan.cells_per_block)
    resampled = two_sample_scores(*joined, by_cell[:, np.concatenate(cells)])
    found: dict[str, float] = {}
    for name, score, values in zip(("accuracy", "auc"), whole, resampled, strict=True):
        low, high = interval(values, plan.n_blocks) if plan.block_bp else (np.nan, np.nan)
        found |= {name: float(score[0]), f"{name}_low": low, f"{name}_high": high}
    return found


def _perceptual(stripes: Bands, held: _HeldOut, judge: "Discriminator") -> xr.DataArray:
    """The judge's score of each submatrix of the scored regions, from 0 to 1."""
    from epizarr.evaluate.classifier import judging

    parts, bins = [], []
    for rows, one in zip(held.rows, stripes, strict=False):
        starts, logits = score_windows(one[:, : judge.config.n_offsets], judge.config.n_bins, judging(judge))
        parts.append(1 / (1 + np.exp(-logits)))
        bins.append(rows.lo + starts)
    return xr.DataArray(
        np.concatenate(parts), dims="window", coords={"bin": ("window", np.concatenate(bins))}, name="perceptual"
    )
