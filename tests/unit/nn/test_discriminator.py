import pytest
import torch
from torch import nn

from epizarr.errors import ConfigError, TensorShapeError
from epizarr.nn import Discriminator, DiscriminatorConfig, is_shown

SMALL = DiscriminatorConfig(n_bins=40, n_offsets=24, channels=(3, 4, 2), kernel=3)


def n_parameters(config: DiscriminatorConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Discriminator(config).parameters())


def test_discriminator__has_the_published_size():
    assert n_parameters(DiscriminatorConfig()) == 32_551


def test_discriminator__takes_maps_of_5kb():
    config = DiscriminatorConfig(n_bins=400, n_offsets=200)
    maps = torch.zeros(1, 400, 200)
    assert Discriminator(config)(maps, maps == 0).shape == (1,)


def test_discriminator__equals_the_published_layers_written_out():
    torch.manual_seed(0)
    judge = Discriminator(DiscriminatorConfig())
    layers = []
    for convolution in judge.convolutions[:3]:
        layers += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
    plain = nn.Sequential(*layers, judge.convolutions[3], nn.ReLU(), nn.Flatten(), judge.fc)
    maps = torch.randn(2, 200, 100)
    torch.testing.assert_close(judge(maps, torch.ones_like(maps, dtype=torch.bool)), plain(maps.unsqueeze(1))[:, 0])


def test_discriminator__cannot_see_under_the_mask():
    torch.manual_seed(0)
    judge = Discriminator(SMALL)
    judge.fill.copy_(torch.linspace(1, 2, 24))
    maps, valid = torch.randn(3, 40, 24), torch.rand(3, 40, 24) < 0.7
    other = torch.where(valid, maps, torch.full_like(maps, float("nan")))
    filled = torch.where(valid, maps, judge.fill)
    assert torch.equal(judge(maps, valid), judge(other, valid))
    assert torch.equal(judge(maps, valid), judge(filled, torch.ones_like(valid)))
    assert not torch.equal(judge(maps, valid), judge(maps, torch.ones_like(valid)))


def test_discriminator__features_are_what_the_linear_layer_judges_by():
    torch.manual_seed(0)
    judge = Discriminator(SMALL)
    maps = torch.randn(3, 40, 24)
    features = judge.features(maps, torch.ones_like(maps, dtype=torch.bool))
    assert features[0].numel() == SMALL.n_features
    torch.testing.assert_close(
        judge(maps, torch.ones_like(maps, dtype=torch.bool)), judge.fc(features.flatten(1))[:, 0]
    )


def test_discriminator__gives_no_gradient_under_the_mask():
    judge = Discriminator(SMALL)
    maps, valid = torch.randn(1, 40, 24, requires_grad=True), torch.rand(1, 40, 24) < 0.7
    judge(maps, valid).sum().backward()
    assert (maps.grad[~valid] == 0).all()
    assert (maps.grad[valid] != 0).any()


def test_discriminator__takes_the_smallest_maps_it_names():
    side = SMALL.least_side
    config = DiscriminatorConfig(n_bins=side, n_offsets=side, channels=(3, 4, 2), kernel=3)
    maps = torch.zeros(1, side, side)
    assert torch.isfinite(Discriminator(config)(maps, maps == 0)).all()
    with pytest.raises(ConfigError, match=f"which need {side} either way"):
        DiscriminatorConfig(n_bins=side - 1, n_offsets=side, channels=(3, 4, 2), kernel=3)


def test_discriminator__refuses_maps_of_another_size():
    maps = torch.zeros(1, 40, 25)
    with pytest.raises(TensorShapeError, match=r"needs both \(batch, 40, 24\)"):
        Discriminator(SMALL)(maps, maps == 0)


def test_is_shown__wants_half_of_the_pixels():
    valid = torch.zeros(3, 4, 5, dtype=torch.bool)
    valid[1, :2] = True
    valid[2, :2] = True
    valid[2, 0, 0] = False
    assert is_shown(valid).tolist() == [False, True, False]
    assert is_shown(valid[:0]).tolist() == []
