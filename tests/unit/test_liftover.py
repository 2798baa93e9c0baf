"""Regions and contacts of another assembly, by a chain file."""

import sys

import numpy as np
import pytest

from epizarr.errors import ConfigError, InputFileError, InputNotFoundError, LiftoverError
from epizarr.genome import Assembly, Region
from epizarr.io.contacts import open_contacts_file
from epizarr.io.liftover import lifted_band, open_chain

pytest.importorskip("liftover", reason="the extra `liftover` is not installed")
NEW = Assembly.from_table("new", [("chr1", 1_000_000)])
GRID = NEW.bins(10_000)
#: Old 0-300,000 lies 20 kb further in the new assembly; 300,000-310,000 is gone; what follows lies 10 kb further; chr2 moved.
CHAIN = """chain 9 chr1 990000 + 0 980000 chr1 1000000 + 20000 990000 1
300000 10000 0
670000

chain 5 chr2 50000 + 0 50000 chr1 1000000 - 0 50000 2
50000

"""


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "old.chain").write_text(CHAIN)
    return open_chain(tmp_path / "old.chain")


def test_lift_positions__moved_gone_and_on_another_chromosome(chain):
    lifted = chain.lift_positions("chr1", np.array([0, 299_999, 300_000, 309_999, 310_000, 985_000]))
    assert lifted.tolist() == [20_000, 319_999, -1, -1, 320_000, -1]
    assert chain.lift_positions("chr2", np.array([5])).tolist() == [-1]
    with pytest.raises(LiftoverError, match="has no 'chr9'; it starts from chr1, chr2"):
        chain.lift_positions("chr9", np.array([5]))


def test_lift_region__keeps_its_length_or_is_refused(chain):
    assert chain.lift_region(Region("chr1", 100, 5_300), NEW) == Region("chr1", 20_100, 25_300)
    with pytest.raises(LiftoverError, match="an end of it has no one place"):
        chain.lift_region(Region("chr1", 295_000, 305_000), NEW)
    with pytest.raises(LiftoverError, match="it would be 315,000-325,000"):
        chain.lift_region(Region("chr1", 295_000, 315_000), NEW)


def test_open_chain__says_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(InputNotFoundError, match="no such file"):
        open_chain(tmp_path / "none.chain")
    for text in ("hello\n", ""):
        (tmp_path / "bad.chain").write_text(text)
        with pytest.raises(InputFileError, match=r"bad\.chain"):
            open_chain(tmp_path / "bad.chain")
    monkeypatch.setitem(sys.modules, "liftover", None)
    with pytest.raises(ConfigError, match=r"pip install 'epizarr\[liftover\]'"):
        open_chain(tmp_path / "bad.chain")


def write_contacts(path, old):
    """A symmetric map (dict of bin pairs) of the old assembly as text."""
    path.write_text("".join(f"chr1\t{a * 10_000}\tchr1\t{b * 10_000}\t{n}\n" for (a, b), n in old.items()))
    return open_contacts_file(path, 10_000, chrom_lengths={"chr1": 990_000}, cache_folder=path.parent)


def test_lifted_band__each_pixel_goes_where_its_bins_go(chain, tmp_path):
    # Old bins 28, 29 go to 30, 31; 30 is gone; 31, 32 go to 32, 33.
    pixels = {(28, 28): 1, (28, 29): 2, (29, 31): 3, (28, 32): 4, (30, 31): 50, (32, 32): 6}
    contacts = write_contacts(tmp_path / "old.txt", pixels)
    band = lifted_band(contacts, chain, GRID, Region("chr1", 290_000, 350_000), 4)
    assert np.isnan(band[0]).all()  # no contact: not covered
    np.testing.assert_array_equal(band[1], [1, 2, 0, 4])
    np.testing.assert_array_equal(band[2], [0, 3, 0, np.nan])
    np.testing.assert_array_equal(band[4], [6, np.nan, np.nan, np.nan])


def test_lifted_band__without_a_chain_is_the_file_and_with_identity_the_same(tmp_path):
    rng = np.random.default_rng(0)
    pixels = {(a, a + k): int(rng.integers(1, 50)) for a in range(40) for k in range(5) if a + k < 40}
    contacts = write_contacts(tmp_path / "same.txt", pixels)
    region = Region("chr1", 100_000, 300_000)
    band = lifted_band(contacts, None, GRID, region, 5)
    for (a, b), n in pixels.items():
        if 10 <= a and b < 30:
            assert band[a - 10, b - a] == n
    (tmp_path / "id.chain").write_text("chain 1 chr1 990000 + 0 990000 chr1 1000000 + 0 990000 1\n990000\n\n")
    np.testing.assert_array_equal(lifted_band(contacts, open_chain(tmp_path / "id.chain"), GRID, region, 5), band)


def test_lifted_band__two_old_bins_in_one_are_averaged(tmp_path):
    # The new assembly lies 5 kb on behind old 100,000, where it lost 10 kb: bins 9 and 11 come to share new bin 10.
    (tmp_path / "c.chain").write_text(
        "chain 1 chr1 990000 + 0 980000 chr1 1000000 + 10000 975000 1\n100000 15000 0\n865000\n\n"
    )
    contacts = write_contacts(tmp_path / "old.txt", {(9, 9): 2, (11, 11): 8, (9, 11): 5, (12, 12): 1})
    chain = open_chain(tmp_path / "c.chain")
    assert (chain.lift_positions("chr1", np.array([95_000, 105_000, 115_000])) // 10_000).tolist() == [10, -1, 11]
    band = lifted_band(contacts, chain, GRID, Region("chr1", 100_000, 140_000), 3)
    assert band[0, 0] == 2
    assert band[1, 0] == 8
    coarse = NEW.bins(20_000)
    assert lifted_band(contacts, chain, coarse, Region("chr1", 100_000, 140_000), 1)[0, 0] == pytest.approx(
        (2 + 8 + 5) / 3
    )


def test_lifted_band__refuses_a_map_that_lies_elsewhere(chain, tmp_path):
    contacts = write_contacts(tmp_path / "old.txt", {(1, 1): 1})
    with pytest.raises(LiftoverError, match=r"no bin of it lies in chr1:0-10,000"):
        lifted_band(contacts, chain, GRID, Region("chr1", 0, 10_000), 3)
