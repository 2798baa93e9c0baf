"""The text form of edits."""

import pytest

from epizarr.edit_text import parse_edit
from epizarr.errors import PerturbationError
from epizarr.genome import Assembly, Region
from epizarr.perturb import Copy, Delete, Insert, Mask, Scale, Translocate

TOY = Assembly.from_table("toy", [("chr8", 60_000_000)])
SITE = Region("chr8", 54_165_000, 54_170_000)


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("mask:CTCF:chr8:54,165,000-54,170,000", Mask(("CTCF",), SITE)),
        ("mask:CTCF+RAD21:@peak:to=background", Mask(("CTCF", "RAD21"), SITE, "background")),
        ("scale:*:chr8:54165000-54170000:factor=0.5", Scale((), SITE, 0.5)),
        ("copy:CTCF:@peak:from=K562", Copy(("CTCF",), SITE, "K562")),
        ("insert:CTCF:@peak:height=20", Insert(("CTCF",), SITE, 20.0)),
        ("delete:chr8:54,165,000-54,170,000", Delete(SITE)),
        ("translocate:@peak:to=1,000,000", Translocate(SITE, 1_000_000)),
    ],
)
def test_parse_edit__reads_and_says_again(text, edit):
    assert parse_edit(text, TOY, {"peak": [SITE]}) == edit
    assert parse_edit(str(edit), TOY) == edit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mak:CTCF:chr8:1-2", "Did you mean 'mask'"),
        ("mask:CTCF", "needs a region"),
        ("mask:CTCF:chr9:1-200", "chr9"),
        ("mask::chr8:1-200", "needs mask:TRACKS:REGION"),
        ("mask:CTCF:chr8:1-200:to=zero", "mean or background"),
        ("mask:CTCF:chr8:1-200:factor=2", "does not take factor"),
        ("scale:CTCF:chr8:1-200", "needs :factor="),
        ("scale:CTCF:chr8:1-200:factor=-1", "a number of 0 or more"),
        ("delete:chr8:1-200:to=5", "takes no option"),
        ("translocate:chr8:1-200", "needs :to=POSITION"),
        ("mask:CTCF:@peek", "no peak 'peek'.*Did you mean 'peak'"),
        ("mask:CTCF:@twice", "2 peaks are called"),
    ],
)
def test_parse_edit__says_what_is_wrong(text, said):
    with pytest.raises(PerturbationError, match=said):
        parse_edit(text, TOY, {"peak": [SITE], "twice": [SITE, SITE]})
