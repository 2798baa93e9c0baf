"""Losses over the valid pixels of a batch.

Stripes hold pixels without a target: off the chromosome, in a bad bin, in another split. They carry no loss and no
gradient.
"""

import torch
from torch import Tensor

from epizarr.errors import TensorShapeError


def squared_error_sum(prediction: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the squared errors of the valid pixels, and count them.

    Sum and count come apart because the loss of a step is the sum over the GLOBAL batch divided by its number of
    valid pixels: with accumulated gradients or several processes both are added up first. The mean of the parts'
    means is not that.

    Parameters
    ----------
    prediction
        Predicted stripes, any shape.
    target
        True stripes, same shape, in the units of the prediction. NaN or anything else where not valid.
    valid
        Boolean, same shape: True where the target is known and counts.

    Returns
    -------
    The sum, with gradient, and the number of valid pixels (int64), both without dims. A NaN in a VALID pixel makes
    the sum NaN.

    Raises
    ------
    TensorShapeError
        If the shapes differ or ``valid`` is not boolean.
    """
    if not prediction.shape == target.shape == valid.shape or valid.dtype != torch.bool:
        raise TensorShapeError(
            f"loss: prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)} and valid "
            f"{tuple(valid.shape)} of {valid.dtype}; needs three equal shapes and a boolean mask."
        )
    # Both operands are replaced BEFORE the arithmetic: the gradient of an unused NaN or infinity is NaN, not 0.
    zero = prediction.new_zeros(())
    error = torch.where(valid, prediction, zero) - torch.where(valid, target.to(prediction.dtype), zero)
    return error.square().sum(), valid.sum()


def masked_mse(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Average the squared error over the valid pixels of one batch.

    Parameters
    ----------
    prediction, target, valid
        As in :func:`squared_error_sum`.

    Returns
    -------
    The mean, without dims; 0 with zero gradients if no pixel is valid.

    Raises
    ------
    TensorShapeError
        As :func:`squared_error_sum`.
    """
    total, n_valid = squared_error_sum(prediction, target, valid)
    return total / n_valid.clamp(min=1)
