"""What the simulator computes does not depend on how a chromosome is cut, nor on which way it is read."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from epizarr.bands import mirror_band
from epizarr.simulate import DEFAULT, World, expected_contacts, expected_tracks, simulate_world

CONFIG = replace(DEFAULT, chrom_lengths=(3_000_000,))
N_BINS, N_RUNS = 300, 30_000


@pytest.fixture(scope="module")
def world() -> World:
    return simulate_world(CONFIG, 3, "A")


def mirrored(world: World) -> World:
    length = world.assembly.length("sim1")
    sites = world.sites.assign(
        position=length - 1 - world.sites["position"],
        strand=world.sites["strand"].map({"+": "-", "-": "+", ".": "."}),
    )
    domains = world.domains.assign(start=length - world.domains["end"], end=length - world.domains["start"])
    return replace(world, sites=pd.DataFrame(sites), domains=pd.DataFrame(domains))


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, N_BINS), max_size=5), n_diagonals=st.integers(1, 60))
def test_expected_contacts__are_the_same_for_any_blocks(world: World, cuts: list[int], n_diagonals: int) -> None:
    whole = expected_contacts(world, "sim1", 0, N_BINS, n_diagonals)
    edges = [0, *sorted(cuts), N_BINS]
    blocks = [
        expected_contacts(world, "sim1", lo, hi, n_diagonals) for lo, hi in zip(edges[:-1], edges[1:], strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, N_RUNS), max_size=5))
@example(cuts=[16580])  # only the outermost run of a peak lies behind it
def test_expected_tracks__are_the_same_for_any_blocks(world: World, cuts: list[int]) -> None:
    whole = expected_tracks(world, "sim1", 0, N_RUNS)
    edges = [0, *sorted(cuts), N_RUNS]
    blocks = [expected_tracks(world, "sim1", lo, hi) for lo, hi in zip(edges[:-1], edges[1:], strict=True)]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_expected_contacts__of_a_mirrored_genome_are_mirrored(seed: int) -> None:
    world = simulate_world(CONFIG, seed, "A")
    forward = expected_contacts(world, "sim1", 0, N_BINS, 50)
    backward = expected_contacts(mirrored(world), "sim1", 0, N_BINS, 50)
    np.testing.assert_allclose(mirror_band(backward), forward, rtol=1e-9)
