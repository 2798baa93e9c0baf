"""What augmentation does to the tracks of one example, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest

from epizarr.train.augment import Augmentation, TrackScale
from epizarr.transforms import fit_track_transform, network_input

N_BINS = 3_000
RNG = np.random.default_rng(0)
RAW = RNG.gamma(2.0, 0.5, (3, N_BINS)).astype(np.float32)
RAW[0, 100:300] = np.nan
ALL = (True, True, True)
PLAIN = Augmentation(
    seed=1,
    track_dropout=0.0,
    track_noise=0.0,
    scale_jitter=0.0,
    track_sd=(0.5, 1.0, 2.0),
    scales=(TrackScale(None, False, 0.0, 1.0),) * 3,
    noise_bins=3,
)


def example(augmentation: Augmentation, epoch: int = 0, number: int = 0, measured=ALL, raw=RAW) -> np.ndarray:
    signal = network_input(raw, mask_channels=True)
    augmentation.apply(signal, epoch, number, measured)
    return signal


def changed(**settings: float) -> Augmentation:
    return dataclasses.replace(PLAIN, **settings)


@pytest.mark.parametrize("settings", [{"track_noise": 0.1}, {"scale_jitter": 0.3}, {"track_dropout": 0.4}])
def test_augmentation__is_a_function_of_seed_epoch_and_example(settings):
    augmentation = changed(**settings)
    first = [example(augmentation, epoch, number) for epoch in range(2) for number in range(8)]
    again = [example(changed(**settings), epoch, number) for epoch in range(2) for number in range(8)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({a.tobytes() for a in first}) > (3 if "track_dropout" in settings else 15)
    other_seed = [example(changed(seed=2, **settings), 0, number) for number in range(8)]
    assert any(not np.array_equal(a, b) for a, b in zip(first, other_seed, strict=False))


@pytest.mark.parametrize("settings", [{"track_noise": 0.1}, {"scale_jitter": 0.3}])
def test_augmentation__leaves_missing_bins_and_the_mask_alone(settings):
    before, after = network_input(RAW, mask_channels=True), example(changed(**settings))
    np.testing.assert_array_equal(after[3:], before[3:])
    assert (after[0, 100:300] == 0).all()
    assert (after[:3] != before[:3]).mean() > 0.9


def test_augmentation__missing_bins_stay_0_where_0_is_no_signal():
    scales = (TrackScale(None, True, 0.7, 0.4),) * 3
    assert (example(changed(scale_jitter=0.5, scales=scales))[0, 100:300] == 0).all()


def test_augmentation__noise_has_its_sd_and_is_alike_over_a_fragment():
    augmentation = changed(track_noise=0.2)
    before = network_input(RAW, mask_channels=True)
    noise = np.stack([example(augmentation, 0, number) - before for number in range(200)])[:, :3]
    np.testing.assert_allclose(noise[:, 1:].std(axis=(0, 2)), [0.2, 0.4], rtol=0.02)
    assert abs(noise[:, 1].mean()) < 0.01
    # A moving mean over three bins: 2/3, 1/3, 0.
    one = noise[:, 1] / 0.2
    at = [float((one[:, lag:] * one[:, : N_BINS - lag]).mean()) for lag in (1, 2, 3, 50)]
    np.testing.assert_allclose(at, [2 / 3, 1 / 3, 0, 0], atol=0.02)


def test_augmentation__noise_does_not_depend_on_the_signal_or_its_direction():
    augmentation = changed(track_noise=0.2)
    raw = np.nan_to_num(RAW)
    forward, backward = (example(augmentation, raw=r)[:3] - r for r in (raw, np.ascontiguousarray(raw[:, ::-1])))
    np.testing.assert_allclose(forward, backward, atol=2e-6)


def test_augmentation__noise_of_tracks_and_examples_is_not_alike():
    augmentation = changed(track_noise=1.0, track_sd=(1.0, 1.0, 1.0))
    zeros = np.zeros((3, N_BINS), dtype=np.float32)
    noise = np.concatenate([example(augmentation, epoch, n, raw=zeros)[:3] for epoch in (0, 1) for n in range(3)])
    apart = np.corrcoef(noise)[~np.eye(len(noise), dtype=bool)]
    assert np.abs(apart).max() < 0.15


@pytest.mark.parametrize(
    "name", ["linear", "log1p", "clip_log1p", "blacklist_clip_log1p", "blacklist_clip_log1p_standardise"]
)
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_track_scale__is_the_transform_of_the_scaled_signal(name, factor):
    signal, nowhere = RAW[1], np.zeros(N_BINS, dtype=bool)
    transform = fit_track_transform(name, [signal])
    upper = transform.params.get("clip", {}).get("upper", np.inf)
    values = transform.apply(signal, nowhere)
    TrackScale.of(transform).rescale(values, factor)
    known = signal < upper
    np.testing.assert_allclose(values[known], transform.apply(factor * signal, nowhere)[known], atol=2e-6)
    assert known.sum() > 0.99 * N_BINS


def test_track_scale__keeps_signed_signal_finite():
    transform = fit_track_transform("log1p", [np.array([-0.9, 2.0])])
    values = transform.apply(np.array([-0.9, 0.0, 2.0], dtype=np.float32))
    TrackScale.of(transform).rescale(values, 4.0)
    assert np.isfinite(values).all()


def test_augmentation__factors_are_log_normal_one_a_track():
    augmentation = changed(scale_jitter=0.3)
    ones = np.ones((3, 10), dtype=np.float32)
    found = np.stack([example(augmentation, 0, number, raw=ones)[:3] for number in range(2_000)])
    assert (found == found[:, :, :1]).all()
    logs = np.log(found[:, :, 0])
    np.testing.assert_allclose(logs.std(axis=0), 0.3, rtol=0.07)
    assert np.abs(np.corrcoef(logs.T)[~np.eye(3, dtype=bool)]).max() < 0.08


def test_augmentation__drops_signal_and_mask_of_whole_tracks():
    augmentation = changed(track_dropout=0.5)
    before = network_input(RAW, mask_channels=True)
    for number in range(50):
        after = example(augmentation, 0, number)
        for track in range(3):
            is_there = after[3 + track].any()
            np.testing.assert_array_equal(after[track], before[track] * is_there)
            np.testing.assert_array_equal(after[3 + track], before[3 + track] * is_there)


def test_augmentation__drops_each_track_as_often_as_it_says_and_never_all():
    kept = np.stack([example(changed(track_dropout=0.3), 0, n)[3:].any(axis=1) for n in range(3_000)])
    assert kept.any(axis=1).all()
    # Given that not all three are dropped.
    np.testing.assert_allclose(kept.mean(axis=0), 0.7 / (1 - 0.3**3), atol=0.03)


def test_augmentation__leaves_a_track_that_the_cell_type_has():
    raw = RAW.copy()
    raw[:2] = np.nan
    for number in range(100):
        after = example(changed(track_dropout=0.8), 0, number, measured=(False, False, True), raw=raw)
        assert after[5].all()


def test_augmentation__one_change_does_not_move_another():
    both, noise = changed(track_noise=0.1, track_dropout=0.5), changed(track_noise=0.1)
    for number in range(20):
        after, alone = example(both, 0, number), example(noise, 0, number)
        kept = after[3:].any(axis=1)
        np.testing.assert_array_equal(after[:3][kept], alone[:3][kept])
