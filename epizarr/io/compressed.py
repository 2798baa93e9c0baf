"""Bytes of a file at offsets of its uncompressed content: plain, gzip, or gzip in independent blocks (bgzip).

bgzip is what genomes and their annotations are usually compressed with. Each block says how long it is, so one can go to
any place without the ``.gzi`` index and inflate one block only. Ordinary gzip has to be inflated from its beginning.

Source of the format: SAM/BAM specification, section 4.1 (BGZF).
"""

import gzip
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from epizarr.errors import InputFileError

#: A gzip member with an extra field of six bytes, which begins with "BC": how bgzip marks its blocks.
_HEADER_BYTES = 18


class Bytes(Protocol):
    """What the readers use of a binary file."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset of the uncompressed content."""
        ...

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes; fewer only at the end."""
        ...

    def __enter__(self) -> "Bytes": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None: ...


def open_bytes(path: str | Path) -> Bytes:
    """Open a plain, gzip or bgzip file for reading its uncompressed content.

    Raises
    ------
    InputFileError
        If a bgzip file is truncated. Reading ordinary gzip raises what the standard library does.
    """
    if is_bgzip(path):
        return BgzipFile(path)
    with open(path, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_gzip else open(path, "rb")


def is_bgzip(path: str | Path) -> bool:
    """Whether a file begins with a block of bgzip."""
    with open(path, "rb") as file:
        return _block_size(file.read(_HEADER_BYTES)) is not None


class BgzipFile:
    """A bgzip file for reading, with fast access to any place.

    Opening reads the length of every block (18 bytes in about 20 kB); reading holds what was asked for and one block.

    Raises
    ------
    InputFileError
        If the file is truncated or holds something else between its blocks; reading raises it for a damaged block.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = open(path, "rb", buffering=0)
        try:
            self._start, self._first = self._list_blocks()
        except BaseException:
            self._file.close()
            raise
        self._at = 0

    def _list_blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets of blocks in the file, and of their first bytes in the content; both end with the total."""
        size = os.fstat(self._file.fileno()).st_size
        start, first = [0], [0]
        header = self._file.read(_HEADER_BYTES)
        while start[-1] < size:
            n_bytes = _block_size(header)
            if n_bytes is None or start[-1] + n_bytes > size:
                raise InputFileError(
                    f"{self.path} is truncated or damaged: the bgzip block at byte {start[-1]:,} of {size:,} is not whole. "
                    "Fetch it again, or compress it again."
                )
            # The last four bytes of a block say how long it is when inflated; the next block follows.
            self._file.seek(start[-1] + n_bytes - 4)
            tail = self._file.read(4 + _HEADER_BYTES)
            start.append(start[-1] + n_bytes)
            first.append(first[-1] + int.from_bytes(tail[:4], "little"))
            header = tail[4:]
        return np.array(start), np.array(first)

    def seek(self, offset: int, /) -> int:
        """Go to an offset of the uncompressed content."""
        self._at = offset
        return offset

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes of the uncompressed content; fewer only at its end."""
        end = min(self._at + size, int(self._first[-1]))
        parts = []
        # The last block that begins at or before this place; empty blocks in between are passed over.
        block = int(np.searchsorted(self._first, self._at, side="right")) - 1
        while self._at < end:
            content = self._inflate(block)
            lo = self._at - int(self._first[block])
            part = content[lo : lo + end - self._at]
            parts.append(part)
            self._at += len(part)
            block += 1
        return b"".join(parts)

    def _inflate(self, block: int) -> bytes:
        self._file.seek(int(self._start[block]))
        try:
            content = zlib.decompress(self._file.read(int(self._start[block + 1] - self._start[block])), wbits=31)
        except zlib.error as error:
            raise InputFileError(
                f"{self.path} is damaged: the bgzip block at byte {int(self._start[block]):,} cannot be inflated ({error}). "
                "Fetch it again, or compress it again."
            ) from error
        if len(content) != self._first[block + 1] - self._first[block]:
            raise InputFileError(
                f"{self.path} is damaged: a bgzip block has another length than it says. Fetch it again."
            )
        return content

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "BgzipFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def _block_size(header: bytes) -> int | None:
    """Length in bytes of the bgzip block with this header; None if it is none."""
    is_block = (
        len(header) == _HEADER_BYTES and header[:4] == b"\x1f\x8b\x08\x04" and header[10:16] == b"\x06\x00BC\x02\x00"
    )
    return int.from_bytes(header[16:18], "little") + 1 if is_block else None
