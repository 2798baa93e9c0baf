"""ICE (iterative correction) by cooler's own balancing, which never writes to the user's file.

What is not a cooler is written to a temporary one first. ICE need not converge: on maps without a balanced form its variance
stays or grows. That is an error here, unless it is asked to go through, and is then on record.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import cooler
import numpy as np
import pandas as pd

from epizarr.errors import BalancingError, InputFileError
from epizarr.io.contacts import ContactsFile
from epizarr.io.contacts_source import ContactsInfo, ContactsSource, PixelPiece
from epizarr.normalize.scales import scale_as_hicexplorer

Extent = Literal["genome", "cis", "trans"]
IceScale = Literal["cooler", "hicexplorer"]

#: Pixels that cooler holds at a time, at about 60 bytes each.
_CHUNK_PIXELS = 2**22


@dataclass(frozen=True)
class IceParameters:
    """What cooler's balancing is told; the defaults are cooler's.

    Parameters
    ----------
    extent
        Contacts that take part: all (``"genome"``), those inside chromosomes, each chromosome being a fit of its own
        (``"cis"``), or those between chromosomes (``"trans"``).
    ignore_diags
        Number of diagonals, from the main one on, that do not take part.
    mad_max
        Drops bins whose log marginal, relative to their chromosome's median, lies more than this many median absolute
        deviations below the median; 0 drops none.
    min_nnz, min_count
        Drop bins with fewer pixels, or a smaller sum of counts; 0 drops none.
    tol
        Variance of the row sums below which a fit has converged, taken before they are scaled to 1: the deeper the map, the
        more it asks.
    max_iters
        Iterations after which it has not.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    extent: Extent = "genome"
    ignore_diags: int = 2
    mad_max: int = 5
    min_nnz: int = 10
    min_count: int = 0
    tol: float = 1e-5
    max_iters: int = 200

    def __post_init__(self) -> None:
        if self.extent not in get_args(Extent):
            raise ValueError(f"extent must be one of {get_args(Extent)}, not {self.extent!r}.")
        low = [name for name in ("ignore_diags", "mad_max", "min_nnz", "min_count") if getattr(self, name) < 0]
        if low or self.tol <= 0 or self.max_iters < 1:
            raise ValueError(
                f"ICE needs tol > 0 (it is {self.tol}), max_iters >= 1 (it is {self.max_iters}) and no negative number"
                f"{' in ' + ', '.join(low) if low else ''}."
            )


@dataclass(frozen=True)
class IceFit:
    """How one fit ended.

    Parameters
    ----------
    chroms
        Chromosomes fitted together, as the file names them.
    scale
        Mean row sum before it was scaled to 1; NaN where there was nothing to fit.
    variance
        Variance of the row sums that was reached, before they were scaled to 1.
    converged
        Whether it fell below ``tol``. A chromosome without anything to fit counts as converged.
    """

    chroms: tuple[str, ...]
    scale: float
    variance: float
    converged: bool


@dataclass(frozen=True)
class IceBalancing:
    """ICE weights of a file.

    Parameters
    ----------
    weights
        Multiplicative weights (balanced = count × w_i × w_j), float64 (bins), by chromosome as the file names it. NaN for a
        dropped bin.
    fits
        How each fit ended: one of the whole genome, or one of each chromosome.
    parameters
        What was asked for.
    scale
        ``"cooler"``: rows sum to 1; ``"hicexplorer"``: see :func:`~epizarr.normalize.scales.scale_as_hicexplorer`.
    cooler_version
        The cooler that did the work.
    """

    weights: dict[str, np.ndarray]
    fits: tuple[IceFit, ...]
    parameters: IceParameters
    scale: IceScale
    cooler_version: str

    @property
    def converged(self) -> bool:
        """Whether all fits converged."""
        return all(fit.converged for fit in self.fits)

    @property
    def n_dropped(self) -> int:
        """Number of bins without a weight."""
        return sum(int(np.isnan(weights).sum()) for weights in self.weights.values())

    def record(self) -> dict[str, Any]:
        """Everything but the weights, as JSON can hold it: for a store's attributes."""
        return {
            **asdict(self.parameters),
            "scale": self.scale,
            "converged": self.converged,
            "unconverged": {
                ", ".join(fit.chroms): fit.variance if np.isfinite(fit.variance) else str(fit.variance)
                for fit in self.fits
                if not fit.converged
            },
            "cooler_version": self.cooler_version,
        }

    def scaled_as_hicexplorer(self) -> "IceBalancing":
        """The same weights on HiCExplorer's scale, for each fit: the factors 1 / w have the mean 1.

        This changes the scale only. HiCExplorer also drops other bins (by a threshold that its user reads off a plot), lets
        the main diagonal take part, and stops by the largest deviation of a row sum.
        """
        weights = dict(self.weights)
        for fit in self.fits:
            scaled = scale_as_hicexplorer(np.concatenate([self.weights[chrom] for chrom in fit.chroms]))
            ends = np.cumsum([len(self.weights[chrom]) for chrom in fit.chroms])
            weights.update(zip(fit.chroms, np.split(scaled, ends[:-1]), strict=True))
        return replace(self, weights=weights, scale="hicexplorer")


def balance_ice(
    contacts: ContactsFile,
    parameters: IceParameters | None = None,
    *,
    scale: IceScale = "cooler",
    allow_unconverged: bool = False,
    chunk_pixels: int = _CHUNK_PIXELS,
    map_chunks: Callable[..., Any] = map,
    temp_dir: str | Path | None = None,
) -> IceBalancing:
    """Balance a file of contacts by ICE, as ``cooler balance`` does; the file is only read.

    The pixels are read once for each iteration, in pieces of about 60 bytes a pixel: 250 MB by default. A ``.hic``, and counts
    that were merged or thinned, are first written to a temporary ``.cool``, which is deleted afterwards.

    Parameters
    ----------
    contacts
        The file. Other formats than ``.cool`` and ``.mcool``, and merged or thinned counts, give contacts inside chromosomes
        only.
    parameters
        What cooler is told; its own defaults if left out.
    scale
        ``"cooler"``: the rows of the balanced map sum to 1. ``"hicexplorer"``: see
        :meth:`IceBalancing.scaled_as_hicexplorer`.
    allow_unconverged
        Return weights that did not converge; :attr:`IceBalancing.fits` tells which, and how far they got.
    chunk_pixels
        Number of pixels of a piece.
    map_chunks
        How pieces are worked on: ``map``, or the ``imap`` of a pool. It must keep their order, so that sums come out alike.
    temp_dir
        Where the temporary file goes: some bytes a pixel. The system's folder by default.

    Returns
    -------
    Weights by chromosome, and how the fits ended.

    Raises
    ------
    BalancingError
        If a fit did not converge and ``allow_unconverged`` is not set.
    InputFileError
        If the file is no cooler, or its counts were merged or thinned, and contacts between chromosomes are asked for.
    """
    parameters = parameters or IceParameters()
    if scale not in get_args(IceScale):
        raise ValueError(f"scale must be one of {get_args(IceScale)}, not {scale!r}.")
    info = contacts.info
    require_ice_extent(info, parameters.extent)
    if _is_cooler(info):
        found = _balance_cooler(info.uri, parameters, chunk_pixels, map_chunks)
    else:
        with tempfile.TemporaryDirectory(dir=temp_dir, prefix="epizarr-ice-") as folder:
            path = Path(folder) / "cis.cool"
            write_cis_cool(contacts.source, path)
            found = _balance_cooler(str(path), parameters, chunk_pixels, map_chunks)
    if not found.converged and not allow_unconverged:
        raise BalancingError(_say_unconverged(info.label, found))
    return found.scaled_as_hicexplorer() if scale == "hicexplorer" else found


def _is_cooler(info: ContactsInfo) -> bool:
    """Whether cooler can open the counts: those that were merged or thinned are not the file's, whatever its format."""
    return info.format in ("cool", "mcool") and info.derived is None


def require_ice_extent(info: ContactsInfo, extent: Extent) -> None:
    """Refuse an extent that the contacts cannot be balanced over; call it before work starts.

    Raises
    ------
    InputFileError
        If contacts between chromosomes are asked for, and the counts are not those of a ``.cool`` or ``.mcool``.
    """
    if extent == "cis" or _is_cooler(info):
        return
    convert = (
        "Convert the file (`hictk convert`)" if info.derived is None else "Merge or thin with other programs first"
    )
    raise InputFileError(
        f"{info.label}: ICE of the extent {extent!r} needs contacts between chromosomes, which are read from .cool and .mcool "
        f"only. {convert}, or balance each chromosome by itself (extent 'cis')."
    )


def write_cis_cool(source: ContactsSource, path: Path) -> None:
    """Write the cis pixels of all chromosomes of a source to a new ``.cool``, piece by piece.

    A source that gives its pixels row by row is written as it comes; one that does not is sorted on disk by cooler, which
    holds 20 million pixels at a time.

    Parameters
    ----------
    source
        Any reader of contacts.
    path
        File to write; it is replaced.
    """
    info = source.info
    bins = cooler.binnify(pd.Series(info.chrom_lengths), info.binsize)
    # float64 holds whatever a source counts; it compresses as well as integers do.
    arguments = {"bins": bins, "dtypes": {"count": np.float64}, "symmetric_upper": True}
    try:
        cooler.create_cooler(str(path), pixels=_checked_order(_iter_frames(source)), ordered=True, **arguments)
    except _NotInOrderError:
        cooler.create_cooler(str(path), pixels=_iter_frames(source), ordered=False, **arguments)


class _NotInOrderError(Exception):
    """A source gave a pixel after one that belongs behind it."""


def _iter_frames(source: ContactsSource) -> Iterator[pd.DataFrame]:
    for chrom in source.info.chrom_lengths:
        offset = source.info.bin_offset(chrom)
        for piece in source.iter_pixels(chrom, 0, source.info.n_bins(chrom), None):
            yield _sorted_frame(piece, offset)


def _sorted_frame(piece: PixelPiece, offset: int) -> pd.DataFrame:
    order = np.lexsort((piece.bin2, piece.bin1))
    return pd.DataFrame(
        {
            "bin1_id": piece.bin1[order] + offset,
            "bin2_id": piece.bin2[order] + offset,
            "count": piece.count[order].astype(np.float64),
        }
    )


def _checked_order(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    last = (-1, -1)
    for frame in frames:
        if len(frame):
            bin1, bin2 = frame["bin1_id"].to_numpy(), frame["bin2_id"].to_numpy()
            if (bin1[0], bin2[0]) <= last:
                raise _NotInOrderError
            last = (bin1[-1], bin2[-1])
        yield frame


def _balance_cooler(
    uri: str, parameters: IceParameters, chunk_pixels: int, map_chunks: Callable[..., Any]
) -> IceBalancing:
    clr = cooler.Cooler(uri)
    keywords = asdict(parameters)
    extent = keywords.pop("extent")
    with warnings.catch_warnings():
        # Non-convergence is reported below; empty chromosomes make NumPy warn of means of nothing.
        warnings.simplefilter("ignore")
        bias, stats = cooler.balance_cooler(
            clr,
            **keywords,
            cis_only=extent == "cis",
            trans_only=extent == "trans",
            chunksize=chunk_pixels,
            map=map_chunks,
            store=False,
        )
    # Where a fit runs away, weights overflow.
    bias = np.where(np.isfinite(bias) & (bias > 0), bias, np.nan)
    chroms = tuple(clr.chromnames)
    groups = [(chrom,) for chrom in chroms] if extent == "cis" else [chroms]
    outcome = (np.atleast_1d(stats[name]) for name in ("scale", "var", "converged"))
    fits = tuple(
        IceFit(group, float(scale), float(variance), bool(converged))
        for group, scale, variance, converged in zip(groups, *outcome, strict=True)
    )
    weights = {chrom: bias[slice(*clr.extent(chrom))] for chrom in chroms}
    return IceBalancing(weights, fits, parameters, "cooler", cooler.__version__)


def _say_unconverged(label: str, found: IceBalancing) -> str:
    bad = [fit for fit in found.fits if not fit.converged]
    named = [
        f"{fit.chroms[0] if len(fit.chroms) == 1 else 'the genome'} "
        f"(variance {fit.variance:.2g} at a mean row sum of {fit.scale:.2g})"
        for fit in bad
    ]
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return (
        f"{label}: ICE did not converge in {found.parameters.max_iters} iterations on {', '.join(named[:6])}{more}; a "
        f"variance below {found.parameters.tol:.2g} was needed. Where the variance is near that, raise `max_iters`; where it "
        "is huge, the map has no balanced form on these bins: drop more of them (a larger `min_nnz`, a smaller `mad_max`), "
        "use coarser bins, or KR. `allow_unconverged` takes the weights as they are, and records it."
    )
