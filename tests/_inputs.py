"""Small bigWig and .cool files with known content, and a manifest that names them."""

from dataclasses import dataclass, field
from pathlib import Path

import cooler
import h5py
import numpy as np
import pandas as pd
import pyBigWig

from epizarr.genome import Assembly
from epizarr.ingest.run import ingest_manifest

LENGTHS = {"chr1": 120_350, "chr2": 53_217, "chr3": 30_001}


@dataclass(frozen=True)
class Inputs:
    """What the files hold: each track's value at every base (NaN where there is none) and the counts as squares."""

    folder: Path
    assembly: Assembly
    tracks: dict[str, dict[str, np.ndarray]]
    counts: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]
    blacklist: list[tuple[str, int, int]] = field(default_factory=list)
    binsize: int = 1000


def make_inputs(
    folder: Path,
    *,
    seed: int = 0,
    lengths: dict[str, int] | None = None,
    tracks: tuple[str, ...] = ("CTCF", "DNase"),
    binsize: int = 1000,
    reach_bins: int = 30,
    empty_diagonal: bool = True,
) -> Inputs:
    """Write ``<track>.bw``, ``contacts.cool`` (chromosomes named without "chr"), ``sizes.tsv`` and ``blacklist.bed``."""
    rng = np.random.default_rng(seed)
    lengths = lengths or LENGTHS
    folder.mkdir(parents=True, exist_ok=True)
    assembly = Assembly.from_table("toy", lengths.items())
    (folder / "sizes.tsv").write_text("".join(f"{c}\t{n}\n" for c, n in lengths.items()))
    first = next(iter(lengths))
    blacklist = [(first, 5_050, 6_700), (first, 6_500, 9_000)]
    (folder / "blacklist.bed").write_text("".join(f"{c}\t{a}\t{b}\n" for c, a, b in blacklist))
    values = {}
    for i, name in enumerate(tracks):
        # The second track does not list the last chromosome.
        listed = dict(list(lengths.items())[: len(lengths) - (i == 1)])
        values[name] = _write_bigwig(folder / f"{name}.bw", listed, rng)
    counts, weights = _write_cool(folder / "contacts.cool", lengths, binsize, reach_bins, empty_diagonal, rng)
    return Inputs(folder, assembly, values, counts, weights, blacklist, binsize)


def write_manifest(
    inputs: Inputs,
    *,
    name: str = "manifest.toml",
    cell_types: tuple[str, ...] = ("K562",),
    tracks: tuple[str, ...] | None = None,
    uncovered: str = "nan",
    span_bp: int = 20_000,
    track_binsize: int = 100,
    extra: str = "",
) -> Path:
    """Write a manifest of the inputs. ``extra`` is appended to every track."""
    renames = ", ".join(f'"{c.removeprefix("chr")}" = "{c}"' for c in inputs.assembly.chrom_names)
    lines = [
        "schema = 1",
        "[store]",
        'assembly = "toy"',
        'chrom_sizes = "sizes.tsv"',
        'blacklist = "blacklist.bed"',
        f"span_bp = {span_bp}",
        f"track_binsize = {track_binsize}",
    ]
    for cell in cell_types:
        lines += ["[[cell_type]]", f'name = "{cell}"']
        for track in tracks if tracks is not None else tuple(inputs.tracks):
            lines += [
                "[[cell_type.tracks]]",
                f'name = "{track}"',
                f'file = "{track}.bw"',
                f'uncovered = "{uncovered}"',
                extra,
            ]
        lines += [
            "[[cell_type.contacts]]",
            'file = "contacts.cool"',
            f"binsize = {inputs.binsize}",
            'normalisations = { ice = "weight" }',
            f"rename_chroms = {{ {renames} }}",
        ]
    path = inputs.folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def build(manifest: Path, store: Path) -> None:
    """Ingest with two threads: what the fault tests kill. It lies here because each killed child imports its module."""
    ingest_manifest(manifest, store, n_threads=2)


def _write_bigwig(path: Path, lengths: dict[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Runs of up to 80 bases with a value, one run in four without."""
    values = {}
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(lengths.items()))
        for chrom, length in lengths.items():
            values[chrom] = np.full(length, np.nan, dtype=np.float32)
            edges = np.unique(np.append(np.cumsum(rng.integers(1, 80, size=length // 20)), [0, length]))
            edges = edges[edges <= length]
            start, end = edges[:-1], edges[1:]
            keep = rng.random(len(start)) > 0.25
            start, end = start[keep], end[keep]
            value = rng.gamma(1.0, 2.0, size=len(start)).astype(np.float32)
            file.addEntries(
                [chrom] * len(start), start.tolist(), ends=end.tolist(), values=value.astype(float).tolist()
            )
            for a, b, v in zip(start, end, value, strict=True):
                values[chrom][a:b] = v
    return values


def _write_cool(
    path: Path, lengths: dict[str, int], binsize: int, reach: int, empty_diagonal: bool, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Counts that fall off with distance; a tenth of the bins have neither a contact nor a weight."""
    bins, pixels, counts, weights, offset = [], [], {}, {}, 0
    for chrom, length in lengths.items():
        n = -(-length // binsize)
        start = np.arange(n) * binsize
        good = rng.random(n) > 0.1
        weights[chrom] = np.where(good, rng.uniform(0.5, 2.0, n), np.nan)
        name = chrom.removeprefix("chr")
        bins.append(
            pd.DataFrame(
                {"chrom": name, "start": start, "end": np.minimum(start + binsize, length), "weight": weights[chrom]}
            )
        )
        near = np.zeros((n, reach), dtype=np.int64)  # by diagonal: a square of a long chromosome would not be small
        for k in range(int(empty_diagonal), min(reach, n)):
            rate = 20 / (k + 1) * (good[: n - k] & good[k:])
            near[: n - k, k] = rng.poisson(rate)
        counts[chrom] = near
        i, k = np.nonzero(near)
        pixels.append(pd.DataFrame({"bin1_id": offset + i, "bin2_id": offset + i + k, "count": near[i, k]}))
        offset += n
    cooler.create_cooler(
        str(path), pd.concat(bins, ignore_index=True), pd.concat(pixels, ignore_index=True), ordered=True
    )
    with h5py.File(path, "r+") as file:
        file["bins/weight"].attrs["ignore_diags"] = 2
    return counts, weights
