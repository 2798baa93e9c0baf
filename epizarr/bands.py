"""The geometry of contacts near the diagonal: band, stripes, pixels and square, and how they mirror.

- *band*, dims (bin, diagonal): ``band[i, k]`` is pixel (i, i + k);
- *stripes*, dims (bin, offset): ``stripes[m, k]`` is pixel (m - ceil(k/2), m + floor(k/2)), the zig-zag line orthogonal
  to the diagonal that the model emits at bin m;
- *pixels*: ``bin1_id <= bin2_id`` and a value each; *square*: the symmetric matrix.

Chromosomes are concatenated along ``bin``. A band is NaN wherever i + k lies off the chromosome of i, and that alone keeps
every gather below from crossing a chromosome's end. Stripes that a model *computed* know no such ends: mask them with
:func:`stripe_on_chromosome`.
"""

from typing import Literal

import numpy as np
import xarray as xr

from epizarr.genome import BinGrid


def stripe_margins(n_offsets: int) -> tuple[int, int]:
    """How many bins a stripe of ``n_offsets`` reaches to the left and to the right of its own bin."""
    return n_offsets // 2, (n_offsets - 1) // 2


def _left(n_offsets: int) -> np.ndarray:
    """ceil(k / 2) for each offset: distance from a stripe's bin down to the first bin of its pixel."""
    return (np.arange(n_offsets) + 1) // 2


def shift_columns(values: np.ndarray, shifts: np.ndarray, first: int = 0, n_rows: int | None = None) -> np.ndarray:
    """Gather ``out[r, k] = values[first + r + shifts[k], k]``, NaN where that row is not there.

    Parameters
    ----------
    values
        Array (rows, columns).
    shifts
        One shift in rows for each column that is wanted; fewer than ``values`` has is allowed.
    first, n_rows
        Which output rows to make. All by default.
    """
    n_rows = values.shape[0] if n_rows is None else n_rows
    out = np.full((n_rows, len(shifts)), np.nan, dtype=values.dtype)
    for k, shift in enumerate(np.asarray(shifts).tolist()):
        lo = max(0, -(first + shift))
        hi = min(n_rows, values.shape[0] - first - shift)
        if lo < hi:
            out[lo:hi, k] = values[first + shift + lo : first + shift + hi, k]
    return out


def gather_stripes(band: np.ndarray, first: int, n_bins: int, n_offsets: int) -> np.ndarray:
    """Stripes at rows ``[first, first + n_bins)`` of a NumPy band, shape (n_bins, n_offsets).

    Pixels whose first bin lies before row 0 of ``band`` are NaN: give the band ``stripe_margins(n_offsets)[0]`` rows of
    margin on the left. Rows past the band's end are NaN too.
    """
    return shift_columns(band, -_left(n_offsets), first, n_bins)


def scatter_stripes(stripes: np.ndarray, first: int, n_bins: int, n_diagonals: int) -> np.ndarray:
    """Band rows ``[first, first + n_bins)`` from NumPy stripes, shape (n_bins, n_diagonals): undoes :func:`gather_stripes`.

    Pixels whose stripe lies past the last row of ``stripes`` are NaN: give ``ceil((n_diagonals - 1) / 2)`` rows of margin
    on the right.
    """
    return shift_columns(stripes, _left(n_diagonals), first, n_bins)


def _check_width(array: xr.DataArray, dim: str, n: int | None) -> int:
    have = array.sizes[dim]
    if n is None:
        return have
    if not 1 <= n <= have:
        raise ValueError(f"{n} {dim}s asked of an array that stores {have}; ask for 1 to {have}.")
    return n


def _shift_lazily(array: xr.DataArray, shifts: np.ndarray, dim_in: str, dim_out: str) -> xr.DataArray:
    array = array.transpose("bin", dim_in).isel({dim_in: slice(0, len(shifts))})
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)  # missing values need NaN
    data = array.data
    if isinstance(data, np.ndarray):
        shifted = shift_columns(data, shifts)
    else:
        import dask.array as da

        data = data.rechunk({1: -1})
        depth = min(int(np.abs(shifts).max()), data.shape[0])
        shifted = da.map_overlap(
            shift_columns,
            data,
            shifts=shifts,
            depth={0: depth, 1: 0},
            boundary={0: np.nan, 1: "none"},
            dtype=data.dtype,
        )
    coords = {name: c for name, c in array.coords.items() if dim_in not in c.dims}
    out = xr.DataArray(shifted, dims=("bin", dim_out), coords=coords, name=array.name, attrs=array.attrs)
    return out.assign_coords({dim_out: np.arange(len(shifts))})


def stripes_from_band(band: xr.DataArray, *, n_offset: int | None = None) -> xr.DataArray:
    """Gather the stripe at every bin from a band of diagonals. Lazy for Dask arrays.

    Parameters
    ----------
    band
        Contacts, dims ``("bin", "diagonal")``, NaN where ``i + k`` is off the chromosome.
    n_offset
        Length of a stripe in bins. All stored diagonals by default.

    Returns
    -------
    Stripes, dims ``("bin", "offset")``, dtype of ``band`` (integers become float64). NaN where either end of the pixel
    is off the chromosome.

    Raises
    ------
    ValueError
        If ``n_offset`` exceeds the number of stored diagonals.

    Examples
    --------
    >>> band = xr.DataArray([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan]], dims=("bin", "diagonal"))
    >>> stripes_from_band(band).values
    array([[ 1., nan],
           [ 3.,  2.],
           [ 5.,  4.]])
    """
    n = _check_width(band, "diagonal", n_offset)
    return _shift_lazily(band, -_left(n), "diagonal", "offset")


def mean_of_runs(values: np.ndarray, factor: int) -> np.ndarray:
    """Means over runs of neighbouring rows, for pictures of regions with more bins than columns.

    On stripes (bin, offset) this averages along the genome and leaves distances as fine as they are.

    Parameters
    ----------
    values
        Floating-point array (bin, …); NaN is left out of a mean.
    factor
        Rows of a run. The last run may be shorter.

    Returns
    -------
    Array (run, …), dtype of ``values``, summed in float64. NaN where all of a run is missing.
    """
    if factor == 1 or not len(values):
        return values
    starts = np.arange(0, len(values), factor)
    known = ~np.isnan(values)
    total = np.add.reduceat(np.where(known, values, 0), starts, axis=0, dtype=np.float64)
    number = np.add.reduceat(known, starts, axis=0, dtype=np.int64)
    with np.errstate(invalid="ignore"):
        return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(values.dtype)


def band_from_stripes(stripes: xr.DataArray, *, n_diagonal: int | None = None) -> xr.DataArray:
    """Put stripes back into a band: the inverse of :func:`stripes_from_band`. Lazy for Dask arrays.

    Parameters
    ----------
    stripes
        Dims ``("bin", "offset")``, NaN where either end of the pixel is off the chromosome.
    n_diagonal
        Number of diagonals wanted. All offsets by default.

    Returns
    -------
    Band, dims ``("bin", "diagonal")``.

    Raises
    ------
    ValueError
        If ``n_diagonal`` exceeds the number of offsets.
    """
    n = _check_width(stripes, "offset", n_diagonal)
    return _shift_lazily(stripes, _left(n), "offset", "diagonal")


def band_on_chromosome(grid: BinGrid, lo: int, hi: int, n_diagonals: int) -> np.ndarray:
    """Which pixels of band rows ``[lo, hi)`` (bin ids) lie on one chromosome, bool (hi - lo, n_diagonals)."""
    left = grid.n_valid_diagonals(np.arange(lo, hi))
    return np.arange(n_diagonals)[None, :] < left[:, None]


def stripe_on_chromosome(first: int, n_bins: int, n_chrom_bins: int, n_offsets: int) -> np.ndarray:
    """Which stripe pixels lie on the chromosome, bool (n_bins, n_offsets); ``first`` is chromosome-local, may be < 0."""
    m = np.arange(first, first + n_bins)[:, None]
    left = _left(n_offsets)[None, :]
    right = np.arange(n_offsets)[None, :] - left
    return (m - left >= 0) & (m + right < n_chrom_bins)


def mask_band(band: np.ndarray, good: np.ndarray, min_diagonal: int = 0) -> np.ndarray:
    """Set to NaN every pixel that touches a bin that is not good, or lies below ``min_diagonal``; returns a new array.

    Parameters
    ----------
    band
        Rows of a band, (n, K).
    good
        Bool for bins i, i + 1, … of the first row on, length n + K - 1: the second bins of the last rows are needed too.
    min_diagonal
        First diagonal to keep.
    """
    n, n_diagonals = band.shape
    second = _second_bin_view(good, n, n_diagonals)
    keep = good[:n, None] & second
    keep[:, :min_diagonal] = False
    return np.where(keep, band, np.nan).astype(band.dtype, copy=False)


def balance_band(count: np.ndarray, weight: np.ndarray, ignore_diags: int = 0) -> np.ndarray:
    """Balanced contacts ``count · w_i · w_j`` of band rows, float64 (n, K).

    Parameters
    ----------
    count
        Raw counts (n, K), NaN off the chromosome.
    weight
        Multiplicative weights of bins i, i + 1, …, length n + K - 1; NaN marks a bad bin or one off the chromosome.
    ignore_diags
        Diagonals below this were left out when the weights were fitted; they become NaN.
    """
    n, n_diagonals = count.shape
    balanced = count.astype(np.float64) * weight[:n, None] * _second_bin_view(weight, n, n_diagonals)
    balanced[:, :ignore_diags] = np.nan
    return balanced


def _second_bin_view(per_bin: np.ndarray, n: int, n_diagonals: int) -> np.ndarray:
    """View ``out[i, k] = per_bin[i + k]``, shape (n, n_diagonals)."""
    if len(per_bin) != n + n_diagonals - 1:
        raise ValueError(
            f"per-bin values: {len(per_bin)} given, {n} rows of {n_diagonals} diagonals need {n + n_diagonals - 1}."
        )
    return np.lib.stride_tricks.sliding_window_view(per_bin, n_diagonals)[:n]


def pixels_from_band(band: np.ndarray, first_bin: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of all entries that are not NaN: ``bin1_id``, ``bin2_id`` (int64, sorted) and value."""
    row, k = np.nonzero(~np.isnan(band))
    return first_bin + row, first_bin + row + k, band[row, k]


def band_from_pixels(
    bin1_id: np.ndarray, bin2_id: np.ndarray, value: np.ndarray, *, n_bins: int, n_diagonals: int, first_bin: int = 0
) -> np.ndarray:
    """Band rows ``[first_bin, first_bin + n_bins)`` from pixels, float64 (n_bins, n_diagonals).

    Repeated pixels are summed, pixels outside the rows or past the last diagonal dropped, absent pixels are 0.

    Raises
    ------
    ValueError
        If a pixel has ``bin1_id > bin2_id``.
    """
    row = np.asarray(bin1_id, dtype=np.int64) - first_bin
    k = np.asarray(bin2_id, dtype=np.int64) - first_bin - row
    if (k < 0).any():
        raise ValueError("pixels need bin1_id <= bin2_id; swap the ends of those below the diagonal.")
    keep = (row >= 0) & (row < n_bins) & (k < n_diagonals)
    flat = row[keep] * n_diagonals + k[keep]
    summed = np.bincount(flat, weights=np.asarray(value, dtype=np.float64)[keep], minlength=n_bins * n_diagonals)
    return summed.reshape(n_bins, n_diagonals).astype(np.float64, copy=False)  # bincount of nothing is an integer


def coarsen_band(band: np.ndarray, factor: int, how: Literal["mean", "sum"]) -> np.ndarray:
    """Band of bins that are ``factor`` times as wide.

    Parameters
    ----------
    band
        Rows (n, K) of one chromosome, the first of which begins a wide bin; NaN where missing.
    factor
        Narrow bins of a wide one. The last wide bin may have fewer.
    how
        ``"sum"``: of the pixels inside, each pair of bins once, as contacts add up. ``"mean"``: of the cells of the symmetric
        matrix inside, so that a wide pixel on the diagonal has all other pixels twice.

    Returns
    -------
    float64 (ceil(n / factor), ceil((K - 1) / factor) + 1). Missing pixels count neither in sum nor in mean; NaN where there is
    none but them.
    """
    n, n_diagonals = band.shape
    shape = (-(-n // factor), -(-(n_diagonals - 1) // factor) + 1)
    total, number = np.zeros(shape), np.zeros(shape)
    for residue in range(min(factor, n)):
        # Row residue of each wide bin: its pixel k lies (residue + k) // factor wide bins away.
        rows = band[residue::factor]
        known = ~np.isnan(rows)
        values = np.where(known, rows, 0)
        starts = np.concatenate([[0], np.arange(factor - residue, n_diagonals, factor)])
        sums = np.add.reduceat(values, starts, axis=1, dtype=np.float64)
        counts = np.add.reduceat(known, starts, axis=1, dtype=np.float64)
        if how == "mean":
            sums[:, 0] = 2 * sums[:, 0] - values[:, 0]
            counts[:, 0] = 2 * counts[:, 0] - known[:, 0]
        total[: len(rows), : len(starts)] += sums
        number[: len(rows), : len(starts)] += counts
    if how == "mean":
        total /= np.maximum(number, 1)
    return np.where(number > 0, total, np.nan)


def square_from_band(band: np.ndarray) -> np.ndarray:
    """Symmetric square (n, n) of n consecutive band rows; NaN beyond the last diagonal.

    For a region at most a few Mb wide: a whole chromosome's square is never needed.
    """
    n, n_diagonals = band.shape
    square = np.full((n, n), np.nan, dtype=np.result_type(band.dtype, np.float32))
    for k in range(min(n, n_diagonals)):
        i = np.arange(n - k)
        square[i, i + k] = square[i + k, i] = band[: n - k, k]
    return square


def band_from_square(square: np.ndarray, n_diagonals: int) -> np.ndarray:
    """Band (n, n_diagonals) of a square's upper triangle; NaN off the square."""
    n = square.shape[0]
    band = np.full((n, n_diagonals), np.nan, dtype=np.result_type(square.dtype, np.float32))
    for k in range(min(n, n_diagonals)):
        band[: n - k, k] = np.diagonal(square, k)
    return band


def mirror_band(band: np.ndarray) -> np.ndarray:
    """Band of a whole chromosome read backwards: ``out[i, k] = band[N - 1 - i - k, k]``, NaN off the chromosome."""
    return shift_columns(band[::-1], np.arange(band.shape[1]))


def mirror_stripes(stripes: np.ndarray) -> np.ndarray:
    """Stripes of a window of n bins read backwards, from the n + 1 rows of bins 0 … n.

    ``out[m, k]`` is ``stripes[n - 1 - m, k]`` for even k and ``stripes[n - m, k]`` for odd k, whose first row lies one bin
    past the window: gather that row from the band, or give NaN. Shape (n + 1, K) in, (n, K) out.
    """
    n = stripes.shape[0] - 1
    out = np.empty((n, stripes.shape[1]), dtype=stripes.dtype)
    out[:, 0::2] = stripes[n - 1 :: -1, 0::2] if n else stripes[:0, 0::2]
    out[:, 1::2] = stripes[:0:-1, 1::2]
    return out
