"""A genome with known rules: tracks, contacts and the noise-free truth.

The way from rules to files: :func:`simulate_world` draws the features of one cell type (:class:`World`);
:func:`expected_contacts` and :func:`expected_tracks` say what they lead to, without noise; :func:`write_genome` writes real
bigWigs, a real balanced ``.cool`` and the truth. Perturb a genome by editing a world's tables and asking for its expected
contacts again.

Whatever comes from here says SIMULATED.
"""

from epizarr.simulate.conditional import TrackPosterior, mean_contacts
from epizarr.simulate.config import (
    DEFAULT,
    RULES,
    SIZE_NAMES,
    STRANDLESS,
    BackgroundRule,
    MotifRule,
    PeakRule,
    SimulationConfig,
    chrom_lengths_of,
)
from epizarr.simulate.contacts import expected_contacts
from epizarr.simulate.differences import cell_type_differences
from epizarr.simulate.tracks import expected_tracks
from epizarr.simulate.truth import open_truth
from epizarr.simulate.world import World, simulate_world
from epizarr.simulate.write import write_genome

__all__ = [
    "DEFAULT",
    "RULES",
    "SIZE_NAMES",
    "STRANDLESS",
    "BackgroundRule",
    "MotifRule",
    "PeakRule",
    "SimulationConfig",
    "TrackPosterior",
    "World",
    "cell_type_differences",
    "chrom_lengths_of",
    "expected_contacts",
    "expected_tracks",
    "mean_contacts",
    "open_truth",
    "simulate_world",
    "write_genome",
]
