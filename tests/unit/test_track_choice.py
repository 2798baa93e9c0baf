"""Which stored track each of a network's tracks is read from."""

import pytest

from epizarr.errors import CheckpointError, ConfigError
from epizarr.io.track_choice import choose_tracks

WANTED, THERE = ("CTCF", "DNase", "H3K27ac"), ("ATAC", "CTCF", "H3K27ac")


def choose(**settings):
    values = {"use": {}, "without": (), "zeroed": (), "may_be_missing": False, "model": "model", "cell_type": "K562"}
    return choose_tracks(WANTED, THERE, **values | settings)


def test_choose_tracks__reads_another_track_in_the_place_of_one():
    assert choose(use={"DNase": "ATAC"}) == {"CTCF": "CTCF", "DNase": "ATAC", "H3K27ac": "H3K27ac"}


def test_choose_tracks__lacking_track_is_missing_where_it_may_be():
    assert choose(may_be_missing=True) == {"CTCF": "CTCF", "DNase": None, "H3K27ac": "H3K27ac"}
    with pytest.raises(CheckpointError, match=r"lacks \['DNase'\].*--use DNase=NAME.*track_dropout"):
        choose()


def test_choose_tracks__zeroed_track_is_not_read_though_it_is_there():
    assert choose(zeroed=("DNase", "CTCF")) == {"CTCF": None, "DNase": None, "H3K27ac": "H3K27ac"}


def test_choose_tracks__leaves_a_track_out_if_told():
    assert choose(without=("CTCF",), may_be_missing=True)["CTCF"] is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"use": {"DNAse": "ATAC"}}, "'DNAse' is no track of the network. Did you mean 'DNase'"),
        ({"use": {"DNase": "ATACC"}}, "has no track 'ATACC'. Did you mean 'ATAC'"),
        ({"use": {"DNase": "ATAC"}, "zeroed": ("DNase",)}, "trained without 'DNase'"),
        ({"use": {"DNase": "ATAC"}, "without": ("DNase",), "may_be_missing": True}, "choose one"),
        ({"without": ("CTFC",), "may_be_missing": True}, "without CTFC: it is no track of the network"),
        ({"without": ("CTCF",)}, "has never seen a track missing"),
    ],
)
def test_choose_tracks__refuses_what_cannot_be_followed(settings, says):
    with pytest.raises(ConfigError, match=says):
        choose(**settings)


def test_choose_tracks__refuses_to_predict_from_nothing():
    with pytest.raises(CheckpointError, match="gives none of them"):
        choose(without=("CTCF", "H3K27ac"), may_be_missing=True)
