"""The networks: tensors in, tensors out. The only part of the library's core that imports torch.

``trunk`` runs the convolutions once for all overlapping windows, ``cores`` joins neighbouring bins, ``epiphany`` is the
generator made of both, ``discriminator`` judges its maps in the adversarial mode, ``losses`` is what they are trained with,
``inference`` predicts along whole chromosomes.
"""

from epizarr.nn.discriminator import Discriminator, DiscriminatorConfig, is_shown
from epizarr.nn.epiphany import Epiphany, NetworkConfig
from epizarr.nn.inference import (
    NetworkGflop,
    blend_tiles,
    differentiable,
    network_gflop,
    predict_stripes,
    predict_tiles,
    prediction_bytes,
)
from epizarr.nn.losses import difference_sum, masked_mse, squared_error_sum

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Epiphany",
    "NetworkConfig",
    "NetworkGflop",
    "blend_tiles",
    "difference_sum",
    "differentiable",
    "is_shown",
    "masked_mse",
    "network_gflop",
    "predict_stripes",
    "predict_tiles",
    "prediction_bytes",
    "squared_error_sum",
]
