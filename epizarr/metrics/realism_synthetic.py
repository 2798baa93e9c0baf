"""Three maps that nobody would take for Hi-C and that yet have a low squared error: what a metric of realism must see through.

They are made of the observed map, so that they know it as no predictor does: *local mean* (all detail blurred away), *local mean
per distance* (detail kept across distances, blurred along the genome), and *distance mean* (nothing but the decay).

Source: Yang et al. 2023, "Training with MSE alone leads to prediction of perceptually poor contact maps", and Fig. S1. The paper
gives no size of the neighbourhood.
"""

import numpy as np
from scipy.ndimage import uniform_filter

from epizarr.bands import gather_stripes, scatter_stripes

LOCAL_MEAN, LOCAL_MEAN_PER_DISTANCE, DISTANCE_MEAN = "local mean", "local mean per distance", "distance mean"
#: Bins to either side that a local mean runs over. On simulated 10-kb maps the local means then have about the squared error of
#: trained networks, as those of Fig. S1 have.
HALF_WIDTH = 8


def synthetic_maps(band: np.ndarray, *, half_width: int = HALF_WIDTH) -> dict[str, np.ndarray]:
    """Make the three synthetic maps of the observed map of one region.

    Neighbourhoods are squares of the rotated map as it is drawn: genomic position (the middle between both bins) by distance.

    Parameters
    ----------
    band
        Observed map of one region, dims (bin, diagonal), in the units in which maps are compared; NaN missing.
    half_width
        A local mean runs over ``2 · half_width + 1`` positions, and as many distances.

    Returns
    -------
    Maps like ``band``, by name. Missing pixels count in no mean and are missing in all three.

    Raises
    ------
    ValueError
        If ``half_width`` is negative or ``band`` has not two dims.

    Examples
    --------
    >>> maps = synthetic_maps(np.array([[1.0, 4.0], [3.0, np.nan]]))
    >>> maps["distance mean"]
    array([[ 2.,  4.],
           [ 2., nan]])
    """
    if band.ndim != 2 or half_width < 0:
        raise ValueError(f"synthetic maps: a band of 2 dims and half_width >= 0 needed, not {band.ndim}, {half_width}.")
    n, n_diagonals = band.shape
    stripes = gather_stripes(band, 0, n, n_diagonals)
    width = 2 * half_width + 1
    means = {
        LOCAL_MEAN: _known_mean(stripes, (width, width)),
        LOCAL_MEAN_PER_DISTANCE: _known_mean(stripes, (width, 1)),
    }
    maps = {name: scatter_stripes(mean, 0, n, n_diagonals) for name, mean in means.items()}
    known = ~np.isnan(band)
    number = known.sum(axis=0)
    total = np.where(known, band, 0).sum(axis=0, dtype=np.float64)
    maps[DISTANCE_MEAN] = np.broadcast_to(total / np.maximum(number, 1), band.shape)
    return {name: np.where(known, values, np.nan).astype(band.dtype) for name, values in maps.items()}


def _known_mean(stripes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Mean of the values that are there in a box around each pixel, float64; NaN where there is none."""
    known = ~np.isnan(stripes)
    share = uniform_filter(known.astype(np.float64), size, mode="constant")
    total = uniform_filter(np.where(known, stripes, 0).astype(np.float64), size, mode="constant")
    # A running sum leaves rounding errors where there is no value at all.
    return np.divide(total, share, out=np.full(stripes.shape, np.nan), where=share > 0.5 / np.prod(size))
