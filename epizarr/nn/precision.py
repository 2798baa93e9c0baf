"""Prediction in fewer bits: the core and the layer behind it in bfloat16 or int8, the trunk and the last layers in float32.

Core and that layer do nearly all of the work of the published networks. ``bfloat16`` keeps its weights and states with 8 bits of
mantissa; it pays on processors with instructions for it (AMX, AVX512-BF16) and on GPUs. ``int8`` quantises the weights of LSTMs
and linear layers once, a scale a matrix, and their inputs as they come, a scale a product; states and sums stay float32.
It needs a CPU.
"""

import warnings
from typing import Literal

import torch
from torch import nn

from epizarr.errors import ConfigError
from epizarr.nn.epiphany import Epiphany

Precision = Literal["float32", "bfloat16", "int8"]


def lower_precision(model: Epiphany, precision: Precision) -> Epiphany:
    """Make a network predict in fewer bits; it can no longer be trained.

    Parameters
    ----------
    model
        Network in float32, in evaluation mode; changed in place.
    precision
        ``"float32"`` leaves it as it is.

    Returns
    -------
    The network; it takes and gives float32.

    Raises
    ------
    ConfigError
        If this torch has no int8 LSTMs.
    """
    if precision == "bfloat16":
        for module in (*model.core_layers.values(), model.fc):
            module.to(torch.bfloat16)
        model.core_dtype = torch.bfloat16
    elif precision == "int8":
        _quantise(model)
    return model


def _quantise(model: Epiphany) -> None:
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError as error:
        raise ConfigError(
            f"precision 'int8': torch {torch.__version__} no longer quantises LSTMs ({error}). Predict in bfloat16 or float32."
        ) from error
    last, last_of_variance = model.fc2, model.fc_log_variance
    engines, before = torch.backends.quantized.supported_engines, torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of this interface and offers no other one for LSTMs
        # The engine is that of the packed weights from here on; oneDNN's uses the processor's int8 instructions best.
        torch.backends.quantized.engine = "onednn" if "onednn" in engines else before
        try:
            quantize_dynamic(model, {nn.LSTM, nn.Linear}, dtype=torch.qint8, inplace=True)
        finally:
            torch.backends.quantized.engine = before
    model.fc2, model.fc_log_variance = last, last_of_variance
