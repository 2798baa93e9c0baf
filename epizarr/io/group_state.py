"""What is there of a group that a command is about to write: resume it, leave it, refuse it, or make it anew."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from epizarr.errors import StoreError
from epizarr.io.ledger import Ledger
from epizarr.io.places import StorePath
from epizarr.io.store_read import group_attrs, has_group
from epizarr.io.store_write import remove_group

#: No group; one that was begun and is to be gone on with; one that is complete and the same; one that is to be removed first.
GroupState = Literal["none", "begun", "complete", "other"]


def group_state(
    store: StorePath,
    group: str,
    attrs: Mapping[str, Any],
    *,
    overwrite: bool,
    called: str | None,
    resumes: bool = True,
    also: Callable[[], Sequence[str]] = tuple,
) -> GroupState:
    """Compare a group with what would be written. Changes nothing; :func:`make_way` does. For the holder of the lease.

    Parameters
    ----------
    store, group
        Store and path of the group in it.
    attrs
        Attributes that the group has if it is made of the same; None for one that it must not have.
    overwrite
        Whether a complete group, or one made of something else, may be replaced.
    called
        What the message calls this run, where it can be given another name.
    resumes
        Whether a group that was begun is gone on with; it is then refused like a complete one if it was made of something else.
        If not, it is to be made anew, whatever it is.
    also
        Names what differs beside the attributes; called if the group is there.

    Raises
    ------
    StoreError
        If the group was made of something else, is not to be replaced, and is complete or could be gone on with.
    """
    if not has_group(store, group):
        return "none"
    found = group_attrs(store, group)
    is_complete = found.get("state") == "complete"
    if not (is_complete or resumes):
        return "other"
    different = [*sorted(key for key, value in attrs.items() if found.get(key) != value), *also()]
    if different and not overwrite:
        way_out = f"Give this {called} another name (--run), or replace" if called else "Replace"
        raise StoreError(
            f"{store}: {group!r} is there and was made with another {', '.join(different)}. {way_out} what is there "
            "(--overwrite)."
        )
    if different or (is_complete and overwrite):
        return "other"
    return "complete" if is_complete else "begun"


def make_way(store: StorePath, group: str, state: GroupState, ledger: Ledger | None = None) -> bool:
    """Remove what the group's new content must not meet, and say whether there is anything to do. For the holder of the lease.

    Parameters
    ----------
    store, group
        As for :func:`group_state`.
    state
        What that has found.
    ledger
        The group's ledger, where it has one.
    """
    if ledger is not None and state != "begun":
        ledger.clear()  # marks must never outlive the chunks they speak of; some are left by a kill at the very end
    if state == "other":
        remove_group(store, group)
    return state != "complete"
