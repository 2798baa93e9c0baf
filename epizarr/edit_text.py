"""The text form of edits: ``mask:CTCF:chr8:54,165,000-54,170,000``, ``delete:chr8:54,165,000-54,170,000``.

``KIND:TRACKS:REGION:OPTION`` for edits of values and ``KIND:REGION:OPTION`` for edits of the sequence. TRACKS are names joined
by ``+``, or ``*`` for all of them; REGION is an interval (0-based, half-open, bp) or ``@NAME`` of a peak.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from epizarr.errors import PerturbationError, RegionError, nearest_match
from epizarr.genome import Assembly, Region
from epizarr.perturb import Copy, Delete, Duplicate, Edit, Insert, Invert, Mask, Scale, Translocate, ValueEdit

#: For each kind: its class, the option it takes and the field that this sets, how it is read, and whether it may be left out.
_VALUE_KINDS: dict[str, tuple[Any, str, str, Callable[[str], Any], bool]] = {
    "mask": (Mask, "to", "to", str, True),
    "scale": (Scale, "factor", "factor", float, False),
    "copy": (Copy, "from", "cell_type", str, False),
    "insert": (Insert, "height", "height", float, False),
}
_SEQUENCE_KINDS: dict[str, Any] = {
    "delete": Delete,
    "duplicate": Duplicate,
    "invert": Invert,
    "translocate": Translocate,
}
KINDS = (*_VALUE_KINDS, *_SEQUENCE_KINDS)
EXAMPLES = (
    "mask:CTCF:chr8:54,165,000-54,170,000, mask:CTCF+RAD21:@peak_7:to=background, scale:DNase:REGION:factor=0.5, "
    "copy:*:REGION:from=K562, insert:CTCF:REGION:height=20, delete:REGION, duplicate:REGION, invert:REGION, "
    "translocate:REGION:to=54,300,000"
)


def parse_edit(text: str, assembly: Assembly, peaks: Mapping[str, Sequence[Region]] | None = None) -> Edit:
    """Read one edit.

    Parameters
    ----------
    text
        See the module's text and :data:`EXAMPLES`.
    assembly
        What regions must lie on.
    peaks
        Intervals by name, for ``@NAME``.

    Raises
    ------
    PerturbationError
        If the text cannot be read; says which part and what it may be.

    Examples
    --------
    >>> parse_edit("scale:CTCF:chr8:100-300:factor=0.5", Assembly.from_table("toy", [("chr8", 1_000)]))
    Scale(tracks=('CTCF',), region=Region(chrom='chr8', start=100, end=300), factor=0.5)
    """
    kind, *parts = (part.strip() for part in text.split(":"))
    if kind not in KINDS:
        raise PerturbationError(
            f"edit {text!r}: {kind!r} is no kind of edit; there are {', '.join(KINDS)}.{nearest_match(kind, KINDS)} "
            f"Examples: {EXAMPLES}."
        )
    tracks: tuple[str, ...] = ()
    if kind in _VALUE_KINDS:
        named, *parts = parts or [""]
        tracks = () if named == "*" else tuple(name.strip() for name in named.split("+"))
        if not all(tracks):
            raise PerturbationError(f"edit {text!r}: needs {kind}:TRACKS:REGION, tracks joined by + or * for all.")
    options = {}
    while parts and "=" in parts[-1]:
        key, _, value = parts.pop().partition("=")
        options[key.strip()] = value.strip()
    region = _region(text, ":".join(parts), assembly, peaks)
    if kind in _VALUE_KINDS:
        return _value_edit(text, kind, tracks, region, options)
    if kind != "translocate":
        _refuse_options(text, kind, options, "")
        edit: Edit = _SEQUENCE_KINDS[kind](region)
        return edit
    to = options.pop("to", "").replace(",", "").replace("_", "")
    _refuse_options(text, kind, options, "to")
    if not to.isdigit():
        raise PerturbationError(f"edit {text!r}: needs :to=POSITION, a base of {region.chrom} such as to=54,300,000.")
    return Translocate(region, int(to))


def parse_template(text: str, assembly: Assembly, tracks: str | None = None) -> Callable[[Region], ValueEdit]:
    """Read an edit whose region is left out: ``mask``, ``mask:CTCF+RAD21``, ``scale:*:factor=0.5``.

    Parameters
    ----------
    text
        ``KIND``, ``KIND:TRACKS``, with options behind.
    assembly
        What the regions will lie on.
    tracks
        Tracks where the text names none; None: all of them.

    Returns
    -------
    Function that makes the edit of a region.

    Raises
    ------
    PerturbationError
        If the text cannot be read, or the edit moves sequence: screens predict edits of values only.
    """
    kind, *parts = (part.strip() for part in text.split(":"))
    if kind in _SEQUENCE_KINDS:
        raise PerturbationError(
            f"screen: {kind!r} moves sequence, so that all behind it would be predicted anew. A screen makes edits of values "
            f"({', '.join(_VALUE_KINDS)}); predict one rearrangement with epizarr perturb."
        )
    named = [part for part in parts if "=" not in part]
    if len(named) > 1:
        raise PerturbationError(
            f"screen: edit {text!r} needs KIND[:TRACKS][:OPTION] and no region; the screen gives the regions."
        )
    options = [part for part in parts if "=" in part]
    chrom, length = next(iter(assembly))
    anywhere = Region(chrom, 0, length)
    edit = parse_edit(":".join([kind, *(named or [tracks or "*"]), str(anywhere), *options]), assembly)
    if not isinstance(edit, ValueEdit):
        raise PerturbationError(f"screen: edit {text!r} is no edit of values.")
    return lambda region: replace(edit, region=region)


def _value_edit(text: str, kind: str, tracks: tuple[str, ...], region: Region, options: dict[str, str]) -> Edit:
    cls, option, name, read, may_lack = _VALUE_KINDS[kind]
    given = options.pop(option, None)
    _refuse_options(text, kind, options, option)
    if given is None:
        if not may_lack:
            raise PerturbationError(f"edit {text!r}: needs :{option}=… behind the region, as in {EXAMPLES}.")
        edit: Edit = cls(tracks, region)
        return edit
    try:
        value = read(given)
    except ValueError:
        value = None
    wrong = (
        value is None
        or (isinstance(value, float) and not 0 <= value < float("inf"))
        or (kind == "mask" and value not in ("mean", "background"))
        or value == ""
    )
    if wrong:
        wanted = {"mask": "mean or background", "copy": "a cell type"}.get(kind, "a number of 0 or more")
        raise PerturbationError(f"edit {text!r}: {option} is {given!r}, needs {wanted}.")
    edit = cls(tracks, region, **{name: value})
    return edit


def _refuse_options(text: str, kind: str, options: Mapping[str, str], takes: str) -> None:
    if options:
        raise PerturbationError(
            f"edit {text!r}: {kind} does not take {', '.join(options)}; "
            + (f"it takes {takes}." if takes else "it takes no option.")
        )


def _region(text: str, said: str, assembly: Assembly, peaks: Mapping[str, Sequence[Region]] | None) -> Region:
    if said.startswith("@"):
        name = said[1:]
        found = (peaks or {}).get(name, ())
        if len(found) == 1:
            return found[0]
        if found:
            raise PerturbationError(f"edit {text!r}: {len(found)} peaks are called {name!r}; give the region instead.")
        hint = "name a file of peaks (--peaks)" if peaks is None else f"the file of peaks has {len(peaks):,} others"
        raise PerturbationError(
            f"edit {text!r}: there is no peak {name!r}; {hint}.{nearest_match(name, list(peaks or ())[:100_000])}"
        )
    if not said:
        raise PerturbationError(f"edit {text!r}: needs a region. Examples: {EXAMPLES}.")
    try:
        return assembly.region(said)
    except RegionError as error:
        raise PerturbationError(f"edit {text!r}: {error}") from error
