"""Motif tracks of a simulated genome, as ``epizarr tracks motif`` makes them from a sequence."""

from pathlib import Path

import numpy as np
import pyBigWig

from epizarr.errors import ConfigError
from epizarr.motif_scan import Hits, best_score_runs
from epizarr.simulate.world import World


def write_motif_bigwigs(folder: Path, world: World) -> None:
    """Write one bigWig a strand: at each base the score of the best instance over it, nothing where there is none.

    Parameters
    ----------
    folder
        Where; the files are called after the tracks of ``world.config.motifs``.
    world
        A genome with motifs. All cell types of a seed have the same.

    Raises
    ------
    ConfigError
        If the rules have no motifs.
    """
    rule = world.config.motifs
    if rule is None:
        raise ConfigError("motif tracks: the rules of this genome have no motifs; give `motifs = MotifRule()`.")
    for track, strand in zip(rule.tracks, "+-", strict=True):
        with pyBigWig.open(str(folder / f"{track}.bw"), "w") as file:
            file.addHeader(list(world.assembly), maxZooms=4)
            for chrom, length in world.assembly:
                chosen = world.motifs[(world.motifs["chrom"] == chrom) & (world.motifs["strand"] == strand)]
                start = np.clip(chosen["position"].to_numpy() - rule.width_bp // 2, 0, length - rule.width_bp)
                order = np.argsort(start, kind="stable")
                hits = Hits(start[order], chosen["score"].to_numpy()[order])
                starts, ends, scores = best_score_runs(hits, rule.width_bp)
                if len(starts):
                    file.addEntries(np.full(len(starts), chrom), starts, ends=ends, values=scores, validate=False)
