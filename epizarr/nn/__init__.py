"""The networks: tensors in, tensors out. The only part of the library's core that imports torch.

``trunk`` runs the convolutions once for all overlapping windows, ``epiphany`` is the generator, ``losses`` what it
is trained with, ``inference`` predicts along whole chromosomes.
"""

from epizarr.nn.epiphany import Epiphany, NetworkConfig
from epizarr.nn.inference import (
    NetworkGflop,
    network_gflop,
    predict_stripes,
    prediction_bytes,
)
from epizarr.nn.losses import difference_sum, masked_mse, squared_error_sum

__all__ = [
    "Epiphany",
    "NetworkConfig",
    "NetworkGflop",
    "difference_sum",
    "masked_mse",
    "network_gflop",
    "predict_stripes",
    "prediction_bytes",
    "squared_error_sum",
]
