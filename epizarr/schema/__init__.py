"""The store format: every group, variable, dim, unit and meaning, declared once.

``stores/SCHEMA.md`` is generated from these declarations (:func:`schema_markdown`) and a test keeps the two equal.
"""

from epizarr.schema.check import (
    COMMON_ATTRS,
    GROUPS,
    SCHEMA_VERSION,
    check_version,
    problems,
    schema_markdown,
    validate,
)
from epizarr.schema.declare import Group, Variable
from epizarr.schema.evaluations import EVALUATIONS
from epizarr.schema.measured import (
    CONTACTS,
    HICDCPLUS_VARIABLES,
    PROPORTIONAL_VARIABLES,
    ROOT,
    SIGNED_VARIABLES,
    TARGET_VARIABLES,
    TRACKS,
    WEIGHTED_VARIABLES,
)
from epizarr.schema.predicted import ATTRIBUTIONS, PERTURBATIONS, PREDICTIONS, SCREENS

__all__ = [
    "ATTRIBUTIONS",
    "COMMON_ATTRS",
    "CONTACTS",
    "EVALUATIONS",
    "GROUPS",
    "HICDCPLUS_VARIABLES",
    "PERTURBATIONS",
    "PREDICTIONS",
    "PROPORTIONAL_VARIABLES",
    "ROOT",
    "SCHEMA_VERSION",
    "SCREENS",
    "SIGNED_VARIABLES",
    "TARGET_VARIABLES",
    "TRACKS",
    "WEIGHTED_VARIABLES",
    "Group",
    "Variable",
    "check_version",
    "problems",
    "schema_markdown",
    "validate",
]
