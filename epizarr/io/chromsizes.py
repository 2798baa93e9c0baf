"""Chromosome sizes: from a file, from bioframe's bundled assemblies, and checked against what an input file says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import bioframe

from epizarr.errors import AssemblyMismatchError, InputFileError, nearest_match, raise_all
from epizarr.genome import Assembly, check_same_assembly
from epizarr.io.filetype import read_lines


def read_chrom_sizes(path: str | Path) -> list[tuple[str, int]]:
    """Read names and lengths of chromosomes from a text table.

    Parameters
    ----------
    path
        ``.chrom.sizes``, ``.fai`` or any table whose first two columns are name and length in bp; plain or gzip. One
        header line, empty lines and ``#`` comments are allowed.

    Returns
    -------
    (name, length in bp) in the order of the file.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If it is not text, holds no chromosome, repeats a name, or has lines that cannot be read: all of them are named
        with their line numbers.
    """
    rows: dict[str, int] = {}
    problems: list[str] = []
    is_first = True
    for number, line in read_lines(path, "a table of chromosome sizes"):
        fields = line.split("\t") if "\t" in line else line.split()
        length = fields[1].strip() if len(fields) > 1 else ""
        # A header has a word where a length belongs ("length", "size"); only the first line may be one.
        is_header = is_first and length != "" and not any(character.isdigit() for character in length)
        is_first = False
        if is_header:
            continue
        name = fields[0].strip()
        if not name or not length.isascii() or not length.isdigit() or int(length) == 0:
            problems.append(f"line {number}: {line!r} is not a name and a positive length in bp")
        elif name in rows:
            problems.append(f"line {number}: chromosome {name!r} is listed a second time")
        else:
            rows[name] = int(length)
    if not rows and not problems:
        problems.append("it lists no chromosome")
    raise_all(InputFileError, f"chromosome sizes {path}", problems)
    return list(rows.items())


def open_assembly(
    name: str, *, chrom_sizes: str | Path | None = None, chromosomes: Sequence[str] | None = None
) -> Assembly:
    """Make an assembly from a sizes file, or from those that bioframe brings along (nothing is downloaded).

    Parameters
    ----------
    name
        Name of the build. With ``chrom_sizes`` it is a label; without, it is looked up among bioframe's assemblies.
    chrom_sizes
        Table for :func:`read_chrom_sizes`; its chromosomes are taken in the file's order.
    chromosomes
        Chromosomes to keep, in this order. Default: all of the file, or the assembly's primary chromosomes (no
        mitochondrial, unplaced or alternative sequence).

    Raises
    ------
    AssemblyMismatchError
        If bioframe has no assembly of that name; the message lists those it has.
    RegionError
        If one of ``chromosomes`` is not in the assembly.

    Examples
    --------
    >>> open_assembly("hg38", chromosomes=["chr21", "chr22"]).chrom_lengths
    (46709983, 50818468)
    """
    if chrom_sizes is not None:
        assembly = Assembly.from_table(name, read_chrom_sizes(chrom_sizes))
        return assembly if chromosomes is None else assembly.restrict(chromosomes)
    table = bioframe.assemblies_available()
    # Asked for as "provider.build": bioframe takes what stands before a dot, as in "T2T-CHM13v2.0", for the provider.
    bundled = {build: f"{who}.{build}" for who, build in zip(table["provider"], table["provider_build"], strict=True)}
    if name not in bundled:
        raise AssemblyMismatchError(
            f"assembly {name!r} is not among those that bioframe brings along: {', '.join(sorted(bundled))}."
            f"{nearest_match(name, list(bundled))} Choose one, or give a file of chromosome sizes (`chrom_sizes`)."
        )
    if chromosomes is None:
        info = bioframe.assembly_info(bundled[name], roles=("assembled",), units=("primary",))
        return Assembly.from_table(name, info.chromsizes.items())
    info = bioframe.assembly_info(bundled[name], roles="all", units="all")
    return Assembly.from_table(name, info.chromsizes.items()).restrict(chromosomes)


class FileWithChromosomes(Protocol):
    """What :func:`check_file_assembly` needs to know of a track or contacts file."""

    @property
    def label(self) -> str:
        """How to name the file in a message."""
        ...

    @property
    def chrom_lengths(self) -> Mapping[str, int]:
        """Names and lengths (bp) as the file gives them."""
        ...


def check_file_assembly(
    info: FileWithChromosomes, assembly: Assembly, rename: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Refuse a track or contacts file that belongs to another assembly; the same rule for both kinds.

    Parameters
    ----------
    info
        :class:`~epizarr.io.bigwig.BigWigInfo` or :class:`~epizarr.io.contacts.ContactsInfo`.
    assembly
        What the store has.
    rename
        ``{name in the file: name in the store}``, from the manifest's ``rename_chroms``.

    Returns
    -------
    ``{name in the store: name in the file}`` for each chromosome of the assembly that the file lists, in the assembly's
    order. A chromosome that is not in it is not covered by the file.

    Raises
    ------
    AssemblyMismatchError
        If ``rename`` names chromosomes that the file or the store does not have, or sends two to one name; if no
        chromosome is shared; or if a shared one has another length.
    """
    rename = dict(rename or {})
    names = list(info.chrom_lengths)
    problems = [
        f"`rename_chroms` names {old!r}, and the file has {_shorten(names)}.{nearest_match(old, names)}"
        for old in rename
        if old not in info.chrom_lengths
    ]
    problems += [
        f"`rename_chroms` sends {old!r} to {new!r}, and assembly {assembly.name!r} has "
        f"{_shorten(assembly.chrom_names)}.{nearest_match(new, assembly.chrom_names)} "
        "Leave out what the store does not hold."
        for old, new in rename.items()
        if new not in assembly
    ]
    file_name: dict[str, str] = {}
    for old in names:
        new = rename.get(old, old)
        if new in file_name:
            problems.append(f"with `rename_chroms`, {file_name[new]!r} and {old!r} of the file are both {new!r}")
        file_name[new] = old
    raise_all(AssemblyMismatchError, info.label, problems)
    found = {new: info.chrom_lengths[old] for new, old in file_name.items()}
    check_same_assembly(info.label, found, assembly, rename_chroms=bool(rename))
    return {chrom: file_name[chrom] for chrom in assembly.chrom_names if chrom in file_name}


def _shorten(names: Sequence[str], n: int = 6) -> str:
    return str(list(names)) if len(names) <= n else f"{list(names[:n])} … ({len(names)} in all)"
