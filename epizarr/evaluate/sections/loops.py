"""Loops: called ones, and how given ones stand out, in every map and the observed one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from epizarr.evaluate.compare import OBSERVED, Comparison
from epizarr.evaluate.sections.base import RegionMaps, Variables, share
from epizarr.metrics.interactions import ranking_scores
from epizarr.metrics.loops import (
    Footprint,
    PileUp,
    Pixels,
    call_loops,
    distance_matched_controls,
    largest_near,
    loop_pixels,
    match_loops,
    score_loops,
)
from epizarr.transforms import diagonal_sums, mean_of_sums

HALF_WIDTH = 10


@dataclass(frozen=True)
class _MapLoops:
    """One map of one region: counts of called and matched loops, z near the given loops and near controls, the pile-up."""

    counts: np.ndarray
    z: np.ndarray
    is_loop: np.ndarray
    pile: PileUp


@dataclass(frozen=True)
class Loops:
    """Peaks of the maps against given loops, or, without any, against those called in the observed map.

    Parameters
    ----------
    given
        BEDPE table of loops (:func:`epizarr.io.bed.read_loops`), or None.
    given_id
        What the table is: its file's name and hash.
    tolerance_bins
        A loop matches one whose ends both lie within so many bins.
    per_loop
        Controls drawn for each loop.
    """

    given: pd.DataFrame | None = None
    given_id: str = ""
    tolerance_bins: int = 2
    per_loop: int = 10
    name: str = "loops"
    title: str = "Loops"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {"given": self.given_id, "tolerance_bins": self.tolerance_bins, "per_loop": self.per_loop}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        true = f"those of {self.given_id}" if self.given is not None else "those called in the measured map"
        return (
            "A loop is a 3 × 3 peak of observed / expected that exceeds its surroundings (HiCCUPS' donut, lower "
            f"left, row and column) by a factor of 1.25 and 4.5 standard errors. True loops: {true}. Precision and "
            f"recall of the called loops, within {self.tolerance_bins} bins at both ends. PR at given loops: average "
            f"precision of telling them from {self.per_loop} controls each at the same distance by their peak's z, "
            "without any threshold. Aggregate peak: mean observed / expected around the true loops; its score is "
            "the middle over the corner towards the diagonal (about 1 where there is nothing)."
        )

    def lacks(self, comparison: Comparison) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        maps = comparison.maps
        if not comparison.has_contacts:
            return f"{maps.variable} holds scores of either sign, and loops are peaks of contacts"
        needed = 4 * Footprint.of_binsize(maps.binsize).donut + 2
        if maps.n_diagonals < needed:
            return f"the band has {maps.n_diagonals} diagonals, and the surroundings of a loop take {needed}"
        return ""

    def measure(self, region: RegionMaps) -> dict[str, _MapLoops]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        footprint = Footprint.of_binsize(region.binsize)
        true, found = Pixels(np.zeros(0, np.int64), np.zeros(0, np.int64)), {}
        for name in region.structured:
            band = region.contacts[name]
            expected = mean_of_sums(*diagonal_sums(band))
            scores = score_loops(band, expected, footprint)
            called, _ = call_loops(scores)
            if name == OBSERVED:
                usable = ~np.isnan(scores.z)
                true = called if self.given is None else _within(self.given, region, usable)
                controls = distance_matched_controls(true, usable, per_loop=self.per_loop)
            match = match_loops(called, true, self.tolerance_bins)
            z = [largest_near(scores.z, pixels) for pixels in (true, controls)]
            found[name] = _MapLoops(
                np.array([match.n_called, match.n_given, match.n_called_right, match.n_given_found], dtype=np.float64),
                np.concatenate(z),
                np.repeat([1.0, 0.0], [len(each) for each in z]),
                PileUp.of(band, expected, true, HALF_WIDTH),
            )
        return found

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        names = [OBSERVED, *predictors]
        size = 2 * HALF_WIDTH + 1
        counts, pile = np.full((len(names), 4), np.nan), np.full((len(names), size, size), np.nan)
        aupr, auroc, corner = (np.full(len(names), np.nan) for _ in range(3))
        for index, name in enumerate(names):
            own = [part[name] for part in parts if name in part]
            if not own:
                continue
            counts[index] = np.sum([each.counts for each in own], axis=0)
            if not counts[index, 1]:
                continue
            z, is_loop = (np.concatenate([getattr(each, what) for each in own]) for what in ("z", "is_loop"))
            ranked = ranking_scores(z, is_loop, 1.0)
            aupr[index], auroc[index] = ranked.aupr, ranked.auroc
            piled = PileUp.add([each.pile for each in own])
            pile[index], corner[index] = piled.mean, piled.corner_score()
        offset = np.arange(-HALF_WIDTH, HALF_WIDTH + 1)
        of_observed = [part[OBSERVED].is_loop for part in parts]
        is_loop = np.concatenate(of_observed)
        return {"peak_row": (("peak_row",), offset), "peak_column": (("peak_column",), offset)}, {
            "loops_true": ((), counts[0, 1]),
            "loops_called": (("map",), counts[:, 0]),
            "loops_precision": (("map",), share(counts[:, 2], counts[:, 0])),
            "loops_recall": (("map",), share(counts[:, 3], counts[:, 1])),
            "loops_aupr": (("map",), aupr),
            "loops_auroc": (("map",), auroc),
            "loops_chance": ((), np.asarray(is_loop.mean() if len(is_loop) else np.nan)),
            "loops_peak_score": (("map",), corner),
            "loops_peak": (("map", "peak_row", "peak_column"), pile),
        }


def _within(table: pd.DataFrame, region: RegionMaps, usable: np.ndarray) -> Pixels:
    """Loops of a table that lie in a region and whose surroundings can be looked at."""
    loops = loop_pixels(table, region.comparison.maps.grid, region.rows.lo, region.rows.hi)
    in_band = loops.diagonal < usable.shape[1]
    loops = Pixels(loops.row[in_band], loops.diagonal[in_band])
    known = usable[loops.row, loops.diagonal]
    return Pixels(loops.row[known], loops.diagonal[known])
