"""A large bidirectional LSTM on a CPU, where no gradient is wanted: what ``torch.nn.LSTM`` computes, faster, in less memory.

What an LSTM does beside the products of its inputs are products of its weights with the states of one bin: a matrix of up to
tens of megabytes, which no cache near a core holds, with as many columns as there are examples. They are fastest with the
examples in columns, filled up to whole vectors of the processor. Inputs are multiplied a stretch of bins at a time, so that
beside input and output nothing is held that grows with the bins.

Measured beside torch's kernels in ``pipelines/benchmarks/lstm.py``: at the published size 1.5 to 2.1 times as fast as that for
inference, and as fast as that for training or up to a seventh faster; slower where the weights fit a cache, and those stay with
torch. Source of the equations: the documentation of ``torch.nn.LSTM``.
"""

from typing import TypeGuard

import torch
from torch import Tensor, nn

#: Bins whose inputs are multiplied at once: a thousand columns with 16 examples, as many as large products need.
STRETCH_BINS = 64
#: Examples are filled up to a multiple of this: products of 9 to 15 columns took longer than of 16, of 33 longer than of 48.
_COLUMNS = 16
#: Hidden size from which on this is worth while: the weights of the product with the states then have 8 MB in float32.
LARGE_HIDDEN = 725


def runs_here(layer: nn.Module, states: Tensor) -> TypeGuard[nn.LSTM]:
    """Whether :func:`run_lstm` takes a layer and its input: a large LSTM in float32, on a CPU, without gradients."""
    return (
        isinstance(layer, nn.LSTM)
        and layer.hidden_size >= LARGE_HIDDEN
        and states.dtype == torch.float32
        and states.device.type == "cpu"
        and not torch.is_grad_enabled()
    )


def padded_examples(batch: int) -> int:
    """Columns of the product with the states of so many examples."""
    return batch if batch == 1 else -(-batch // _COLUMNS) * _COLUMNS


def run_lstm(layer: nn.LSTM, states: Tensor) -> Tensor:
    """Run a bidirectional LSTM of one layer from states of zero.

    Parameters
    ----------
    layer
        The LSTM; its weights are read and nothing is kept.
    states
        Input, (batch, bin, channel).

    Returns
    -------
    Output, (batch, bin, 2 * hidden): the forward direction's states, then the backward one's. No example depends on another.
    """
    batch, n_bins, _ = states.shape
    output = states.new_empty(batch, n_bins, 2 * layer.hidden_size)
    forward, backward = output.chunk(2, dim=-1)
    stretches = [range(first, min(first + STRETCH_BINS, n_bins)) for first in range(0, n_bins, STRETCH_BINS)]
    _run_direction(layer, "", states, forward, stretches)
    _run_direction(layer, "_reverse", states, backward, [bins[::-1] for bins in stretches[::-1]])
    return output


def _run_direction(layer: nn.LSTM, suffix: str, states: Tensor, output: Tensor, stretches: list[range]) -> None:
    """Fill one direction's output, (batch, bin, hidden), stretch by stretch in the direction's order of the bins."""
    weight_in, weight_state, bias_in, bias_state = (
        getattr(layer, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    bias = (bias_in + bias_state)[:, None]
    batch, _, n_channels = states.shape
    hidden = layer.hidden_size
    n_columns = padded_examples(batch)
    state, cell = states.new_zeros(2, hidden, n_columns).unbind()
    for bins in stretches:
        first, end = min(bins), max(bins) + 1
        rows = states[:, first:end].transpose(0, 1).reshape(-1, n_channels)
        from_input = torch.mm(weight_in, rows.t()).unflatten(1, (len(bins), batch))
        found = states.new_empty(len(bins), hidden, n_columns)
        for place in (index - first for index in bins):
            gates = torch.addmm(bias, weight_state, state)
            gates[:, :batch] += from_input[:, place]
            input_gate, forget_gate, candidate, output_gate = gates.chunk(4)
            gates[: 2 * hidden].sigmoid_()
            candidate.tanh_()
            output_gate.sigmoid_()
            cell.mul_(forget_gate).addcmul_(input_gate, candidate)
            state = torch.mul(output_gate, torch.tanh(cell), out=found[place])
        output[:, first:end] = found[..., :batch].permute(2, 0, 1)
