"""Sections of an evaluation, each a set of scores of its own: what there is, and which to compute."""

from collections.abc import Sequence

from epizarr.errors import ConfigError
from epizarr.evaluate.sections.base import Section, SectionTask, Variables, measure_region
from epizarr.evaluate.sections.domains import Domains
from epizarr.evaluate.sections.interactions import Interactions
from epizarr.evaluate.sections.loops import Loops
from epizarr.evaluate.sections.published import Published
from epizarr.evaluate.sections.realism import Realism
from epizarr.evaluate.sections.similarity import Similarity, SubmatrixScores
from epizarr.evaluate.sections.specificity import Specificity

#: Sections by name, in the report's order, with their default parameters.
SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (Published(), Domains(), Interactions(), Loops(), Similarity(), SubmatrixScores())
}

#: Headings of all sections by name; specificity needs another cell type to be named, realism is computed if it is named.
SECTION_TITLES = {name: section.title for name, section in SECTIONS.items()} | {
    each.name: each.title for each in (Specificity, Realism)
}


def choose_sections(names: Sequence[str] | None, given: Sequence[Section] = ()) -> list[Section]:
    """Sections to compute, in the report's order.

    Parameters
    ----------
    names
        Names of some, or None for all. ``correlation``, which is always computed, may be among them.
    given
        Sections with other parameters than the defaults, or more sections.

    Raises
    ------
    ConfigError
        If a name is unknown, or what it needs is not given.
    """
    known = SECTIONS | {section.name: section for section in given}
    if "specificity" in (names or ()) and "specificity" not in known:
        raise ConfigError("section specificity compares with another cell type; name one (--other-cell-type).")
    unknown = [name for name in names or () if name not in (*known, "correlation")]
    if unknown:
        raise ConfigError(f"sections {unknown} are unknown; there are correlation, {', '.join(SECTION_TITLES)}.")
    return [section for name, section in known.items() if names is None or name in names]


__all__ = [
    "SECTIONS",
    "SECTION_TITLES",
    "Loops",
    "Realism",
    "Section",
    "SectionTask",
    "Specificity",
    "Variables",
    "choose_sections",
    "measure_region",
]
