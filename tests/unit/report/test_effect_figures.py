"""Figures of effects, as drawn: what is in which panel."""

import numpy as np
import pytest

from epizarr.genome import Region
from epizarr.report.effect_figures import EffectTrack, attribution_figure, perturbation_figure

SHOWN = Region("chr1", 1_000_000, 1_200_000)
N_TRACKS = 25


@pytest.mark.parametrize("kind", ["perturbation", "attribution"])
def test_effect_figures__draw_every_track_of_a_network_with_many(kind):
    rng = np.random.default_rng(0)
    band = rng.random((24, 4))
    tracks = [EffectTrack(f"T{i}", rng.random(2_000), rng.random(2_000)) for i in range(N_TRACKS)]
    options = {"binsize": 10_000, "margin_bins": 4, "marks": [], "value_label": "v", "title": "t", "tracks": tracks}
    if kind == "perturbation":
        figure = perturbation_figure(SHOWN, before=band, after=band + 0.1, **options)
    else:
        figure = attribution_figure(SHOWN, band=band, **options)
    named = {text.get_text() for axis in figure.axes for text in axis.texts}
    assert {track.name for track in tracks} <= named
