"""The tasks of an ingest: each reads one part of one input, writes whole write units and leaves its mark in the ledger.

Tasks are small, picklable and safe to run again. Small arrays that a later step needs (marginals, sums by diagonal) are kept
in the ledger, and later steps read them in a fixed order, so that sums come out the same whatever ran when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from epizarr.bands import balance_band
from epizarr.genome import BinGrid
from epizarr.ingest.masks import bad_bins, covered_bp, good_diagonal_sums
from epizarr.ingest.replicates import CountsFile
from epizarr.io.bigwig_merged import read_merged_bin_means
from epizarr.io.contacts import ContactsFile
from epizarr.io.ledger import Ledger, work_folder
from epizarr.io.places import Place
from epizarr.io.store import read_region, write_region
from epizarr.schema import TARGET_VARIABLES
from epizarr.transforms import mean_of_sums


@dataclass(frozen=True)
class Task:
    """What every task has: where it writes, and the hash of what decides its values."""

    store: Place
    group: str
    digest: str

    @property
    def ledger(self) -> Ledger:
        """The group's ledger."""
        return Ledger(work_folder(self.store, self.group))

    @property
    def name(self) -> str:
        """Name in the ledger."""
        raise NotImplementedError

    def work(self) -> None:
        """Read and write, without the mark."""
        raise NotImplementedError


def run_task(task: Task) -> None:
    """Do a task and leave its mark."""
    task.work()
    task.ledger.mark(task.name, task.digest)


@dataclass(frozen=True)
class BlacklistTask(Task):
    """Which bins ``[lo, hi)`` of the tracks' grid overlap the blacklist."""

    grid: BinGrid
    intervals: pd.DataFrame
    lo: int
    hi: int

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return f"blacklisted-{self.lo}"

    def work(self) -> None:
        """Read and write, without the mark."""
        is_listed = covered_bp(self.grid, self.intervals, self.lo, self.hi) > 0
        write_region(self.store, self.group, "blacklisted", {"bin": slice(self.lo, self.hi)}, is_listed)


@dataclass(frozen=True)
class ShardTask(Task):
    """One track's means in bins ``[lo, hi)``. ``files`` are paths, each with the file's names of the store's chromosomes."""

    grid: BinGrid
    index: int
    n_tracks: int
    files: Sequence[tuple[Path, Mapping[str, str]]]
    uncovered: Literal["nan", "zero"]
    lo: int
    hi: int

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return f"signal-{self.index}-{self.lo}"

    def work(self) -> None:
        """Read and write, without the mark."""
        values = np.full((1, self.hi - self.lo), np.nan, dtype=np.float32)
        values[0] = read_track(self.grid, self.files, self.uncovered, self.lo, self.hi)
        region = {"track": slice(self.index, self.index + 1), "bin": slice(self.lo, self.hi)}
        write_region(self.store, self.group, "signal", region, values, grown={"track": self.n_tracks})


def read_track(
    grid: BinGrid,
    files: Sequence[tuple[Path, Mapping[str, str]]],
    uncovered: Literal["nan", "zero"],
    lo: int,
    hi: int,
) -> np.ndarray:
    """Means of a track's bigWigs, one or replicates, in bins ``[lo, hi)`` of the genome, float32.

    NaN on chromosomes that no file lists; a file that does not list one has no part in the mean there.
    """
    means_ = np.full(hi - lo, np.nan, dtype=np.float32)
    for chrom, first, last in grid.extents(lo, hi):
        listing = [(path, chroms[chrom]) for path, chroms in files if chrom in chroms]
        if listing:
            where = grid.extent_region(first, last)
            means_[first - lo : last - lo] = read_merged_bin_means(
                [path for path, _ in listing],
                chrom=chrom,
                start=where.start,
                end=where.end,
                binsize=grid.binsize,
                uncovered=uncovered,
                file_chroms=[name for _, name in listing],
            )
    return means_


@dataclass(frozen=True)
class TotalTask(Task):
    """Number of raw cis contacts of one file on one chromosome: what a depth is a fraction of."""

    counts: CountsFile
    place: int
    index: int
    chrom: str

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return f"total-{self.place}-{self.index}"

    def work(self) -> None:
        """Read and write, without the mark."""
        total = self.counts.file.n_contacts(self.chrom, self.counts.chroms[self.chrom])
        self.ledger.save(self.name, {"n_contacts": np.asarray(total)})


@dataclass(frozen=True)
class MarginalsTask(Task):
    """Raw cis contacts of each bin of one chromosome, for ``bad_bin``."""

    file: ContactsFile
    index: int
    chrom: str
    file_chrom: str

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return f"marginals-{self.index}"

    def work(self) -> None:
        """Read and write, without the mark."""
        self.ledger.save(self.name, {"marginals": self.file.marginals(self.chrom, self.file_chrom)})


def write_masks(
    store: Place,
    group: str,
    grid: BinGrid,
    file: ContactsFile,
    chroms: Mapping[str, str],
    normalisations: Mapping[str, str],
    intervals: pd.DataFrame,
    marginals: Sequence[MarginalsTask],
    computed_weights: Mapping[str, np.ndarray],
) -> None:
    """Write ``bad_bin`` and every ``weight_*``: per-bin arrays of the genome, a few bytes a bin. Cheap, so never marked."""
    sums = np.zeros(grid.n_bins)
    for task in marginals:
        first, last = grid.chrom_extent(task.chrom)
        sums[first:last] = task.ledger.load(task.name)["marginals"]
    write_region(store, group, "bad_bin", {}, bad_bins(grid, sums, intervals))
    for variable, name in normalisations.items():
        weights = np.full(grid.n_bins, np.nan)
        for chrom, file_chrom in chroms.items():
            first, last = grid.chrom_extent(chrom)
            weights[first:last] = file.weights(name, chrom, file_chrom)
        write_region(store, group, f"weight_{variable}", {}, weights)
    for variable, weights in computed_weights.items():
        write_region(store, group, f"weight_{variable}", {}, weights)


class OtherBands(Protocol):
    """Variables that are no products of weights; see :class:`epizarr.ingest.normalizing.ComputedBands`."""

    def rows(self, lo: int, hi: int, count: np.ndarray) -> dict[str, np.ndarray]:
        """Bands of rows ``[lo, hi)`` of the genome by variable, float32, from their counts."""
        ...


@dataclass(frozen=True)
class BlockTask(Task):
    """Counts and normalised contacts of band rows ``[lo, hi)``, and their sums by diagonal for the expected values.

    ``replicates`` are the files that the counts are the sum of; of several, each one's are stored too. ``weighted`` are the
    variables that are products of counts and weights, ``others`` gives the rest.
    """

    grid: BinGrid
    n_diagonals: int
    replicates: Sequence[CountsFile]
    weighted: tuple[str, ...]
    others: OtherBands
    ignore_diags: Mapping[str, int]
    lo: int
    hi: int

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return f"block-{self.lo}"

    def work(self) -> None:
        """Read and write, without the mark."""
        rows = {"bin": slice(self.lo, self.hi)}
        count = self._read_counts(self.replicates[0], 0)
        for place, replicate in enumerate(self.replicates[1:], start=1):
            # One after the other, in the order in which a reader of the store adds them up.
            count += self._read_counts(replicate, place)
        write_region(self.store, self.group, "count", rows, count)
        results: dict[str, np.ndarray] = {"main_diagonal": np.asarray(np.nansum(count[:, 0], dtype=np.float64))}
        self._add_sums(results, "count", count)
        for variable in self.weighted:
            balanced = self._balance(count, variable)
            write_region(self.store, self.group, variable, rows, balanced)
            self._add_sums(results, variable, balanced)
        for variable, band in self.others.rows(self.lo, self.hi, count).items():
            write_region(self.store, self.group, variable, rows, band)
            if variable in TARGET_VARIABLES:
                self._add_sums(results, variable, band)
        self.ledger.save(self.name, results)

    def _read_counts(self, replicate: CountsFile, place: int) -> np.ndarray:
        count = read_counts(self.grid, replicate, self.n_diagonals, self.lo, self.hi)
        if len(self.replicates) > 1:
            where = {"replicate": slice(place, place + 1), "bin": slice(self.lo, self.hi)}
            write_region(self.store, self.group, "count_replicate", where, count[None])
        return count

    def _balance(self, count: np.ndarray, variable: str) -> np.ndarray:
        balanced = np.full(count.shape, np.nan, dtype=np.float32)
        for _, first, last in self.grid.extents(self.lo, self.hi):
            weight = self._per_bin(f"weight_{variable}", first, last, np.nan)
            rows = slice(first - self.lo, last - self.lo)
            balanced[rows] = balance_band(count[rows], weight, self.ignore_diags[variable])
        return balanced

    def _add_sums(self, results: dict[str, np.ndarray], variable: str, band: np.ndarray) -> None:
        for _, first, last in self.grid.extents(self.lo, self.hi):
            good = ~self._per_bin("bad_bin", first, last, True)
            chrom = int(self.grid.chrom_code(np.array(first)))
            part = band[first - self.lo : last - self.lo]
            sums, numbers = good_diagonal_sums(part, good, self.ignore_diags.get(variable, 0))
            results |= {f"sum-{variable}-{chrom}": sums, f"n-{variable}-{chrom}": numbers}

    def _per_bin(self, variable: str, first: int, last: int, beyond: Any) -> np.ndarray:
        """Values of bins ``first`` … ``last + K - 2`` of one chromosome, ``beyond`` past its end."""
        return per_bin_reach(self.store, self.group, variable, self.grid, first, last, self.n_diagonals, beyond)


def per_bin_reach(
    store: Place, group: str, variable: str, grid: BinGrid, first: int, last: int, n_diagonals: int, beyond: Any
) -> np.ndarray:
    """Per-bin values that band rows ``[first, last)`` of one chromosome need: one for each bin up to ``last + K - 2``.

    Bins past the chromosome's end are ``beyond``.
    """
    end = first + int(grid.n_valid_diagonals(np.array(first)))
    there = read_region(store, group, variable, {"bin": slice(first, min(last + n_diagonals - 1, end))})
    out = np.full(last - first + n_diagonals - 1, beyond, dtype=there.dtype)
    out[: len(there)] = there
    return out


def read_counts(grid: BinGrid, counts: CountsFile, n_diagonals: int, lo: int, hi: int) -> np.ndarray:
    """Counts of band rows ``[lo, hi)`` of the genome, float32 (hi − lo, K); NaN on chromosomes not in the file."""
    count = np.full((hi - lo, n_diagonals), np.nan, dtype=np.float32)
    for chrom, first, last in grid.extents(lo, hi):
        if chrom in counts.chroms:
            offset, _ = grid.chrom_extent(chrom)
            count[first - lo : last - lo] = counts.file.band(
                chrom, first - offset, last - offset, n_diagonals, counts.chroms[chrom]
            )
    return count


def write_expected(
    store: Place, group: str, grid: BinGrid, n_diagonals: int, variables: Sequence[str], blocks: Sequence[BlockTask]
) -> bool:
    """Write ``expected_*`` and ``n_valid_*`` from the blocks' sums, added in the order of the genome.

    Returns
    -------
    Whether the main diagonal holds no contact at all.
    """
    shape = (len(grid.assembly), n_diagonals)
    sums = {name: np.zeros(shape) for name in variables}
    numbers = {name: np.zeros(shape, dtype=np.int64) for name in variables}
    main_diagonal = 0.0
    for block in blocks:
        results = block.ledger.load(block.name)
        main_diagonal += float(results.pop("main_diagonal"))
        for key, values in results.items():
            what, name, chrom = key.split("-")
            (sums if what == "sum" else numbers)[name][int(chrom)] += values
    for name in variables:
        write_region(store, group, f"expected_{name}", {}, mean_of_sums(sums[name], numbers[name]))
        write_region(store, group, f"n_valid_{name}", {}, numbers[name])
    return main_diagonal == 0
