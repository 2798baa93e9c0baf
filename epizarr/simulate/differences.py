"""What differs between two simulated cell types of one genome: the table that a prediction of differences is judged by."""

import pandas as pd

from epizarr.errors import ConfigError
from epizarr.simulate.world import World


def cell_type_differences(a: World, b: World) -> pd.DataFrame:
    """List the sites and domains that one of two cell types has and the other has not, or has with another strength.

    Expected contacts of the two are equal wherever nothing listed can act. Not listed: heights of peaks, biases and counts, which
    are drawn for each cell type anew and do nothing to expected contacts; and gaps, which are the same.

    Parameters
    ----------
    a, b
        Genomes of one seed and one set of rules.

    Returns
    -------
    One row a difference, sorted by place: ``cell_type_a``, ``cell_type_b``, ``chrom``, ``start``, ``end`` (bp, half-open; a
    site is one base wide), ``kind``, ``strand``, ``strength_a``, ``strength_b`` (for domains: level), NaN where the cell type
    does not have it.

    Raises
    ------
    ConfigError
        If the genomes have other seeds or rules, so that they share nothing.

    Examples
    --------
    >>> a, b = (simulate_world(DEFAULT, 1, name) for name in ("A", "B"))  # doctest: +SKIP
    >>> cell_type_differences(a, b).groupby("kind").size()  # doctest: +SKIP
    """
    if (a.config, a.seed) != (b.config, b.seed):
        raise ConfigError(
            f"cell types {a.cell_type!r} (seed {a.seed}) and {b.cell_type!r} (seed {b.seed}) are not of one genome: seeds and "
            "rules must be equal. Simulate both with the same ones."
        )
    keys = ["chrom", "start", "end", "kind", "strand"]
    both = _features(a).merge(_features(b), on=[*keys, "copy"], how="outer", suffixes=("_a", "_b"))
    # NaN, of a feature that one has not, is unequal to anything.
    both = both[both["strength_a"] != both["strength_b"]].sort_values(keys, kind="stable", ignore_index=True)
    both["chrom"] = pd.Categorical(both["chrom"], categories=list(a.assembly.chrom_names))
    both = both.sort_values("chrom", kind="stable", ignore_index=True).astype({"chrom": object})
    both = both.assign(cell_type_a=a.cell_type, cell_type_b=b.cell_type)
    return both[["cell_type_a", "cell_type_b", *keys, "strength_a", "strength_b"]]


def _features(world: World) -> pd.DataFrame:
    sites = world.sites.rename(columns={"position": "start"})
    sites = sites.assign(end=sites["start"] + 1)
    domains = world.domains.rename(columns={"level": "strength"}).assign(strand=".")
    keys = ["chrom", "start", "end", "kind", "strand"]
    table = pd.concat([sites, domains])[[*keys, "strength"]]
    # Two features may lie on one base: they are matched in order.
    return table.assign(copy=table.groupby(keys).cumcount())
