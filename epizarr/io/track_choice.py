"""Which stored track each track of a network is read from, or that it is fed as missing."""

from collections.abc import Mapping, Sequence

from epizarr.errors import CheckpointError, ConfigError, nearest_match, raise_all


def choose_tracks(
    wanted: Sequence[str],
    there: Sequence[str],
    *,
    use: Mapping[str, str],
    without: Sequence[str],
    zeroed: Sequence[str],
    may_be_missing: bool,
    model: str,
    cell_type: str,
) -> dict[str, str | None]:
    """Choose the stored track behind each track of a network, by name.

    Parameters
    ----------
    wanted
        Tracks of the network, in its order.
    there
        Tracks that the cell type has.
    use
        Stored track to read in the place of one of the network's.
    without
        Tracks to feed as missing though they are there.
    zeroed
        Tracks that the network was trained without.
    may_be_missing
        Whether the network has learned to do without some of its tracks.
    model, cell_type
        What messages call the network, and the owner of the tracks.

    Returns
    -------
    Stored track of each of ``wanted``, in that order; None where it is fed as missing.

    Raises
    ------
    ConfigError
        If ``use`` or ``without`` cannot be followed: an unknown name, a track named in both or never read, a network that cannot
        do without a track, nothing left.
    CheckpointError
        If the cell type lacks tracks that the network cannot do without.
    """
    problems = []
    for name, source in use.items():
        if name not in wanted:
            problems.append(
                f"use {name}={source}: {name!r} is no track of the network.{nearest_match(name, list(wanted))}"
            )
        elif name in zeroed:
            problems.append(f"use {name}={source}: the network was trained without {name!r} and never reads it")
        elif name in without:
            problems.append(f"use {name}={source}: {name!r} is to be left out, too; choose one")
        if source not in there:
            problems.append(
                f"use {name}={source}: {cell_type!r} has no track {source!r}.{nearest_match(source, list(there))}"
            )
    for name in without:
        if name not in wanted:
            problems.append(f"without {name}: it is no track of the network.{nearest_match(name, list(wanted))}")
    if without and not may_be_missing:
        problems.append(
            f"without {', '.join(without)}: the network has never seen a track missing. Train with training.track_dropout"
        )
    raise_all(
        ConfigError, f"{model} has the tracks {list(wanted)}, cell type {cell_type!r} has {list(there)}", problems
    )
    chosen: dict[str, str | None] = {name: use.get(name, name) for name in wanted}
    missing = [name for name, source in chosen.items() if source not in there and name not in (*without, *zeroed)]
    if missing and not may_be_missing:
        raise CheckpointError(
            f"{model} needs the tracks {list(wanted)}; cell type {cell_type!r} has {list(there)} and lacks {missing}. Tracks are "
            "matched by name: add them to the manifest under these names, read another track in their place (--use "
            f"{missing[0]}=NAME), or train a network that does without them (training.track_dropout)."
        )
    for name in {*missing, *without, *zeroed} & set(wanted):
        chosen[name] = None
    if not any(chosen.values()):
        raise CheckpointError(
            f"{model} reads the tracks {list(wanted)}, and cell type {cell_type!r}, which has {list(there)}, gives none of them. "
            "Ingest one of them, or read another track in its place (--use NAME=TRACK)."
        )
    return chosen
