"""What a user should look at, from the figures that :mod:`epizarr.ingest.qc` measured.

One sentence a warning: the object, the figure, what to look at. A sound input gives none. Thresholds are constants with their
reason; they separate what is usual from what has a cause, and are no verdict on the biology.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from epizarr.metrics.coverage import DEEP_CONTACTS, DEEP_SHARE

#: Sharp peaks reach some ten times a chromosome's 99.9th percentile; what lies far above is an artefact more often than not.
MAX_OUTLIER_RATIO = 30.0
#: Ten bins above the 99.9th percentile are the least from which that percentile can be told.
MIN_OUTLIER_BINS = 10_000
#: Gaps of the assembly are missing in every track; a tenth more than in the others is a lost part or another threshold.
MAX_MISSING_SHARE = 0.1
#: Gaps take less than a third of any human chromosome but Y. A track with less than half of a GENOME lists peaks only.
MIN_MEASURED_SHARE = 0.5
#: Sequencing leaves reads over most of a genome. Where nine bins in ten are exactly zero, somebody kept the peaks alone.
MAX_ZERO_SHARE = 0.9
#: Most of a genome blacklisted means the wrong file or the wrong assembly. ENCODE's lists cover up to 8 %.
MAX_BLACKLISTED_SHARE = 0.2
#: Balancing gives up a few per cent of the bins that have contacts. A tenth: the map is too sparse, or the filter strict.
MAX_UNWEIGHTED_SHARE = 0.1
#: Balanced rows are equal over all their pixels; over a band of 2 Mb they vary by 12 to 16 % (GM12878 chr21, simulator). There,
#: square roots of the weights (as vc_sqrt) give up to 26 %, weights of the neighbouring bin 30 to 38 %, divisors 59 to 68 %.
MAX_MARGINAL_CV = 0.28
#: Contacts of interphase cells fall as distance^-0.7 to ^-1.2, within a band too.
MAX_DECAY_EXPONENT = -0.3
#: One copy instead of two, or four, changes a chromosome's contacts a bin twofold. More is a lost or an added part.
MAX_DEPTH_RATIO = 4.0
_N_LISTED = 5


def judge_tracks(figures: xr.Dataset) -> list[str]:
    """Sentences on the tracks of one group (:func:`epizarr.ingest.qc.assess_store`)."""
    chroms = [str(name) for name in figures["chrom_name"].values]
    found = []
    for index, name in enumerate(figures["track"].values):
        found += [f"track {str(name)!r}: {text}" for text in _judge_track(figures.isel(track=index), chroms)]
    found += _peak_lists(figures)
    found += _identical_tracks(figures)
    n_bins = figures["n_bins"].values
    blacklisted = float(figures["blacklisted_share"].values @ n_bins / n_bins.sum())
    if blacklisted > MAX_BLACKLISTED_SHARE:
        found.append(
            f"blacklist: it covers {blacklisted:.0%} of the bins: look whether it is the list of this assembly, and a list of "
            "regions to leave out rather than to keep"
        )
    return found


def _judge_track(track: xr.Dataset, chroms: Sequence[str]) -> Iterator[str]:
    n_bins, measured = track["n_bins"].values, track["measured_share"].values
    if track["n_infinite"].values.any():
        yield (
            f"{int(track['n_infinite'].sum())} values are infinite on {_listed(chroms, track['n_infinite'].values > 0)}: "
            "make the bigWig again without them, they spoil every mean"
        )
    absent = measured == 0
    if absent.all():
        yield "no bin is measured: look whether the file is the right one"
        return
    if absent.any():
        yield (
            f"nothing is measured on {_listed(chroms, absent)}: look whether the file has this chromosome, and under this name"
        )
    lost = (track["missing_share"].values > MAX_MISSING_SHARE) & ~absent
    genome_share = float(measured @ n_bins / n_bins.sum())
    if lost.any():
        worst = int(np.argmax(np.where(lost, track["missing_share"].values, -1)))
        yield (
            f"{track['missing_share'].values[worst]:.0%} of {chroms[worst]} is missing here and measured in another track"
            f'{_others(chroms, lost, worst)}: look for a lost part of the file, or set `uncovered = "zero"` if it lists '
            "peaks only"
        )
    elif genome_share < MIN_MEASURED_SHARE and not absent.any():
        yield (
            f"{genome_share:.0%} of the bins are measured: look whether the file lists peaks only, and set "
            '`uncovered = "zero"` if it does'
        )
    zero = track["zero_share"].values == 1
    if zero.any():
        yield f"all zero on {_listed(chroms, zero)}: look whether the assay covers it; a model would learn that nothing is there"
    no_peaks = _is_without_peaks(track)
    if no_peaks.any():
        yield (
            f"more than 99.9 % of the bins are zero on {_listed(chroms, no_peaks)}: look whether the file holds a signal, or a "
            "few peaks; clipping at the 99.9th percentile would leave nothing"
        )
    yield from _outliers(track, chroms)
    lowest = track["minimum"].values
    if (lowest < 0).any():
        worst = int(np.nanargmin(lowest))
        yield (
            f"values are negative, down to {lowest[worst]:.3g} on {chroms[worst]}: look whether it is a log ratio; the default "
            "transform takes log(1 + value)"
        )


def _outliers(track: xr.Dataset, chroms: Sequence[str]) -> Iterator[str]:
    enough = track["n_kept"].values >= MIN_OUTLIER_BINS
    ratio = np.where(enough, track["outlier_ratio"].values, np.nan)
    far = ratio > MAX_OUTLIER_RATIO
    if far.any():
        worst = int(np.nanargmax(ratio))
        advice = (
            "look for artefacts there"
            if (track["blacklisted_share"].values > 0).any()
            else "look for artefacts there, and add the assembly's blacklist"
        )
        yield (
            f"maximum {track['maximum'].values[worst]:.4g} at {chroms[worst]}:{track['maximum_start'].values[worst]:,} is "
            f"{ratio[worst]:.0f} times the chromosome's 99.9th percentile{_others(chroms, far, worst)}: {advice}"
        )


def _is_without_peaks(track: xr.Dataset) -> np.ndarray:
    """Chromosomes whose 99.9th percentile is zero though there is a signal, bool (chroms)."""
    enough = track["n_kept"].values >= MIN_OUTLIER_BINS
    return enough & (track["percentile_value"].values[:, -1] == 0) & (track["maximum"].values > 0)


def _peak_lists(figures: xr.Dataset) -> Iterator[str]:
    """One sentence on all tracks that are zero nearly everywhere."""
    found = []
    for index, name in enumerate(figures["track"].values):
        track = figures.isel(track=index)
        n_measured = track["n_bins"].values * track["measured_share"].values
        if n_measured.any() and not _is_without_peaks(track).any():
            zero = float(np.nansum(track["zero_share"].values * n_measured) / n_measured.sum())
            if MAX_ZERO_SHARE < zero < 1:
                found.append(f"{name} ({zero:.1%})")
    if found:
        yield (
            f"track{'s' if len(found) > 1 else ''} {', '.join(found)}: so many measured bins are exactly zero: look whether the "
            "files are lists of peaks, and prefer coverage, a fold change or a p-value along the genome"
        )


def _identical_tracks(figures: xr.Dataset) -> list[str]:
    """Tracks with the same values everywhere. Tracks without a value are told of elsewhere."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for index, name in enumerate(figures["track"].values):
        if (figures["measured_share"].values[index] > 0).any():
            groups.setdefault(tuple(figures["digest"].values[index]), []).append(str(name))
    return [
        f"tracks {' and '.join(names)} are identical: look whether one file was named twice"
        for names in groups.values()
        if len(names) > 1
    ]


def judge_contacts(figures: xr.Dataset) -> list[str]:
    """Sentences on the contacts of one group (:func:`epizarr.ingest.qc.assess_store`)."""
    return [*_judge_counts(figures), *(t for i in range(figures.sizes["variable"]) for t in _judge_band(figures, i))]


def _judge_counts(figures: xr.Dataset) -> Iterator[str]:
    chroms = [str(name) for name in figures["chrom_name"].values]
    n_contacts = figures["n_contacts"].values
    empty = n_contacts == 0
    if empty.any():
        yield f"no contacts on {_listed(chroms, empty)}: look whether the file has this chromosome, and under this name"
    if empty.all():
        return
    covered = figures["n_covered"].values
    depth = n_contacts / np.maximum(covered, 1)
    # The chromosome that the middle bin lies on: few odd ones do not move it.
    order = np.argsort(depth)
    so_far = np.cumsum(covered[order])
    usual = depth[order][np.searchsorted(so_far, so_far[-1] / 2)]
    odd = ~empty & ((depth < usual / MAX_DEPTH_RATIO) | (depth > usual * MAX_DEPTH_RATIO))
    if odd.any():
        worst = int(np.argmax(np.where(odd, np.abs(np.log(np.where(empty, 1, depth) / usual)), -1)))
        yield (
            f"a bin of {chroms[worst]} has {depth[worst] / usual:.2g} times the contacts of the genome's middle one"
            f"{_others(chroms, odd, worst)}: look for a lost part or another copy number"
        )
    supported, binsize = figures.attrs["supported_binsize"], figures.attrs["binsize"]
    if supported is None or supported > binsize:
        what = (
            f"bins of {format_bp(supported)}" if supported else f"no bins up to {format_bp(int(figures['merged'][-1]))}"
        )
        share = float(figures["deep_share"].values[0])
        yield (
            f"the depth supports {what}, the map has bins of {format_bp(binsize)}: {share:.0%} of them have "
            f"{DEEP_CONTACTS} contacts within {format_bp(figures.attrs['span_bp'])}, {DEEP_SHARE:.0%} should; look whether "
            "single pixels are noise, and prefer wider bins"
        )


def _judge_band(figures: xr.Dataset, index: int) -> Iterator[str]:
    chroms = [str(name) for name in figures["chrom_name"].values]
    band = figures.isel(variable=index)
    name = str(band["variable"].values)
    is_there = band["n_contacts"].values > 0
    lost = is_there & (band["nan_share"].values == 1)
    if lost.any():
        yield f"{name}: every value is missing on {_listed(chroms, lost)}, which has contacts: look at the weights"
    unweighted = np.where(lost, np.nan, band["unweighted_seen_share"].values)
    many = unweighted > MAX_UNWEIGHTED_SHARE
    if many.any():
        worst = int(np.nanargmax(unweighted))
        yield (
            f"{name}: {unweighted[worst]:.0%} of the bins of {chroms[worst]} that have contacts have no weight"
            f"{_others(chroms, many, worst)}: look whether the map is too sparse for these bins, or the filter too strict"
        )
    spread = band["marginal_cv"].values
    uneven = (spread > MAX_MARGINAL_CV) & (name != "count")
    if uneven.any():
        worst = int(np.nanargmax(spread))
        raw = figures["marginal_cv"].sel(variable="count").values[worst]
        yield (
            f"{name}: marginals after balancing vary by {spread[worst]:.0%} on {chroms[worst]} (raw: {raw:.0%})"
            f"{_others(chroms, uneven, worst)}: look whether the weights fit these counts, and whether they multiply or divide"
        )
    slope = band["decay_exponent"].values
    flat = is_there & (slope > MAX_DECAY_EXPONENT)
    if flat.any():
        worst = int(np.nanargmax(np.where(is_there, slope, np.nan)))
        what = "rises with distance" if slope[worst] > 0 else "hardly falls with distance"
        yield (
            f"{name}: the decay curve {what} on {chroms[worst]} (exponent {slope[worst]:.2f}, usual -0.7 to -1.2)"
            f"{_others(chroms, flat, worst)}: look whether these are contacts, and not a ratio to what is expected"
        )


def format_bp(n_bp: int) -> str:
    """Write a length: 10,000 is "10 kb", 2,000,000 "2 Mb"."""
    for unit, name in ((1_000_000, "Mb"), (1_000, "kb")):
        if n_bp >= unit:
            return f"{n_bp / unit:g} {name}"
    return f"{n_bp} bp"


def _listed(chroms: Sequence[str], chosen: np.ndarray) -> str:
    names = [name for name, is_chosen in zip(chroms, chosen, strict=True) if is_chosen]
    more = f" and {len(names) - _N_LISTED} more" if len(names) > _N_LISTED else ""
    return ", ".join(names[:_N_LISTED]) + more


def _others(chroms: Sequence[str], chosen: np.ndarray, worst: int) -> str:
    """Name the chromosomes that have the same trouble as the worst one, in brackets."""
    rest = chosen.copy()
    rest[worst] = False
    return f" (likewise {_listed(chroms, rest)})" if rest.any() else ""
