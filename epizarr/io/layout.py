"""How a group lies on disk: names, chunks, codecs and the files of its metadata.

Everything here makes values or bytes; nothing is read or written. Bytes depend on the arguments alone, so that a run that was
killed and started again leaves the same files.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.storage import MemoryStore

from epizarr import schema
from epizarr.errors import SchemaError, StoreError, nearest_match
from epizarr.genome import Assembly, BinGrid

#: Chunks of arrays that name none: long enough for one file where it can be, short enough to fit memory.
_CHUNK_OF_DIM = {"bin": 1 << 20, "track": 64}
#: Tracks: inner chunk and shard along ``bin``. Bands: rows of a chunk (all diagonals, no shards).
TRACK_CHUNK, TRACK_SHARD, BAND_ROWS = 1 << 14, 1 << 20, 1024

#: What lies beside groups in a store.
_RESERVED = ("zarr.json", "chrom_name", "chrom_length")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ZARR_DTYPES = {"f4": "float32", "f8": "float64", "i2": "int16", "i8": "int64", "b1": "bool", "O": str}


@dataclass(frozen=True)
class ArraySpec:
    """Layout of one array: what :func:`create_group` writes before there are values.

    Parameters
    ----------
    dims, shape
        As in the schema. ``shape`` is in elements.
    dtype
        Code of :mod:`epizarr.schema`: f4, f8, i2, i8, b1 or O.
    chunks
        Default: 2^20 bins or 64 tracks, and all of any other dim.
    shards
        None for none. Multiples of ``chunks``.
    attrs
        Added to the variable's attributes from the schema.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Chunks with the defaults filled in."""
        return self.chunks or tuple(_CHUNK_OF_DIM.get(d, max(n, 1)) for d, n in zip(self.dims, self.shape, strict=True))

    @property
    def unit(self) -> tuple[int, ...]:
        """Shape of the write unit: the shard, or the chunk where there are no shards."""
        return self.shards or self.chunk_shape

    @property
    def n_bytes(self) -> int:
        """Bytes of the values before compression."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it can safely name a folder inside the store, else raise :class:`StoreError`."""
    if not _SAFE_NAME.fullmatch(name) or ".." in name:
        raise StoreError(
            f"{what} {name!r} cannot be used: a name begins with a letter or digit and goes on with letters, digits or any of "
            "'. _ + -' (no '..'), for it becomes a folder of the store."
        )
    if name in _RESERVED:
        raise StoreError(
            f"{what} {name!r} cannot be used: a store has a file or an array of that name. Choose another."
        )
    return name


def group_path(kind: str, cell_type: str, binsize: int, run: str | None = None) -> str:
    """Path of a group in the store, such as ``"K562/predictions/RUN/10000"``."""
    parts = {"cell_type": check_name(cell_type, "cell type"), "binsize": int(binsize)}
    if run is not None:
        parts["run"] = check_name(run, "run")
    return schema.GROUPS[kind].path.format(**parts).strip("/")


def parse_path(path: str) -> tuple[str, str, int, str | None] | None:
    """Kind, cell type, binsize and run of a group's path; None if it is not one of the declared groups."""
    for kind, group in schema.GROUPS.items():
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", group.path.strip("/"))
        match = re.fullmatch(pattern, path)
        if kind != "root" and match and match["binsize"].isdigit():
            return kind, match["cell_type"], int(match["binsize"]), match.groupdict().get("run")
    return None


def grid_coords(grid: BinGrid, n_diagonals: int | None = None, *, bin_table: bool = True) -> dict[str, np.ndarray]:
    """Coordinates that a group on this grid has, for :func:`create_group`.

    Parameters
    ----------
    grid
        Bins of the group.
    n_diagonals
        Number of diagonals of its bands; None if it has none.
    bin_table
        Whether ``chrom``, ``start`` and ``end`` of each bin are stored (not on the grid of the tracks).
    """
    coords = {
        "chrom_name": np.array(grid.assembly.chrom_names, dtype=object),
        "chrom_length": np.array(grid.assembly.chrom_lengths, dtype=np.int64),
        "chrom_offset": grid.chrom_offset,
    }
    if bin_table:
        coords |= dict(zip(("chrom", "start", "end"), grid.locate(np.arange(grid.n_bins)), strict=True))
    if n_diagonals is not None:
        diagonal = np.arange(n_diagonals, dtype=np.int64)
        coords |= {"diagonal": diagonal, "distance": diagonal * grid.binsize}
    return coords


def chrom_flags(assembly: Assembly) -> dict[str, Any]:
    """CF attributes of ``chrom``: what its codes stand for."""
    return {"flag_values": list(range(len(assembly))), "flag_meanings": " ".join(assembly.chrom_names)}


def coordinate_spec(kind: str, name: str, values: np.ndarray, attrs: Mapping[str, Any] | None = None) -> ArraySpec:
    """Spec of a coordinate whose values are at hand."""
    variable = declared(kind, name)
    return ArraySpec(variable.dims, values.shape, variable.dtype, attrs=attrs or {})


def declared(kind: str, name: str) -> schema.Variable:
    """Return the schema's declaration of a variable; :class:`SchemaError` if such a group has none of that name."""
    group = schema.GROUPS[kind]
    variable = group.spec(name)
    if variable is None:
        known = [v.name for v in group.variables]
        raise SchemaError(
            f"variable {name!r} is not part of a {kind} group.{nearest_match(name, known)} Known: {known}."
        )
    return variable


def array_files(kind: str, name: str, spec: ArraySpec, values: np.ndarray | None = None) -> dict[str, bytes]:
    """Files of one array, by path below its group: metadata, and chunks if there are values."""
    variable = declared(kind, name)
    if spec.dims != variable.dims or spec.dtype != variable.dtype:
        raise SchemaError(
            f"{name}: {spec.dtype}{spec.dims} is not what a {kind} group has, {variable.dtype}{variable.dims}."
        )
    files: dict[str, Any] = {}
    array = zarr.create_array(
        MemoryStore(store_dict=files),
        name=name,
        shape=spec.shape,
        chunks=spec.chunk_shape,
        shards=spec.shards,
        dtype=_ZARR_DTYPES[spec.dtype],
        fill_value={"f": np.nan, "i": 0, "b": False, "O": ""}[spec.dtype[0]],
        compressors=_compressor(spec.dtype),
        dimension_names=spec.dims,
        attributes={**variable.attrs(), **spec.attrs},
        # A file that is not written could not take the place of an older one.
        config={"write_empty_chunks": True},
    )
    if values is not None:
        array[...] = values
    return {key: buffer.to_bytes() for key, buffer in sorted(files.items()) if key.startswith(f"{name}/")}


def group_json(attrs: Mapping[str, Any]) -> bytes:
    """Metadata file of a group, attributes in alphabetical order."""
    content = {"attributes": dict(sorted(attrs.items())), "node_type": "group", "zarr_format": 3}
    return json.dumps(content, indent=2).encode()


def _compressor(dtype: str) -> BloscCodec | ZstdCodec:
    # Zarr runs Blosc on one thread, and so its output is the same each time.
    return ZstdCodec(level=5) if dtype == "O" else BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle")
