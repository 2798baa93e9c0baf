"""The commands that stores/README.md gives for ``.pairs`` make a file that epizarr reads."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from epizarr.io.contacts import open_contacts_file

README = Path(__file__).resolve().parents[2] / "stores" / "README.md"
CHROMS = {"chr2": 95_000, "chr1": 200_000}


def commands() -> list[list[str]]:
    lines = README.read_text(encoding="utf-8").splitlines()
    return [line.split() for line in lines if line.startswith("cooler ")]


@pytest.fixture(scope="module")
def binned(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """File that the commands made, and the pairs of chr1 in it as 1-based positions.

    Some pairs lie between chromosomes, one on a chromosome that is not kept.
    """
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(3)
    positions = np.concatenate(
        [rng.integers(1, 200_001, (400, 2)), [[1, 10_000], [10_001, 10_000], [200_000, 200_000]]]
    )
    (folder / "hg38.chrom.sizes").write_text("".join(f"{name}\t{length}\n" for name, length in CHROMS.items()))
    rows = [f"r{n}\tchr1\t{a}\tchr1\t{b}\t+\t-\n" for n, (a, b) in enumerate(positions)]
    rows += ["t1\tchr1\t5\tchr2\t9\t+\t+\n", "u1\tchrUn\t5\tchrUn\t9\t+\t+\n"]
    head = "## pairs format v1.0\n#columns: readID chr1 pos1 chr2 pos2 strand1 strand2\n"
    (folder / "sample.pairs.gz").write_bytes(gzip.compress((head + "".join(rows)).encode()))
    cooler = shutil.which("cooler", path=str(Path(sys.executable).parent)) or shutil.which("cooler")
    assert cooler is not None, "the command `cooler` was not installed with epizarr"
    load, balance = commands()
    for command in (load, balance):
        subprocess.run([cooler, *command[1:]], cwd=folder, check=True, capture_output=True)
    return folder / load[-1], positions


def test_cload_pairs__gives_the_counts_of_the_pairs(binned):
    path, positions = binned
    file = open_contacts_file(path, 10_000)
    assert list(file.info.chrom_lengths.items()) == list(CHROMS.items())
    expected = np.zeros((20, 20))
    for a, b in (positions - 1) // 10_000:
        expected[min(a, b), max(a, b)] += 1
    band = file.band("chr1", 0, 20, 20)
    for k in range(20):
        np.testing.assert_array_equal(band[: 20 - k, k], np.diagonal(expected, k))


def test_balance__gives_the_weights_that_a_store_takes(binned):
    open_contacts_file(binned[0], 10_000).require_normalisations(["weight"], ["chr1"])
