import numpy as np
import pytest
import torch

from epizarr.errors import ConfigError, TensorShapeError
from epizarr.nn import NetworkConfig, network_gflop, predict_stripes, predict_tiles, prediction_bytes, tiled_range
from epizarr.tiles import bins_needed

N_CHROM = 47
TILES = {"tile_bins": 12, "overlap_bins": 4}


@pytest.fixture
def chromosome(make_model):
    """A small network and the signal of all windows of a chromosome."""
    model = make_model()
    return model, torch.randn(2, model.config.input_length(N_CHROM), dtype=torch.float64)


def predict(model, signal, lo, hi, **changes):
    """Predict a range from exactly the track bins it needs."""
    settings = {**TILES, "batch_size": 3, **changes}
    first, last = bins_needed(N_CHROM, lo, hi, settings["tile_bins"], settings["overlap_bins"])
    begin = first * model.config.stride
    cut = signal[:, begin : begin + model.config.input_length(last - first)]
    return predict_stripes(model, cut, first_bin=first, n_chrom_bins=N_CHROM, lo=lo, hi=hi, **settings)


def test_predict_stripes__is_the_network_itself_within_one_tile(chromosome):
    model, signal = chromosome
    stripes = predict(model, signal, 0, N_CHROM, tile_bins=60)
    with torch.no_grad():
        torch.testing.assert_close(stripes, model(signal[None], N_CHROM)[0], rtol=0, atol=1e-12)


def test_predict_stripes__fades_from_one_tile_to_the_next(chromosome):
    model, signal = chromosome
    stripes = predict(model, signal, 0, N_CHROM)
    with torch.no_grad():
        features = model.features(signal[None], N_CHROM)
        left, right = model.core(features[:, 0:12])[0], model.core(features[:, 8:20])[0]
    # The second of the four bins that both hold: 3/5 of the way from the left tile's end, 2/5 from the right one's.
    a, b = np.sin(np.pi / 2 * np.array([0.6, 0.4])) ** 4
    torch.testing.assert_close(stripes[9], (a * left[9] + b * right[1]) / (a + b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [(20,), (8, 9, 36), (40, 43, 46)])
def test_predict_stripes__does_not_depend_on_the_split_into_ranges(chromosome, cuts):
    model, signal = chromosome
    edges = (0, *cuts, N_CHROM)
    parts = [predict(model, signal, lo, hi) for lo, hi in zip(edges, edges[1:], strict=False)]
    torch.testing.assert_close(torch.cat(parts), predict(model, signal, 0, N_CHROM), rtol=0, atol=1e-12)


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 100}, {"trunk_bins": 5}], ids=str)
def test_predict_stripes__does_not_depend_on_how_work_is_batched(chromosome, changes):
    model, signal = chromosome
    torch.testing.assert_close(
        predict(model, signal, 3, 40, **changes), predict(model, signal, 3, 40), rtol=0, atol=1e-12
    )


def test_predict_stripes__gives_the_same_bits_again(chromosome):
    model, signal = chromosome
    model, signal = model.float(), signal.float()
    assert torch.equal(predict(model, signal, 3, 40), predict(model, signal, 3, 40))


def test_predict_stripes__takes_a_longer_signal(chromosome):
    model, signal = chromosome
    whole = predict_stripes(model, signal, first_bin=0, n_chrom_bins=N_CHROM, lo=20, hi=30, **TILES, batch_size=3)
    torch.testing.assert_close(whole, predict(model, signal, 20, 30), rtol=0, atol=1e-12)


def test_predict_stripes__leaves_every_module_in_its_mode(chromosome):
    model, signal = chromosome
    model.train()
    model.rnn1.eval()
    predict(model, signal, 0, 5)
    assert (model.training, model.rnn1.training, model.fc.training) == (True, False, True)


def test_predict_stripes__runs_without_dropout(chromosome):
    model, signal = chromosome
    expected = predict(model, signal, 0, 5)
    assert torch.equal(predict(model.train(), signal, 0, 5), expected)


def test_predict_stripes__returns_a_tensor_that_autograd_takes(chromosome):
    model, signal = chromosome
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    (factor * predict(model, signal, 0, 5)).sum().backward()
    assert factor.grad is not None


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"first_bin": 9}, TensorShapeError),
        ({"signal": torch.zeros(2, 300)}, TensorShapeError),
        ({"signal": torch.zeros(1, 760)}, TensorShapeError),
        ({"lo": 5, "hi": 5}, ConfigError),
        ({"hi": 48}, ConfigError),
        ({"overlap_bins": 7}, ConfigError),
        ({"batch_size": 0}, ConfigError),
        ({"n_chrom_bins": 0}, ConfigError),
    ],
    ids=["starts_late", "ends_early", "channels", "empty", "off_the_end", "overlap", "batch", "no_chromosome"],
)
def test_predict_stripes__refuses(chromosome, changes, error):
    model, signal = chromosome
    settings = {"signal": signal, "first_bin": 0, "n_chrom_bins": N_CHROM, "lo": 10, "hi": 47, **TILES, "batch_size": 2}
    with pytest.raises(error):
        predict_stripes(model, **{**settings, **changes})


def test_network_gflop__matches_a_count_by_hand():
    config = NetworkConfig(
        n_tracks=2, stride=4, window=22, conv_channels=(3, 5), conv_kernels=(3, 2), pool=4, adaptive_pool=2,
        hidden=6, n_layers=2, head_hidden=7, n_offsets=9,
    )  # fmt: skip
    work = network_gflop(config, n_bins=10, batch=3)
    # 58 track bins are read: 56 columns, pooled to 14 of one phase, 13 columns. A window: 22, 20, 5, 4.
    assert work.trunk == pytest.approx(2e-9 * 3 * (56 * 3 * 2 * 3 + 13 * 5 * 3 * 2))
    assert work.unrolled_trunk == pytest.approx(2e-9 * 3 * 10 * (20 * 3 * 2 * 3 + 4 * 5 * 3 * 2))
    assert work.core == pytest.approx(2e-9 * 3 * 10 * 2 * 4 * 6 * ((10 + 6) + (12 + 6)))
    assert work.head == pytest.approx(2e-9 * 3 * 10 * (12 * 7 + 7 * 9))


def test_network_gflop__gives_the_published_figures():
    work = network_gflop(NetworkConfig.published_10kb(), n_bins=200)
    figures = [round(value, 1) for value in (work.trunk, work.core, work.head, work.unrolled_trunk)]
    assert figures == [1.8, 35.7, 0.9, 106.4]


def test_prediction_bytes__grows_with_the_range_by_its_features_alone():
    config = NetworkConfig.published_10kb()
    settings = {"tile_bins": 200, "batch_size": 16, "trunk_bins": 500}
    assert prediction_bytes(config, 3000, **settings) - prediction_bytes(config, 1000, **settings) == 2000 * 900 * 4


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_predict_tiles__of_several_ranges_is_that_of_each(make_model, batch_size):
    model = make_model(head="variance")
    config, n_bins = model.config, (47, 9, 30)  # the second chromosome is shorter than a tile
    signals = [torch.randn(2, config.input_length(n), dtype=torch.float64) for n in n_bins]
    ranges = [
        tiled_range(config, signal, first_bin=0, n_chrom_bins=n, lo=2, hi=n - 1, **TILES)
        for signal, n in zip(signals, n_bins, strict=True)
    ]
    together = predict_tiles(model, ranges, batch_size=batch_size)
    for one, found in zip(ranges, together, strict=True):
        (alone,) = predict_tiles(model, [one], batch_size=3)
        assert len(found.mean) == one.hi - one.lo
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-12)
