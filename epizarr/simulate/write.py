"""Write a simulated genome as the files that real data come in, with its noise-free truth beside them."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cooler
import h5py
import numpy as np
import pandas as pd
import pyBigWig
import tomli_w
import xarray as xr

from epizarr.bands import mask_band
from epizarr.errors import ConfigError, StoreError, StoreNotFoundError
from epizarr.genome import Assembly
from epizarr.simulate.config import DEFAULT, SimulationConfig, chrom_lengths_of
from epizarr.simulate.contacts import (
    COUNT_BLOCK_BINS,
    ContactProfiles,
    contact_profiles,
    contacts_from_profiles,
    count_model,
    sample_pixels,
)
from epizarr.simulate.tracks import SIGNAL_BLOCK_BP, sample_tracks
from epizarr.simulate.world import World, simulate_world

Progress = Callable[[str, float], None]
"""Called with what is being written and the share of it that is done, 0 to 1."""

MARKER = "SIMULATED.txt"
"""Every simulated folder has this file; only a folder that has it is ever replaced."""

_TRUTH_ROWS = 1024
_BALANCE_PIXELS = 1_000_000  # pixels worked on at a time while balancing
_BALANCE_CACHE_BYTES = 128 << 20  # of each of the three columns of the pixel table


def write_genome(
    out: str | Path,
    *,
    size: str | None = None,
    seed: int,
    cell_types: Sequence[str] = ("SIM1",),
    config: SimulationConfig = DEFAULT,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write the files of a simulated genome.

    ``OUT/manifest.toml`` is ready for ``epizarr ingest``. Beside it lie ``chrom.sizes``, ``features.tsv`` (every site and
    domain), ``SIMULATED.txt``, and for each cell type a folder with one bigWig per track, ``contacts.cool`` (counts, and
    weights from ``cooler balance`` on the cis contacts) and ``truth.zarr`` (see :func:`open_truth`). The same arguments
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
    _check_request(seed, cell_types)
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
    features = []
    for cell_type in cell_types:
        world = simulate_world(config, seed, cell_type)
        folder = partial / cell_type
        folder.mkdir()
        _write_tracks(folder, world, report)
        _write_cool(folder / "contacts.cool", world, origin, report)
        _write_truth(folder / "truth.zarr", world, origin, report)
        features.append(_feature_table(world))
    pd.concat(features).to_csv(partial / "features.tsv", sep="\t", index=False, float_format="%.6g")
    with (partial / "manifest.toml").open("wb") as handle:
        tomli_w.dump(_manifest(config, cell_types, origin), handle)
    if out.exists():
        shutil.rmtree(out)
    os.replace(partial, out)
    return out / "manifest.toml"


def open_truth(path: str | Path) -> xr.Dataset:
    """Open the noise-free contacts of a simulated cell type, lazily.

    Parameters
    ----------
    path
        ``truth.zarr``, or the cell type's folder that holds it.

    Returns
    -------
    Dataset with ``contact`` (bin, diagonal) float32, NaN off the chromosome and in unmappable bins; coords ``diagonal`` and
    ``distance`` (bp); and the chromosome tables. Bins are those of the assembly in ``chrom_name`` and ``chrom_length``,
    concatenated. The unit is that of balanced contacts up to one factor for the genome, since balancing sets the mean
    total of a bin to 1: correlate, or divide both by their mean per distance, before comparing.

    Raises
    ------
    StoreNotFoundError
        If there is no such folder.
    StoreError
        If it is not the truth of a simulated genome.
    """
    path = Path(path)
    path = path / "truth.zarr" if (path / "truth.zarr").is_dir() else path
    if not path.is_dir():
        raise StoreNotFoundError(
            f"{path}: there is no such folder. The truth of a simulated genome is OUT/<cell type>/truth.zarr, written by "
            "`epizarr simulate OUT`."
        )
    ds = _open_dataset(path)
    if "simulated" not in ds.attrs or ds.attrs.get("state") != "complete":
        raise StoreError(
            f"{path} has no `simulated` attribute with `state` = 'complete': it is not the truth of a simulated genome. "
            "Give OUT/<cell type>/truth.zarr."
        )
    return ds


def _open_dataset(path: Path) -> xr.Dataset:
    try:
        return xr.open_zarr(path, consolidated=False)
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StoreError(f"{path} cannot be opened as a Zarr group: {error}") from error


def _check_request(seed: int, cell_types: Sequence[str]) -> None:
    problems = []
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


def _truth_rows(profiles: ContactProfiles, config: SimulationConfig, lo: int, hi: int) -> np.ndarray:
    band = contacts_from_profiles(profiles, config, lo, hi, config.n_diagonals)
    good = np.zeros(hi - lo + config.n_diagonals - 1, dtype=bool)
    seen = profiles.is_mappable[lo : lo + len(good)]
    good[: len(seen)] = seen
    return mask_band(band, good).astype(np.float32)


def _write_truth(path: Path, world: World, origin: str, report: Progress) -> None:
    config, assembly = world.config, world.assembly
    grid = assembly.bins(config.binsize)
    n_diagonals = config.n_diagonals
    attrs: dict[str, Any] = {"assembly": assembly.name, "binsize": config.binsize, "simulated": origin}
    template = _truth_template(assembly, grid.n_bins, config).assign_attrs(attrs, state="writing")
    template.to_zarr(path, mode="w-", consolidated=False, compute=False, zarr_format=3)
    profiles: dict[str, ContactProfiles] = {}
    # Written along the edges of the chunks; a chunk may hold the end of one chromosome and the start of the next.
    for lo in range(0, grid.n_bins, _TRUTH_ROWS):
        hi = min(lo + _TRUTH_ROWS, grid.n_bins)
        rows = np.empty((hi - lo, n_diagonals), dtype=np.float32)
        pieces = grid.extents(lo, hi)
        profiles = {chrom: profiles.get(chrom) or contact_profiles(world, chrom) for chrom, _, _ in pieces}
        for chrom, start, end in pieces:
            first, _ = grid.chrom_extent(chrom)
            rows[start - lo : end - lo] = _truth_rows(profiles[chrom], config, start - first, end - first)
        block = xr.Dataset({"contact": (("bin", "diagonal"), rows)})
        block.to_zarr(path, region={"bin": slice(lo, hi), "diagonal": slice(0, n_diagonals)}, consolidated=False)
        report(f"{world.cell_type}: truth", hi / grid.n_bins)
    xr.Dataset(attrs={**attrs, "state": "complete"}).to_zarr(path, mode="a", consolidated=False)


def _truth_template(assembly: Assembly, n_bins: int, config: SimulationConfig) -> xr.Dataset:
    import dask.array as da
    from zarr.codecs import ZstdCodec

    shape = (n_bins, config.n_diagonals)
    contact = xr.DataArray(
        da.full(shape, np.nan, dtype=np.float32, chunks=(_TRUTH_ROWS, config.n_diagonals)),
        dims=("bin", "diagonal"),
        attrs={
            "long_name": "SIMULATED noise-free contacts",
            "units": "1",
            "comment": "NaN means: off the chromosome, or a bin in a gap.",
        },
    )
    contact.encoding = {"chunks": (_TRUTH_ROWS, config.n_diagonals), "compressors": (ZstdCodec(level=3),)}
    diagonal = np.arange(config.n_diagonals)
    grid = assembly.bins(config.binsize)
    return xr.Dataset(
        {
            "contact": contact,
            "chrom_name": ("chroms", np.array(assembly.chrom_names, dtype=object)),
            "chrom_length": ("chroms", np.array(assembly.chrom_lengths), {"units": "bp"}),
            "chrom_offset": ("chroms", grid.chrom_offset),
        },
        coords={
            "diagonal": ("diagonal", diagonal),
            "distance": ("diagonal", diagonal * config.binsize, {"units": "bp"}),
        },
    )


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
