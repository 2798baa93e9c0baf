"""What a file really is, told from its first bytes and never from its name.

The readers ask :func:`require_file_type` before they hand a path to a C library, so that a text file or a ``.hic`` file
that is called ``x.cool`` is refused in words that say what it looks like.
"""

import gzip
import zlib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from epizarr.errors import InputFileError, InputNotFoundError

#: First bytes of the binary formats that people mix up, most specific first.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"HIC\x00", "hic"),
    (b"\x26\xfc\x8f\x88", "bigWig"),
    (b"\x88\x8f\xfc\x26", "bigWig"),
    (b"\xeb\xf2\x89\x87", "bigBed"),
    (b"\x87\x89\xf2\xeb", "bigBed"),
    (b"BAM\x01", "BAM"),
    (b"CRAM", "CRAM"),
    (b"\x93NUMPY", "npy"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
)

#: What a name's ending promises; endings that are not listed promise nothing.
_SUFFIX: dict[str, str] = {
    ".cool": "HDF5",
    ".mcool": "HDF5",
    ".scool": "HDF5",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".hic": "hic",
    ".bw": "bigWig",
    ".bigwig": "bigWig",
    ".bb": "bigBed",
    ".bigbed": "bigBed",
    ".bam": "BAM",
    ".cram": "CRAM",
    ".gz": "gzip",
    ".zip": "zip",
    ".npy": "npy",
    ".npz": "zip",
}

#: Formats as a sentence names them.
_LABEL: dict[str, str] = {
    "HDF5": "an HDF5 file (.cool, .mcool, .h5)",
    "hic": "a .hic file",
    "bigWig": "a bigWig file",
    "bigBed": "a bigBed file",
    "BAM": "a BAM file",
    "CRAM": "a CRAM file",
    "gzip": "a gzip-compressed file",
    "zip": "a zip archive (.npz is one)",
    "npy": "a NumPy array (.npy)",
    "text": "a text file",
    "empty": "an empty file",
    "unknown": "a binary file of no format that epizarr knows",
}


def detect_file_type(path: str | Path) -> str:
    """Tell what a file holds from its first bytes.

    Returns
    -------
    One of ``"HDF5"``, ``"hic"``, ``"bigWig"``, ``"bigBed"``, ``"BAM"``, ``"CRAM"``, ``"gzip"``, ``"zip"``, ``"npy"``,
    ``"text"``, ``"empty"`` and ``"unknown"``.
    """
    with open(path, "rb") as file:
        head = file.read(1024)
    if not head:
        return "empty"
    if _starts_with_bam(head):
        return "BAM"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    # A multi-byte character may be cut at the end of what was read, so only control bytes speak against text.
    is_text = not any(byte < 32 and byte not in (9, 10, 12, 13) for byte in head)
    return "text" if is_text else "unknown"


def _starts_with_bam(head: bytes) -> bool:
    """Whether the bytes are a BAM's: gzip (its blocked kind, BGZF) on the outside, so that only what is inside tells."""
    if not head.startswith(b"\x1f\x8b"):
        return False
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 4) == b"BAM\x01"
    except zlib.error:
        return False


def require_file_type(path: str | Path, wanted: tuple[str, ...], what: str) -> str:
    """Return the type of a file, or refuse it.

    Parameters
    ----------
    path
        A local file.
    wanted
        Types that the caller can read, as :func:`detect_file_type` names them.
    what
        What the caller needs, for the message: ``"a bigWig"``.

    Raises
    ------
    InputNotFoundError
        If there is no such file; the message names files beside it with nearly the same name.
    InputFileError
        If it is a folder, holds something else, or its name says that it is something else.
    """
    path = Path(path)
    if path.is_dir():
        raise InputFileError(f"{path} is a folder; {what} was needed. Give the path of the file.")
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = get_close_matches(path.name, beside, n=3, cutoff=0.6)
        where = f"The folder {path.parent} does not exist either." if not path.parent.is_dir() else ""
        hint = f"Beside it there is {close}." if close else where
        raise InputNotFoundError(f"{path} does not exist; {what} was needed. {hint}".rstrip())
    found = detect_file_type(path)
    if found not in wanted:
        raise InputFileError(
            f"{path} is not {what}: by its first bytes it is {_LABEL[found]}. "
            "Give the right file, or download it again if it should be right."
        )
    promised = _SUFFIX.get(path.suffix.lower())
    if promised is not None and promised != found:
        raise InputFileError(
            f"{path} is not what its name says: {path.suffix!r} stands for {_LABEL[promised]}, and by its first bytes "
            f"it is {_LABEL[found]}. Rename it if that is what you meant to use."
        )
    return found


def read_lines(path: str | Path, what: str) -> Iterator[tuple[int, str]]:
    """Iterate over the lines of a text file, gzip-compressed or not, with their 1-based numbers.

    Line ends are stripped; empty lines and comments (``#``) are skipped.

    Raises
    ------
    InputNotFoundError, InputFileError
        If the file is missing, is not text, or its compression is broken.
    """
    is_gzip = require_file_type(path, ("text", "gzip", "empty"), what) == "gzip"
    opened = gzip.open(path, "rt", encoding="utf-8") if is_gzip else open(path, encoding="utf-8")
    with opened as file:
        try:
            for number, line in enumerate(file, start=1):
                text = line.rstrip("\r\n")
                if text.strip() and not text.startswith("#"):
                    yield number, text
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise InputFileError(f"{path} cannot be read as text ({error}); {what} was needed.") from error
