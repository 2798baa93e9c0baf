"""Similarity of whole maps: HiCRep's coefficient, SSIM beside a shuffled map, and 2-Mb submatrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epizarr.domains.insulation import insulation_scores
from epizarr.evaluate.compare import OBSERVED, Comparison
from epizarr.evaluate.sections.base import RegionMaps, Variables
from epizarr.metrics.moments import PairMoments
from epizarr.metrics.similarity import shuffle_diagonals, structural_similarity, value_range
from epizarr.metrics.stratum_adjusted import stratum_adjusted_correlation, stratum_moments
from epizarr.metrics.submatrices import WIDTH_BP, score_submatrices

#: Smoothing of HiCRep in bp: 20 bins of 10 kb, as the original has it.
_SMOOTHING_BP = 200_000
#: Window of the insulation scores of submatrices.
INSULATION_BP = 200_000


@dataclass(frozen=True)
class Similarity:
    """HiCRep's stratum-adjusted correlation, and the structural similarity beside that of a shuffled map."""

    name: str = "similarity"
    title: str = "Similarity of maps"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {"smoothing_bp": _SMOOTHING_BP, "seed": 0}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return (
            f"HiCRep: stratum-adjusted correlation of linear contacts smoothed over {_SMOOTHING_BP / 1e3:g} kb to "
            "each side (at most a quarter of the band). SSIM: mean structural similarity of 7 × 7 squares after the "
            "target's transform; maps of the same decay are similar without any structure, so compare it with that "
            "of the same map shuffled within each distance."
        )

    def lacks(self, comparison: Comparison) -> str:
        """Applies always; HiCRep's coefficient is n/a where there are no contacts."""
        return ""

    def measure(self, region: RegionMaps) -> dict[str, tuple[PairMoments | None, np.ndarray]]:
        """Moments of the strata, and SSIM × squares of the map and of it shuffled, and squares, by predictor."""
        n_diagonals = region.values[OBSERVED].shape[1]
        h = min(round(_SMOOTHING_BP / region.binsize), (n_diagonals - 1) // 4)
        observed = region.values[OBSERVED]
        spread = value_range(observed)
        found = {}
        for name, band in region.values.items():
            if name == OBSERVED:
                continue
            strata = None
            if name in region.structured:
                strata = stratum_moments(region.contacts[name], region.contacts[OBSERVED], h)
            sums = np.zeros(3)
            if spread > 0:
                own, n = structural_similarity(band, observed, spread)
                shuffled, _ = structural_similarity(shuffle_diagonals(band), observed, spread)
                sums = np.array([n * own, n * shuffled, n]) if n else sums
            found[name] = (strata, sums)
        return found

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        scores = np.full((3, len(predictors)), np.nan)
        for index, name in enumerate(predictors):
            own = [part[name] for part in parts if name in part]
            strata = [moments for moments, _ in own if moments is not None]
            if strata:
                scores[0, index] = stratum_adjusted_correlation(strata)
            sums = np.sum([sums for _, sums in own], axis=0) if own else np.zeros(3)
            if sums[2]:
                scores[1:, index] = sums[:2] / sums[2]
        names = ("hicrep", "ssim", "ssim_shuffled")
        return {}, {f"similarity_{n}": (("predictor",), row) for n, row in zip(names, scores, strict=True)}


@dataclass(frozen=True)
class SubmatrixScores:
    """Squared error and correlation of insulation in each 2-Mb stretch."""

    name: str = "submatrices"
    title: str = "2-Mb submatrices"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {"width_bp": WIDTH_BP, "insulation_bp": INSULATION_BP}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return (
            f"Each {WIDTH_BP / 1e6:g}-Mb stretch of a region on its own: mean squared error after the target's "
            f"transform, and Pearson correlation of the insulation scores (diamond of {INSULATION_BP / 1e3:g} kb, "
            "or the largest that the band allows, on linear contacts). Share: of the stretches whose insulation "
            "correlates above 0.5, as in the paper's figure 3A."
        )

    def lacks(self, comparison: Comparison) -> str:
        """Applies always; insulation is n/a where there are no contacts."""
        return ""

    def measure(self, region: RegionMaps) -> tuple[list[str], dict[str, np.ndarray]]:
        """Regions of the stretches, and error and correlation (2, stretch) by predictor."""
        observed = region.values[OBSERVED]
        n_rows = len(observed)
        insulation = {name: submatrix_insulation(region.contacts[name], region.binsize) for name in region.structured}
        nothing = np.full(n_rows, np.nan)
        true = insulation.get(OBSERVED, nothing)
        found, places = {}, []
        for name, band in region.values.items():
            if name == OBSERVED:
                continue
            pair = (insulation.get(name, nothing), true)
            scores = score_submatrices(band, observed, pair, [(0, n_rows)], WIDTH_BP // region.binsize)
            found[name] = np.stack([scores.mse, scores.insulation])
            places = region.places(scores.lo, scores.hi)
        return places, found

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        if not any(places for places, _ in parts):
            return {}, {}
        scores = np.concatenate(
            [
                np.stack([part.get(name, np.full((2, len(places)), np.nan)) for name in predictors])
                for places, part in parts
            ],
            axis=2,
        )
        places = [place for listed, _ in parts for place in listed]
        known = ~np.isnan(scores[:, 1])
        above = (known & (np.nan_to_num(scores[:, 1]) > 0.5)).sum(axis=1)
        number = known.sum(axis=1)
        fraction = np.divide(above, number, out=np.full(len(number), np.nan), where=number > 0)
        dims = ("predictor", "submatrix")
        return {"submatrix": (("submatrix",), np.array(places, dtype=object))}, {
            "submatrices_mse": (dims, scores[:, 0]),
            "submatrices_insulation": (dims, scores[:, 1]),
            "submatrices_share": (("predictor",), fraction),
        }


def submatrix_insulation(contacts: np.ndarray, binsize: int) -> np.ndarray:
    """Insulation score of each bin of a region, (bin); window :data:`INSULATION_BP`, or the largest that the band allows."""
    window = min(max(1, INSULATION_BP // binsize), (contacts.shape[1] + 1) // 2)
    return insulation_scores(contacts.astype(np.float64), [window])[0][0]
