import pytest
import torch

from epizarr.errors import ConfigError, TensorShapeError
from epizarr.nn import Epiphany, NetworkConfig
from tests._unrolled import plain_core, unrolled


@pytest.mark.parametrize(
    ("config", "n_parameters"),
    [(NetworkConfig.published_10kb(), 91_677_400), (NetworkConfig.published_5kb(), 207_767_000)],
    ids=["10kb", "5kb"],
)
def test_epiphany__has_the_published_number_of_parameters(config, n_parameters):
    with torch.device("meta"):
        model = Epiphany(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == n_parameters


def test_epiphany__names_its_state_as_released():
    with torch.device("meta"):
        names = Epiphany(NetworkConfig()).state_dict().keys()
    lstm = [f"{kind}_l0{end}" for end in ("", "_reverse") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    expected = {f"conv{layer}.conv.{kind}" for layer in (1, 2, 3, 4) for kind in ("weight", "bias")}
    expected |= {f"rnn{layer}.{name}" for layer in (1, 2, 3) for name in lstm}
    expected |= {f"{layer}.{kind}" for layer in ("fc", "fc2") for kind in ("weight", "bias")}
    assert set(names) == expected


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_epiphany__agrees_with_the_unrolled_network(make_model, n_layers):
    model = make_model(n_layers=n_layers)
    signal = torch.randn(2, 2, model.config.cut_length(9), dtype=torch.float64)
    torch.testing.assert_close(model(signal), unrolled(model, signal, 9), rtol=1e-10, atol=1e-12)


def test_forward__takes_what_is_read_and_what_is_cut_alike(make_model):
    model = make_model()
    cut = torch.randn(1, 2, model.config.cut_length(9), dtype=torch.float64)
    read = cut[..., : model.config.input_length(9)]
    assert torch.equal(model(read, n_bins=9), model(cut, n_bins=9))


def test_forward__takes_an_unannounced_length_as_a_cut(make_model):
    model = make_model()
    assert model(torch.zeros(3, 2, 300 + 9 * 10, dtype=torch.float64)).shape == (3, 9, 6)


@pytest.mark.parametrize(
    ("shape", "n_bins"),
    [((1, 2, 391), None), ((1, 2, 300), None), ((1, 2, 390), 8), ((1, 3, 390), 9), ((2, 390), 9), ((1, 2, 290), 0)],
    ids=["between", "no_bin", "other_number", "channels", "no_batch", "zero_bins"],
)
def test_forward__refuses_a_signal_of_another_shape(make_model, shape, n_bins):
    with pytest.raises(TensorShapeError, match="network input: shape"):
        make_model()(torch.zeros(shape, dtype=torch.float64), n_bins)


def test_core__refuses_features_of_another_width(make_model):
    with pytest.raises(TensorShapeError, match="network features"):
        make_model().core(torch.zeros(1, 9, 14, dtype=torch.float64))


def test_core__without_gradients_agrees_with_the_plain_layers_when_large(make_model):
    model = make_model(hidden=800, n_layers=2).float()
    features = torch.randn(3, 5, model.config.n_features)
    with torch.no_grad():
        stripes = model.core(features)
    torch.testing.assert_close(stripes, plain_core(model, features).detach(), rtol=0, atol=1e-6)


def test_epiphany__reads_signals_then_masks(make_model):
    model = make_model(mask_channels=True)
    assert model(torch.zeros(1, 4, model.config.cut_length(3), dtype=torch.float64)).shape == (1, 3, 6)


@pytest.mark.parametrize(
    ("final_relu", "is_cut"),
    [("never", (False, False)), ("predict", (False, True)), ("always", (True, True))],
)
def test_final_relu__acts_in_the_modes_it_names(make_model, final_relu, is_cut):
    model = make_model(final_relu=final_relu)
    features = torch.randn(4, 9, model.config.n_features, dtype=torch.float64)
    lowest = [model.train(training).core(features).min().item() for training in (True, False)]
    assert tuple(value >= 0 for value in lowest) == is_cut


def test_dropout__is_off_in_evaluation(make_model):
    model = make_model(dropout=0.5)
    signal = torch.randn(1, 2, model.config.cut_length(9), dtype=torch.float64)
    assert torch.equal(model.features(signal), model.features(signal))


def _dropped_in_training(model: Epiphany) -> torch.Tensor:
    """Which features (bin, segment) of one channel are dropped, in a trunk that would else give 1 everywhere."""
    with torch.no_grad():
        for convolution in model.convolutions:
            convolution.weight.zero_()
            convolution.bias.fill_(1.0)
    signal = torch.zeros(1, 2, model.config.cut_length(400), dtype=torch.float64)
    features = model.train().features(signal).unflatten(2, (-1, model.config.adaptive_pool))
    return features[0, :, 0] == 0


def test_dropout_masks__shared_are_equal_where_windows_share_a_column(make_model):
    # 25 columns in 5 segments: windows 8 bins apart have one phase and lie 5 columns apart (8 * 10 = 5 * 16).
    config = {"dropout": 0.5, "window": 16 * 25 + 6 + 4 * 2 + 16 * 2, "stride": 10}
    dropped = _dropped_in_training(make_model(**config, dropout_masks="shared"))
    assert torch.equal(dropped[8:, 0], dropped[:-8, 1])


def test_dropout_masks__per_window_are_drawn_for_each(make_model):
    config = {"dropout": 0.5, "window": 16 * 25 + 6 + 4 * 2 + 16 * 2, "stride": 10}
    dropped = _dropped_in_training(make_model(**config, dropout_masks="per_window"))
    assert 0.4 < (dropped[8:, 0] == dropped[:-8, 1]).double().mean() < 0.6


@pytest.mark.parametrize("dropout_masks", ["shared", "per_window"])
def test_dropout_masks__drop_the_published_share(make_model, dropout_masks):
    dropped = _dropped_in_training(make_model(dropout=0.25, dropout_masks=dropout_masks))
    assert dropped.double().mean() == pytest.approx(0.25, abs=0.05)


def test_network_config__lists_all_problems():
    with pytest.raises(ConfigError) as error:
        NetworkConfig(n_tracks=0, dropout=1.0, n_layers=4, final_relu="sometimes", dropout_masks="none", window=100)
    for word in (
        "n_tracks is 0",
        "dropout is 1.0",
        "n_layers is 4",
        "'sometimes'",
        "'none'",
        "window is 100",
        "6 problems",
    ):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "changes", [{"conv_kernels": (3,)}, {"conv_channels": (), "conv_kernels": ()}, {"conv_kernels": (17, 7, 0, 5)}]
)
def test_network_config__refuses_layers_that_do_not_fit(changes):
    with pytest.raises(ConfigError, match="conv_kernels"):
        NetworkConfig(**changes)


def test_network_config__knows_what_is_cut_and_read():
    config = NetworkConfig.published_10kb()
    assert (config.halo, config.cut_length(200), config.input_length(200)) == (7000, 34_000, 33_900)


def test_network_config__is_equal_to_itself_made_from_lists():
    assert NetworkConfig(conv_channels=[70, 90, 70, 20]) == NetworkConfig()


def test_epiphany__variance_head_leaves_the_weights_of_the_mean_as_they_are(make_model):
    plain, variance = make_model().state_dict(), make_model(head="variance").state_dict()
    assert set(variance) - set(plain) == {"fc_log_variance.weight", "fc_log_variance.bias"}
    assert all(torch.equal(variance[name], tensor) for name, tensor in plain.items())


def test_moments__have_the_mean_that_the_network_predicts(make_model):
    plain, variance = make_model(), make_model(head="variance")
    signal = torch.randn(2, 2, plain.config.cut_length(9), dtype=torch.float64)
    moments = variance.moments(variance.features(signal))
    assert torch.equal(moments.mean, plain(signal))
    assert torch.equal(moments.mean, variance(signal))
    assert moments.log_variance.shape == (2, 9, 6)
    assert plain.moments(plain.features(signal)).log_variance is None


def test_moments__variance_neither_overflows_nor_loses_its_gradient(make_model):
    model = make_model(head="variance").float()
    with torch.no_grad():
        model.fc_log_variance.bias.copy_(torch.tensor([-60.0, 60.0, 0.0, 1.0, -1.0, 30.0]))
    log_variance = model.moments(model.features(torch.zeros(1, 2, model.config.cut_length(2)))).log_variance
    assert log_variance.exp().isfinite().all()
    assert (-log_variance).exp().isfinite().all()
    log_variance.sum().backward()
    assert (model.fc_log_variance.bias.grad > 0).all()


def test_features__are_dropped_by_seeds_in_evaluation_too(make_model):
    model = make_model(dropout=0.5)
    signal = torch.randn(2, 2, model.config.cut_length(9), dtype=torch.float64)
    dropped = model.features(signal, seeds=torch.tensor([3, 4]))
    assert not torch.equal(dropped, model.features(signal))
    assert torch.equal(dropped, model.train().features(signal, seeds=torch.tensor([3, 4])))
    assert torch.equal(dropped[1:], model.features(signal[1:], seeds=torch.tensor([4])))


def test_network_config__refuses_an_unknown_head():
    with pytest.raises(ConfigError, match="head is 'both', needs one of mean, variance"):
        NetworkConfig(head="both")
