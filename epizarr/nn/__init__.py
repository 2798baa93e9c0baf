"""The networks: tensors in, tensors out. The only part of the library's core that imports torch.

``trunk`` runs the convolutions once for all overlapping windows, ``cores`` joins neighbouring bins (``lstm`` runs large LSTMs
faster), ``epiphany`` is the generator made of both, ``discriminator`` judges its maps in the adversarial mode, ``losses`` is what
they are trained with, ``inference`` predicts along whole chromosomes, ``reference`` predicts again what small changes reach,
``precision`` makes all that cheaper in fewer bits.
"""

from epizarr.nn.discriminator import Discriminator, DiscriminatorConfig, is_shown
from epizarr.nn.epiphany import Epiphany, Moments, NetworkConfig, bias_of_sd
from epizarr.nn.inference import (
    NetworkGflop,
    StripeMoments,
    TiledRange,
    blend_tiles,
    differentiable,
    network_gflop,
    predict_stripes,
    predict_tiles,
    prediction_bytes,
    tiled_range,
)
from epizarr.nn.losses import difference_sum, gaussian_nll_sum, masked_mse, squared_error_sum
from epizarr.nn.precision import Precision, lower_precision
from epizarr.nn.reference import SignalChange, TileReference

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Epiphany",
    "Moments",
    "NetworkConfig",
    "NetworkGflop",
    "Precision",
    "SignalChange",
    "StripeMoments",
    "TileReference",
    "TiledRange",
    "bias_of_sd",
    "blend_tiles",
    "difference_sum",
    "differentiable",
    "gaussian_nll_sum",
    "is_shown",
    "lower_precision",
    "masked_mse",
    "network_gflop",
    "predict_stripes",
    "predict_tiles",
    "prediction_bytes",
    "squared_error_sum",
    "tiled_range",
]
