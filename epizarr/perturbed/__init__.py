"""Prediction from edited tracks: before, after and the difference, around what the edits can reach.

- :mod:`~epizarr.perturbed.locus`: the raw tracks of a chromosome, and what is predicted from them, edited or not;
- :mod:`~epizarr.perturbed.run`: one perturbation, from the text of its edits to its group in a store;
- :mod:`~epizarr.perturbed.changes`: the boundaries and contacts that it changes.
"""

from epizarr.perturbed.changes import changed_boundaries, changed_contacts
from epizarr.perturbed.locus import Locus, open_locus, perturbed_bands
from epizarr.perturbed.run import perturb_contacts

__all__ = [
    "Locus",
    "changed_boundaries",
    "changed_contacts",
    "open_locus",
    "perturb_contacts",
    "perturbed_bands",
]
