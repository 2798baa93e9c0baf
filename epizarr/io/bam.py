"""BAM files: is one whole, sorted, and on the genome that it should be on. Nothing is ever written beside a user's file.

What the reads become is in :mod:`epizarr.io.bam_reads` (which of them count) and :mod:`epizarr.io.bam_coverage` (the bigWig).
All of it needs the extra ``bam`` (pysam and deepTools), which is imported where it is used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from epizarr.errors import AssemblyMismatchError, ConfigError, InputFileError
from epizarr.genome import Assembly
from epizarr.io.filetype import require_file_type

if TYPE_CHECKING:
    import pysam

#: The empty block that ends every BGZF file (SAM specification, section 4.1.2).
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_HOW_TO_SORT = "Sort it by coordinate (samtools sort -o sorted.bam FILE) and give the sorted file."


@dataclass(frozen=True)
class BamInfo:
    """What a BAM's header says.

    Parameters
    ----------
    path
        The file.
    chrom_lengths
        Names and lengths (bp) of its reference sequences, in its order.
    """

    path: Path
    chrom_lengths: dict[str, int]

    @property
    def label(self) -> str:
        """How to name the file in a message."""
        return f"BAM {self.path}"


def require_bam_extra() -> None:
    """Refuse to go on without pysam and deepTools; :class:`ConfigError` says how to install them."""
    missing = [name for name in ("pysam", "deeptools") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"reading BAM files needs {' and '.join(missing)}: pip install 'epizarr[bam]'.")


def inspect_bam(path: str | Path) -> BamInfo:
    """Check that a file is a whole BAM sorted by coordinate, as far as its ends tell, and read its header.

    Whether the reads really are in order is known once the file has been read: see :func:`link_with_index`.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If it is not a BAM (text, CRAM, …), is truncated, names no reference sequence, or its header says that it is not
        sorted by coordinate.
    """
    import pysam

    path = Path(path)
    require_file_type(path, ("BAM",), "a BAM")
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - len(_BGZF_END)))
        tail = file.read()
    if tail != _BGZF_END:
        raise InputFileError(
            f"BAM {path} is truncated: it ends after {path.stat().st_size:,} bytes without the block that closes a BAM. "
            "Fetch or make it again."
        )
    with quiet_htslib():
        try:
            with pysam.AlignmentFile(str(path), "rb", check_sq=False) as file_:
                header = file_.header.to_dict()
                lengths = dict(zip(file_.references, file_.lengths, strict=True))
        except (OSError, ValueError) as error:
            raise InputFileError(f"BAM {path} cannot be read ({error}); it is damaged. Fetch it again.") from error
    if not lengths:
        raise InputFileError(
            f"BAM {path} names no chromosome in its header: its reads are not aligned. Align them first."
        )
    order = header.get("HD", {}).get("SO", "unknown")
    if order not in ("coordinate", "unknown"):
        raise InputFileError(f"BAM {path} is not sorted by coordinate: its header says {order!r} (SO). {_HOW_TO_SORT}")
    return BamInfo(path, {str(chrom): int(length) for chrom, length in lengths.items()})


def check_replicates(infos: Sequence[BamInfo]) -> None:
    """Refuse to merge files that are not on the same reference sequences, in the same order.

    Raises
    ------
    AssemblyMismatchError
        Names the first file that differs and how.
    ConfigError
        If no file is given, or one twice: its reads would count double.
    """
    if not infos:
        raise ConfigError("no BAM file given; give one or more files of one assay.")
    seen: dict[Path, Path] = {}
    for info in infos:
        where = info.path.resolve()
        if where in seen:
            raise ConfigError(f"{info.label} is given twice; its reads would count double. Give each replicate once.")
        seen[where] = info.path
    first = infos[0].chrom_lengths
    for info in infos[1:]:
        other = info.chrom_lengths
        if list(other.items()) == list(first.items()):
            continue
        wrong = [f"{c} has {first[c]:,} and {other[c]:,} bp" for c in first if c in other and first[c] != other[c]]
        alone = [c for c in first if c not in other] + [c for c in other if c not in first]
        reason = (
            f"{'; '.join(wrong[:3])}: they were aligned to different assemblies"
            if wrong
            else f"{len(alone)} reference sequences, such as {alone[:3]}, are in one of the two only"
            if alone
            else "they list the same chromosomes in another order"
        )
        raise AssemblyMismatchError(
            f"{infos[0].label} and {info.label} cannot be merged: {reason}. Align all replicates to one reference."
        )


def check_bam_assembly(info: BamInfo, assembly: Assembly) -> None:
    """Refuse a BAM of another assembly, told from the lengths of its chromosomes.

    A prefix that differs (``21`` for ``chr21``) is allowed: the bigWig keeps the BAM's names, and the manifest's
    ``rename_chroms`` maps them when the bigWig is read into a store.

    Raises
    ------
    AssemblyMismatchError
        If no chromosome is shared, or a shared one has another length.
    """
    found = {_without_prefix(chrom): (chrom, length) for chrom, length in info.chrom_lengths.items()}
    shared = [(c, n, *found[_without_prefix(c)]) for c, n in assembly if _without_prefix(c) in found]
    if not shared:
        raise AssemblyMismatchError(
            f"{info.label} names its chromosomes {list(info.chrom_lengths)[:4]}, assembly {assembly.name!r} names them "
            f"{list(assembly.chrom_names[:4])}: none is shared. Name the assembly that the reads were aligned to."
        )
    wrong = [f"{theirs} has {m:,} bp, {assembly.name} has {n:,}" for _, n, theirs, m in shared if m != n]
    if wrong:
        raise AssemblyMismatchError(
            f"{info.label} was aligned to another assembly than {assembly.name!r}: {'; '.join(wrong[:4])}"
            f"{' …' if len(wrong) > 4 else ''}. Name the assembly that the reads were aligned to."
        )


def link_with_index(path: Path, link: Path) -> int:
    """Make a link to a BAM and an index beside the link; the BAM and its folder are left as they are.

    The index is made anew: one that lies beside the BAM may be older than it. Making it reads the whole file, which also
    shows whether it is sound and in order.

    Parameters
    ----------
    path
        A sorted BAM.
    link
        Where to put the link, in a folder of our own; the index is ``LINK.bai`` (``.csi`` for chromosomes past 512 Mb).

    Returns
    -------
    Number of mapped alignments.

    Raises
    ------
    InputFileError
        If the reads are not in order, or the file is damaged; the message says which.
    """
    import pysam

    link.symlink_to(path.resolve())
    with quiet_htslib():
        with pysam.AlignmentFile(str(path), "rb") as file:
            is_long = max(file.lengths) >= 2**29
        try:
            index = f"{link}.csi" if is_long else f"{link}.bai"
            pysam.index(*(["-c"] if is_long else []), "-o", index, str(link))
            with pysam.AlignmentFile(str(link), "rb", index_filename=index) as file:
                return int(file.mapped)
        except (pysam.SamtoolsError, OSError, ValueError) as error:
            raise InputFileError(_why_no_index(path)) from error


def iterate_sorted(info: BamInfo) -> Iterator["pysam.AlignedSegment"]:
    """Yield the mapped alignments of a BAM in order; needs no index and holds one read at a time.

    Raises
    ------
    InputFileError
        If an alignment comes before its predecessor, or the file is damaged.
    """
    import pysam

    last = (-1, -1)
    with quiet_htslib():
        file = pysam.AlignmentFile(str(info.path), "rb")
        reads = file.fetch(until_eof=True)
        try:
            while True:
                try:
                    read = next(reads, None)
                except OSError as error:
                    raise InputFileError(
                        f"{info.label} cannot be read past {_place(info, last)} ({error}); it is damaged. Fetch it again."
                    ) from error
                if read is None:
                    return
                if read.reference_id < 0:
                    continue  # unplaced reads come last
                here = (read.reference_id, read.reference_start)
                if here < last:
                    raise InputFileError(
                        f"{info.label} is not sorted by coordinate: {_place(info, here)} comes after "
                        f"{_place(info, last)}. {_HOW_TO_SORT}"
                    )
                last = here
                if not read.is_unmapped:
                    yield read
        finally:
            # Closing a damaged file fails too, and would hide what was found.
            with suppress(OSError):
                file.close()


@contextmanager
def quiet_htslib() -> Iterator[None]:
    """Keep htslib from writing its own messages to stderr: what matters is in the errors raised here."""
    import pysam

    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


def _why_no_index(path: Path) -> str:
    """Find out what keeps a BAM from being indexed. Reads it up to the fault; only for files that could not be."""
    info = inspect_bam(path)
    try:
        for _ in iterate_sorted(info):
            pass
    except InputFileError as error:
        return str(error)
    return f"{info.label} cannot be indexed; it is damaged. Fetch it again."


def _place(info: BamInfo, at: tuple[int, int]) -> str:
    return "its start" if at[0] < 0 else f"{list(info.chrom_lengths)[at[0]]}:{at[1]:,}"


def _without_prefix(chrom: str) -> str:
    return chrom[3:] if chrom.lower().startswith("chr") else chrom
