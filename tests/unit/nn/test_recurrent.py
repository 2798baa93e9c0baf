import pytest
import torch
from torch import nn

from epizarr.nn import recurrent


@pytest.mark.parametrize("rows", [1, 6, 7, 4096], ids="{}_rows".format)
def test_bilstm_without_gradient__agrees_with_the_library(monkeypatch, rows):
    monkeypatch.setattr(recurrent, "_ROWS", rows)
    lstm = nn.LSTM(5, 4, batch_first=True, bidirectional=True).double()
    states = torch.randn(3, 11, 5, dtype=torch.float64)
    torch.testing.assert_close(
        recurrent.bilstm_without_gradient(lstm, states), lstm(states)[0].detach(), rtol=1e-12, atol=1e-14
    )


def test_bilstm_without_gradient__leaves_its_input_alone():
    lstm = nn.LSTM(5, 4, batch_first=True, bidirectional=True)
    states = torch.randn(3, 11, 5)
    before = states.clone()
    recurrent.bilstm_without_gradient(lstm, states)
    assert torch.equal(states, before)
