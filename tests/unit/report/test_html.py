"""The page is one file, and shows nobody's text as markup."""

import re

import numpy as np
import pytest

from epizarr.report.html import Page, Picture, Section, Table, format_score, render_page

NASTY = "<script>alert('x')</script>&\""


@pytest.fixture
def text() -> str:
    table = Table(NASTY, [NASTY, "b", "c"], [[NASTY, "1", "2"]], NASTY, emphasised=[0])
    section = Section(NASTY, [NASTY], [table], [Picture(b"\x89PNG", NASTY)])
    return render_page(Page(NASTY, NASTY, [NASTY], [section]))


def test_render_page__escapes_all_text(text):
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 12  # each of the twelve places


def test_render_page__needs_no_other_file(text):
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "@import" not in text
    assert "url(" not in text


def test_render_page__embeds_pictures(text):
    assert 'src="data:image/png;base64,iVBORw=="' in text


@pytest.mark.parametrize(("value", "shown"), [(0.12345, "0.123"), (np.nan, "n/a"), (-1.0, "-1.000")])
def test_format_score__undefined_is_not_a_number_on_the_page(value, shown):
    assert format_score(value) == shown
