"""Significant interactions of the observed map: how well a map's own values find them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epizarr.evaluate.compare import OBSERVED, Comparison
from epizarr.evaluate.maps import blocks_of
from epizarr.evaluate.sections.base import RegionMaps, Variables
from epizarr.io.store import open_contacts
from epizarr.metrics.interactions import PAPER_THRESHOLDS, ThresholdCounts
from epizarr.metrics.loops import observed_over_expected
from epizarr.transforms import diagonal_sums, mean_of_sums

#: HiC-DC+'s Z, where the store has it.
ZSCORE = "hicdcplus_zscore"
#: Steps that tell the values of all distances together apart, 0.1 % of O/E and 0.002 of Z, and every how many of them those of
#: one distance: counts of 100 distances at all steps would be large.
_OE_THRESHOLDS, _Z_THRESHOLDS, _EVERY = np.exp2(np.linspace(-6, 6, 8001)), np.linspace(-6, 10, 8001), 20


@dataclass(frozen=True)
class _Counts:
    """Counts of one map for one criterion: at all steps, at the paper's thresholds, and by distance at some steps."""

    pooled: ThresholdCounts
    paper: ThresholdCounts
    by_distance: ThresholdCounts

    @classmethod
    def of(cls, score: np.ndarray, truth: np.ndarray, least: float, fine: np.ndarray) -> "_Counts":
        """Count the pixels of one region."""
        flat = score.reshape(-1, 1), truth.reshape(-1, 1)
        return cls(
            ThresholdCounts.of_rows(*flat, least, fine.tolist()),
            ThresholdCounts.of_rows(*flat, least),
            ThresholdCounts.of_rows(score, truth, least, fine[::_EVERY].tolist()),
        )


@dataclass(frozen=True)
class Interactions:
    """ROC and precision-recall of the pixels that stand out in the observed map.

    Parameters
    ----------
    least_oe
        Least observed / expected of an interaction.
    least_z
        Least Z-scores of HiC-DC+, used where the store has them.
    """

    least_oe: float = 2.0
    least_z: tuple[float, ...] = (2.0, 3.0)
    name: str = "interactions"
    title: str = "Significant interactions"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {"least_oe": self.least_oe, "least_z": list(self.least_z)}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        least_z = " or ".join(f"{z:g}" for z in self.least_z)
        return (
            "True interactions are pixels of the measured map with observed / expected of at least "
            f"{self.least_oe:g}, or, where the store has HiC-DC+'s Z-scores, Z of at least {least_z}. "
            "A map finds them by its own observed / expected (each map over its own mean at "
            "each distance, region by region) or, where it is one of Z-scores, by its values. ROC: area under the "
            "curve of hits against false alarms, 0.5 is chance. PR: average precision, chance is the share of true "
            "interactions. Both over all thresholds (in 8,001 steps, 401 by distance), and over the paper's, 0.5 to "
            "3.5."
        )

    def lacks(self, comparison: Comparison) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        if comparison.has_contacts or comparison.maps.variable == ZSCORE:
            return ""
        return f"{comparison.maps.variable} is neither a contact nor a Z-score"

    def measure(self, region: RegionMaps) -> dict[str, dict[str, _Counts]]:
        """Counts by criterion and map."""
        comparison = region.comparison
        maps = comparison.maps
        fine = _OE_THRESHOLDS if comparison.has_contacts else _Z_THRESHOLDS
        if comparison.has_contacts:
            means = {n: mean_of_sums(*diagonal_sums(band)) for n, band in region.contacts.items()}
            scores = {n: observed_over_expected(band, means[n]) for n, band in region.contacts.items()}
        else:
            scores = dict(region.values)
        observed = scores.pop(OBSERVED)
        truths = {f"O/E ≥ {self.least_oe:g}": (observed, self.least_oe)} if comparison.has_contacts else {}
        if ZSCORE in open_contacts(maps.store, maps.cell_type, maps.binsize):
            z = np.concatenate([maps.observed(rows, ZSCORE) for rows in blocks_of(region.rows)])
            truths |= {f"Z ≥ {least:g}": (z, least) for least in self.least_z}
        return {
            criterion: {name: _Counts.of(score, truth, least, fine) for name, score in scores.items()}
            for criterion, (truth, least) in truths.items()
        }

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        criteria = list(parts[0])
        first = next(iter(parts[0][criteria[0]].values()))
        shape, n_diagonals = (len(predictors), len(criteria)), first.by_distance.positive.shape[1]
        single = {n: np.full(shape, np.nan) for n in ("auroc", "aupr", "paper_auroc", "paper_aupr")}
        by_distance = {n: np.full((*shape, n_diagonals), np.nan) for n in ("distance_auroc", "distance_aupr")}
        curves = {n: np.full((*shape, len(PAPER_THRESHOLDS)), np.nan) for n in ("recall", "fallout", "precision")}
        chance = np.full(len(criteria), np.nan)
        for c, criterion in enumerate(criteria):
            for p, name in enumerate(predictors):
                counts = [part[criterion][name] for part in parts if name in part[criterion]]
                if not counts:
                    continue
                whole = ThresholdCounts.total([each.pooled for each in counts]).scores()
                paper = ThresholdCounts.total([each.paper for each in counts])
                total = ThresholdCounts.total([each.by_distance for each in counts])
                single["auroc"][p, c], single["aupr"][p, c] = whole.auroc, whole.aupr
                single["paper_auroc"][p, c], single["paper_aupr"][p, c] = paper.scores().auroc, paper.scores().aupr
                n_all = whole.n_positive + whole.n_negative
                chance[c] = whole.n_positive / n_all if n_all else np.nan
                for k in range(n_diagonals):
                    one = ThresholdCounts(total.positive[:, k : k + 1], total.negative[:, k : k + 1])
                    if one.positive.any() and one.negative.any():
                        at = one.scores()
                        by_distance["distance_auroc"][p, c, k] = at.auroc
                        by_distance["distance_aupr"][p, c, k] = at.aupr
                # The curve runs from the highest threshold down; its last point, that finds all, has no threshold.
                for curve, values in zip(("recall", "fallout", "precision"), paper.curves(), strict=True):
                    curves[curve][p, c] = values[-2::-1]
        dims = ("predictor", "criterion")
        found: Variables = {f"interactions_{n}": (dims, values) for n, values in single.items()}
        found |= {f"interactions_{n}": ((*dims, "diagonal"), values) for n, values in by_distance.items()}
        found |= {f"interactions_{n}": ((*dims, "threshold"), values) for n, values in curves.items()}
        found["interactions_chance"] = (("criterion",), chance)
        coords: Variables = {
            "criterion": (("criterion",), np.array(criteria, dtype=object)),
            "threshold": (("threshold",), np.array(PAPER_THRESHOLDS)),
        }
        return coords, found
