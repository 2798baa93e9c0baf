"""What every epoch's plan must be, whatever the regions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from epizarr.train.reader import Stretch
from epizarr.train.sampler import EpochPlan, plan_epoch, plan_in_order
from epizarr.windows import Segment


@st.composite
def stretches(draw) -> list[Stretch]:
    """Regions of one or two cell types, 1 to 900 bins long."""
    found = []
    for number in range(draw(st.integers(1, 5))):
        lo, length = draw(st.integers(0, 50)), draw(st.integers(1, 900))
        found.append(Stretch(draw(st.integers(0, 1)), Segment(f"chr{number}", lo, lo + length, lo + length + 7), True))
    return found


N_BINS = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)


def lay_out(regions: list[Stretch], n_bins: int, seed: int, epoch: int = 0) -> EpochPlan:
    return plan_epoch(regions, n_bins, seed=seed, epoch=epoch, block_windows=8, buffer_blocks=16)


def times_seen(regions: list[Stretch], n_bins: int, plan: EpochPlan) -> list[np.ndarray]:
    """How often each bin of each region lies in a window."""
    seen = [np.zeros(r.segment.n_bins, dtype=int) for r in regions]
    for stretch, start in zip(plan.stretch, plan.start, strict=True):
        lo = regions[stretch].segment.lo
        seen[stretch][max(start - lo, 0) : max(start - lo + n_bins, 0)] += 1
    return seen


@given(stretches(), N_BINS, SEEDS)
def test_plan_epoch__covers_every_bin_of_each_region_once(regions, n_bins, seed):
    assert all((seen == 1).all() for seen in times_seen(regions, n_bins, lay_out(regions, n_bins, seed)))


@given(stretches(), N_BINS)
def test_plan_in_order__covers_every_bin_of_each_region_once(regions, n_bins):
    plan = plan_in_order(regions, n_bins, block_windows=8)
    assert all((seen == 1).all() for seen in times_seen(regions, n_bins, plan))


@given(stretches(), N_BINS)
def test_plan_in_order__begins_at_each_region(regions, n_bins):
    plan = plan_in_order(regions, n_bins, block_windows=8)
    assert all(plan.start[plan.stretch == i].min() == region.segment.lo for i, region in enumerate(regions))


@given(stretches(), N_BINS, SEEDS)
def test_plan_epoch__blocks_are_at_most_8_consecutive_windows_of_one_region(regions, n_bins, seed):
    plan = lay_out(regions, n_bins, seed)
    for block in np.unique(plan.block):
        members = plan.block == block
        starts = np.sort(plan.start[members])
        assert len(starts) <= 8
        assert (np.diff(starts) == n_bins).all()
        assert len(np.unique(plan.stretch[members])) == 1


@given(stretches(), N_BINS, SEEDS)
def test_plan_epoch__consecutive_windows_share_a_block_in_a_quarter_of_pairs_at_most(regions, n_bins, seed):
    # The expected share; single epochs of few windows scatter about it.
    plan = lay_out(regions, n_bins, seed)
    _, sizes = np.unique(plan.block, return_counts=True)
    n = len(plan)
    expected = (sizes * (sizes - 1)).sum() / max(n * (n - 1), 1) if n < 32 * 8 else None
    if expected is not None:
        assert expected <= 0.25
    else:
        assert np.mean(plan.block[1:] == plan.block[:-1]) <= 0.25


@given(stretches(), N_BINS, SEEDS, st.integers(0, 100))
def test_plan_epoch__depends_on_seed_and_epoch_alone(regions, n_bins, seed, epoch):
    a, b = lay_out(regions, n_bins, seed, epoch), lay_out(regions, n_bins, seed, epoch)
    assert np.array_equal(a.start, b.start)
    assert np.array_equal(a.stretch, b.stretch)


@given(stretches(), N_BINS, SEEDS)
def test_plan_epoch__mirror_changes_nothing_but_the_reading(regions, n_bins, seed):
    plain = lay_out(regions, n_bins, seed)
    mirrored = plan_epoch(regions, n_bins, seed=seed, epoch=0, block_windows=8, buffer_blocks=16, mirror=True)
    assert not plain.mirrored.any()
    assert np.array_equal(plain.start, mirrored.start)
    assert np.array_equal(plain.block, mirrored.block)
    assert len(plain) < 40 or 0.1 < mirrored.mirrored.mean() < 0.9


def paired(n_cell_types: int, seed: int, *, mirror: bool = True, n_regions: int = 3) -> tuple[list[Stretch], EpochPlan]:
    """Plan of an epoch of pairs: every cell type over the same regions."""
    segments = [Segment(f"chr{i}", 10 * i, 10 * i + 311 * (i + 1), 2_000) for i in range(n_regions)]
    regions = [Stretch(source, segment, True) for source in range(n_cell_types) for segment in segments]
    plan = plan_epoch(regions, 20, seed=seed, epoch=0, block_windows=4, buffer_blocks=8, mirror=mirror, pairs=True)
    return regions, plan


@given(st.integers(2, 5), SEEDS)
def test_plan_epoch__pairs_cover_every_bin_of_each_cell_type_once(n_cell_types, seed):
    regions, plan = paired(n_cell_types, seed)
    assert all((seen == 1).all() for seen in times_seen(regions, 20, plan))


@given(st.integers(2, 5), SEEDS)
def test_plan_epoch__units_are_one_locus_in_two_cell_types(n_cell_types, seed):
    regions, plan = paired(n_cell_types, seed)
    source = np.array([region.source for region in regions])[plan.stretch]
    chrom = np.array([region.segment.chrom for region in regions])[plan.stretch]
    n = len(plan) // 2 * 2
    one, other = slice(0, n, 2), slice(1, n, 2)
    is_pair = plan.locus[one] == plan.locus[other]
    # One of an odd number of cell types is left over at each locus: those come two by two.
    assert is_pair.sum() == len(np.unique(plan.locus)) * (n_cell_types // 2)
    for values in (plan.start, chrom, plan.mirrored):
        assert (values[one] == values[other])[is_pair].all()
    assert (source[one] != source[other])[is_pair].all()


def test_plan_epoch__locus_tells_same_bins_read_in_the_same_direction():
    regions, plan = paired(3, 0)
    chrom = [regions[i].segment.chrom for i in plan.stretch]
    by_locus: dict[int, set] = {}
    for locus, *what in zip(plan.locus, chrom, plan.start, plan.mirrored, strict=True):
        by_locus.setdefault(locus, set()).add(tuple(what))
    assert all(len(found) == 1 for found in by_locus.values())
    assert len(set().union(*by_locus.values())) == len(by_locus)


def test_plan_epoch__cell_types_are_paired_anew_at_each_locus():
    regions, plan = paired(4, 0, n_regions=6)
    source = np.array([region.source for region in regions])[plan.stretch]
    found = [frozenset(pair) for pair in source[: len(source) // 2 * 2].reshape(-1, 2)]
    counts = {pair: found.count(pair) for pair in set(found)}
    assert len(counts) == 6
    assert min(counts.values()) > 0.6 * len(found) / 6


@given(st.integers(2, 20), SEEDS)
def test_plan_epoch__consecutive_pairs_seldom_lie_side_by_side(n_cell_types, seed):
    _, plan = paired(n_cell_types, seed, n_regions=8)
    pairs = plan.start[: len(plan) // 2 * 2 : 2]
    assert np.mean(np.abs(np.diff(pairs)) == 20) < 0.25


def test_plan_epoch__phases_and_order_change_with_the_epoch():
    regions = [Stretch(0, Segment("chr1", 10, 2_000, 2_100), True)]
    first = [lay_out(regions, 20, 0, epoch).start.min() for epoch in range(20)]
    assert len(set(first)) > 8
    assert min(first) > 10 - 20
    assert max(first) <= 10
