"""Hypothesis strategies for genomes, bands and regions."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from epizarr.genome import Assembly, BinGrid


@st.composite
def assemblies(draw, max_chroms: int = 4, max_length: int = 900) -> Assembly:
    """Assemblies of a few short chromosomes of odd lengths."""
    lengths = draw(st.lists(st.integers(1, max_length), min_size=1, max_size=max_chroms))
    return Assembly.from_table("test", [(f"chr{i + 1}", n) for i, n in enumerate(lengths)])


@st.composite
def grids(draw, max_bins: int = 40) -> BinGrid:
    """Bin grids whose last bins are often partial."""
    binsize = draw(st.sampled_from([1, 7, 10, 25]))
    assembly = draw(assemblies(max_length=max_bins * binsize))
    return assembly.bins(binsize)


@st.composite
def squares(draw, max_bins: int = 24) -> np.ndarray:
    """Symmetric matrices of one chromosome, with missing bins."""
    n = draw(st.integers(1, max_bins))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.gamma(2.0, size=(n, n)))
    square = upper + np.triu(upper, 1).T
    bad = rng.random(n) < draw(st.sampled_from([0.0, 0.2]))
    square[bad, :] = np.nan
    square[:, bad] = np.nan
    return square


def float_arrays(shape, **kwargs):
    """Float64 arrays without NaN."""
    return hnp.arrays(np.float64, shape, elements=st.floats(0, 1e4, **kwargs))
