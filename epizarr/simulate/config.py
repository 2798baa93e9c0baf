"""What the simulated genome is like: every number of the simulator, in one frozen dataclass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from epizarr.errors import ConfigError, nearest_match
from epizarr.genome import Assembly

SIZE_NAMES = ("tiny", "small", "human")


@dataclass(frozen=True)
class PeakRule:
    """How one kind of site looks in one track.

    A peak is a two-sided Gaussian, ``height * exp(-(x / width)**2 / 2)``, with its own width on either side of
    the site. *Downstream* is the side that a site's strand points to; sites without a strand point to the right.

    Parameters
    ----------
    kind
        Kind of site (see :class:`epizarr.simulate.World`).
    track
        Track in which it shows.
    height
        Signal at the summit of a site of visible strength 1, in units of the track's genome-wide level.
    upstream_bp, downstream_bp
        Widths (standard deviations) on the two sides, in bp.
    log_sd
        Standard deviation of the natural logarithm of a height, drawn once per site and track.
    """

    kind: str
    track: str
    height: float
    upstream_bp: float
    downstream_bp: float
    log_sd: float


@dataclass(frozen=True)
class BackgroundRule:
    """Level of a track away from peaks, in units of the track's genome-wide level.

    Parameters
    ----------
    track
        Name of the track.
    a, b
        Levels in compartments A and B.
    polycomb
        What a polycomb domain of level 1 adds.
    """

    track: str
    a: float
    b: float
    polycomb: float = 0.0


@dataclass(frozen=True)
class MotifRule:
    """Where instances of the CTCF motif lie, in two stranded tracks as ``epizarr tracks motif`` makes them from a sequence.

    Each stopping site that some cell type may have has an instance on its strand; decoys have none.

    Parameters
    ----------
    score
        Score in bits of an instance of visible strength 1 (see :func:`epizarr.simulate.world.visible_strength`).
    log_sd
        Standard deviation of the natural logarithm of a score, drawn once per instance.
    false_per_mb
        Instances at which no cell type has a site, of either strand, per Mb.
    width_bp
        Length of an instance; its middle is at the site.
    """

    score: float = 10.0
    log_sd: float = 0.15
    false_per_mb: float = 20.0
    width_bp: int = 19

    @property
    def tracks(self) -> tuple[str, str]:
        """Names of the tracks, forward, then reverse."""
        return ("CTCF-motif-plus", "CTCF-motif-minus")


@dataclass(frozen=True)
class SimulationConfig:
    """The rules of a simulated genome; lengths in bp, densities per Mb.

    :data:`DEFAULT` holds the frozen defaults. Change a default only with an entry in CHANGELOG.md: demos, tests and
    published figures rest on them.

    Parameters
    ----------
    chrom_lengths
        Lengths of the chromosomes ``sim1``, ``sim2``, … in bp.
    binsize, span_bp
        Bins of the contact map, and how far from the diagonal contacts are simulated.
    run_bp
        Width of a bigWig run; must divide ``binsize``.
    reads_per_100bp
        Mean reads in 100 bp at signal 1: the only source of counting noise of the tracks.
    backgrounds, peaks
        What the tracks look like.

    compartment_log_mean, compartment_log_sd
        Compartment segments alternate between A and B; their lengths in Mb are log-normal.
    compartment_range_bp
        Shortest and longest segment.
    compartment_edge_bp
        Width of the change from A to B.
    compartment_effect
        Contacts are multiplied by ``exp(effect * c1 * c2)``, c running from −1 (B) to +1 (A).

    boundary_spacing_bp, boundary_minimum_bp
        Mean (exponential beyond the minimum) and least spacing of domain boundaries.
    boundary_pair_share
        Share of boundaries with a reverse site left of a forward site; the others have one of the two.
    lone_ctcf_per_mb, decoy_per_mb
        Single stopping sites of either strand, and CTCF peaks that stop nothing.
    boundary_strength, lone_strength
        Ranges of the probability that a site stops an extruding loop.
    loop_floor
        Share of contacts that no boundary can remove.
    stall_gain
        How much longer a loop rests at a site: contacts at a site of strength s rise by ``1 + gain * s``.
    processivity_bp
        Stalled contacts fall off as ``exp(-distance / processivity)``.

    enhancer_per_mb, promoter_per_mb, b_density_ratio
        Densities in A, and the ratio of B to A.
    enhancer_promoter_effect
        Gain of contacts between an active enhancer and an active promoter that share a domain.
    polycomb_per_mb, polycomb_range_bp, polycomb_effect
        Polycomb domains, log-uniform in length, and the gain of contacts within and between them.
    artefact_per_mb
        Spikes present in all tracks, as in blacklisted regions. They do nothing to contacts.

    centromere_share, small_gap_per_mb, small_gap_range_bp, telomere_bp
        Unmappable sequence: one long gap per chromosome, small ones, and the chromosome ends.

    ctcf_share, enhancer_share, promoter_share, polycomb_share, compartment_share
        Share of a cell type's features that all cell types have. The rest is drawn for each cell type from candidates
        that any other cell type has with probability 1/2; of the compartment segments it is drawn anew whether they
        are A or B.

    decay_distance_bp, decay_contacts
        Contacts by distance of a pair that no rule touches, in units of balanced contacts (rows sum to about 1),
        interpolated linearly in log-log. Measured once, in November 2026, as the mean ICE-balanced contacts per
        diagonal of GM12878 chr21 (in situ Hi-C, MboI, 10 kb, 3,248 balanced bins), then divided by the mean effect of
        the rules above in 200 Mb of the default genome, so that simulated maps follow chr21.
    decay_binsize
        Bin width in bp that ``decay_contacts`` and ``contacts_per_unit`` are meant for. At another ``binsize`` both are scaled:
        rows still sum to about 1, and the genome has as many contacts.
    contacts_per_unit
        Mean count of a pixel of balanced contact 1 between bins of bias 1. The chr21 map has 1,557; the default is a
        map sequenced several times deeper, on which a method can be told from the noise.
    far_share
        Share of a bin's cis contacts that lie beyond ``span_bp`` (chr21: 0.33), on average. A bin with fewer near contacts
        has more far ones, so that without bias all bins have the same number; that is what balancing assumes.
    far_bundle
        Far contacts come in pixels of this many counts: fewer pixels, with the same totals, make smaller files and faster
        balancing. 1 gives plain Poisson counts.
    bias_log_sd
        Standard deviation of the natural logarithm of a bin's bias (chr21's balancing weights: 0.258).
    motifs
        Rule of the motif tracks; None for none. It changes nothing else of a genome.
    """

    chrom_lengths: tuple[int, ...] = (5_004_321, 5_002_050)
    binsize: int = 10_000
    span_bp: int = 2_000_000
    run_bp: int = 100
    reads_per_100bp: float = 5.0
    backgrounds: tuple[BackgroundRule, ...] = (
        BackgroundRule("DNase", a=1.3, b=0.5),
        BackgroundRule("H3K27ac", a=1.3, b=0.4),
        BackgroundRule("H3K4me3", a=1.0, b=0.5),
        BackgroundRule("H3K27me3", a=0.6, b=1.0, polycomb=5.0),
        BackgroundRule("CTCF", a=0.8, b=0.6),
    )
    peaks: tuple[PeakRule, ...] = (
        PeakRule("ctcf", "CTCF", height=14.0, upstream_bp=110.0, downstream_bp=650.0, log_sd=0.2),
        PeakRule("ctcf", "DNase", height=7.0, upstream_bp=100.0, downstream_bp=500.0, log_sd=0.3),
        PeakRule("decoy", "CTCF", height=14.0, upstream_bp=380.0, downstream_bp=380.0, log_sd=0.2),
        PeakRule("enhancer", "DNase", height=12.0, upstream_bp=150.0, downstream_bp=150.0, log_sd=0.4),
        PeakRule("enhancer", "H3K27ac", height=15.0, upstream_bp=800.0, downstream_bp=800.0, log_sd=0.3),
        PeakRule("promoter", "DNase", height=14.0, upstream_bp=180.0, downstream_bp=180.0, log_sd=0.4),
        PeakRule("promoter", "H3K27ac", height=12.0, upstream_bp=500.0, downstream_bp=900.0, log_sd=0.3),
        PeakRule("promoter", "H3K4me3", height=25.0, upstream_bp=400.0, downstream_bp=800.0, log_sd=0.3),
        PeakRule("artefact", "DNase", height=300.0, upstream_bp=150.0, downstream_bp=150.0, log_sd=0.8),
        PeakRule("artefact", "H3K27ac", height=100.0, upstream_bp=150.0, downstream_bp=150.0, log_sd=0.8),
        PeakRule("artefact", "H3K4me3", height=100.0, upstream_bp=150.0, downstream_bp=150.0, log_sd=0.8),
        PeakRule("artefact", "H3K27me3", height=50.0, upstream_bp=150.0, downstream_bp=150.0, log_sd=0.8),
        PeakRule("artefact", "CTCF", height=300.0, upstream_bp=150.0, downstream_bp=150.0, log_sd=0.8),
    )
    compartment_log_mean: float = math.log(0.8)
    compartment_log_sd: float = 0.5
    compartment_range_bp: tuple[int, int] = (300_000, 2_000_000)
    compartment_edge_bp: float = 60_000.0
    compartment_effect: float = 0.4
    boundary_spacing_bp: float = 330_000.0
    boundary_minimum_bp: float = 120_000.0
    boundary_pair_share: float = 0.6
    lone_ctcf_per_mb: float = 1.5
    decoy_per_mb: float = 5.0
    boundary_strength: tuple[float, float] = (0.6, 0.97)
    lone_strength: tuple[float, float] = (0.4, 0.9)
    loop_floor: float = 0.35
    stall_gain: float = 2.0
    processivity_bp: float = 1_000_000.0
    enhancer_per_mb: float = 6.0
    promoter_per_mb: float = 8.0
    b_density_ratio: float = 0.2
    enhancer_promoter_effect: float = 0.6
    polycomb_per_mb: float = 0.7
    polycomb_range_bp: tuple[int, int] = (30_000, 150_000)
    polycomb_effect: float = 1.2
    artefact_per_mb: float = 0.05
    centromere_share: float = 0.03
    small_gap_per_mb: float = 0.25
    small_gap_range_bp: tuple[int, int] = (5_000, 60_000)
    telomere_bp: int = 10_000
    ctcf_share: float = 0.7
    enhancer_share: float = 0.4
    promoter_share: float = 0.8
    polycomb_share: float = 0.6
    compartment_share: float = 0.8
    decay_distance_bp: tuple[float, ...] = (
        0,
        10e3,
        20e3,
        30e3,
        50e3,
        100e3,
        200e3,
        300e3,
        500e3,
        700e3,
        1e6,
        1.4e6,
        2e6,
    )
    decay_contacts: tuple[float, ...] = (
        0.0320, 0.0246, 0.01364, 0.0099, 0.0068, 0.00451, 0.00336, 0.00298, 0.00275, 0.00241, 0.00206, 0.00152, 0.00112,
    )  # fmt: skip
    decay_binsize: int = 10_000
    contacts_per_unit: float = 1_557.0 * 6
    far_share: float = 0.3
    far_bundle: int = 5
    bias_log_sd: float = 0.26
    motifs: MotifRule | None = None

    def __post_init__(self) -> None:
        problems = []
        if not self.chrom_lengths or min(self.chrom_lengths) < 500_000:
            problems.append("`chrom_lengths` needs at least one chromosome, each of 500,000 bp or more")
        if self.run_bp < 1 or self.binsize % self.run_bp:
            problems.append(f"`run_bp` = {self.run_bp} must divide `binsize` = {self.binsize}")
        if self.span_bp < self.binsize or self.span_bp % self.binsize:
            problems.append(f"`span_bp` = {self.span_bp} must be a multiple of `binsize` = {self.binsize}")
        if self.decay_binsize < 1:
            problems.append(f"`decay_binsize` = {self.decay_binsize} must be a positive number of bp")
        if self.decay_distance_bp[0] != 0 or any(a >= b for a, b in _pairs(self.decay_distance_bp)):
            problems.append("`decay_distance_bp` must start at 0 and increase")
        if len(self.decay_contacts) != len(self.decay_distance_bp) or min(self.decay_contacts) <= 0:
            problems.append("`decay_contacts` needs one positive number per `decay_distance_bp`")
        for name in ("boundary_strength", "lone_strength"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < 1:
                problems.append(f"`{name}` = {(low, high)} must be probabilities below 1, the lower first")
        for name in ("compartment_range_bp", "polycomb_range_bp", "small_gap_range_bp"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                problems.append(f"`{name}` = {(low, high)} must be positive lengths, the shorter first")
        for field in fields(self):
            share = field.name.endswith("_share") or field.name == "loop_floor"
            if share and not 0 <= getattr(self, field.name) <= 1:
                problems.append(f"`{field.name}` = {getattr(self, field.name)} must lie in [0, 1]")
        if self.far_share > 0.9:
            problems.append(f"`far_share` = {self.far_share} must not exceed 0.9")
        if self.far_bundle < 1:
            problems.append(f"`far_bundle` = {self.far_bundle} must be 1 or more")
        unknown = sorted({rule.track for rule in self.peaks} - set(self.tracks))
        if unknown:
            problems.append(f"`peaks` names tracks {unknown}, but `backgrounds` has {list(self.tracks)}")
        if problems:
            raise ConfigError("simulation settings: " + "; ".join(problems) + ".")

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of the tracks, in order."""
        return tuple(rule.track for rule in self.backgrounds)

    @property
    def n_diagonals(self) -> int:
        """Number of diagonals of the band."""
        return self.span_bp // self.binsize

    @property
    def bin_scale(self) -> float:
        """Width of a bin in those that the decay was measured at."""
        return self.binsize / self.decay_binsize

    @property
    def assembly(self) -> Assembly:
        """The simulated assembly: ``"simulated"``, chromosomes ``sim1``, ``sim2``, …."""
        return Assembly.from_table("simulated", [(f"sim{i}", n) for i, n in enumerate(self.chrom_lengths, start=1)])


def _pairs(values: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(zip(values, values[1:], strict=False))


def chrom_lengths_of(size: str) -> tuple[int, ...]:
    """Chromosome lengths (bp) of a named size.

    Parameters
    ----------
    size
        ``"tiny"``: 2 chromosomes of 5 Mb, for tests. ``"small"``: 6 chromosomes, 320 Mb in all, on which a small network
        can be trained in minutes. ``"human"``: the lengths of hg38's 22 autosomes, X and Y, 3.1 Gb.

    Raises
    ------
    ConfigError
        If there is no such size.
    """
    if size == "tiny":
        return (5_004_321, 5_002_050)
    if size == "small":
        return (100_012_345, 80_006_780, 30_003_210, 70_001_234, 22_004_567, 18_007_890)
    if size == "human":
        import bioframe

        lengths: Mapping[str, int] = bioframe.assembly_info("hg38").chromsizes
        return tuple(int(lengths[f"chr{name}"]) for name in [*range(1, 23), "X", "Y"])
    raise ConfigError(f"size {size!r} is not one of {list(SIZE_NAMES)}.{nearest_match(size, SIZE_NAMES)}")


DEFAULT = SimulationConfig()
STRANDLESS = replace(
    DEFAULT,
    peaks=tuple(
        replace(rule, upstream_bp=380.0, downstream_bp=380.0) if rule.kind == "ctcf" else rule for rule in DEFAULT.peaks
    ),
    boundary_pair_share=0.0,
)
"""Rules by which tracks do not tell the strand of a stopping site: neither does its peak lean, nor has it a neighbour of the
other strand as boundaries of the default rules often have. Motif tracks tell it."""

RULES = {"default": DEFAULT, "strandless": STRANDLESS}
"""Rules by name."""
