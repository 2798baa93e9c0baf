"""What a prediction knows that another cell type's map at the same place does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from epizarr.evaluate.ceilings import common_sums, depth_scale, replicate_key
from epizarr.evaluate.compare import OBSERVED, Comparison
from epizarr.evaluate.maps import Maps, blocks_of
from epizarr.evaluate.sections.base import RegionMaps, Variables, share
from epizarr.evaluate.sections.similarity import INSULATION_BP, submatrix_insulation
from epizarr.io.places import Place
from epizarr.metrics.ceiling import ceiling_of
from epizarr.metrics.correlation import MIN_PIXELS, mean_defined
from epizarr.metrics.moments import PairMoments
from epizarr.metrics.specificity import identify, insulation_agreement, mean_map
from epizarr.metrics.submatrices import WIDTH_BP


@dataclass(frozen=True)
class _Scores:
    """One predictor in one region.

    ``sums``: squared errors of the map and of the copied one, over their pixels; the same beside the mean map. By 2-Mb stretch:
    ``error``, ``is_right``, ``insulation`` of the two cell types as predicted. ``differences``: moments of predicted and true
    difference, where the other cell type is predicted too.
    """

    sums: np.ndarray
    error: np.ndarray
    is_right: np.ndarray
    insulation: np.ndarray
    differences: PairMoments | None


@dataclass(frozen=True)
class _Part:
    """One region: its 2-Mb stretches, what is true of them, the replicates' differences in pairs, and each predictor."""

    places: list[str]
    copied_error: np.ndarray
    mean_error: np.ndarray
    insulation: np.ndarray
    replicates: list[PairMoments]
    predictors: dict[str, _Scores]


@dataclass(frozen=True)
class Specificity:
    """Predictions for one cell type against the measured map of another.

    Parameters
    ----------
    other
        Contacts of the other cell type.
    predictions
        Name, store and group of the runs' predictions for it, of those that there are.
    training
        Contacts of the training cell types other than the scored one, whose mean map is a baseline.
    replicates
        Replicates of the scored and of the other cell type that give a ceiling
        (:func:`epizarr.evaluate.ceilings.find_replicates`).
    """

    other: Maps
    predictions: tuple[tuple[str, Place, str], ...] = ()
    training: tuple[Maps, ...] = ()
    replicates: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    name: str = "specificity"
    title: str = "Cell-type specificity"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {
            "other": self.other.cell_type,
            "predicted": [name for name, _, _ in self.predictions],
            "training": [maps.cell_type for maps in self.training],
            "n_replicates": self._n_replicates,
        }

    @property
    def _n_replicates(self) -> int:
        """Pairs of a replicate of each cell type; without two there is no ceiling."""
        n = min(map(len, self.replicates))
        return n if n > 1 else 0

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        other = self.other.cell_type
        mean = (
            f"the same over the mean of the measured maps of the training cell types "
            f"({', '.join(maps.cell_type for maps in self.training)})"
            if self.training
            else "n/a, the store has no contacts of a training cell type besides the scored one"
        )
        ceiling = (
            "what the noise-free difference would score, by how well the differences of the replicates agree (Spearman-Brown)"
            if self._n_replicates
            else "n/a, it takes two replicates of both cell types in the store (count_replicate)"
        )
        return (
            f"Against the measured map of {other}, after the target's transform, on pixels that both cell types "
            f"have. Skill: 1 − MSE / MSE of copying the map of {other}; over the training cells' mean: {mean}. "
            "Identified: share of 2-Mb stretches where the map is nearer to the measured map of its own cell type than to that "
            f"of {other}; 0.5 is chance. Difference: Pearson correlation, by distance and averaged, of predicted with measured "
            f"difference of the two cell types, where the run has predicted {other} too; its replicate ceiling: {ceiling}. "
            "Regions: the 2-Mb stretches ranked by their true difference, the mean squared one of the two measured maps, which "
            f"is also the error of copying {other}. Insulation: Pearson correlation of the insulation scores (diamond of "
            f"{INSULATION_BP / 1e3:g} kb, or the largest that the band allows) of the two cell types in each stretch, in the "
            "measured maps and as predicted, as in the paper's figure S11A."
        )

    def lacks(self, comparison: Comparison) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return "the other cell type is the scored one" if self.other.cell_type == comparison.maps.cell_type else ""

    def measure(self, region: RegionMaps) -> _Part:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        blocks, own = blocks_of(region.rows), region.values[OBSERVED]
        stretches = [(0, len(own))], WIDTH_BP // region.binsize
        linear = np.concatenate([self.other.observed(rows) for rows in blocks])
        true = _finite(self.other, linear)
        mean = np.full(own.shape, np.nan)
        if self.training:
            means = [mean_map([_finite(maps, maps.observed(rows)) for maps in self.training]) for rows in blocks]
            mean = np.concatenate(means)
        copied = identify(true, own, true, *stretches)

        def agreement(contacts: np.ndarray, of_other: np.ndarray) -> np.ndarray:
            """Correlation of the insulation of both cell types, each on its own measured pixels."""
            shown = np.where(np.isnan(linear), np.nan, np.maximum(of_other, 0))
            first, second = (submatrix_insulation(band, region.binsize) for band in (contacts, shown))
            return insulation_agreement(first, second, *stretches)

        nothing = np.full(len(copied.lo), np.nan)
        predictions = {name: (home, group) for name, home, group in self.predictions}
        found = {}
        for name in set(region.values) - {OBSERVED, *map(replicate_key, region.comparison.references.replicates)}:
            band = region.values[name]
            asked = identify(band, own, true, *stretches)
            moments, insulation = None, nothing
            if name in predictions:
                predicted = np.concatenate([self.other.predicted(*predictions[name], rows) for rows in blocks])
                moments = _moments(band - _finite(self.other, predicted), own - true)
                if name in region.contacts:
                    insulation = agreement(region.contacts[name], predicted)
            sums = np.concatenate([_error_sums(band, own, reference) for reference in (true, mean)])
            found[name] = _Scores(sums, asked.own, asked.is_right, insulation, moments)
        return _Part(
            region.places(copied.lo, copied.hi),
            copied.own,
            identify(mean, own, true, *stretches).own,
            agreement(region.contacts[OBSERVED], linear) if OBSERVED in region.contacts else nothing,
            self._replicates_agree(region, linear, own - true),
            found,
        )

    def _replicates_agree(self, region: RegionMaps, linear: np.ndarray, true: np.ndarray) -> list[PairMoments]:
        """Moments of each two of the replicates' differences, where the ``true`` difference is known.

        Replicates of the other cell type are brought to the scale of its contacts diagonal by diagonal, as those of the scored
        one are; the region's own sums are taken.
        """
        differences = []
        blocks, n = blocks_of(region.rows), self._n_replicates
        parts = [self.other.replicates(rows, self.other.observed(rows), n) for rows in blocks] if n else []
        for index, name in enumerate(self.replicates[0][:n]):
            band = np.concatenate([part[index] for part in parts])
            scaled = band * depth_scale(*common_sums(linear, band)).astype(np.float32)
            difference = region.values[replicate_key(name)] - _finite(self.other, scaled)
            differences.append(np.where(np.isnan(true), np.nan, difference))
        known = ~np.any([np.isnan(each) for each in differences], axis=0)
        return [_moments(*pair) for pair in combinations([np.where(known, each, np.nan) for each in differences], 2)]

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        places = [place for part in parts for place in part.places]
        n, n_diagonals = len(predictors), self.other.n_diagonals
        sums, differences = np.full((n, 4), np.nan), np.full((n, n_diagonals), np.nan)
        error, is_right, insulation = (np.full((n, len(places)), np.nan) for _ in range(3))
        for index, name in enumerate(predictors):
            own = [part.predictors[name] for part in parts if name in part.predictors]
            if not own:
                continue
            sums[index] = np.sum([each.sums for each in own], axis=0)
            for row, what in ((error, "error"), (is_right, "is_right"), (insulation, "insulation")):
                row[index] = np.concatenate([getattr(each, what) for each in own])
            moments = [each.differences for each in own if each.differences is not None]
            if moments:
                differences[index] = PairMoments.total(moments).pearson(MIN_PIXELS)[0]
        ceiling = np.full(n_diagonals, np.nan)
        pairs = [PairMoments.total(regions) for regions in zip(*(part.replicates for part in parts), strict=True)]
        if pairs:
            agreement = np.mean([pair.pearson(MIN_PIXELS)[0] for pair in pairs], axis=0)
            ceiling = ceiling_of(agreement, self._n_replicates)
        true, mean_error, of_truth = (
            np.concatenate([getattr(part, what) for part in parts])
            for what in ("copied_error", "mean_error", "insulation")
        )
        dims, by_stretch = ("predictor",), ("predictor", "submatrix")
        return {"submatrix": (("submatrix",), np.array(places, dtype=object))}, {
            "specificity_skill": (dims, 1 - share(sums[:, 0], sums[:, 1])),
            "specificity_skill_over_mean": (dims, 1 - share(sums[:, 2], sums[:, 3])),
            "specificity_identified": (dims, np.array([mean_defined(row) for row in is_right])),
            "specificity_difference": (("predictor", "diagonal"), differences),
            "specificity_mean_difference": (dims, np.array([mean_defined(row) for row in differences])),
            "specificity_ceiling": (("diagonal",), ceiling),
            "specificity_mean_ceiling": ((), np.array(mean_defined(ceiling))),
            "specificity_rank": (("submatrix",), _ranks(true)),
            "specificity_true_difference": (("submatrix",), true),
            "specificity_error_of_mean": (("submatrix",), mean_error),
            "specificity_error": (by_stretch, error),
            "specificity_nearer_own": (by_stretch, is_right),
            "specificity_true_insulation": (("submatrix",), of_truth),
            "specificity_insulation": (by_stretch, insulation),
        }


def _finite(maps: Maps, contacts: np.ndarray) -> np.ndarray:
    """Contacts after the target's transform, NaN where it is not defined."""
    values = maps.transformed(contacts)
    return np.where(np.isfinite(values), values, np.nan)


def _moments(first: np.ndarray, second: np.ndarray) -> PairMoments:
    """Moments of two bands of one region."""
    return PairMoments.of_rows(first, second, np.zeros(len(first), dtype=np.int64), 1)


def _error_sums(band: np.ndarray, own: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Squared errors of a map and of what it is compared with, summed over the pixels that both have."""
    errors = [np.square(values.astype(np.float64) - own) for values in (band, reference)]
    known = ~np.isnan(errors[0] + errors[1])
    return np.array([error[known].sum() for error in errors])


def _ranks(difference: np.ndarray) -> np.ndarray:
    """Rank of each stretch, 1 for the largest difference, ties in order of position; NaN where it is NaN."""
    order = np.argsort(-difference, kind="stable")
    ranks = np.empty(len(difference))
    ranks[order] = np.arange(1, len(difference) + 1)
    return np.where(np.isnan(difference), np.nan, ranks)
