"""Write a simulated genome as the files that real data come in, with its noise-free truth beside them."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import cooler
import h5py
import numpy as np
import pandas as pd
import pyBigWig
import tomli_w

from epizarr.errors import ConfigError, StoreError
from epizarr.simulate.conditional import redraw_problems
from epizarr.simulate.config import DEFAULT, SimulationConfig, chrom_lengths_of
from epizarr.simulate.contacts import COUNT_BLOCK_BINS, count_model, sample_pixels
from epizarr.simulate.differences import cell_type_differences
from epizarr.simulate.motifs import write_motif_bigwigs
from epizarr.simulate.tracks import SIGNAL_BLOCK_BP, sample_tracks
from epizarr.simulate.truth import Progress, write_truth, write_truth_given_tracks
from epizarr.simulate.world import World, simulate_world

MARKER = "SIMULATED.txt"
"""Every simulated folder has this file; only a folder that has it is ever replaced."""

_BALANCE_PIXELS = 1_000_000  # pixels worked on at a time while balancing
_BALANCE_CACHE_BYTES = 128 << 20  # of each of the three columns of the pixel table


def write_genome(
    out: str | Path,
    *,
    size: str | None = None,
    seed: int,
    cell_types: Sequence[str] = ("SIM1",),
    config: SimulationConfig = DEFAULT,
    redraws: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the files of a simulated genome.

    ``OUT/manifest.toml`` is ready for ``epizarr ingest``. Beside it lie ``chrom.sizes``, ``features.tsv`` (every site and
    domain), ``SIMULATED.txt``, and for each cell type a folder with one bigWig per track, ``contacts.cool`` (counts, and
    weights from ``cooler balance`` on the cis contacts) and ``truth.zarr`` (see
    :func:`~epizarr.simulate.truth.open_truth`). Several cell types come with ``differences.tsv`` (see
    :func:`~epizarr.simulate.differences.cell_type_differences`), rules with motifs with one bigWig a strand, which the cell
    types share, and ``redraws`` with ``truth_given_tracks.zarr`` beside each truth. The same arguments
    give the same values, whatever else is written. Nothing appears under ``out`` before all of it is written: the work
    is done in ``OUT.partial``, which a later call sweeps.

    Memory: blocks of 1 Mb of signal and about 5 Mb of contacts, 1,000,000 pixels while balancing, and 10 kB per Mb of
    genome for the features: some 600 MB above what the libraries take, at any length.

    Parameters
    ----------
    out
        Folder to make.
    size
        ``"tiny"``, ``"small"`` or ``"human"``; by default the ``chrom_lengths`` of ``config``.
    seed
        Seed of the genome, non-negative.
    cell_types
        Names of the cell types. All have the same gaps and share part of their features.
    config
        The rules.
    redraws
        How many genomes to draw given the tracks; the mean of their contacts is the best that a predictor could say (the track
        ceiling, see :mod:`epizarr.simulate.conditional`). 32 or more; 0: none. 32 take about half a minute per 100 Mb and, while
        they are drawn, 110 MB of memory per 100 Mb of the longest chromosome.
    overwrite
        Replace ``out`` if it is a simulated genome. Any other folder is refused.
    progress
        Called as the work goes on.

    Returns
    -------
    Path of the manifest.

    Raises
    ------
    StoreError
        If ``out`` is in the way.
    ConfigError
        If the size, the seed or the cell types cannot be used.

    Examples
    --------
    >>> write_genome("genome", size="tiny", seed=1)  # doctest: +SKIP
    PosixPath('genome/manifest.toml')
    """
    out = Path(out)
    if size is not None:
        config = replace(config, chrom_lengths=chrom_lengths_of(size))
    _check_request(config, seed, cell_types, redraws)
    _check_target(out, overwrite)
    report: Progress = progress or (lambda what, share: None)
    origin = f"SIMULATED, epizarr {version('epizarr')}, seed {seed}"
    partial = out.with_name(out.name + ".partial")
    _sweep(partial)
    partial.mkdir(parents=True)
    (partial / MARKER).write_text(
        f"{origin}\n\nA genome with known rules, written by `epizarr simulate`. No organism has these data.\n"
        f"cell types: {', '.join(cell_types)}\nsettings: {config}\n"
    )
    assembly = config.assembly
    (partial / "chrom.sizes").write_text("".join(f"{chrom}\t{length}\n" for chrom, length in assembly))
    features, worlds = [], []
    for cell_type in cell_types:
        world = simulate_world(config, seed, cell_type)
        folder = partial / cell_type
        folder.mkdir()
        _write_tracks(folder, world, report)
        _write_cool(folder / "contacts.cool", world, origin, report)
        write_truth(folder / "truth.zarr", world, origin, report)
        if redraws:
            write_truth_given_tracks(folder / "truth_given_tracks.zarr", world, origin, redraws, report)
        features.append(_feature_table(world))
        worlds.append(world)
    if config.motifs is not None:
        write_motif_bigwigs(partial, worlds[0])
    if len(worlds) > 1:
        differences = [cell_type_differences(a, b) for a, b in combinations(worlds, 2)]
        pd.concat(differences).to_csv(partial / "differences.tsv", sep="\t", index=False, float_format="%.6g")
    pd.concat(features).to_csv(partial / "features.tsv", sep="\t", index=False, float_format="%.6g")
    with (partial / "manifest.toml").open("wb") as handle:
        tomli_w.dump(_manifest(config, cell_types, origin), handle)
    if out.exists():
        shutil.rmtree(out)
    os.replace(partial, out)
    return out / "manifest.toml"


def _check_request(config: SimulationConfig, seed: int, cell_types: Sequence[str], redraws: int) -> None:
    problems = []
    if redraws < 0:
        problems.append(f"{redraws} redraws are asked for; it must not be negative")
    if redraws:
        problems += redraw_problems(config)
    if seed < 0:
        problems.append(f"the seed is {seed}; it must not be negative")
    if not cell_types or len(set(cell_types)) < len(cell_types):
        problems.append(f"cell types {list(cell_types)}: give at least one, each once")
    bad = [name for name in cell_types if not name or not all(c.isalnum() or c in "-_" for c in name)]
    if bad:
        problems.append(f"cell types {bad}: use letters, digits, '-' and '_', for they become folders")
    if problems:
        raise ConfigError("simulation: " + "; ".join(problems) + ".")


def _check_target(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / MARKER).is_file():
        raise StoreError(f"{out} exists and is not a simulated genome (it has no {MARKER}); give another folder.")
    if not overwrite:
        raise StoreError(
            f"{out} is a simulated genome already; give another folder, or `overwrite=True` to replace it."
        )


def _sweep(partial: Path) -> None:
    """Remove what a killed call has left, and nothing else."""
    if not partial.exists():
        return
    if not (partial / MARKER).is_file() and any(partial.iterdir()):
        raise StoreError(
            f"{partial} is in the way: the genome is written there first. Move it, or give another folder."
        )
    shutil.rmtree(partial)


def _write_tracks(folder: Path, world: World, report: Progress) -> None:
    config = world.config
    run_bp, tracks = config.run_bp, config.tracks
    files = {track: pyBigWig.open(str(folder / f"{track}.bw"), "w") for track in tracks}
    for file in files.values():
        file.addHeader(list(world.assembly), maxZooms=4)
    n_blocks = {chrom: -(-length // (SIGNAL_BLOCK_BP // run_bp * run_bp)) for chrom, length in world.assembly}
    done = 0
    for chrom, length in world.assembly:
        for block in range(n_blocks[chrom]):
            first, signal = sample_tracks(world, chrom, block)
            for track, values in zip(tracks, signal, strict=True):
                run = first + np.flatnonzero(~np.isnan(values))
                if len(run):
                    start = run * run_bp
                    end = np.minimum(start + run_bp, length)
                    # float64 keeps pyBigWig from going through Python objects; it stores float32.
                    covered = values[run - first].astype(np.float64)
                    files[track].addEntries(np.full(len(run), chrom), start, ends=end, values=covered, validate=False)
            done += 1
            report(f"{world.cell_type}: tracks", done / sum(n_blocks.values()))
    for file in files.values():
        file.close()


def _pixel_blocks(world: World, report: Progress) -> Iterator[pd.DataFrame]:
    """Blocks of pixels in order of bin1_id, bin2_id."""
    grid = world.assembly.bins(world.config.binsize)
    for chrom in world.assembly.chrom_names:
        first, last = grid.chrom_extent(chrom)
        model = count_model(world, chrom)
        for block in range(-(-(last - first) // COUNT_BLOCK_BINS)):
            left, right, count = sample_pixels(world, chrom, block, model)
            yield pd.DataFrame({"bin1_id": left + first, "bin2_id": right + first, "count": count})
            done = first + min((block + 1) * COUNT_BLOCK_BINS, last - first)
            report(f"{world.cell_type}: contacts", done / grid.n_bins)


def _write_cool(path: Path, world: World, origin: str, report: Progress) -> None:
    bins = world.assembly.bins(world.config.binsize).table().reset_index(drop=True)
    cooler.create_cooler(
        str(path),
        bins,
        _pixel_blocks(world, report),
        dtypes={"count": np.int32},
        ordered=True,
        assembly=world.assembly.name,
        metadata={"origin": origin},
    )
    report(f"{world.cell_type}: balancing", 0.0)
    # Each iteration reads all pixels: a cache keeps a chromosome's decompressed, for as long as the tables are held open.
    with h5py.File(path, "r+", rdcc_nbytes=_BALANCE_CACHE_BYTES, rdcc_nslots=100_003) as file:
        held_open = list(file["pixels"].values())
        _, stats = cooler.balance_cooler(
            cooler.Cooler(file), cis_only=True, store=True, chunksize=_BALANCE_PIXELS, max_iters=500
        )
        del held_open
    if not np.all(stats["converged"]):
        raise ConfigError(
            f"cell type {world.cell_type!r}: balancing the simulated contacts did not converge; with "
            f"`contacts_per_unit` = {world.config.contacts_per_unit} the map may be too sparse. Raise it."
        )
    report(f"{world.cell_type}: balancing", 1.0)


def _feature_table(world: World) -> pd.DataFrame:
    """Sites and domains in one table; a site is one base wide, heights are of sites only."""
    sites = world.sites.rename(columns={"position": "start"})
    sites = sites.assign(end=sites["start"] + 1)
    domains = world.domains.rename(columns={"level": "strength"}).assign(strand=".")
    heights = [f"height_{track}" for track in world.config.tracks]
    columns = ["cell_type", "chrom", "start", "end", "kind", "strand", "strength", *heights]
    return pd.concat([sites, domains]).assign(cell_type=world.cell_type)[columns]


def _manifest(config: SimulationConfig, cell_types: Sequence[str], origin: str) -> dict[str, Any]:
    return {
        "schema": 1,
        "store": {"assembly": config.assembly.name, "chrom_sizes": "chrom.sizes", "span_bp": config.span_bp},
        "cell_type": [
            {
                "name": cell_type,
                "tracks": [
                    {"name": track, "file": f"{cell_type}/{track}.bw", "uncovered": "nan", "origin": origin}
                    for track in config.tracks
                ]
                + [
                    {"name": track, "file": f"{track}.bw", "uncovered": "zero", "strand": strand, "origin": origin}
                    for track, strand in zip(() if config.motifs is None else config.motifs.tracks, "+-", strict=False)
                ],
                "contacts": [
                    {
                        "file": f"{cell_type}/contacts.cool",
                        "binsize": config.binsize,
                        "normalisations": {"ice": "weight"},
                        "origin": origin,
                    }
                ],
            }
            for cell_type in cell_types
        ],
    }
