"""The shared trunk equals the unrolled windows for any stride, kernels and poolings."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from epizarr.nn.dropout import ExampleDropout
from epizarr.nn.trunk import plan_trunk, shared_trunk, window_columns
from tests._unrolled import convolve_windows, unfold_windows

NO_DROPOUT = ExampleDropout(0.3, None, torch.device("cpu"))


@st.composite
def trunks(draw):
    """Geometry of a trunk: kernels, poolings, stride, window, segments, windows."""
    n_layers = draw(st.integers(1, 4))
    kernels = tuple(draw(st.lists(st.integers(1, 6), min_size=n_layers, max_size=n_layers)))
    pools = tuple(draw(st.lists(st.integers(1, 5), min_size=n_layers - 1, max_size=n_layers - 1)))
    shortest = next(n for n in range(1, 10_000) if min(window_columns(n, kernels, pools)) >= 1)
    window = shortest + draw(st.integers(0, 150))
    return {
        "kernels": kernels,
        "pools": pools,
        "window": window,
        "stride": draw(st.integers(1, 40)),
        "adaptive_pool": draw(st.integers(1, 9)),
        "n_bins": draw(st.integers(1, 30)),
    }


def _both(trunk, n_extra):
    """Features and gradients (signal and parameters) of the shared and the unrolled trunk, in float64."""
    plan = plan_trunk(
        trunk["n_bins"],
        stride=trunk["stride"],
        window=trunk["window"],
        kernels=trunk["kernels"],
        pools=trunk["pools"],
        adaptive_pool=trunk["adaptive_pool"],
    )
    torch.manual_seed(trunk["window"])
    channels = (2, *range(3, 3 + len(trunk["kernels"])))
    layers = zip(channels, channels[1:], trunk["kernels"], strict=False)
    convolutions = [nn.Conv1d(n_in, n_out, kernel, dtype=torch.float64) for n_in, n_out, kernel in layers]
    signal = torch.randn(2, 2, plan.n_read + n_extra, dtype=torch.float64, requires_grad=True)
    leaves = [signal, *(parameter for convolution in convolutions for parameter in convolution.parameters())]

    shared = shared_trunk(convolutions, signal, plan, dropout=NO_DROPOUT, dropout_masks="shared")
    windows = unfold_windows(signal, trunk["n_bins"], trunk["window"], trunk["stride"])
    unrolled = convolve_windows(convolutions, trunk["pools"], trunk["adaptive_pool"], windows).view_as(shared)
    weight = torch.randn_like(shared)
    return [(features, torch.autograd.grad((features * weight).sum(), leaves)) for features in (shared, unrolled)]


@settings(max_examples=60, deadline=None)
@given(trunks(), st.integers(0, 60))
def test_shared_trunk__equals_unrolled_windows_in_value_and_gradient(trunk, n_extra):
    (shared, shared_gradients), (unrolled, unrolled_gradients) = _both(trunk, n_extra)
    torch.testing.assert_close(shared, unrolled, rtol=1e-11, atol=1e-12)
    for one, other in zip(shared_gradients, unrolled_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
