"""Store manifests: the TOML files that say which cell types a store has and from which files they come.

``stores/template.toml`` shows and explains every key. All problems of a manifest are collected and raised at once.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from epizarr.errors import InputNotFoundError, ManifestError, RemoteError, nearest_match, raise_all
from epizarr.ingest.computed import ComputedEntry, read_computed
from epizarr.ingest.toml_table import InputFile, Table
from epizarr.io.remote import Cache
from epizarr.io.remote_uri import remote_url
from epizarr.schema import WEIGHTED_VARIABLES

#: The one version of the manifest's layout that is read.
MANIFEST_SCHEMA = 1

#: Keys that belong to one file, of a track and of contacts.
_FILE_KEYS = ("file", "rename_chroms", "sha256", "origin")
_CONTACTS_FILE_KEYS = (*_FILE_KEYS, "bins_file", "chrom")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class EntryFile:
    """One file of an entry: the only one, whose name is empty, or one of its ``replicates``.

    ``bins_file`` and ``chrom`` belong to contacts in text.
    """

    name: str
    input: InputFile
    rename_chroms: Mapping[str, str] = field(default_factory=dict)
    bins_file: InputFile | None = None
    chrom: str | None = None


@dataclass(frozen=True)
class TrackEntry:
    """One ``[[cell_type.tracks]]`` of a manifest."""

    name: str
    files: tuple[EntryFile, ...]
    uncovered: Literal["nan", "zero"]
    accession: str = ""
    strand: str = "."


@dataclass(frozen=True)
class ThinEntry:
    """Thinning of an entry's counts: to ``depth`` cis contacts on average, or to a ``fraction``; one of them is None."""

    depth: int | None = None
    fraction: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class ContactsEntry:
    """One ``[[cell_type.contacts]]`` of a manifest.

    ``normalisations`` maps a variable to the stored vector's name; ``computed`` is what epizarr works out from the counts.
    ``extent`` is the one locus that an assay covers.
    """

    files: tuple[EntryFile, ...]
    binsize: int
    normalisations: Mapping[str, str]
    weights_are: Literal["multiplicative", "divisive"] | None = None
    computed: ComputedEntry = field(default_factory=ComputedEntry)
    extent: str | None = None
    thin: ThinEntry | None = None


@dataclass(frozen=True)
class CellTypeEntry:
    """One ``[[cell_type]]`` of a manifest."""

    name: str
    tracks: tuple[TrackEntry, ...]
    contacts: tuple[ContactsEntry, ...]


@dataclass(frozen=True)
class Manifest:
    """A whole manifest. ``text`` is the file as it stands, which is what the store records."""

    path: Path
    text: str
    assembly: str
    chrom_sizes: InputFile | None
    chromosomes: tuple[str, ...] | None
    span_bp: int
    track_binsize: int
    blacklist: InputFile | None
    cell_types: tuple[CellTypeEntry, ...]


def load_manifest(path: str | Path, env: Mapping[str, str] | None = None, *, cache: Cache | None = None) -> Manifest:
    """Read and check a manifest; the files it names are not looked at, and nothing is fetched.

    Parameters
    ----------
    path
        TOML file. Paths in it are relative to its folder.
    env
        Values of ``${NAME}`` in paths. Empty by default: the library does not read environment variables.
    cache
        Where remote files are kept; needed if the manifest names one.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    ManifestError
        If it is not TOML, or has unknown keys, missing keys or values that cannot be used: all of them are listed.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path}: no such manifest. stores/template.toml shows how to write one.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"{path} is not TOML: {error}.") from error
    problems: list[str] = []
    manifest = _read_manifest(path, text, content, env or {}, problems)
    located = cast(Manifest, map_inputs(manifest, lambda file: _locate(file, cache, problems)))
    raise_all(ManifestError, f"manifest {path}", problems)
    return located


def map_inputs(value: Any, change: Callable[[InputFile], InputFile]) -> Any:
    """Return a manifest, or a part of one, with ``change`` applied to every input file in it, in the order of its fields."""
    if isinstance(value, InputFile):
        return change(value)
    if isinstance(value, tuple):
        return tuple(map_inputs(v, change) for v in value)
    if isinstance(value, Mapping):
        return {k: map_inputs(v, change) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: map_inputs(getattr(value, f.name), change) for f in fields(value) if f.init})
    return value


def _locate(file: InputFile, cache: Cache | None, problems: list[str]) -> InputFile:
    """Give a remote file its place in the cache."""
    if not file.url:
        return file
    if cache is None:
        problems.append(f"{file.uri} is remote: say where fetched files are kept (`cache`)")
        return file
    return replace(file, path=cache.path_of(file.url))


def _read_manifest(
    path: Path, text: str, content: dict[str, Any], env: Mapping[str, str], problems: list[str]
) -> Manifest:
    top = Table(content, "the manifest", ("schema", "store", "cell_type"), problems)
    if content.get("schema") != MANIFEST_SCHEMA:
        top.problem(f"needs schema = {MANIFEST_SCHEMA}, it has {content.get('schema')!r}")
    known = ("assembly", "chrom_sizes", "chromosomes", "span_bp", "track_binsize", "blacklist")
    store = Table(content.get("store", {}), "[store]", known, problems)
    span_bp = store.positive("span_bp", 2_000_000)
    track_binsize = store.positive("track_binsize", 100)
    chromosomes = store.content.get("chromosomes")
    if chromosomes is not None and not (
        isinstance(chromosomes, list) and chromosomes and all(isinstance(c, str) for c in chromosomes)
    ):
        store.problem(f"'chromosomes' is {chromosomes!r}, a list of names is needed")
        chromosomes = None
    cells = [_read_cell(t, i, path, env, problems) for i, t in enumerate(top.tables("cell_type"), start=1)]
    if not cells:
        top.problem("has no [[cell_type]]")
    _note_repeats("cell type", [c.name for c in cells], "the manifest", problems)
    for cell in cells:
        for entry in cell.contacts:
            where = f"cell type {cell.name!r}, contacts at {entry.binsize} bp:"
            if not (entry.binsize and span_bp and track_binsize):
                continue  # noted already
            if span_bp % entry.binsize:
                problems.append(f"{where} span_bp = {span_bp} is not a multiple of the bin width")
            if entry.binsize % track_binsize:
                problems.append(f"{where} the bin width is not a multiple of track_binsize = {track_binsize}")
    return Manifest(
        path=path,
        text=text,
        assembly=store.text("assembly"),
        chrom_sizes=_input(store, "chrom_sizes", path, env) if "chrom_sizes" in store.content else None,
        chromosomes=None if chromosomes is None else tuple(chromosomes),
        span_bp=span_bp,
        track_binsize=track_binsize,
        blacklist=_input(store, "blacklist", path, env) if "blacklist" in store.content else None,
        cell_types=tuple(cells),
    )


def _read_cell(content: Any, number: int, path: Path, env: Mapping[str, str], problems: list[str]) -> CellTypeEntry:
    name = content.get("name") if isinstance(content, dict) else None
    where = f"cell type {name!r}" if isinstance(name, str) else f"[[cell_type]] number {number}"
    table = Table(content, where, ("name", "tracks", "contacts"), problems)
    tracks = [_read_track(t, where, path, env, problems) for t in table.tables("tracks")]
    contacts = [_read_contacts(t, where, path, env, problems) for t in table.tables("contacts")]
    if not tracks and not contacts:
        table.problem("has neither [[cell_type.tracks]] nor [[cell_type.contacts]]")
    _note_repeats("track", [t.name for t in tracks], where, problems)
    _note_repeats("contacts at binsize", [str(c.binsize) for c in contacts], where, problems)
    return CellTypeEntry(table.name("name"), tuple(tracks), tuple(contacts))


def _read_track(content: Any, cell: str, path: Path, env: Mapping[str, str], problems: list[str]) -> TrackEntry:
    known = ("name", *_FILE_KEYS, "replicates", "uncovered", "accession", "strand")
    name = content.get("name") if isinstance(content, dict) else None
    table = Table(content, f"{cell}, track {name!r}:", known, problems)
    return TrackEntry(
        name=table.name("name"),
        files=_read_files(table, _FILE_KEYS, path, env),
        uncovered=cast(Literal["nan", "zero"], table.choice("uncovered", ("nan", "zero"))),
        accession=table.text("accession", ""),
        strand=table.choice("strand", ("+", "-", "."), "."),
    )


def _read_contacts(content: Any, cell: str, path: Path, env: Mapping[str, str], problems: list[str]) -> ContactsEntry:
    own = (*_CONTACTS_FILE_KEYS, "replicates", "binsize", "normalisations", "weights_are")
    known = (*own, "compute", "ice", "hicdcplus", "akita", "extent", "thin")
    found = content if isinstance(content, dict) else {}
    which = f"at {found.get('binsize')} bp" if "replicates" in found else repr(found.get("file"))
    table = Table(content, f"{cell}, contacts {which}:", known, problems)
    normalisations = table.texts("normalisations")
    for variable in normalisations:
        if variable not in WEIGHTED_VARIABLES:
            table.problem(
                f"'normalisations' names {variable!r}, which is no variable of the store."
                f'{nearest_match(variable, WEIGHTED_VARIABLES)} Write {{ variable = "name in the file" }} with one of '
                f"{', '.join(WEIGHTED_VARIABLES)}"
            )
    weights_are = table.choice("weights_are", ("multiplicative", "divisive"), "") or None
    changed = [key for key in ("replicates", "thin") if key in table.content]
    stored = [key for key, value in (("normalisations", normalisations), ("weights_are", weights_are)) if value]
    if changed and stored:
        table.problem(
            f"has {' and '.join(map(repr, changed))} beside {' and '.join(map(repr, stored))}: weights that a file stores were "
            "fitted to all counts of that one file, and do not balance a sum over files or a part of the counts. Name what you "
            "need in 'compute' instead"
        )
    computed = read_computed(
        table, normalisations, lambda t, key: _input(t, key, path, env), has_extent="extent" in table.content
    )
    return ContactsEntry(
        files=_read_files(table, _CONTACTS_FILE_KEYS, path, env),
        binsize=table.positive("binsize"),
        normalisations=normalisations,
        weights_are=cast(Literal["multiplicative", "divisive"] | None, weights_are),
        computed=computed,
        extent=table.text("extent", "") or None,
        thin=_read_thin(table) if "thin" in table.content else None,
    )


def _read_files(table: Table, keys: Sequence[str], path: Path, env: Mapping[str, str]) -> tuple[EntryFile, ...]:
    """Read the files of an entry: its own keys, or one table of ``replicates`` each."""
    if "replicates" not in table.content:
        return (_read_file(table, "", path, env),)
    outside = [key for key in keys if key in table.content]
    if outside:
        table.problem(
            f"has 'replicates' and {', '.join(map(repr, outside))}: replicates stand in place of 'file', and what belongs to "
            "one file goes into its own table"
        )
    files = []
    for content in table.tables("replicates"):
        name = content.get("name") if isinstance(content, dict) else None
        own = Table(content, f"{table.where} replicate {name!r}:", ("name", *keys), table.problems)
        files.append(_read_file(own, own.name("name"), path, env))
    if len(files) < 2:
        table.problem(f"has {len(files)} of 'replicates', at least two are needed; write one file as 'file'")
    _note_repeats("replicate", [f.name for f in files], table.where, table.problems)
    return tuple(files)


def _read_file(table: Table, name: str, path: Path, env: Mapping[str, str]) -> EntryFile:
    return EntryFile(
        name=name,
        input=_input(table, "file", path, env),
        rename_chroms=table.texts("rename_chroms"),
        bins_file=_input(table, "bins_file", path, env) if "bins_file" in table.content else None,
        chrom=table.text("chrom", "") or None,
    )


def _read_thin(table: Table) -> ThinEntry:
    own = Table(table.content["thin"], f"{table.where} thin", ("depth", "fraction", "seed"), table.problems)
    if ("depth" in own.content) == ("fraction" in own.content):
        own.problem("needs 'depth' (cis contacts to be left) or 'fraction' (in (0, 1]), one of the two")
    fraction = own.content.get("fraction")
    if fraction is not None and not (
        isinstance(fraction, int | float) and not isinstance(fraction, bool) and 0 < fraction <= 1
    ):
        own.problem(f"'fraction' is {fraction!r}, a number in (0, 1] is needed")
        fraction = None
    return ThinEntry(
        depth=own.positive("depth") if "depth" in own.content else None,
        fraction=None if fraction is None else float(fraction),
        seed=own.whole("seed", 0),
    )


def _input(table: Table, key: str, manifest: Path, env: Mapping[str, str]) -> InputFile:
    """Read a path and what goes with it."""
    uri = table.text(key)

    def value(match: re.Match[str]) -> str:
        if match[1] in env:
            return env[match[1]]
        known = f"Known: {', '.join(sorted(env)[:8])}" if 0 < len(env) <= 8 else "Set it in the environment"
        table.problem(f"{key!r} uses ${{{match[1]}}}, which is not set.{nearest_match(match[1], list(env))} {known}")
        return ""

    file, _, group = _VARIABLE.sub(value, uri).partition("::")
    sha256 = table.text("sha256", "") if key == "file" else ""
    if sha256 and not _SHA256.fullmatch(sha256):
        table.problem(f"'sha256' is {sha256!r}; 64 hexadecimal digits in lower case are needed")
    origin = table.text("origin", "") if key == "file" else ""
    try:
        url = remote_url(file) or ""
    except RemoteError as error:
        url = ""
        table.problem(f"{key!r}: {error}")
    return InputFile(manifest.parent / file, uri, group, sha256 or None, origin, url)


def _note_repeats(what: str, names: Sequence[str], where: str, problems: list[str]) -> None:
    for name in sorted({n for n in names if n and names.count(n) > 1}):
        problems.append(f"{where} has {what} {name!r} more than once; each needs its own name")
