import pytest
import torch

from epizarr.errors import ConfigError
from epizarr.nn import Epiphany, NetworkConfig
from epizarr.nn.trunk import plan_trunk
from tests._unrolled import unrolled_features

KERNELS = (17, 7, 5, 5)


def published_plan(n_bins, stride):
    return plan_trunk(n_bins, stride=stride, window=14_000, kernels=KERNELS, pools=(4, 4, 4), adaptive_pool=45)


@pytest.mark.parametrize(
    ("stride", "phases"),
    [(100, (1, 1, 4, 16)), (50, (1, 2, 8, 32)), (64, (1, 1, 1, 1)), (25, (1, 4, 16, 64))],
)
def test_plan_trunk__keeps_the_phases_that_windows_have(stride, phases):
    assert published_plan(400, stride).n_phases == phases


def test_plan_trunk__keeps_no_phase_for_a_single_window():
    assert published_plan(1, 100).n_phases == (1, 1, 1, 1)


def test_plan_trunk__leaves_213_columns_to_a_published_window():
    assert published_plan(200, 100).window_columns == (13_984, 3490, 868, 213)


def test_plan_trunk__reads_no_more_than_the_windows():
    assert published_plan(200, 100).n_read == 33_900


def test_plan_trunk__refuses_a_window_shorter_than_its_layers():
    with pytest.raises(ConfigError, match="make the window longer"):
        plan_trunk(3, stride=10, window=20, kernels=(17, 7), pools=(4,), adaptive_pool=5)


@pytest.mark.parametrize("stride", [100, 50])
def test_features__equal_the_unrolled_windows_in_float32(stride):
    config = NetworkConfig(stride=stride, conv_channels=(6, 8, 6, 4), hidden=4, n_layers=1, head_hidden=4)
    model = Epiphany(config).eval()
    signal = torch.rand(1, 5, config.cut_length(24))
    with torch.no_grad():
        difference = model.features(signal) - unrolled_features(model, signal, 24)
    assert difference.abs().max() <= 1e-6
