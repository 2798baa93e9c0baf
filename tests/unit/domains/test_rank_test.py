import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ranksums

from epizarr.domains.rank_test import rank_sums

samples = st.lists(st.integers(0, 8), min_size=1, max_size=30).map(np.array)


@given(samples, samples)
def test_rank_sums__equal_scipys(x, y):
    assert rank_sums(x, y) == pytest.approx(tuple(ranksums(x, y)), abs=1e-12)
