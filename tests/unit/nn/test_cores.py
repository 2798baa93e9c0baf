"""The cores: what each one sees, counts and leaves to the batch. The published LSTMs are in ``test_epiphany``."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from epizarr.errors import ConfigError
from epizarr.nn import Epiphany, NetworkConfig, network_gflop, predict_stripes, prediction_bytes
from epizarr.nn.cores import AttentionBranch, ConvMix, _rotary_angles, _turned
from epizarr.tiles import bins_needed
from tests._memory import peak_growth

CORES = ("bilstm", "conv", "dilated", "transformer")
OURS = CORES[1:]


def features_of(model: Epiphany, batch: int, n_bins: int) -> torch.Tensor:
    """Random features, float64, of which gradients are asked."""
    return torch.randn(batch, n_bins, model.config.n_features, dtype=torch.float64, requires_grad=True)


def bins_that_change(model: Epiphany, n_bins: int, at: int) -> list[int]:
    """Bins whose stripe changes when the features of one bin do, in one of eight draws: a ReLU may be shut in some."""
    features = features_of(model, 8, n_bins).detach()
    changed = features.clone()
    changed[:, at] += torch.randn_like(changed[:, at])
    with torch.no_grad():
        difference = (model.core(features) - model.core(changed)).abs().amax((0, 2))
    return torch.nonzero(difference).flatten().tolist()


@pytest.mark.parametrize("core", CORES)
def test_core__gives_a_stripe_for_each_bin(make_model, core):
    model = make_model(core=core)
    signal = torch.randn(3, 2, model.config.cut_length(11), dtype=torch.float64)
    assert model(signal).shape == (3, 11, 6)


@pytest.mark.parametrize("core", CORES)
def test_core__every_parameter_gets_a_gradient(make_model, core):
    model = make_model(core=core).train()
    model(torch.randn(2, 2, model.config.cut_length(9), dtype=torch.float64)).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("core", CORES)
def test_core__examples_of_a_batch_do_not_see_each_other(make_model, core):
    model = make_model(core=core)
    features = features_of(model, 4, 13).detach()
    alone = torch.cat([model.core(one[None]) for one in features])
    torch.testing.assert_close(model.core(features), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("core", "n_layers", "reach"), [("conv", 1, 3), ("conv", 2, 6), ("dilated", 1, 1), ("dilated", 4, 15)]
)
def test_core__reaches_as_far_as_it_says(make_model, core, n_layers, reach):
    model = make_model(core=core, n_layers=n_layers)
    assert model.config.core_shape.reach_bins == reach
    # Every bin within the reach, and none beyond it.
    assert bins_that_change(model, 51, 25) == list(range(25 - reach, 25 + reach + 1))


@pytest.mark.parametrize("core", ["bilstm", "transformer"])
def test_core__reaches_over_the_whole_tile(make_model, core):
    model = make_model(core=core)
    assert model.config.core_shape.reach_bins is None
    assert bins_that_change(model, 51, 25) == list(range(51))


@pytest.mark.parametrize("core", ["conv", "dilated"])
def test_core__does_not_know_where_the_tile_begins(make_model, core):
    model = make_model(core=core, n_layers=3)
    reach = model.config.core_shape.reach_bins
    features = features_of(model, 1, 60).detach()
    whole, part = model.core(features), model.core(features[:, 10:50])
    torch.testing.assert_close(part[:, reach:-reach], whole[:, 10 + reach : 50 - reach], rtol=0, atol=1e-12)


def test_attention__scores_depend_on_distances_and_not_on_places():
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    angles = _rotary_angles(torch.empty(1, 1, 40, 8, dtype=torch.float64))
    scores = _turned(query.expand(1, 1, 40, 8), angles) @ _turned(key.expand(1, 1, 40, 8), angles).mT
    for distance in (-9, 0, 4):
        along = torch.diagonal(scores[0, 0], distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-12)
    assert scores[0, 0, 0].std() > 0.1


def test_attention__agrees_with_sums_written_out():
    torch.manual_seed(0)
    branch = AttentionBranch(12, 3).double()
    states = torch.randn(1, 5, 12, dtype=torch.float64)
    normed = (states - states.mean(-1, keepdim=True)) / (states.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    qkv = (normed @ branch.qkv.weight.T + branch.qkv.bias)[0]
    heads = []
    for head in range(3):
        q, k, v = (qkv[:, part * 12 + 4 * head : part * 12 + 4 * head + 4] for part in range(3))
        # A pair of channels as one complex number: turning it is a product with exp(i angle).
        q, k = (torch.complex(x[:, :2], x[:, 2:]) for x in (q, k))
        angle = torch.arange(5, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.01], dtype=torch.float64)
        q, k = (x * torch.polar(torch.ones_like(angle), angle) for x in (q, k))
        scores = (q @ k.conj().T).real / 2.0
        heads.append(scores.softmax(-1) @ v)
    expected = torch.cat(heads, -1) @ branch.out.weight.T + branch.out.bias
    torch.testing.assert_close(branch(states)[0], expected, rtol=0, atol=1e-12)


def test_conv__is_about_as_large_as_the_lstms_in_its_place():
    with torch.device("meta"):
        size = {core: sum(p.numel() for p in Epiphany(NetworkConfig(core=core)).parameters()) for core in CORES[:2]}
    assert size["conv"] == pytest.approx(size["bilstm"], rel=0.1)


def test_conv__is_zero_beyond_the_tile():
    torch.manual_seed(0)
    mix = ConvMix(2, 3, 5).double()
    states = torch.randn(1, 4, 2, dtype=torch.float64)
    padded = torch.cat([torch.zeros(1, 2, 2), states, torch.zeros(1, 2, 2)], 1).double()
    expected = [sum(padded[0, m + j] @ mix.conv.weight[:, :, j].T for j in range(5)) for m in range(4)]
    expected = torch.relu(torch.stack(expected) + mix.conv.bias)
    torch.testing.assert_close(mix(states)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("core", OURS)
def test_network_gflop__is_what_torch_counts(make_model, core):
    model = make_model(core=core, n_layers=3)
    features = features_of(model, 2, 13).detach()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model.core(features)
    work = network_gflop(model.config, 13, batch=2)
    assert 1e9 * (work.core + work.head) == pytest.approx(counter.get_total_flops(), rel=1e-12)


@pytest.mark.parametrize("core", OURS)
def test_predict_stripes__does_not_depend_on_ranges_and_batches(make_model, core):
    model = make_model(core=core)
    signal = torch.randn(2, model.config.input_length(47), dtype=torch.float64)

    def predict(lo: int, hi: int, batch_size: int) -> torch.Tensor:
        first, last = bins_needed(47, lo, hi, 12, 4)
        cut = signal[:, first * 10 : first * 10 + model.config.input_length(last - first)]
        return predict_stripes(
            model,
            cut,
            first_bin=first,
            n_chrom_bins=47,
            lo=lo,
            hi=hi,
            tile_bins=12,
            overlap_bins=4,
            batch_size=batch_size,
        )

    parts = torch.cat([predict(0, 20, 1), predict(20, 47, 3)])
    torch.testing.assert_close(parts, predict(0, 47, 100), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"core": "lstm"}, "core is 'lstm', needs one of bilstm, conv, dilated, transformer"),
        ({"core": "conv", "n_layers": 13}, "n_layers is 13, core 'conv' needs 1 to 12"),
        ({"core": "bilstm", "n_layers": 4}, "core 'bilstm' needs 1 to 3"),
        ({"core": "dilated", "n_heads": 4}, "only core 'transformer' uses"),
        ({"core": "transformer", "n_heads": 7}, "make hidden a multiple of n_heads"),
    ],
)
def test_network_config__refuses_a_core_that_does_not_fit(changes, says):
    with pytest.raises(ConfigError, match=says):
        NetworkConfig(**changes)


# Wide enough that what is held is tens of megabytes, which are neither lost in nor made up by the allocator's pools.
WIDE = {"hidden": 256, "n_layers": 2, "head_hidden": 64, "conv_channels": (8, 8, 8, 8)}
TILES = {"tile_bins": 200, "batch_size": 8}


def predict_bins(core: str, n_bins: int) -> None:
    """Predict a chromosome of so many bins with an untrained network."""
    model = Epiphany(NetworkConfig(core=core, **WIDE)).eval()
    signal = torch.zeros(model.config.n_tracks, model.config.input_length(n_bins))
    tiles = {**TILES, "tile_bins": min(200, n_bins), "overlap_bins": min(50, n_bins // 4)}
    predict_stripes(model, signal, first_bin=0, n_chrom_bins=n_bins, lo=0, hi=n_bins, trunk_bins=50, **tiles)


@pytest.mark.parametrize("core", CORES)
def test_prediction_bytes__bounds_the_measured_memory_of_every_core(core):
    config = NetworkConfig(core=core, **WIDE)
    bound = prediction_bytes(config, 1250, trunk_bins=50, **TILES)
    bound += bound // 4  # what predict adds for the matrix library
    with torch.device("meta"):
        weights = 4 * sum(p.numel() for p in Epiphany(config).parameters())
    held = weights + 4 * config.n_tracks * config.input_length(1250)
    assert bound / 5 < peak_growth(predict_bins, (core, 3), (core, 1250)) < bound + held
