"""Large LSTMs on a CPU: the numbers of torch's own, whatever the batch and the number of bins."""

import pytest
import torch
from torch import nn

from epizarr.nn import lstm
from epizarr.nn.cores import CoreShape, run_core


def make_layer(n_in: int = 7, hidden: int = 5, dtype: torch.dtype = torch.float64) -> nn.LSTM:
    """An LSTM whose states stay away from 0 and 1, so that each weight counts."""
    torch.manual_seed(0)
    return nn.LSTM(n_in, hidden, batch_first=True, bidirectional=True, dtype=dtype).eval()


@pytest.mark.parametrize("n_bins", [1, lstm.STRETCH_BINS, 2 * lstm.STRETCH_BINS + 3])
@pytest.mark.parametrize("batch", [1, 3, 16, 17])
def test_run_lstm__is_torchs(batch, n_bins):
    layer = make_layer()
    states = torch.randn(batch, n_bins, 7, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(lstm.run_lstm(layer, states), layer(states)[0], rtol=0, atol=1e-13)


def test_run_lstm__of_an_example_does_not_depend_on_the_others():
    layer = make_layer()
    states = torch.randn(20, 70, 7, dtype=torch.float64)
    with torch.inference_mode():
        together, alone = lstm.run_lstm(layer, states), lstm.run_lstm(layer, states[4:6])
    torch.testing.assert_close(together[4:6], alone, rtol=0, atol=1e-13)


def test_runs_here__takes_large_layers_in_float32_without_gradients_only():
    large, small = (nn.LSTM(2, hidden, device="meta") for hidden in (lstm.LARGE_HIDDEN, lstm.LARGE_HIDDEN - 1))
    states = torch.zeros(1, 1, 2)
    assert not lstm.runs_here(large, states)
    with torch.inference_mode():
        assert lstm.runs_here(large, states)
        assert not lstm.runs_here(small, states)
        assert not lstm.runs_here(large, states.to(torch.bfloat16))
        assert not lstm.runs_here(large, states.to("meta"))
        assert not lstm.runs_here(nn.Linear(2, 2), states)


def test_run_core__of_large_lstms_is_that_with_gradients():
    shape = CoreShape("bilstm", n_features=30, hidden=lstm.LARGE_HIDDEN, n_layers=2, n_heads=8)
    torch.manual_seed(0)
    layers, features = shape.layers(), torch.randn(3, 70, 30)
    with torch.inference_mode():
        found = run_core(layers, features)
    torch.testing.assert_close(found, run_core(layers, features).detach(), rtol=0, atol=1e-5)
