"""Losses over the valid pixels of a batch.

Stripes hold pixels without a target: off the chromosome, in a bad bin, in another split. They carry no loss and no
gradient.
"""

import torch
from torch import Tensor

from epizarr.errors import TensorShapeError


def _valid_error(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Prediction minus target where valid, else 0 without a gradient."""
    if not prediction.shape == target.shape == valid.shape or valid.dtype != torch.bool:
        raise TensorShapeError(
            f"loss: prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)} and valid "
            f"{tuple(valid.shape)} of {valid.dtype}; needs three equal shapes and a boolean mask."
        )
    # Both operands are replaced BEFORE the arithmetic: the gradient of an unused NaN or infinity is NaN, not 0.
    zero = prediction.new_zeros(())
    return torch.where(valid, prediction, zero) - torch.where(valid, target.to(prediction.dtype), zero)


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
    error = _valid_error(prediction, target, valid)
    return error.square().sum(), valid.sum()


def gaussian_nll_sum(
    mean: Tensor, log_variance: Tensor, target: Tensor, valid: Tensor, *, beta: float
) -> tuple[Tensor, Tensor]:
    """Sum the negative log-likelihoods of the valid pixels under normal distributions, and count them.

    Each pixel's is weighed by its predicted variance to the power ``beta``, a factor without gradient. Without it (0), a pixel
    that is thought uncertain hardly draws the mean towards its target, so that what is badly predicted at first stays so;
    with 1, the mean is trained as by half the squared error.

    Parameters
    ----------
    mean, log_variance
        Predicted stripes and natural logarithms of their variances, any shape.
    target, valid
        As in :func:`squared_error_sum`.
    beta
        From 0 to 1.

    Returns
    -------
    The sum, with gradient, in nats without the constant log(2π)/2, and the number of valid pixels (int64), both without dims.

    Raises
    ------
    TensorShapeError
        As :func:`squared_error_sum`.

    References
    ----------
    Seitzer et al. 2022, On the pitfalls of heteroscedastic uncertainty estimation, ICLR (arXiv 2203.09168), equation 5.
    """
    error = _valid_error(mean, target, valid)
    log_variance = torch.where(valid, log_variance, log_variance.new_zeros(()))
    likelihood = 0.5 * (log_variance + error.square() * torch.exp(-log_variance))
    return (likelihood * torch.exp(beta * log_variance.detach())).sum(), valid.sum()


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
