"""The noise-free contacts of a simulated genome as a Zarr group: of the genome itself, and what is expected given its tracks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from epizarr.bands import mask_band
from epizarr.errors import StoreError, StoreNotFoundError
from epizarr.genome import Assembly
from epizarr.simulate.conditional import mean_contacts, redrawn_profiles
from epizarr.simulate.config import SimulationConfig
from epizarr.simulate.contacts import ContactProfiles, contact_profiles
from epizarr.simulate.world import World

Progress = Callable[[str, float], None]
"""Called with what is being written and the share of it that is done, 0 to 1."""

_TRUTH_ROWS = 1024


def write_truth(path: Path, world: World, origin: str, report: Progress) -> None:
    """Write the noise-free contacts of a genome; :func:`open_truth` describes them."""
    _write_contacts(
        path,
        world,
        {"simulated": origin, "long_name": "SIMULATED noise-free contacts"},
        lambda chrom: [contact_profiles(world, chrom)],
        lambda share: report(f"{world.cell_type}: truth", share),
    )


def write_truth_given_tracks(path: Path, world: World, origin: str, n: int, report: Progress) -> None:
    """Write the mean of the noise-free contacts over ``n`` redraws of what the tracks leave open, in the layout of the truth."""
    _write_contacts(
        path,
        world,
        {
            "simulated": f"{origin}; mean of {n} redraws given the tracks",
            "long_name": f"SIMULATED contacts expected given the tracks, mean of {n} redraws",
        },
        lambda chrom: redrawn_profiles(world, chrom, n),
        lambda share: report(f"{world.cell_type}: redraws", share),
    )


def open_truth(path: str | Path) -> xr.Dataset:
    """Open the noise-free contacts of a simulated cell type, lazily.

    Parameters
    ----------
    path
        ``truth.zarr``, or the cell type's folder that holds it; or ``truth_given_tracks.zarr``.

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


def _write_contacts(
    path: Path,
    world: World,
    about: dict[str, str],
    profiles_of: Callable[[str], list[ContactProfiles]],
    report: Callable[[float], None],
) -> None:
    """Write the mean contacts over what ``profiles_of`` gives for a chromosome."""
    config, assembly = world.config, world.assembly
    grid = assembly.bins(config.binsize)
    n_diagonals = config.n_diagonals
    attrs: dict[str, Any] = {
        "assembly": assembly.name,
        "binsize": config.binsize,
        "simulated": about["simulated"],
    }
    template = _template(assembly, grid.n_bins, config, about["long_name"]).assign_attrs(attrs, state="writing")
    template.to_zarr(path, mode="w-", consolidated=False, compute=False, zarr_format=3)
    profiles: dict[str, list[ContactProfiles]] = {}
    # Written along the edges of the chunks; a chunk may hold the end of one chromosome and the start of the next.
    for lo in range(0, grid.n_bins, _TRUTH_ROWS):
        hi = min(lo + _TRUTH_ROWS, grid.n_bins)
        rows = np.empty((hi - lo, n_diagonals), dtype=np.float32)
        pieces = grid.extents(lo, hi)
        profiles = {chrom: profiles.get(chrom) or profiles_of(chrom) for chrom, _, _ in pieces}
        for chrom, start, end in pieces:
            first, _ = grid.chrom_extent(chrom)
            rows[start - lo : end - lo] = _masked_rows(profiles[chrom], config, start - first, end - first)
        block = xr.Dataset({"contact": (("bin", "diagonal"), rows)})
        block.to_zarr(path, region={"bin": slice(lo, hi), "diagonal": slice(0, n_diagonals)}, consolidated=False)
        report(hi / grid.n_bins)
    xr.Dataset(attrs={**attrs, "state": "complete"}).to_zarr(path, mode="a", consolidated=False)


def _masked_rows(profiles: list[ContactProfiles], config: SimulationConfig, lo: int, hi: int) -> np.ndarray:
    band = mean_contacts(profiles, config, lo, hi, config.n_diagonals)
    good = np.zeros(hi - lo + config.n_diagonals - 1, dtype=bool)
    seen = profiles[0].is_mappable[lo : lo + len(good)]
    good[: len(seen)] = seen
    return mask_band(band, good).astype(np.float32)


def _template(assembly: Assembly, n_bins: int, config: SimulationConfig, long_name: str) -> xr.Dataset:
    import dask.array as da
    from zarr.codecs import ZstdCodec

    shape = (n_bins, config.n_diagonals)
    contact = xr.DataArray(
        da.full(shape, np.nan, dtype=np.float32, chunks=(_TRUTH_ROWS, config.n_diagonals)),
        dims=("bin", "diagonal"),
        attrs={
            "long_name": long_name,
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
