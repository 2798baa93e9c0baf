"""Tasks that compute normalisations from the raw counts of an input: weights and fits first, then what blocks need of them.

Fits read the whole input, streamed, and leave small results in the ledger: weights of each bin, features of each bin, a table
of parameters for each chromosome. Blocks of band rows then evaluate them, so that no task of a chromosome writes a band.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from epizarr.bands import balance_band, mask_band
from epizarr.genome import Assembly, BinGrid
from epizarr.ingest.computed import AKITA_FROM, ComputedEntry, HicdcplusEntry, IceEntry
from epizarr.ingest.tasks import Task, per_bin_reach
from epizarr.io.balance import balance_ice
from epizarr.io.bin_features import read_bin_features
from epizarr.io.contacts import ContactsFile
from epizarr.io.ledger import Ledger, work_folder
from epizarr.io.places import Place
from epizarr.normalize.akita import akita_band_rows, rows_needed, window_length
from epizarr.normalize.cis_map import CisMapBuilder
from epizarr.normalize.hicdcplus import (
    HicdcplusFit,
    PairGeometry,
    PairRows,
    evaluate,
    fit_hicdcplus,
    p_values,
    q_values,
)
from epizarr.normalize.kr import balance_kr, balance_vc

_FEATURES = "features"
_ICE = "ice"


def _json_array(value: Any) -> np.ndarray:
    """Text in an array, as the ledger keeps it."""
    return np.array(json.dumps(value, sort_keys=True))


@dataclass(frozen=True)
class WeightsTask(Task):
    """Balancing weights of one chromosome: KR, VC, VC_SQRT. Memory: about 45 bytes a pixel of the chromosome."""

    file: ContactsFile
    index: int
    chrom: str
    file_chrom: str
    variables: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return f"weights-{self.index}"

    def work(self) -> None:
        """Read and write, without the mark."""
        n_bins = self.file.info.n_bins(self.file_chrom)
        builder = CisMapBuilder(self.chrom, n_bins)
        for piece in self.file.source.iter_pixels(self.file_chrom, 0, n_bins, None):
            builder.add(piece.bin1, piece.bin2, piece.count)
        cis_map = builder.build()
        results: dict[str, np.ndarray] = {}
        for variable in self.variables:
            if variable == "kr":
                found = balance_kr(cis_map)
                results["kr"] = found.weights
                record = {k: getattr(found, k) for k in ("n_dropped", "n_rounds", "n_iterations", "residual")}
            else:
                results[variable] = balance_vc(cis_map, sqrt=variable == "vc_sqrt")
                record = {"n_dropped": int(np.isnan(results[variable]).sum())}
            results[f"record-{variable}"] = _json_array(record)
        self.ledger.save(self.name, results)


@dataclass(frozen=True)
class IceTask(Task):
    """ICE weights of all chromosomes of the input. Memory: about 250 MB."""

    file: ContactsFile
    chroms: Mapping[str, str]
    entry: IceEntry

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return _ICE

    def work(self) -> None:
        """Read and write, without the mark."""
        e = self.entry
        found = balance_ice(self.file, e.parameters, scale=e.scale, allow_unconverged=e.allow_unconverged)
        results = {f"weights-{i}": found.weights[old] for i, old in enumerate(self.chroms.values())}
        self.ledger.save(self.name, results | {"record": _json_array(found.record())})


@dataclass(frozen=True)
class FeaturesTask(Task):
    """HiC-DC+'s features of every bin of the genome. Memory: about 2.2 bytes a base of the largest chromosome."""

    assembly: Assembly
    binsize: int
    entry: HicdcplusEntry

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return _FEATURES

    def work(self) -> None:
        """Read and write, without the mark."""
        e = self.entry
        if e.fasta is None:
            raise ValueError("features need a FASTA")  # the manifest has made sure of it
        table = read_bin_features(
            e.fasta.path,
            self.assembly,
            self.binsize,
            enzymes=e.enzymes,
            mappability=None if e.mappability is None else e.mappability.path,
            rename_fasta=e.rename_fasta,
            rename_mappability=e.rename_mappability,
        )
        self.ledger.save(self.name, {str(name): table[name].to_numpy(dtype=np.float64) for name in table})


@dataclass(frozen=True)
class FitTask(Task):
    """HiC-DC+'s model of one chromosome, and its q-values if they are wanted.

    Memory: the chromosome's counts within the fit's range, about 60 bytes a sampled pair, and with q-values 40 bytes a pair.
    """

    grid: BinGrid
    file: ContactsFile
    index: int
    chrom: str
    file_chrom: str
    entry: HicdcplusEntry
    has_qvalues: bool

    @property
    def name(self) -> str:
        """Name in the ledger."""
        return f"hicdcplus-{self.index}"

    def work(self) -> None:
        """Read and write, without the mark."""
        settings = self.entry.settings
        geometry = PairGeometry(self.grid.assembly.length(self.chrom), self.grid.binsize, settings.max_distance)
        counts = self.file.band(self.chrom, 0, geometry.n_bins, geometry.n_diagonals, self.file_chrom)
        record: dict[str, Any] = {}
        if self.chrom in self.entry.leave_out or not np.nansum(counts):
            record["left_out"] = "as the manifest says" if self.chrom in self.entry.leave_out else "no contacts"
            self.ledger.save(self.name, {"record": _json_array(record)})
            return
        if not np.nansum(counts[:, 0]):
            # Whatever made the file removed them: not seen is not the same as not there.
            counts[:, 0] = np.nan
            record["main_diagonal"] = "empty in the file, left out of the fit"
        features = load_features(self.ledger, self.entry, self.grid, self.chrom)
        fit, _ = fit_hicdcplus(PairRows(self.chrom, geometry, counts, features), settings, seed=self.entry.seed)
        results = {"model": np.array(fit.to_json()), "record": _json_array(record | _fit_record(fit))}
        if self.has_qvalues:
            mu = evaluate(fit, counts, features).mu
            results["qvalue"] = q_values(p_values(fit, counts, mu)).astype(np.float32)
        self.ledger.save(self.name, results)


def _fit_record(fit: HicdcplusFit) -> dict[str, Any]:
    """Return what a reader of the store wants to know of a fit; its settings are recorded once, beside all fits."""
    out = asdict(fit)
    for name in ("chrom", "length", "binsize", "settings"):
        del out[name]
    return out | {"theta": fit.theta if fit.alpha > 0 else None}


def load_features(ledger: Ledger, entry: HicdcplusEntry, grid: BinGrid, chrom: str) -> dict[str, np.ndarray]:
    """Features of a chromosome's bins by name, as :class:`FeaturesTask` left them; none where distance alone is fitted."""
    if entry.features == "none":
        return {}
    first, last = grid.chrom_extent(chrom)
    return {name: values[first:last] for name, values in ledger.load(_FEATURES).items()}


def computed_weights(
    store: Place, group: str, grid: BinGrid, chroms: Mapping[str, str], computed: ComputedEntry
) -> dict[str, np.ndarray]:
    """Weights of all bins by variable, float64 (bins of the genome), from what the tasks left; NaN where there are none."""
    ledger = Ledger(work_folder(store, group))
    out = {v: np.full(grid.n_bins, np.nan) for v in computed.variables if v == "ice" or v in computed.chrom_weights}
    if not out:
        return out
    ice = ledger.load(_ICE) if "ice" in out else {}
    for place, chrom in enumerate(chroms):
        first, last = grid.chrom_extent(chrom)
        if "ice" in out:
            out["ice"][first:last] = ice[f"weights-{place}"]
        if computed.chrom_weights:
            found = ledger.load(f"weights-{grid.assembly.index(chrom)}")
            for variable in computed.chrom_weights:
                out[variable][first:last] = found[variable]
    return out


def computed_record(
    store: Place, group: str, grid: BinGrid, chroms: Mapping[str, str], computed: ComputedEntry
) -> dict[str, Any]:
    """How each variable was made and what its fits came to: the group's attribute ``computed``."""
    ledger = Ledger(work_folder(store, group))
    out = computed.settings()
    if "ice" in out:
        out["ice"] |= json.loads(str(ledger.load(_ICE)["record"]))
    for variable in computed.chrom_weights:
        out[variable] = {
            chrom: json.loads(str(ledger.load(f"weights-{grid.assembly.index(chrom)}")[f"record-{variable}"]))
            for chrom in chroms
        }
    if "hicdcplus" in out:
        out["hicdcplus"]["fits"] = {
            chrom: json.loads(str(ledger.load(f"hicdcplus-{grid.assembly.index(chrom)}")["record"])) for chrom in chroms
        }
    return out


@dataclass(frozen=True)
class ComputedBands:
    """Band rows of the variables that are no products of weights: HiC-DC+'s and Akita's.

    Parameters
    ----------
    store, group
        Where weights, ``bad_bin`` and the ledger are.
    grid, n_diagonals
        The band.
    file, chroms
        The input; the store's chromosome names and the file's.
    computed
        What to compute.
    balanced_ignore_diags
        Diagonals that the weights behind Akita's transform ignore.
    """

    store: Place
    group: str
    grid: BinGrid
    n_diagonals: int
    file: ContactsFile
    chroms: Mapping[str, str]
    computed: ComputedEntry
    balanced_ignore_diags: int

    def __iter__(self) -> Iterator[str]:
        yield from self.computed.hicdcplus_variables
        if "akita" in self.computed.variables:
            yield "akita"

    def rows(self, lo: int, hi: int, count: np.ndarray) -> dict[str, np.ndarray]:
        """Bands of rows ``[lo, hi)`` of the genome by variable, float32; NaN where missing, and at bad bins but for Akita's.

        Parameters
        ----------
        lo, hi
            Bins of the genome.
        count
            Their counts, (hi − lo, K).
        """
        out = {name: np.full(count.shape, np.nan, dtype=np.float32) for name in self}
        for chrom, first, last in self.grid.extents(lo, hi):
            if chrom in self.chroms:
                rows = slice(first - lo, last - lo)
                for name, values in self._of_chrom(chrom, first, last, count[rows]).items():
                    out[name][rows] = values
        return out

    def _of_chrom(self, chrom: str, first: int, last: int, count: np.ndarray) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        if self.computed.hicdcplus_variables:
            out |= self._hicdcplus(chrom, first, last, count)
        if "akita" in self.computed.variables:
            out["akita"] = self._akita(chrom, first, last)
        return out

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(work_folder(self.store, self.group))

    def _hicdcplus(self, chrom: str, first: int, last: int, count: np.ndarray) -> dict[str, np.ndarray]:
        wanted = self.computed.hicdcplus_variables
        found = self._ledger.load(f"hicdcplus-{self.grid.assembly.index(chrom)}")
        if "model" not in found:
            return {}
        fit = HicdcplusFit.from_json(str(found["model"]))
        offset, _ = self.grid.chrom_extent(chrom)
        if "main_diagonal" in json.loads(str(found["record"])):
            count = count.copy()
            count[:, 0] = np.nan
        features = load_features(self._ledger, self.computed.hicdcplus, self.grid, chrom)
        result = evaluate(fit, count.astype(np.float64), features, first=first - offset)
        values = {"hicdcplus_oe": result.oe, "hicdcplus_zscore": result.zscore, "hicdcplus_mu": result.mu}
        if "hicdcplus_pvalue" in wanted:
            values["hicdcplus_pvalue"] = p_values(fit, count, result.mu)
        if "hicdcplus_qvalue" in wanted:
            q = found["qvalue"][first - offset : last - offset, : self.n_diagonals]
            values["hicdcplus_qvalue"] = np.pad(q, ((0, 0), (0, self.n_diagonals - q.shape[1])), constant_values=np.nan)
        good = ~self._reach("bad_bin", first, last, True)
        return {name: mask_band(values[name], good) for name in wanted}

    def _akita(self, chrom: str, first: int, last: int) -> np.ndarray:
        offset, end = self.grid.chrom_extent(chrom)
        n_bins = end - offset
        lo, hi = rows_needed(first - offset, last - offset, n_bins, self.n_diagonals)
        width = window_length(n_bins, self.n_diagonals)
        count = self.file.band(chrom, lo, hi, width, self.chroms[chrom])
        weight = self._reach(f"weight_{AKITA_FROM}", offset + lo, offset + hi, np.nan, width)
        weight[self._reach("bad_bin", offset + lo, offset + hi, True, width)] = np.nan
        balanced = balance_band(count, weight, self.balanced_ignore_diags)
        return akita_band_rows(
            count.astype(np.float64),
            balanced,
            first - offset,
            last - offset,
            n_bins=n_bins,
            n_diagonals=self.n_diagonals,
            parameters=self.computed.akita,
        )

    def _reach(self, variable: str, first: int, last: int, beyond: Any, width: int | None = None) -> np.ndarray:
        width = self.n_diagonals if width is None else width
        return per_bin_reach(self.store, self.group, variable, self.grid, first, last, width, beyond)


def fit_tasks(
    store: Place,
    group: str,
    digest: str,
    grid: BinGrid,
    file: ContactsFile,
    chroms: Mapping[str, str],
    computed: ComputedEntry,
) -> tuple[Sequence[Task], Sequence[Task]]:
    """Tasks that fit, in two rounds: the second needs the features that the first leaves."""
    numbered = [(grid.assembly.index(chrom), chrom, old) for chrom, old in chroms.items()]
    first: list[Task] = []
    if computed.chrom_weights:
        weights = computed.chrom_weights
        first += [WeightsTask(store, group, digest, file, i, chrom, old, weights) for i, chrom, old in numbered]
    if "ice" in computed.variables:
        first.append(IceTask(store, group, digest, file, dict(chroms), computed.ice))
    entry = computed.hicdcplus
    if not computed.hicdcplus_variables:
        return first, []
    if entry.features == "fasta":
        first.append(FeaturesTask(store, group, digest, grid.assembly, grid.binsize, entry))
    has_qvalues = "hicdcplus_qvalue" in computed.variables
    second = [
        FitTask(store, group, digest, grid, file, i, chrom, old, entry, has_qvalues) for i, chrom, old in numbered
    ]
    return first, second
