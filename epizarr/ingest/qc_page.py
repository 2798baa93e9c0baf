"""The page of a store's quality: what to look at first, then tables and pictures of each group."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from epizarr.genome import Assembly
from epizarr.ingest.qc import VALUE_EDGES, StoreQuality
from epizarr.ingest.qc_warnings import format_bp
from epizarr.io.files import replace_file
from epizarr.metrics.coverage import DEEP_CONTACTS, DEEP_SHARE
from epizarr.report.figures import figure_png
from epizarr.report.html import Page, Picture, Section, Table, render_page
from epizarr.report.qc_figures import (
    GenomeAxis,
    decay_figure,
    depth_figure,
    marginal_figure,
    signal_figure,
    value_figure,
)

TRACK_COLUMNS = (
    "track",
    "chromosome",
    "measured",
    "zero",
    "mean",
    "median",
    "99 %",
    "99.9 %",
    "maximum",
    "max / 99.9 %",
)
KIND_COLUMNS = ("track", "seems to hold", "confidence", "because")
CONTACT_COLUMNS = ("chromosome", "contacts", "bad bins", "without contact", "supports")
BAND_COLUMNS = ("variable", "chromosome", "missing", "without weight", "marginal", "spread", "decay")


def write_quality_page(quality: StoreQuality, path: str | Path) -> Path:
    """Write one self-contained HTML file about what :func:`epizarr.ingest.qc.assess_store` measured.

    Parameters
    ----------
    quality
        Figures and warnings.
    path
        HTML file to write, replaced if it is there.

    Returns
    -------
    ``path``.
    """
    target = Path(path)
    sections = [_warning_section(quality)]
    sections += [_contact_section(group, ds, quality.assembly) for group, ds in quality.contacts.items()]
    sections += [_track_section(group, ds, quality.assembly) for group, ds in quality.tracks.items()]
    n_chroms = len(quality.assembly)
    page = Page(
        title=f"Quality of {quality.path.name}",
        subtitle=f"Assembly {quality.assembly.name}, {n_chroms} chromosome{'s' if n_chroms > 1 else ''}; "
        f"{len(quality.contacts)} groups of contacts, {len(quality.tracks)} of tracks",
        banners=quality.banners,
        sections=sections,
    )
    replace_file(target, render_page(page).encode())
    return target


def track_rows(figures: xr.Dataset) -> list[list[str]]:
    """Cells of the table of tracks, :data:`TRACK_COLUMNS`, one row a track and chromosome."""
    rows = []
    for t, name in enumerate(figures["track"].values):
        for c, chrom in enumerate(figures["chrom_name"].values):
            one = figures.isel(track=t, chroms=c)
            rows.append(
                [
                    str(name),
                    str(chrom),
                    _percent(one["measured_share"]),
                    _percent(one["zero_share"]),
                    *(_figure(v) for v in (one["mean"], *one["percentile_value"], one["maximum"])),
                    _figure(one["outlier_ratio"], "{:.1f}"),
                ]
            )
    return rows


def kind_rows(figures: xr.Dataset) -> list[list[str]]:
    """Cells of the table of kinds of signal, :data:`KIND_COLUMNS`, one row a track."""
    columns = ("track", "signal_kind", "signal_confidence", "signal_evidence")
    return [[str(cell) for cell in row] for row in zip(*(figures[name].values for name in columns), strict=True)]


def contact_rows(figures: xr.Dataset) -> list[list[str]]:
    """Cells of the table of counts, :data:`CONTACT_COLUMNS`, one row a chromosome and one for the genome."""
    rows = []
    for c, chrom in enumerate(figures["chrom_name"].values):
        one = figures.isel(chroms=c)
        rows.append(
            [
                str(chrom),
                f"{float(one['n_contacts']):,.0f}",
                _percent(one["bad_share"]),
                _percent(one["unseen_share"]),
                _supports(one["supported_binsize"]),
            ]
        )
    if len(rows) > 1:
        n_bins = figures["n_bins"].values
        shares = [figures[name].values @ n_bins / n_bins.sum() for name in ("bad_share", "unseen_share")]
        total = f"{float(figures['n_contacts'].sum()):,.0f}"
        rows.append(["all", total, *map(_percent, shares), _supports(figures.attrs["supported_binsize"] or np.nan)])
    return rows


def band_rows(figures: xr.Dataset) -> list[list[str]]:
    """Cells of the table of normalisations, :data:`BAND_COLUMNS`, one row a variable and chromosome."""
    rows = []
    for v, name in enumerate(figures["variable"].values):
        for c, chrom in enumerate(figures["chrom_name"].values):
            one = figures.isel(variable=v, chroms=c)
            rows.append(
                [
                    str(name),
                    str(chrom),
                    *(_percent(one[share]) for share in ("nan_share", "unweighted_share")),
                    _figure(one["marginal_mean"], "{:.4g}"),
                    _percent(one["marginal_cv"]),
                    _figure(one["decay_exponent"], "{:.2f}"),
                ]
            )
    return rows


def _percent(share: float | xr.DataArray) -> str:
    return "n/a" if np.isnan(float(share)) else f"{float(share):.1%}"


def _figure(value: float | xr.DataArray, form: str = "{:.3g}") -> str:
    return "n/a" if np.isnan(float(value)) else form.format(float(value))


def _supports(binsize: float | xr.DataArray) -> str:
    return "n/a" if np.isnan(float(binsize)) else format_bp(int(binsize))


def _warning_section(quality: StoreQuality) -> Section:
    n = len(quality.warnings)
    if not n:
        return Section("Look at", ["Nothing stands out."])
    rows = [[finding.where, finding.message] for finding in quality.warnings]
    return Section(
        "Look at", [f"{n} thing{'s' if n > 1 else ''} stood out."], [Table("", ["where", "what"], rows, is_text=True)]
    )


def _axis(figures: xr.Dataset, assembly: Assembly) -> GenomeAxis:
    return GenomeAxis(tuple(assembly), figures["window_start"].values, figures["window_end"].values)


def _windows(figures: xr.Dataset) -> str:
    return format_bp(int((figures["window_end"] - figures["window_start"]).max()))


def _track_section(group: str, figures: xr.Dataset, assembly: Assembly) -> Section:
    names = [str(name) for name in figures["track"].values]
    tables = [
        Table(
            "",
            TRACK_COLUMNS,
            track_rows(figures),
            "Measured: share of the chromosome's bins. Zero, mean: of measured bins. Percentiles and maximum: of measured bins "
            "outside the blacklist.",
        ),
        Table(
            "What the values say",
            KIND_COLUMNS,
            kind_rows(figures),
            "Told from a sample of the bins. High: only this kind has such values. Medium: its usual shape. Low: another kind "
            "looks alike.",
        ),
    ]
    pictures = []
    if names:
        profiles = dict(zip(names, figures["profile"].values, strict=True))
        histograms = dict(zip(names, figures["histogram"].values, strict=True))
        n_kept = dict(zip(names, figures["n_kept"].values.sum(axis=1).tolist(), strict=True))
        pictures = [
            Picture(
                figure_png(signal_figure(_axis(figures, assembly), profiles)),
                f"Mean signal in windows of up to {_windows(figures)}; each row ends at its 99.5th percentile. Grey: nothing "
                "measured.",
            ),
            Picture(
                figure_png(value_figure(VALUE_EDGES, histograms, n_kept)),
                "Share of the measured bins outside the blacklist whose signal lies above a value. A tail far right of where "
                "the curve meets the dotted line is made of outliers.",
            ),
        ]
    return Section(group, _blacklist(figures), tables, pictures)


def _blacklist(figures: xr.Dataset) -> Sequence[str]:
    n_bins = figures["n_bins"].values
    share = float(figures["blacklisted_share"].values @ n_bins / n_bins.sum())
    size = format_bp(figures.attrs["binsize"])
    return [
        f"Bins of {size}; {share:.1%} of them are blacklisted."
        if share
        else f"Bins of {size}; the store has no blacklist."
    ]


def _contact_section(group: str, figures: xr.Dataset, assembly: Assembly) -> Section:
    span = format_bp(figures.attrs["span_bp"])
    supported = figures.attrs["supported_binsize"]
    chroms = [str(name) for name in figures["chrom_name"].values]
    names = [str(name) for name in figures["variable"].values]
    curves = {n: v for n, v in zip(names, figures["expected"].values, strict=True) if np.isfinite(v).any()}
    profiles = {n: v for n, v in zip(names, figures["profile"].values, strict=True) if np.isfinite(v).any()}
    pictures = []
    if curves:
        caption = "Mean over the valid pixels of each distance, by chromosome."
        pictures.append(Picture(figure_png(decay_figure(figures["distance"].values, curves, chroms)), caption))
    if profiles:
        caption = (
            f"Contacts of a bin with all others within {span}, relative to what the decay curve gives for its valid pixels: "
            f"median of windows of up to {_windows(figures)}. Balanced maps are near 1. Grey: no good bin."
        )
        pictures.append(Picture(figure_png(marginal_figure(_axis(figures, assembly), profiles)), caption))
    if np.isfinite(figures["deep_share"].values).any():
        depth = depth_figure(
            figures["merged"].values, figures["deep_share"].values, supported, DEEP_SHARE, DEEP_CONTACTS
        )
        caption = (
            f"Depth: share of the bins with {DEEP_CONTACTS} contacts within {span}, of those with any. Contacts beyond {span} "
            "and with other chromosomes are not in the store and would add to it."
        )
        pictures.append(Picture(figure_png(depth), caption))
    depth_text = (
        f"The depth supports bins of {format_bp(supported)}"
        + (" or less" if supported == figures.attrs["binsize"] else "")
        + f" ({DEEP_SHARE:.0%} of the bins with {DEEP_CONTACTS} contacts, Rao et al. 2014)."
        if supported
        else f"The depth supports no bin size up to {format_bp(int(figures['merged'][-1]))}."
    )
    return Section(
        group,
        [f"Bins of {format_bp(figures.attrs['binsize'])}, contacts within {span}. {depth_text}"],
        [
            Table("Counts", CONTACT_COLUMNS, contact_rows(figures)),
            Table(
                "Normalisations",
                BAND_COLUMNS,
                band_rows(figures),
                f"Missing: share of the pixels. Marginal: mean sum of a bin's pixels within {span}. Spread: standard deviation / "
                "mean of these sums relative to the decay curve. Decay: slope of log contacts against log distance.",
            ),
        ],
        pictures,
    )
