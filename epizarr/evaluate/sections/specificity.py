"""What a prediction knows that another cell type's map at the same place does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epizarr.evaluate.compare import OBSERVED, Comparison
from epizarr.evaluate.maps import Maps, blocks_of
from epizarr.evaluate.sections.base import RegionMaps, Variables, share
from epizarr.io.places import Place
from epizarr.metrics.correlation import MIN_PIXELS, mean_defined
from epizarr.metrics.moments import PairMoments
from epizarr.metrics.specificity import identify
from epizarr.metrics.submatrices import WIDTH_BP


@dataclass(frozen=True)
class _Part:
    """One predictor in one region: squared errors of itself and of the copied map, pixels, regions right and regions asked;
    moments of predicted and true difference, where the other cell type is predicted too.
    """

    sums: np.ndarray
    differences: PairMoments | None


@dataclass(frozen=True)
class Specificity:
    """Predictions for one cell type against the measured map of another.

    Parameters
    ----------
    other
        Contacts of the other cell type.
    predictions
        Name, store and group of the runs' predictions for it, of those that there are.
    """

    other: Maps
    predictions: tuple[tuple[str, Place, str], ...] = ()
    name: str = "specificity"
    title: str = "Cell-type specificity"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {"other": self.other.cell_type, "predicted": [name for name, _, _ in self.predictions]}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        other = self.other.cell_type
        return (
            f"Against the measured map of {other}, after the target's transform, on pixels that both cell types "
            f"have. Skill: 1 − MSE / MSE of copying the map of {other}. Identified: share of 2-Mb stretches where "
            f"the map is nearer to the measured map of its own cell type than to that of {other}; 0.5 is chance. "
            "Difference: Pearson correlation, by distance and averaged, of predicted with measured difference of "
            f"the two cell types, where the run has predicted {other} too."
        )

    def lacks(self, comparison: Comparison) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return "the other cell type is the scored one" if self.other.cell_type == comparison.maps.cell_type else ""

    def measure(self, region: RegionMaps) -> dict[str, _Part]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        blocks, maps = blocks_of(region.rows), self.other
        true = np.concatenate([maps.transformed(maps.observed(rows)) for rows in blocks])
        predicted = {
            name: np.concatenate([maps.transformed(maps.predicted(home, group, rows)) for rows in blocks])
            for name, home, group in self.predictions
        }
        true, own = np.where(np.isfinite(true), true, np.nan), region.values[OBSERVED]
        copied = np.square(true.astype(np.float64) - own)
        known = ~np.isnan(copied)
        found = {}
        for name, band in region.values.items():
            if name == OBSERVED:
                continue
            error = np.square(band.astype(np.float64) - own)
            asked = identify(band, own, true, [(0, len(own))], WIDTH_BP // region.binsize)
            compared = ~(np.isnan(asked.own) | np.isnan(asked.other))
            right = asked.share_right * compared.sum() if compared.any() else 0.0
            sums = np.array([error[known].sum(), copied[known].sum(), right, compared.sum()])
            moments = None
            if name in predicted:
                one = np.zeros(len(own), dtype=np.int64)
                difference = np.where(np.isfinite(predicted[name]), band - predicted[name], np.nan)
                moments = PairMoments.of_rows(difference, own - true, one, 1)
            found[name] = _Part(sums, moments)
        return found

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        n_diagonals = self.other.n_diagonals
        sums = np.full((len(predictors), 4), np.nan)
        differences = np.full((len(predictors), n_diagonals), np.nan)
        for index, name in enumerate(predictors):
            own = [part[name] for part in parts if name in part]
            if not own:
                continue
            sums[index] = np.sum([each.sums for each in own], axis=0)
            moments = [each.differences for each in own if each.differences is not None]
            if moments:
                differences[index] = PairMoments.total(moments).pearson(MIN_PIXELS)[0]
        return {}, {
            "specificity_skill": (("predictor",), 1 - share(sums[:, 0], sums[:, 1])),
            "specificity_identified": (("predictor",), share(sums[:, 2], sums[:, 3])),
            "specificity_difference": (("predictor", "diagonal"), differences),
            "specificity_mean_difference": (("predictor",), np.array([mean_defined(row) for row in differences])),
        }
