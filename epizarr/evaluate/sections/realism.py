"""How real the runs' maps look, as a section: :mod:`epizarr.evaluate.realism` with a replicate and the synthetic maps beside."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from epizarr.errors import ConfigError
from epizarr.evaluate.compare import Comparison
from epizarr.evaluate.realism import PROTOCOL, REPLICATE, realism_scores
from epizarr.evaluate.sections.base import RegionMaps, Variables
from epizarr.io.places import Place
from epizarr.metrics.realism import ClassifierProtocol

#: Score -> dims; names of :func:`epizarr.evaluate.realism.realism_scores`.
_SCORES = {
    **dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high", "auc", "auc_low", "auc_high"), ("realism_map",)),
    **dict.fromkeys(("frechet", "n_windows", "mse", "mean_pearson"), ("realism_map",)),
    "sd_ratio": ("realism_map", "diagonal"),
    **dict.fromkeys(("power", "reference_power"), ("realism_map", "power_range", "frequency")),
}


@dataclass(frozen=True)
class Realism:
    """Whether the runs' maps could be taken for measured ones. Trains classifiers, so that it is computed only if it is named.

    Parameters
    ----------
    store, home
        Store with the measured contacts, and that with the predictions.
    runs
        Names of the runs, by predictor.
    regions
        Regions that are scored.
    truth
        A simulated cell type's noise-free contacts, which the replicate is drawn from.
    protocol
        How the classifiers are trained.
    """

    store: Place
    home: Place
    cell_type: str
    binsize: int
    runs: tuple[tuple[str, str], ...]
    regions: tuple[str, ...]
    truth: str | None = None
    protocol: ClassifierProtocol = PROTOCOL
    name: str = "realism"
    title: str = "Realism"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {"protocol": asdict(self.protocol), "truth": bool(self.truth)}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return (
            "Whether a map could be taken for the measured one, right or not, after the target's transform. Classifier: a fresh "
            "one is trained for each map, in one way, to tell its windows from the measured map's on other chromosomes of the "
            "scored and the validation regions (where all lie on one, on the other regions); accuracy and area under the ROC "
            "curve on the scored ones, 0.5 is indistinguishable, n/a without such regions. Spread: standard deviation at each "
            "distance over the measured map's. Power: of detail in squares of the map over the measured map's, 1 is equal. "
            "Fréchet: distance of fixed features of equally many windows. Beside the runs: a replicate of equal depth, which is "
            "what a perfect map would score, and the paper's three synthetic maps, which are made from the measured one by "
            "averaging."
        )

    def lacks(self, comparison: Comparison) -> str:
        """Maps too narrow for the classifier have none; a replicate that cannot be made is left out."""
        from epizarr.nn import DiscriminatorConfig  # imports torch

        layers = self.protocol
        try:
            DiscriminatorConfig(layers.n_bins, comparison.maps.n_diagonals, layers.channels, layers.kernel)
        except ConfigError as error:
            return f"its classifier does not fit, {error}"
        return ""

    def measure(self, region: RegionMaps) -> None:
        """Nothing of one region: a classifier is trained on the others."""

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """Read the regions again, with those that classifiers are trained on, and score the runs' maps in this process."""
        found = realism_scores(
            self.store,
            [run for _, run in self.runs],
            cell_type=self.cell_type,
            regions=self.regions,
            truth=self.truth,
            predictions=self.home,
            binsize=self.binsize,
            protocol=self.protocol,
        )
        named = {run: predictor for predictor, run in self.runs}
        maps = [named.get(str(name), str(name)) for name in found["map"].values]
        about = [str(found.attrs["replicate"]) if name == REPLICATE else "" for name in maps]
        ends = zip(found["range_start"].values / 1e6, found["range_end"].values / 1e6, strict=True)
        coords: Variables = {
            "realism_map": (("realism_map",), np.array(maps, dtype=object)),
            "realism_about": (("realism_map",), np.array(about, dtype=object)),
            "power_range": (("power_range",), np.array([f"{a:g}-{b:g} Mb" for a, b in ends], dtype=object)),
            "frequency": (("frequency",), found["frequency"].values.astype(np.float64)),
        }
        return coords, {
            f"realism_{name}": (dims, found[name].values.astype(np.float64)) for name, dims in _SCORES.items()
        }
