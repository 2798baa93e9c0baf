"""Which maps and tracks a store offers, and how they are chosen by name."""

import pytest

from epizarr.errors import StoreError
from epizarr.view.sources import MapSource, TrackSource, choose_maps, choose_tracks


def source(cell_type, variable, run=None, binsize=10_000, quantity=None):
    group = f"{cell_type}/{run or 'contacts'}/{binsize}"
    return MapSource(group, variable, cell_type, run, binsize, 200, 0, quantity or variable)


MAPS = [
    source("A", "ice"),
    source("A", "kr"),
    source("A", "count"),
    source("A", "contact", run="first", quantity="kr"),
    source("B", "ice"),
    source("B", "ice", binsize=5_000),
    source("C", "contact", run="first", quantity="ice"),
]


def titles(**asked):
    return [m.title for m in choose_maps(MAPS, where="s", **asked)]


def test_choose_maps__first_cell_type_and_first_variable_by_default():
    assert titles() == ["A · ice"]


def test_choose_maps__a_run_is_drawn_below_its_target():
    assert titles(cell_types=["A"], runs=["first"]) == ["A · kr", "A · first"]


def test_choose_maps__variable_is_taken_of_all_cell_types():
    assert titles(cell_types=["B", "A"], variable="ice") == ["B · ice", "A · ice"]


def test_choose_maps__one_bin_width_for_all():
    assert [m.binsize for m in choose_maps(MAPS, where="s", cell_types=["A", "B"])] == [10_000, 10_000]
    assert [m.binsize for m in choose_maps(MAPS, where="s", cell_types=["B"])] == [5_000]


def test_choose_maps__without_contacts_the_runs_are_shown():
    assert titles(cell_types=["C"]) == ["C · first"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cell_types": ["D"]}, "cell type 'D' has no finished map"),
        ({"runs": ["frist"]}, "Did you mean 'first'"),
        ({"cell_types": ["B"], "runs": ["first"]}, "no finished run 'first' of B"),
        ({"cell_types": ["A"], "variable": "icee"}, "Did you mean 'ice'"),
        ({"binsize": 1_000}, "not all there at 1,000 bp"),
    ],
)
def test_choose_maps__says_what_is_there(asked, said):
    with pytest.raises(StoreError, match=said):
        choose_maps(MAPS, where="s", **asked)


def test_choose_maps__an_empty_store_says_what_to_do():
    with pytest.raises(StoreError, match="Ingest contacts, or predict first"):
        choose_maps([], where="s")


def test_choose_tracks__by_name_of_each_cell_type_in_turn(monkeypatch):
    tracks = [TrackSource(f"{c}/tracks/100", c, n, i, 100) for c in "AB" for i, n in enumerate(("CTCF", "DNase"))]
    chosen = choose_tracks(tracks, ["DNase", "CTCF"], ["B", "A"], where="s")
    assert [(t.cell_type, t.name) for t in chosen] == [("B", "DNase"), ("B", "CTCF"), ("A", "DNase"), ("A", "CTCF")]
    monkeypatch.setattr("epizarr.view.sources.FIRST_TRACKS", 1)
    assert [t.name for t in choose_tracks(tracks, None, ["A"], where="s")] == ["CTCF"]
    with pytest.raises(StoreError, match=r"no track 'CTFC'\. Did you mean 'CTCF'"):
        choose_tracks(tracks, ["CTFC"], ["A"], where="s")
