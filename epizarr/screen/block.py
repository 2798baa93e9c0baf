"""One block of a screen: the intervals of a stretch, predicted from one reference.

A task predicts the stretch around its intervals once, as it is, and keeps the features of its bins and the stripes of its tiles.
For each interval only the features of the bins that read the edited track bins are computed anew, and only the tiles that hold
such a bin go through the core, in batches that the tiles of many intervals fill.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from epizarr.edit_text import parse_template
from epizarr.errors import PerturbationError
from epizarr.genome import Region
from epizarr.io.ledger import Ledger, work_folder
from epizarr.io.store import open_tracks, write_region
from epizarr.nn import Epiphany, NetworkConfig, SignalChange, TileReference, prediction_bytes
from epizarr.perturb import (
    BACKGROUND_FLANK_BP,
    ChromTracks,
    Copy,
    TrackFacts,
    ValueEdit,
    apply_edits,
    with_linked_tracks,
)
from epizarr.perturbed.locus import read_other, read_stretch, target_rows, transformed_tracks
from epizarr.predict.blocks import Job, computing, load_model
from epizarr.predict.settings import TRUNK_BINS
from epizarr.schema import SIGNED_VARIABLES
from epizarr.screen.scores import SCORES, boundary_scores, stripe_change, view_margin
from epizarr.screen.sites import Sites
from epizarr.tiles import crossfade, reading_bins, tile_starts, tiles_touching
from epizarr.transforms import network_input
from epizarr.windows import cut_padded, track_extent

#: Stretch of a task in bins, and the most intervals of a task: enough for the reference to cost little, few enough to resume.
BLOCK_BINS, MOST_SITES = 512, 256


@dataclass(frozen=True, eq=False)
class Screen:
    """What all tasks of a screen share.

    ``sites`` are all intervals, the first ``n_asked`` those that were asked for, the others random ones; ``order`` sorts them
    along the genome. ``n_rows`` is the number of band rows kept of each interval asked for; 0: none.
    """

    job: Job
    target: str
    names: tuple[str, ...]
    use: dict[str, str]
    edit: str
    tracks: str | None
    linked: dict[str, tuple[str, ...]]
    means: dict[str, float]
    min_diagonal: int
    sites: Sites
    n_asked: int
    order: np.ndarray
    n_rows: int

    def edit_of(self, region: Region) -> ValueEdit:
        """Edit of one interval."""
        edit = parse_template(self.edit, self.job.assembly, self.tracks)(region)
        made = with_linked_tracks([edit], self.linked)[0]
        assert isinstance(made, ValueEdit)  # what the template gives, and links keep the kind
        return made

    def bins_of(self, index: int) -> tuple[int, int]:
        """Contact bins that an interval covers, local to its chromosome."""
        return int(self.sites.start[index]) // self.job.binsize, -(-int(self.sites.end[index]) // self.job.binsize)


@dataclass(frozen=True)
class ScreenTask:
    """Intervals ``order[first:last]``, all of one chromosome."""

    first: int
    last: int
    digest: str

    @property
    def name(self) -> str:
        """Name of the task in the ledger."""
        return f"sites-{self.first:07d}"


def screen_tasks(screen: Screen) -> list[ScreenTask]:
    """Cut the intervals, in their order, into tasks of one chromosome, :data:`BLOCK_BINS` and :data:`MOST_SITES`."""
    tasks: list[ScreenTask] = []
    chrom, bounds = screen.sites.chrom, [screen.bins_of(index) for index in screen.order.tolist()]
    first = 0
    for place in range(1, len(bounds) + 1):
        ends = place == len(bounds)
        if not ends:
            end = max(hi for _, hi in bounds[first : place + 1])
            ends = (
                chrom[screen.order[place]] != chrom[screen.order[first]]
                or end - bounds[first][0] > BLOCK_BINS
                or place - first == MOST_SITES
            )
        if ends:
            tasks.append(ScreenTask(first, place, screen.job.digest))
            first = place
    return tasks


def screen_task_bytes(
    network: NetworkConfig, *, tile_bins: int, overlap_bins: int, batch_size: int, widest_bins: int
) -> int:
    """Bound the memory of one task of a screen, in bytes, network included and libraries not.

    It grows with the widest interval, the tiles and the batch; not with the number of perturbations or the genome.

    Parameters
    ----------
    network
        Shape of the network.
    tile_bins, overlap_bins, batch_size
        As given to :func:`epizarr.screen.screen_contacts`.
    widest_bins
        Contact bins that the widest interval covers.
    """
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Epiphany(network).parameters())
    view = 2 * view_margin(network.n_offsets) + widest_bins
    reached = network.window // network.stride + widest_bins + 2
    n_bins = max(BLOCK_BINS, widest_bins) + 2 * max(view_margin(network.n_offsets), reached) + 2 * tile_bins
    n_tiles = n_bins // max(tile_bins - overlap_bins, 1) + 2
    # Raw, transformed, filled, padded and as a tensor, and what is copied from another cell type.
    tracks = 7 * network.in_channels * network.cut_length(n_bins)
    # Tiles of the reference; of a batch, those of the intervals that it completes, and what is still to come.
    stripes = (
        (n_tiles + 3 * (batch_size + reached // max(tile_bins - overlap_bins, 1) + 2)) * tile_bins * network.n_offsets
    )
    in_flight = batch_size * (reached + 2 * tile_bins) * network.n_features
    bands = 24 * view * network.n_offsets + MOST_SITES * 2 * network.n_offsets
    running = prediction_bytes(network, n_bins, tile_bins=tile_bins, batch_size=batch_size, trunk_bins=TRUNK_BINS)
    return 4 * (parameters + tracks + stripes + in_flight + bands) + running + running // 4


def screen_block(task: ScreenTask, screen: Screen) -> None:
    """Score the intervals of one task and keep what was found. Safe to run again, anywhere."""
    job, own = screen.job, screen.order[task.first : task.last].tolist()
    stretch = _Stretch(screen, own)
    n_diagonals = job.network.n_offsets
    effect, by_distance = np.zeros((len(own), len(SCORES))), np.zeros((len(own), n_diagonals))
    with computing(job.settings):
        stretch.predict_reference()
        stretches: dict[int, tuple[int, int]] = {}
        for place, index in enumerate(own):
            found = stretch.change(index)  # made again when its turn comes, so that no two are held
            if found is not None:
                stretches[place] = (found.lo, found.hi)
        changed = list(stretches)

        def change_of(place: int) -> SignalChange:
            found = stretch.change(own[changed[place]])
            assert found is not None  # it was one a moment ago
            return found

        anew = stretch.reference.predict(list(stretches.values()), change_of)
        for place, tiles in ((changed[at], tiles) for at, tiles in anew):
            effect[place], by_distance[place], rows = stretch.scores(own[place], tiles)
            if screen.n_rows and own[place] < screen.n_asked:
                _write_rows(screen, own[place], rows)
    for place in sorted(set(range(len(own))) - set(changed)):
        effect[place], by_distance[place], rows = stretch.scores(own[place], {})
        if own[place] in stretch.unmade:
            effect[place], by_distance[place], rows = np.nan, np.nan, np.full_like(rows, np.nan)
        if screen.n_rows and own[place] < screen.n_asked:
            _write_rows(screen, own[place], rows)
    ledger = Ledger(work_folder(job.out, job.group))
    ledger.save(task.name, {"effect": effect, "by_distance": by_distance})
    ledger.mark(task.name, task.digest)


def _write_rows(screen: Screen, index: int, rows: np.ndarray) -> None:
    padded = np.full((1, screen.n_rows, rows.shape[1]), np.nan, dtype=np.float32)
    padded[0, : len(rows)] = rows
    part = {"perturbation": slice(index, index + 1)}
    write_region(screen.job.out, screen.job.group, "difference", part, padded)


class _Stretch:
    """The tracks and the reference around some intervals of one chromosome."""

    def __init__(self, screen: Screen, own: Sequence[int]) -> None:
        self.screen, job = screen, screen.job
        self.job, network = job, job.network
        self.chrom = job.assembly.chrom_names[screen.sites.chrom[own[0]]]
        first, end = job.grid.chrom_extent(self.chrom)
        self.n_bins = end - first
        settings = job.settings
        self.starts = tile_starts(self.n_bins, settings.tile_bins, settings.overlap_bins)
        self.length = min(settings.tile_bins, self.n_bins)
        margin = view_margin(network.n_offsets)
        per_bin = network.stride
        bins = [screen.bins_of(index) for index in own]
        fine = [self._track_bins(index) for index in own]
        read = [reading_bins(lo, hi, stride=per_bin, window=network.window) for lo, hi in fine]
        self.lo = max(0, min(*(lo - margin for lo, _ in bins), *(lo for lo, _ in read), self.n_bins - 1))
        self.hi = min(self.n_bins, max(*(hi + margin for _, hi in bins), *(hi for _, hi in read)))
        # Raw tracks as far as the tiles and the edits' flanks read them.
        tiles = tiles_touching(self.starts, self.length, self.lo, self.hi)
        tile_lo, tile_hi = int(self.starts[tiles[0]]), int(self.starts[tiles[-1]]) + self.length
        self.extent = track_extent(tile_lo, tile_hi - tile_lo, per_bin, network.halo)
        self.flank = -(-BACKGROUND_FLANK_BP // job.track_binsize)
        fine_first, fine_end = job.assembly.bins(job.track_binsize).chrom_extent(self.chrom)
        self.begin = max(0, min(self.extent[0], *(lo - self.flank for lo, _ in fine)))
        stop = min(fine_end - fine_first, max(self.extent[1], *(hi + self.flank for _, hi in fine)))
        own_group = open_tracks(job.store, job.tracks_group.split("/")[0], job.track_binsize)
        self.tracks = read_stretch(job, own_group, self.chrom, screen.names, job.track_rows, self.begin, stop)
        edit = screen.edit_of(screen.sites.region(job.assembly, own[0]))
        self.other: tuple[str, ChromTracks] | None = None
        if isinstance(edit, Copy):
            other = read_other(job, edit.cell_type, self.chrom, screen.names, screen.use, self.begin, stop)
            self.other = edit.cell_type, other
        #: Intervals whose edit cannot be made: no local background.
        self.unmade: set[int] = set()

    def predict_reference(self) -> None:
        """Predict the stretch from the tracks as they are."""
        job, network = self.job, self.job.network
        lo, hi = self.extent
        signal = transformed_tracks(job, self.tracks, lo - self.begin, hi - self.begin)
        model = load_model(job, job.members[0])
        self.reference = TileReference(
            model,
            torch.from_numpy(network_input(signal, mask_channels=network.mask_channels)),
            starts=self.starts,
            weights=crossfade(self.starts, self.length),
            lo=self.lo,
            hi=self.hi,
            batch_size=job.settings.batch_size,
            trunk_bins=job.settings.trunk_bins,
        )

    def change(self, index: int) -> SignalChange | None:
        """What an interval's edit changes of the network's input; None if nothing."""
        screen, binsize = self.screen, self.job.track_binsize
        region = screen.sites.region(self.job.assembly, index)
        lo, hi = self._track_bins(index)
        a = max(self.begin, lo - self.flank)
        b = min(self.begin + self.tracks.n_bins, hi + self.flank)
        tracks = self._cut(self.tracks, a, b)
        edit = replace(
            screen.edit_of(region), region=Region(self.chrom, region.start - a * binsize, region.end - a * binsize)
        )
        # A track without any signal here stays without in every edit but a copy, which keeps what is measured elsewhere.
        if edit.tracks and not isinstance(edit, Copy):
            known = [not np.isnan(tracks.signal[tracks.names.index(name)]).all() for name in edit.tracks]
            edit = replace(
                edit, tracks=tuple(name for name, is_known in zip(edit.tracks, known, strict=True) if is_known)
            )
            if not edit.tracks:
                return None
        others = {} if self.other is None else {self.other[0]: self._cut(self.other[1], a, b)}
        try:
            edited = apply_edits(tracks, [edit], TrackFacts(screen.means, {}, others)).tracks
        except PerturbationError:
            self.unmade.add(index)
            return None
        before, after = (self._input(t, lo - a, hi - a) for t in (tracks, edited))
        differs = np.flatnonzero((before != after).any(axis=0))
        if not len(differs):
            return None
        return SignalChange(lo + int(differs[0]), np.ascontiguousarray(after[:, differs[0] : differs[-1] + 1]))

    def scores(self, index: int, anew: dict[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores (score), mean size of the change at each distance, and the difference of the rows around an interval."""
        screen, job = self.screen, self.job
        site, margin = screen.bins_of(index), view_margin(job.network.n_offsets)
        lo, hi = max(0, site[0] - margin), min(self.n_bins, site[1] + margin)
        before, after = self.reference.stripes(lo, hi, {}), self.reference.stripes(lo, hi, anew)
        mean, largest, by_distance = stripe_change(
            after - before, lo, site, n_chrom_bins=self.n_bins, min_diagonal=screen.min_diagonal
        )
        rows_before, rows_after = target_rows(job, before), target_rows(job, after)
        boundary = (float("nan"), float("nan"))
        if screen.target not in SIGNED_VARIABLES:
            boundary = boundary_scores(rows_before, rows_after, lo, site, min_diagonal=screen.min_diagonal)
        wanted = (site[0] - margin, site[1] + margin)
        rows = cut_padded((rows_after - rows_before).T, lo, *wanted).T
        return np.array([mean, largest, *boundary]), by_distance, rows

    def _track_bins(self, index: int) -> tuple[int, int]:
        binsize, sites = self.job.track_binsize, self.screen.sites
        return int(sites.start[index]) // binsize, -(-int(sites.end[index]) // binsize)

    def _cut(self, tracks: ChromTracks, a: int, b: int) -> ChromTracks:
        """Track bins ``[a, b)`` of the chromosome, as if they were one."""
        part = slice(a - self.begin, b - self.begin)
        length = min(b * tracks.binsize, self.job.assembly.length(self.chrom)) - a * tracks.binsize
        return replace(tracks, length=length, signal=tracks.signal[:, part], blacklisted=tracks.blacklisted[part])

    def _input(self, tracks: ChromTracks, lo: int, hi: int) -> np.ndarray:
        """What the network reads of some track bins."""
        return network_input(transformed_tracks(self.job, tracks, lo, hi), mask_channels=self.job.network.mask_channels)
