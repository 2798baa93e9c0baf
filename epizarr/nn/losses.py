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


def difference_sum(prediction: Tensor, target: Tensor, valid: Tensor, locus: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the squared errors of the differences between examples of one locus, and count them.

    For every pair (A, B) of examples with the same locus: the sum of ((pA - pB) - (yA - yB))² over the pixels that are valid in
    both. It is 0 where the network errs in both cell types alike, whatever each one's error is. Sum and count come apart for
    the same reason as in :func:`squared_error_sum`.

    Parameters
    ----------
    prediction, target, valid
        As in :func:`squared_error_sum`, the first dim being the example.
    locus
        int64 (example): equal numbers mark the same locus in other cell types. Three examples of a locus make three pairs.

    Returns
    -------
    The sum, with gradient, and the number of pixels (int64), both without dims; 0 and 0 where no two examples share a locus.

    Raises
    ------
    TensorShapeError
        As :func:`squared_error_sum`; or if ``locus`` does not have one number an example.
    """
    if locus.shape != prediction.shape[:1]:
        raise TensorShapeError(
            f"loss: locus has shape {tuple(locus.shape)}; needs one number for each of the {len(prediction)} examples."
        )
    first, second = torch.triu(locus[:, None] == locus, diagonal=1).nonzero().to(prediction.device).T
    # A difference with an invalid member is NaN or worse; squared_error_sum replaces it before the arithmetic.
    return squared_error_sum(
        prediction[first] - prediction[second], target[first] - target[second], valid[first] & valid[second]
    )
