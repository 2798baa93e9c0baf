import dataclasses

import pytest

from epizarr.errors import ConfigError, InputNotFoundError
from epizarr.nn import NetworkConfig
from epizarr.train.config import OptimSettings, TrainConfig, config_fields, differing_fields
from epizarr.train.config_checks import check_config
from epizarr.train.config_text import config_from_toml, config_toml, load_config
from epizarr.train.named_configs import NAMED_CONFIGS
from epizarr.train.schedule import learning_rate
from epizarr.train.start import network_config


@pytest.mark.parametrize("name", NAMED_CONFIGS)
def test_load_config__named_configs_are_valid(name):
    assert isinstance(load_config(name), TrainConfig)


@pytest.mark.parametrize(
    ("name", "published"),
    [("epiphany-10kb", NetworkConfig.published_10kb()), ("epiphany-5kb", NetworkConfig.published_5kb())],
)
def test_load_config__named_configs_make_the_published_networks(name, published):
    config = load_config(name, ["data.tracks=['DNase', 'H3K27ac', 'H3K4me3', 'H3K27me3', 'CTCF']"])
    assert network_config(config) == published


def test_train_config__margin_of_published_networks_is_1200_kb():
    assert load_config("epiphany-10kb").margin_bp == load_config("epiphany-5kb").margin_bp == 1_200_000


def test_learning_rate__is_halved_each_16_epochs_down_to_the_floor():
    settings = load_config("epiphany-10kb").training
    assert [learning_rate(settings, e, 25 * e) for e in (0, 15, 16, 48, 1000)] == [1e-4, 1e-4, 5e-5, 1.25e-5, 1e-6]


def test_learning_rate__rises_linearly_first():
    settings = OptimSettings(lr=1e-3, warmup_steps=4)
    rates = [learning_rate(settings, 0, step) for step in (0, 1, 3, 4)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 1e-3, 1e-3])


def test_load_config__reads_a_file_over_its_base(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "small"\n[training]\nepochs = 3\n[data.track_transforms]\nCTCF = "log1p"\n')
    config = load_config(file)
    assert (config.training.epochs, config.network.hidden) == (3, load_config("small").network.hidden)
    assert config.data.track_transforms == {"CTCF": "log1p"}


def test_load_config__override_needs_no_quotes():
    assert load_config("small", ["target.variable=kr"]).target.variable == "kr"


def test_load_config__override_of_list_takes_toml():
    assert load_config("small", ["data.tracks=['CTCF', \"H3K27ac\"]"]).data.tracks == ("CTCF", "H3K27ac")


def test_load_config__lists_every_bad_override_with_the_nearest_match():
    bad = ["training.epoch=3", "data.tracks='CTCF'", "traning.lr=1", "nonsense"]
    with pytest.raises(ConfigError) as caught:
        load_config("small", bad)
    message = str(caught.value)
    assert "4 problems" in message
    assert "Did you mean 'epochs'?" in message
    assert "Did you mean 'training'?" in message


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.lr=-1", "at least 0"),
        ("training.lr=nan", "at least 0"),
        ("training.epochs=2.5", "a whole number"),
        ("training.epochs=true", "a whole number"),
        ("network.dropout=1.0", "less than 1"),
        ("network.final_relu=somtimes", "needs one of"),
        ("data.track_transform=log2p", "Did you mean 'log1p'?"),
        ("data.binsize=1050", "not a multiple"),
        ("network.window_bp=1400100", "two track bins"),
        ("network.window_bp=1399800", "need at least 1400000"),
        ("network.n_offsets=101", "need at least 1410000"),
        ("target.min_diagonal=100", "leaves nothing"),
        ("data.tracks=['a', 'a']", "more than once"),
        ("execution.device=gpu", "cuda:N"),
        ("training.variance_beta=1", "needs network.head = 'variance'"),
        ("training.variance_beta=1.5", "at most 1"),
    ],
)
def test_load_config__refuses_value_out_of_range(override, says):
    with pytest.raises(ConfigError, match=says):
        load_config("small", [override])


def test_load_config__names_the_named_configs_when_there_is_no_file():
    with pytest.raises(InputNotFoundError, match="epiphany-10kb"):
        load_config("smal")


def test_load_config__refuses_unknown_base(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('base = "smal"\n')
    with pytest.raises(ConfigError, match="Did you mean 'small'"):
        load_config(file)


def test_load_config__refuses_text_that_is_no_toml(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("training = [")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(file)


@pytest.mark.parametrize("name", NAMED_CONFIGS)
def test_config_toml__reads_back_exactly(name):
    config = load_config(name, ["data.track_transforms={CTCF = 'log1p'}"])
    assert config_from_toml(config_toml(config), "test") == config


def test_config_fields__every_field_has_a_kind_and_a_line():
    fields = config_fields(TrainConfig())
    assert {f.kind for f in fields} == {"scientific", "execution"}
    assert all(f.doc and "\n" not in f.doc for f in fields)


def test_differing_fields__tells_scientific_from_execution():
    a = load_config("small", ["training.lr=0.001"])
    b = load_config("small", ["training.lr=0.5", "execution.max_steps=7"])
    assert differing_fields(a, b) == ["training.lr: 0.001 there, 0.5 here"]
    assert differing_fields(a, b, "execution") == ["execution.max_steps: 0 there, 7 here"]


def test_check_config__refuses_config_built_in_python():
    config = TrainConfig()
    bad = dataclasses.replace(config, training=dataclasses.replace(config.training, batch_size=0))
    with pytest.raises(ConfigError, match="batch_size"):
        check_config(bad)
