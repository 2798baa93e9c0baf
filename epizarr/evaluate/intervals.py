"""Confidence intervals of an evaluation's mean scores: which blocks of the scored regions are resampled, and what comes of it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import xarray as xr

from epizarr.evaluate.maps import Maps, region_rows
from epizarr.genome import Region
from epizarr.metrics.bootstrap import (
    N_RESAMPLES,
    BlockPlan,
    ResampledScores,
    interval,
    plan_blocks,
    resample_weights,
)
from epizarr.metrics.correlation import MIN_PIXELS, DistanceScores, scores_of
from epizarr.metrics.moments import PairMoments, RankMoments
from epizarr.report.html import format_interval

#: Scores that have an interval, ``<name>_low`` and ``<name>_high``.
SCORES = ("mean_pearson", "mean_spearman", "mse", "skill")
#: Mean Pearson of the prediction less that of another predictor.
ADVANTAGE = "advantage"
#: Share of repeats whose interval covers the truth, and the seed of the resamples.
LEVEL, SEED = 0.95, 0

_Moments = TypeVar("_Moments", PairMoments, RankMoments)


@dataclass(frozen=True)
class MapMoments:
    """Moments (cell, diagonal) of one predictor's map and the observed one."""

    pairs: PairMoments
    ranks: RankMoments

    @classmethod
    def of(cls, band: np.ndarray, observed: np.ndarray, cells: np.ndarray) -> "MapMoments":
        """Take them from whole columns of two bands; ``cells`` has the cell of each row."""
        n_cells = int(cells[-1]) + 1
        return cls(
            PairMoments.of_rows(band, observed, cells, n_cells), RankMoments.of_columns(band, observed, cells, n_cells)
        )

    @classmethod
    def joined(cls, parts: Iterable["MapMoments"]) -> "MapMoments":
        """Moments of consecutive groups of diagonals, in one."""
        listed = list(parts)
        return cls(_beside([part.pairs for part in listed]), _beside([part.ranks for part in listed]))

    def scores(self) -> DistanceScores:
        """Scores of the whole; a diagonal with fewer than :data:`epizarr.metrics.correlation.MIN_PIXELS` has no correlation."""
        return scores_of(self.pairs, self.ranks, min_pixels=MIN_PIXELS)


def plan_intervals(maps: Maps, regions: Sequence[Region]) -> tuple[BlockPlan, np.ndarray]:
    """Choose the blocks by the good bins of the regions; returns the plan and the cell of each of their rows, in order."""
    n_good = sum(int(maps.good_bins(rows)[: rows.hi - rows.lo].sum()) for rows in region_rows(maps.grid, regions))
    plan = plan_blocks(n_good * maps.binsize, maps.binsize)
    return plan, plan.cells([maps.grid.region_extent(region, "contained") for region in regions])


def describe(plan: BlockPlan) -> str:
    """Attribute ``bootstrap`` of an evaluation, JSON."""
    return json.dumps(
        {
            "method": "moving blocks, expanded percentiles",
            "level": LEVEL,
            "block_bp": plan.block_bp,
            "n_blocks": plan.n_blocks,
            "n_resamples": N_RESAMPLES,
            "seed": SEED,
            "label": plan.label,
        }
    )


def intervals(
    plan: BlockPlan, moments: Mapping[str, MapMoments], predictors: Sequence[str], *, prediction: str, reference: str
) -> dict[str, np.ndarray]:
    """Ends of the intervals of the mean scores.

    Parameters
    ----------
    plan
        Blocks that the moments were taken for.
    moments
        By predictor. All are scored on the same resamples.
    predictors
        Predictors wanted, in order; one without moments has no interval.
    prediction, reference
        Predictor whose advantage over the others is wanted, and the one whose MSE the skill is relative to.

    Returns
    -------
    ``<score>_low`` and ``<score>_high`` of :data:`SCORES` and of :data:`ADVANTAGE`, float64 (predictor), NaN where there is no
    interval.
    """
    names = [f"{score}_{side}" for score in (*SCORES, ADVANTAGE) for side in ("low", "high")]
    ends = {name: np.full(len(predictors), np.nan) for name in names}
    if not plan.block_bp:
        return ends
    has_pixels = np.asarray(moments[reference].pairs.n.any(axis=1))
    weights = resample_weights(has_pixels, plan.cells_per_block, seed=SEED)
    resampled = {
        name: ResampledScores.of(m.pairs, m.ranks, weights, min_pixels=MIN_PIXELS) for name, m in moments.items()
    }
    for index, name in enumerate(predictors):
        if name not in resampled:
            continue
        own = resampled[name]
        values = {score: getattr(own, score) for score in SCORES[:3]} | {"skill": own.skill(resampled[reference])}
        if name != prediction:
            values[ADVANTAGE] = resampled[prediction].mean_pearson - own.mean_pearson
        for score, found in values.items():
            low, high = interval(found, plan.n_blocks, LEVEL)
            ends[f"{score}_low"][index], ends[f"{score}_high"][index] = low, high
    return ends


def interval_note(scores: xr.Dataset) -> str:
    """Say in one sentence where the intervals of an evaluation come from, or why there are none."""
    found = json.loads(
        scores.attrs.get(
            "bootstrap", '{"block_bp": 0, "label": "n/a, made before there were any; evaluate again with --overwrite"}'
        )
    )
    if not found["block_bp"]:
        return f"95 % intervals: {found['label']}."
    return (
        f"95 % intervals: moving-block bootstrap over {found['n_blocks']} blocks of {found['block_bp'] / 1e6:g} Mb"
        f"{', ' + found['label'] if found['label'] else ''}."
    )


def advantage_notes(scores: xr.Dataset) -> list[str]:
    """Say by how much the prediction's mean Pearson exceeds that of each other predictor, on the same resamples."""
    pearson = scores["mean_pearson"].values
    first = str(scores["predictor"].values[0])
    own = first[:1].upper() + first[1:]
    notes = []
    for index, name in enumerate(scores["predictor"].values):
        within = format_interval(*score_interval(scores, ADVANTAGE, index))
        if within:
            notes.append(f"{own} − {name}, mean Pearson: {pearson[0] - pearson[index]:.3f} ({within}).")
    return notes


def score_interval(scores: xr.Dataset, name: str, index: int) -> tuple[float, float]:
    """Ends of the interval of one of :data:`SCORES`, or of :data:`ADVANTAGE`, of one predictor; NaN where there is none."""
    ends = [f"{name}_{side}" for side in ("low", "high")]
    low, high = (float(scores[end].values[index]) if end in scores else float("nan") for end in ends)
    return low, high


def _beside(parts: Sequence[_Moments]) -> _Moments:
    return type(parts[0])(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts], axis=1) for f in fields(parts[0])}
    )
