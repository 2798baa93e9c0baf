"""The scales that programs give to balancing weights, whose common factor balancing itself leaves open."""

import numpy as np

from epizarr.normalize.cis_map import CisMap


def scale_to_raw_sum(cis_map: CisMap, weights: np.ndarray) -> np.ndarray:
    """Scale multiplicative weights as Juicer does: the balanced map's sum over valid bins becomes the raw map's.

    Parameters
    ----------
    cis_map
        Raw counts of the whole chromosome.
    weights
        Weights (bins) up to a common factor, NaN for a dropped bin.

    Returns
    -------
    The same weights times one number; NaN stays NaN.
    """
    is_valid = np.where(np.isnan(weights), np.nan, 1.0)
    raw, balanced = (np.nansum(cis_map.balanced_row_sums(w)) for w in (is_valid, weights))
    return weights * np.sqrt(raw / balanced) if balanced > 0 else weights


def scale_as_hicexplorer(weights: np.ndarray) -> np.ndarray:
    """Scale multiplicative weights as HiCExplorer's ICE does: its divisive factors 1 / w have the mean 1 over valid bins.

    Balanced contacts then stay of the order of the counts, where cooler's rows sum to 1.

    Parameters
    ----------
    weights
        Weights of the bins that were fitted together (the genome, or one chromosome), up to a common factor; NaN for a
        dropped bin.

    Returns
    -------
    The same weights times one number; NaN stays NaN.
    """
    divisive = 1 / weights[~np.isnan(weights)]
    return weights * divisive.mean() if len(divisive) else weights.copy()
