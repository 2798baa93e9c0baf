import numpy as np
import pytest
import torch

from epizarr.errors import ConfigError
from epizarr.evaluate.classifier import judge_features, judging, train_classifier
from epizarr.metrics.realism import ClassifierProtocol, cut_windows, two_sample_scores, window_starts_of
from epizarr.nn import Discriminator, DiscriminatorConfig

PROTOCOL = ClassifierProtocol(n_bins=24, channels=(4, 6), kernel=3, n_steps=80, n_windows=8, lr=5e-3)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def noise(seed: int, n: int = 800) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32) * 2 + 5


def smooth(seed: int, n: int = 800) -> np.ndarray:
    raw = noise(seed, n + 2) - 5
    return ((raw[:-2] + raw[1:-1] + raw[2:]) / np.sqrt(3) + 5).astype(np.float32)  # as wide a spread, but smooth


def scores(real: np.ndarray, fake: np.ndarray, classify) -> tuple[float, float]:
    starts = window_starts_of(real, 24, 24)
    shown = [cut_windows(m, starts, 24) for m in (real, fake)]
    accuracy, auc = two_sample_scores(*(classify(w, ~np.isnan(w)) for w in shown))
    return float(accuracy[0]), float(auc[0])


def test_train_classifier__tells_smooth_from_rough_on_a_chromosome_it_has_not_seen():
    classify = train_classifier([noise(1)], [smooth(2)], PROTOCOL)
    accuracy, auc = scores(noise(3), smooth(4), classify)
    assert accuracy > 0.9
    assert auc > 0.97


def test_train_classifier__finds_nothing_between_two_samples_of_one_source():
    classify = train_classifier([noise(1)], [noise(2)], PROTOCOL)
    _, auc = scores(noise(3, 4000), noise(4, 4000), classify)
    assert abs(auc - 0.5) < 0.12  # 166 windows of each: a standard deviation of 0.03


def test_train_classifier__is_a_function_of_its_seed_and_leaves_the_random_state_alone():
    state = torch.random.get_rng_state()
    windows = np.stack([noise(5, 24)])
    valid = ~np.isnan(windows)
    short = ClassifierProtocol(24, (4, 6), 3, n_steps=5, n_windows=4)
    first, second = (train_classifier([noise(1)], [smooth(2)], short)(windows, valid) for _ in range(2))
    other = train_classifier([noise(1)], [smooth(2)], ClassifierProtocol(24, (4, 6), 3, 5, 4, seed=1))(windows, valid)
    assert first == second != other
    assert torch.equal(state, torch.random.get_rng_state())


def test_train_classifier__cannot_see_what_is_missing():
    real, fake = noise(1), smooth(2)
    hole = np.zeros(real.shape, dtype=bool)
    hole[100:110] = True
    real[hole] = fake[hole] = np.nan
    classify = train_classifier([real], [fake], ClassifierProtocol(24, (4, 6), 3, n_steps=5, n_windows=4))
    window = real[95:119][None]
    valid = ~np.isnan(window)
    assert np.isfinite(classify(window, valid)).all()
    assert classify(np.where(valid, window, 99.0), valid) == classify(window, valid)


def test_train_classifier__needs_a_window():
    assert train_classifier([np.full((100, 16), np.nan)], [np.zeros((100, 16))], PROTOCOL) is None
    assert train_classifier([noise(1, 20)], [noise(2, 20)], PROTOCOL) is None


def test_train_classifier__refuses_maps_too_small_for_its_layers():
    with pytest.raises(ConfigError, match="too small"):
        train_classifier([noise(1)], [noise(2)], ClassifierProtocol())


def test_judging__gives_the_discriminators_logits_where_half_is_valid():
    torch.manual_seed(0)
    judge = Discriminator(DiscriminatorConfig(24, 16, (3, 2), 3)).eval()
    maps = np.stack([noise(1, 24), noise(2, 24)]).astype(np.float64)
    maps[1, :13] = np.nan
    valid = ~np.isnan(maps)
    found = judging(judge)(maps, valid)
    wanted = judge(torch.from_numpy(maps[:1]).float(), torch.from_numpy(valid[:1])).item()
    assert found[0] == pytest.approx(wanted)
    assert np.isnan(found[1])
    assert np.isnan(judging(judge)(maps[1:], valid[1:])).all()


def test_judge_features__are_means_of_the_last_channels():
    torch.manual_seed(0)
    judge = Discriminator(DiscriminatorConfig(24, 16, (3, 2), 3)).eval()
    maps = np.stack([noise(seed, 24) for seed in range(40)])
    found = judge_features(judge, maps)
    wanted = judge.features(torch.from_numpy(maps), torch.ones(maps.shape, dtype=torch.bool)).mean(dim=(2, 3))
    np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-5)
    assert judge_features(judge, maps[:0]).shape == (0, 2)
