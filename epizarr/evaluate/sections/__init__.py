"""Sections of an evaluation, each a set of scores of its own: what there is, and which to compute."""

from collections.abc import Sequence

from epizarr.errors import ConfigError
from epizarr.evaluate.sections.base import Section, SectionTask, Variables, measure_region
from epizarr.evaluate.sections.domains import Domains
from epizarr.evaluate.sections.interactions import Interactions
from epizarr.evaluate.sections.loops import Loops
from epizarr.evaluate.sections.published import Published
from epizarr.evaluate.sections.similarity import Similarity, SubmatrixScores

#: Sections by name, in the report's order, with their default parameters.
SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (Published(), Domains(), Interactions(), Loops(), Similarity(), SubmatrixScores())
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
        If a name is unknown.
    """
    known = SECTIONS | {section.name: section for section in given}
    unknown = [name for name in names or () if name not in (*known, "correlation")]
    if unknown:
        raise ConfigError(f"sections {unknown} are unknown; there are correlation, {', '.join(known)}.")
    return [section for name, section in known.items() if names is None or name in names]


__all__ = ["SECTIONS", "Loops", "Section", "SectionTask", "Variables", "choose_sections", "measure_region"]
