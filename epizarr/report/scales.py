"""Colour scales of maps: which kind suits a variable, and where it ends. One scale serves all maps that are to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from epizarr.schema import SIGNED_VARIABLES

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

Kind = Literal["log", "linear", "diverging"]

MISSING_COLOUR = "#c9ccd1"
#: Variables that are ratios to what is expected at their distance; contacts span decades, these do not.
RATIO_VARIABLES = ("hicdcplus_oe",)


@dataclass(frozen=True)
class ColourScale:
    """From values to colours.

    Parameters
    ----------
    kind
        ``"log"``: contacts, where 0 has the colour of the least; ``"linear"``: ratios; ``"diverging"``: scores of either sign
        and differences, blue over white (0) to red.
    low, high
        Ends; values beyond have the colour of the end. ``low`` is −``high`` where the scale diverges.
    label
        What the values are, with their unit.
    """

    kind: Kind
    low: float
    high: float
    label: str

    def norm(self) -> Any:
        """Return the scale as matplotlib takes it."""
        from matplotlib.colors import LogNorm, Normalize

        return LogNorm(self.low, self.high) if self.kind == "log" else Normalize(self.low, self.high)

    def colours(self) -> Colormap:
        """Colour map; missing values are grey."""
        import matplotlib

        if self.kind == "diverging":
            return matplotlib.colormaps["RdBu_r"].with_extremes(bad=MISSING_COLOUR)
        return fall_colours()

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """Values to draw: on a logarithmic scale 0 becomes the least, so that it is not taken for missing."""
        return np.maximum(values, self.low) if self.kind == "log" else values


def scale_kind(variable: str) -> Kind:
    """Kind of scale that suits a variable of a contacts group; contacts of any kind are logarithmic."""
    if variable in SIGNED_VARIABLES:
        return "diverging"
    return "linear" if variable in RATIO_VARIABLES else "log"


def fit_scale(kind: Kind, maps: Sequence[np.ndarray], label: str) -> ColourScale:
    """Find ends that most finite values of some maps lie between.

    Parameters
    ----------
    kind, label
        As in :class:`ColourScale`.
    maps
        Arrays of any shape, NaN where missing. Where nothing is known the scale has arbitrary ends.
    """
    known = np.concatenate([values[np.isfinite(values)].ravel() for values in maps])
    if kind == "diverging":
        limit = float(np.percentile(np.abs(known), 98)) if known.size else 1.0
        return ColourScale(kind, -(limit or 1.0), limit or 1.0, label)
    if kind == "linear":
        high = float(np.percentile(known, 99)) if known.size else 1.0
        return ColourScale(kind, 0.0, high if high > 0 else 1.0, label)
    positive = known[known > 0]
    low, high = np.percentile(positive, [2, 99.5]) if positive.size else (0.1, 1.0)
    return ColourScale(kind, float(low), float(max(high, low * 1.01)), label)


def fall_colours() -> Colormap:
    """White over yellow and red to black, the usual colours of Hi-C maps; missing is grey."""
    import matplotlib
    from matplotlib.colors import LinearSegmentedColormap

    middle = matplotlib.colormaps["YlOrRd"](np.linspace(0, 1, 9))
    return LinearSegmentedColormap.from_list("fall", [(1, 1, 1, 1), *middle, (0, 0, 0, 1)]).with_extremes(
        bad=MISSING_COLOUR
    )
