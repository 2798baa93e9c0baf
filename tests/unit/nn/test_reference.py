"""A kept prediction and changes of its signal: equality with predicting the changed signal, and what stays to the bit."""

import numpy as np
import pytest
import torch

from epizarr.nn import Epiphany, NetworkConfig, SignalChange, TileReference, predict_stripes
from epizarr.tiles import blend_weights, tile_starts

N_BINS, TILES = 120, {"tile_bins": 30, "overlap_bins": 10}
CONFIG = NetworkConfig(
    n_tracks=2, n_offsets=8, stride=10, window=100, conv_channels=(4, 3), conv_kernels=(5, 3), pool=2,
    adaptive_pool=4, hidden=6, n_layers=2, head_hidden=5,
)  # fmt: skip


@pytest.mark.parametrize("core", ["bilstm", "conv"])
def test_tile_reference__equals_predicting_the_changed_signal(core):
    torch.manual_seed(0)
    config = NetworkConfig(**{**CONFIG.__dict__, "core": core})
    model = Epiphany(config).train()
    signal = torch.rand(2, config.input_length(N_BINS))
    starts = tile_starts(N_BINS, **TILES)

    def predict(values, batch=4):
        return predict_stripes(
            model, values, first_bin=0, n_chrom_bins=N_BINS, lo=0, hi=N_BINS, batch_size=batch, **TILES
        ).numpy()

    reference = TileReference(
        model,
        signal,
        starts=starts,
        weights=blend_weights(N_BINS, **TILES),
        lo=0,
        hi=N_BINS,
        batch_size=5,
        trunk_bins=50,
    )
    before = reference.stripes(0, N_BINS, {})
    np.testing.assert_allclose(before, predict(signal), rtol=0, atol=1e-5 * np.abs(before).max())
    halo = config.halo
    changes = [SignalChange(lo, np.random.default_rng(lo).random((2, n), np.float32)) for lo, n in
               ((0, 3), (1_190, 10), (600, 1), (605, 2), (300, 350))]  # fmt: skip
    found = dict(reference.predict([(c.lo, c.hi) for c in changes], changes.__getitem__))
    assert list(found) == list(range(len(changes)))
    for place, change in enumerate(changes):
        edited = signal.clone()
        edited[:, change.lo + halo : change.hi + halo] = torch.from_numpy(change.columns)
        after = reference.stripes(0, N_BINS, found[place])
        np.testing.assert_allclose(after, predict(edited), rtol=0, atol=1e-5 * np.abs(before).max())
        changed = np.flatnonzero((after != before).any(axis=1))
        own = [int(starts[tile]) for tile in found[place]]
        assert changed.min() >= min(own)
        assert changed.max() < max(own) + 30
        # These are the tiles whose features change, no more and no fewer.
        with torch.inference_mode():
            both = [model.eval().features(s[None], N_BINS)[0] for s in (signal, edited)]
        bins = np.flatnonzero((both[0] != both[1]).any(dim=1).numpy())
        lo, hi = reference.reached(change.lo, change.hi)
        assert lo <= bins.min()
        assert bins.max() < hi
        model.train()
    assert model.training


def test_tile_reference__keeps_no_more_than_a_batch_of_changes():
    torch.manual_seed(0)
    model = Epiphany(CONFIG)
    signal = torch.rand(2, CONFIG.input_length(N_BINS))
    reference = TileReference(
        model,
        signal,
        starts=tile_starts(N_BINS, **TILES),
        weights=blend_weights(N_BINS, **TILES),
        lo=0,
        hi=N_BINS,
        batch_size=2,
        trunk_bins=50,
    )
    asked = []

    def change_of(place):
        asked.append(place)
        return SignalChange(100 * place, np.ones((2, 5), np.float32))

    for place, _ in reference.predict([(100 * i, 100 * i + 5) for i in range(10)], change_of):
        assert max(asked) <= place + 2
    assert sorted(asked) == list(range(10))
    assert list(reference.predict([], change_of)) == []
