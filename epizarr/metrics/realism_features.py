"""Fixed features of windows of a map, and the Fréchet distance between the windows of two maps.

The usual Fréchet distance of images takes its features from a network trained on photographs. These are statistics that Hi-C maps
are looked at for, the same for everyone, without a weight to download: of each window, in standardised units,

1. the mean, 2. the log standard deviation, 3. the log mean squared step along the genome, and 4. that across distances, each in
   four ranges of distance that widen geometrically;
5. the log power in four octaves of spatial frequency, from 1/32 to 1/2 cycles a bin;
6. the log standard deviation along the genome of an insulation profile, the mean contact across each bin up to 10, 20 and 40
   offsets: how deep boundaries are, at several scales;
7. how far the 99th and the 1st percentile lie from the median: how far loops and gaps stand out.

Logs are of ``FLOOR + x``, so that a map without any detail has finite features.

The distance is that of the normal distributions with the features' means and covariances (Fréchet 1957; Heusel et al. 2017,
arXiv:1706.08500). It is positive for finite samples of one source, and the more so the fewer they are: it takes equal numbers of
windows, and is to be read beside a replicate's.
"""

import numpy as np

from epizarr.metrics.realism import ColumnScale

#: Ranges of distance, offsets that an insulation profile reaches to, edges of the octaves in cycles/bin, and the logs' floor.
N_RANGES = 4
INSULATION_OFFSETS = (10, 20, 40)
OCTAVES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
FLOOR = 1e-4
_BATCH = 32


def window_features(windows: np.ndarray, scale: ColumnScale) -> np.ndarray:
    """Fixed features of windows; see the module.

    Parameters
    ----------
    windows
        Stripes, (window, bin, offset), in the units in which maps are compared. A missing pixel (NaN) counts as the mean of its
        offset: give both maps one mask.
    scale
        Mean and spread of the measured map's offsets, by which windows are standardised.

    Returns
    -------
    Features, float64 (window, feature); 25 of them for 40 offsets and more, none without a window.
    """
    # A few at a time: the Fourier transforms hold 10 times what the windows do.
    parts = [_features_of(windows[lo : lo + _BATCH], scale) for lo in range(0, len(windows), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros((0, 0))


def _features_of(windows: np.ndarray, scale: ColumnScale) -> np.ndarray:
    x = scale.apply(windows).astype(np.float64)
    n_bins, n_offsets = x.shape[1:]
    edges = np.unique(np.round(np.geomspace(1, n_offsets, N_RANGES + 1)).astype(int))
    ranges = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    along, across = np.diff(x, axis=1), x[:, :, 2:] - x[:, :, :-2]  # every other offset: neighbours of one zig-zag
    columns = [x[:, :, part].mean(axis=(1, 2)) for part in ranges]
    columns += [_log(x[:, :, part].std(axis=(1, 2))) for part in ranges]
    columns += [_log(np.square(along[:, :, part]).mean(axis=(1, 2))) for part in ranges]
    for part in ranges:
        steps = across[:, :, slice(min(part.start, across.shape[2] - 1), part.stop)]
        columns.append(_log(np.square(steps).mean(axis=(1, 2))))
    taper = np.outer(np.hanning(n_bins + 1)[:n_bins], np.hanning(n_offsets + 1)[:n_offsets])
    power = np.abs(np.fft.fft2(x * taper)) ** 2 / np.square(taper).sum()
    radius = np.hypot(np.fft.fftfreq(n_bins)[:, None], np.fft.fftfreq(n_offsets)[None, :])
    for low, high in zip(OCTAVES, OCTAVES[1:], strict=False):
        ring = (radius >= low) & (radius < high)
        columns.append(_log(power[:, ring].mean(axis=1)) if ring.any() else np.zeros(len(x)))
    columns += [_log(x[:, :, :reach].mean(axis=2).std(axis=1)) for reach in INSULATION_OFFSETS if reach <= n_offsets]
    low, middle, high = np.quantile(x.reshape(len(x), -1), [0.01, 0.5, 0.99], axis=1)
    return np.stack([*columns, high - middle, middle - low], axis=1)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(FLOOR + values)


def frechet_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Squared Fréchet distance of two normal distributions that have the means and covariances of two samples.

    ``|m1 - m2|² + trace(C1 + C2 - 2 (C1 C2)^½)``; 0 for equal samples.

    Parameters
    ----------
    features, reference
        Samples, (window, feature), as many of each: the distance depends on their number.

    Returns
    -------
    The distance, in squared units of the features; NaN for fewer than two windows.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]))
    9.0
    """
    if features.shape != reference.shape or features.ndim != 2:
        raise ValueError(
            f"Fréchet distance: samples of shapes {features.shape} and {reference.shape}; needs as many windows of each map, "
            "with the same features."
        )
    if len(features) < 2:
        return float("nan")
    gap = np.square(features.mean(axis=0) - reference.mean(axis=0)).sum()
    own, other = (np.atleast_2d(np.cov(sample, rowvar=False)) for sample in (features, reference))
    values, vectors = np.linalg.eigh(own)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # C1 C2 has the eigenvalues of the symmetric C1^½ C2 C1^½.
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    return float(max(gap + np.trace(own) + np.trace(other) - 2 * shared, 0.0))


def scaled_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """Fréchet distance of features divided by the reference's standard deviation each: without units.

    A feature in which the windows of the reference do not differ is left out.
    """
    spread = reference.std(axis=0) if len(reference) else np.zeros(reference.shape[1])
    used = spread > 1e-9
    return frechet_distance(features[:, used] / spread[used], reference[:, used] / spread[used])
