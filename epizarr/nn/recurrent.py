"""A bidirectional LSTM for inference on a CPU: the numbers of ``nn.LSTM``, nearer the speed of matrix products.

The library's own layer spends its time in small products on oneDNN; here the input's share of all gates is one
large product per block of steps, and each step adds its own product into it in place. Gates and states are laid out
(feature, step, batch): a step multiplies the large weights from the left, which the matrix product does at nearly its
full rate, and at 0.6 of it the other way round (39 and 63 of 67 GFLOP/s for 64 examples of 1200 hidden states).
"""

import torch
from torch import Tensor, nn

# Rows of one input product: enough to run at full speed, few enough to bound the gates' memory.
_ROWS = 4096

# Hidden size from which this form was the faster one (1.0 to 1.3 times at 1200, 0.8 at 400, on two cores).
FASTER_FROM_HIDDEN = 800


def block_elements(hidden: int, n_batch: int) -> int:
    """Count the elements that :func:`bilstm_without_gradient` holds beside input and output."""
    return max(_ROWS, n_batch) * 6 * hidden


def bilstm_without_gradient(lstm: nn.LSTM, states: Tensor) -> Tensor:
    """Run a one-layer, bidirectional, batch-first LSTM from zero states, without recording gradients.

    Parameters
    ----------
    lstm
        The layer.
    states
        Input, shape (batch, step, feature).

    Returns
    -------
    Hidden states, shape (batch, step, 2 * hidden): forward, then backward, as ``lstm(states)[0]`` up to rounding.
    The tensor is stored feature by feature, so that it is not contiguous.
    """
    with torch.no_grad():
        by_step = states.transpose(0, 1)
        hidden = lstm.hidden_size
        output = states.new_empty(2 * hidden, by_step.shape[0], by_step.shape[1])
        for direction, suffix in enumerate(("", "_reverse")):
            weights = [getattr(lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            into = output[direction * hidden : (direction + 1) * hidden]
            _run_direction(by_step, *weights, into=into, is_reverse=direction == 1)
        return output.permute(2, 1, 0)


def _run_direction(
    states: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    *,
    into: Tensor,
    is_reverse: bool,
) -> None:
    """Run one direction over ``states`` (step, batch, feature), filling ``into`` (hidden, step, batch)."""
    n_steps, n_batch, _ = states.shape
    n_hidden = weight_hh.shape[1]
    bias = (bias_ih + bias_hh)[:, None]
    hidden = states.new_zeros(n_hidden, n_batch)
    cell = torch.zeros_like(hidden)
    squashed = torch.empty_like(hidden)
    n_block = max(1, _ROWS // n_batch)
    blocks = range(0, n_steps, n_block)
    for first in reversed(blocks) if is_reverse else blocks:
        block = states[first : first + n_block]
        gates = torch.addmm(bias, weight_ih, block.reshape(-1, block.shape[-1]).t()).unflatten(1, (-1, n_batch))
        steps = range(len(block))
        for step in reversed(steps) if is_reverse else steps:
            gate = gates[:, step].addmm_(weight_hh, hidden)
            gate[: 2 * n_hidden].sigmoid_()
            gate[2 * n_hidden : 3 * n_hidden].tanh_()
            gate[3 * n_hidden :].sigmoid_()
            admit, forget, candidate, emit = gate.chunk(4)
            cell.mul_(forget).addcmul_(admit, candidate)
            torch.tanh(cell, out=squashed)
            torch.mul(emit, squashed, out=hidden)
            into[:, first + step] = hidden
