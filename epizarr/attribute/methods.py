"""Saliency, integrated gradients and gradient SHAP of a target, through captum, in raw signal.

DeepLIFT-SHAP is refused: its rule for ReLU and pooling has no counterpart where signals are multiplied, as in an LSTM's gates, in
attention and in norms, and captum finds activations as modules only, which these networks do not use.
"""

from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import Tensor

from epizarr.attribute.function import TargetFunction
from epizarr.errors import AttributionError, nearest_match
from epizarr.nn import NetworkConfig

#: Names of the methods; the first is the default.
METHODS = ("integrated-gradients", "gradient-shap", "saliency")
#: Integrated gradients begin with so many steps and double them until the sum is complete, up to the most.
FIRST_STEPS, MOST_STEPS = 16, 256
#: Largest error of the sum, as a share of the difference that is explained, and of the attributions' absolute sum: where these
#: cancel, the difference is small beside what the steps have to resolve.
COMPLETENESS, COMPLETENESS_OF_ALL = 0.01, 0.001
#: Points of gradient SHAP, and the seed that draws them.
N_SAMPLES, SHAP_SEED = 32, 0
_MULTIPLIES = {"bilstm": "an LSTM's gates", "transformer": "attention", "dilated": "a norm"}


@dataclass(frozen=True, eq=False)
class Attributed:
    """Attributions of one target.

    Parameters
    ----------
    attribution
        (track, bin) float32, NaN where the network sees no signal.
    value, baseline_value
        The target of these tracks and of the baseline (NaN for saliency).
    completeness_error
        Sum of the attributions minus the difference of the two; NaN for methods that do not add up exactly.
    """

    attribution: np.ndarray
    value: float
    baseline_value: float
    completeness_error: float


def check_method(method: str, network: NetworkConfig) -> None:
    """Refuse a method that is not known, or not valid for this network.

    Raises
    ------
    AttributionError
        Says why, and what to use.
    """
    if method in METHODS:
        return
    if method.startswith("deeplift"):
        what = _MULTIPLIES.get(network.core)
        why = (
            f"core {network.core!r} multiplies signals with each other ({what}), for which DeepLIFT has no rule"
            if what
            else "captum sees activations as modules only, and this network's are functions: it would return plain gradients"
        )
        raise AttributionError(
            f"method {method!r} is not valid here: {why}. Use integrated-gradients or gradient-shap, which need none."
        )
    raise AttributionError(f"no method {method!r}; there are {', '.join(METHODS)}.{nearest_match(method, METHODS)}")


def attribute(function: TargetFunction, raw: np.ndarray, baseline: np.ndarray, method: str) -> Attributed:
    """Attribute a target to each bin of each raw track.

    Parameters
    ----------
    function
        The target.
    raw, baseline
        Raw tracks and what they are compared with, (track, bin); bins that the network does not see are left out.
    method
        One of :data:`METHODS`. Integrated gradients follow the straight line in raw signal, with Gauss–Legendre points that are
        doubled until the sum is complete to :data:`COMPLETENESS` or :data:`COMPLETENESS_OF_ALL`, or there are
        :data:`MOST_STEPS`. Gradient SHAP takes :data:`N_SAMPLES` random points of the line; its sum is complete on average.
        Saliency is the signed gradient.

    Returns
    -------
    The attributions, deterministic for one number of threads.
    """
    point, origin = function.tensor(raw), function.tensor(baseline)
    value = function.value(point)
    if method == "saliency":
        return _made(function, _gradient(function, point), value, float("nan"), float("nan"))
    origin_value = function.value(origin)
    explained = value - origin_value
    if method == "gradient-shap":
        total = torch.zeros_like(point)
        # captum's own draws from the global random state, which threads share.
        for alpha in np.random.default_rng(SHAP_SEED).random(N_SAMPLES).tolist():
            total += _gradient(function, origin + alpha * (point - origin)) * (point - origin)
        return _made(function, total / N_SAMPLES, value, origin_value, float("nan"))
    n_steps = FIRST_STEPS
    while True:
        found = IntegratedGradients(function).attribute(
            point, baselines=origin, n_steps=n_steps, method="gausslegendre", internal_batch_size=1
        )
        error = float(found.sum(dtype=torch.float64)) - explained
        allowed = max(COMPLETENESS * abs(explained), COMPLETENESS_OF_ALL * float(found.abs().sum(dtype=torch.float64)))
        if abs(error) <= allowed or n_steps >= MOST_STEPS:
            return _made(function, found, value, origin_value, error)
        n_steps *= 2


def _gradient(function: TargetFunction, point: Tensor) -> Tensor:
    gradient: Tensor = Saliency(function).attribute(point.requires_grad_(), abs=False)
    point.requires_grad_(False)
    return gradient.detach()


def _made(function: TargetFunction, found: Tensor, value: float, origin_value: float, error: float) -> Attributed:
    attribution = found[0].detach().cpu().numpy().astype(np.float32)
    attribution[function.missing] = np.nan
    return Attributed(attribution, value, origin_value, error)
