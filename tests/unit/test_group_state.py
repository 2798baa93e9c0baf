"""What is there of a group: what is gone on with, left, refused or made anew, and what is removed for it."""

import pytest

from epizarr.errors import StoreError
from epizarr.io import group_state as module
from epizarr.io.group_state import group_state, make_way
from epizarr.io.ledger import Ledger

GROUP = "K562/predictions/x/10000"
SAME, OTHER = {"a": 1}, {"a": 2}


@pytest.fixture
def there(monkeypatch):
    """A group whose attributes a test sets; what is removed is listed."""
    found = {"attrs": None, "removed": []}
    monkeypatch.setattr(module, "has_group", lambda *_: found["attrs"] is not None)
    monkeypatch.setattr(module, "group_attrs", lambda *_: found["attrs"])
    monkeypatch.setattr(module, "remove_group", lambda _, group: found["removed"].append(group))
    return found


@pytest.mark.parametrize(
    ("state", "attrs", "overwrite", "resumes", "expected"),
    [
        (None, SAME, False, True, "none"),
        ("writing", SAME, False, True, "begun"),
        ("writing", SAME, True, True, "begun"),
        ("writing", OTHER, True, True, "other"),
        ("writing", SAME, False, False, "other"),
        ("writing", OTHER, False, False, "other"),
        ("complete", SAME, False, True, "complete"),
        ("complete", SAME, False, False, "complete"),
        ("complete", SAME, True, True, "other"),
        ("complete", SAME, True, False, "other"),
        ("complete", OTHER, True, True, "other"),
        ("writing", OTHER, False, True, None),
        ("complete", OTHER, False, True, None),
        ("complete", OTHER, False, False, None),
    ],
)
def test_group_state__says_what_is_to_become_of_it(there, state, attrs, overwrite, resumes, expected):
    there["attrs"] = None if state is None else {"state": state, **SAME}
    options = {"overwrite": overwrite, "called": "screen", "resumes": resumes}
    if expected is None:
        with pytest.raises(StoreError, match=r"made with another a\. Give this screen another name"):
            group_state("s", GROUP, attrs, **options)
    else:
        assert group_state("s", GROUP, attrs, **options) == expected
    assert not there["removed"]


def test_group_state__names_what_differs_beside_the_attributes(there):
    there["attrs"] = {"state": "complete", "more": "x"}
    with pytest.raises(StoreError, match=r"another more, targets\. Replace what is there"):
        group_state("s", GROUP, {"more": None}, overwrite=False, called=None, also=lambda: ["targets"])


@pytest.mark.parametrize("state", ["none", "begun", "complete", "other"])
def test_make_way__keeps_the_marks_of_what_is_gone_on_with_only(there, tmp_path, state):
    ledger = Ledger(tmp_path)
    ledger.mark("one", "digest")
    assert make_way("s", GROUP, state, ledger) == (state != "complete")
    assert there["removed"] == ([GROUP] if state == "other" else [])
    assert (tmp_path / "tasks/one").exists() == (state == "begun")
