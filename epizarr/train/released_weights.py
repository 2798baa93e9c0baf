"""Released weights: the state dict of a published Epiphany network in, a checkpoint that predicts out.

A ``.pt_model`` file is a PyTorch state dict and nothing else. It is read by PyTorch's weights-only reader, which builds tensors
and refuses to run code; every name, shape and type is compared with the published network before anything is written. What
the file does not say has to be said: which track each channel is, and what the network was trained on.

Source: PUBLISHED_EPIPHANY, sections 2 to 4; the released code saves ``net.state_dict()`` of the generator.
"""

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epizarr.errors import ConfigError, InputFileError, InputNotFoundError, OutputExistsError, RegionError, raise_all
from epizarr.genome import Assembly
from epizarr.io.files import file_sha256
from epizarr.io.places import local_path
from epizarr.nn import Epiphany, NetworkConfig
from epizarr.train.card import ModelCard
from epizarr.train.checkpoint import Position, save_checkpoint, state_problems
from epizarr.train.config import TrainConfig
from epizarr.train.config_checks import check_config
from epizarr.train.config_text import load_config
from epizarr.transforms import STEPS, TARGET_TRANSFORMS, TRACK_TRANSFORMS, Transform, steps_of

#: Name under which a checkpoint's inputs hold the file that its weights came from.
WEIGHTS_INPUT = "released weights"
MODEL_CARD = "MODEL_CARD.md"
#: What ``torch.nn.DataParallel`` puts before every name.
_PARALLEL_PREFIX = "module."


def import_weights(
    file: str | Path,
    run_dir: str | Path,
    *,
    tracks: Sequence[str],
    assembly: Assembly,
    target_variable: str,
    target_transform: str,
    train_regions: Sequence[str],
    cell_types: Sequence[str],
    validation_regions: Sequence[str] = (),
    test_regions: Sequence[str] = (),
    track_transform: str = "linear",
    final_relu: str = "never",
    network: NetworkConfig | None = None,
) -> Path:
    """Make a run folder with one checkpoint from released weights.

    Holds the weights twice. The folder appears whole or not at all; the same file and settings give the same bytes.

    Parameters
    ----------
    file
        State dict of a generator: float32 tensors under the released names, all with a leading ``module.`` or none.
    run_dir
        Folder to make; its ``best`` and ``last`` are the checkpoint. It holds no training state: it predicts, and
        ``epizarr train`` refuses to go on from it. ``MODEL_CARD.md`` says in words what it is.
    tracks
        Track of each input channel, by name. The published networks were trained with DNase, H3K27ac, H3K4me3, H3K27me3, CTCF
        in this order, whatever their documentation says.
    assembly
        Genome that the network was trained on.
    target_variable
        What it predicts, by the name of the variable in a store.
    target_transform, track_transform
        What was done to target and tracks in training; only transforms without fitted numbers, since the file holds none.
        The released code feeds tracks as they are.
    train_regions, cell_types
        What it was trained on; prediction warns of it.
    validation_regions, test_regions
        The other regions of its splits, where they are known.
    final_relu
        Where negative outputs are cut at 0: never, predict (as the released prediction code does) or always.
    network
        Shape to expect. Default: of the two published networks, with so many tracks, the one that fits the file better.

    Returns
    -------
    ``RUNDIR/best``.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputFileError
        If it is not a state dict (of anything else, nothing is run), or names, shapes, types or values are not those of
        the network; says all of them.
    ConfigError
        If a setting cannot be used; says all of them.
    OutputExistsError
        If the folder is there and not empty.
    """
    run_dir = local_path(run_dir)
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise OutputExistsError(
            f"run folder {run_dir} is there and not empty; give a new folder to import weights into."
        )
    _check_settings(
        tracks, assembly, target_transform, track_transform, cell_types, train_regions, validation_regions, test_regions
    )
    state = read_state_dict(file)
    expected = network or _nearest_published(state, len(tracks))
    expected = dataclasses.replace(expected, final_relu=final_relu)  # type: ignore[arg-type]  # checked by NetworkConfig
    raise_all(InputFileError, f"weights {file}", _misfits(state, expected))
    config = _config(expected, tracks, target_variable, target_transform, track_transform, cell_types)
    splits = {"train": train_regions, "validation": validation_regions, "test": test_regions}
    config = check_config(
        dataclasses.replace(
            config,
            splits=dataclasses.replace(config.splits, **{name: tuple(texts) for name, texts in splits.items()}),
        ),
        "import of weights",
    )
    card = ModelCard(
        network=expected,
        tracks=tuple(tracks),
        track_binsize=config.data.track_binsize,
        binsize=config.data.binsize,
        n_bins=config.training.n_bins,
        target_variable=target_variable,
        target_transform=Transform(target_transform, steps_of(target_transform, TARGET_TRANSFORMS), {}),
        track_transforms={
            name: Transform(track_transform, steps_of(track_transform, TRACK_TRANSFORMS), {}) for name in tracks
        },
        min_diagonal=0,  # the released training masks nothing
        assembly=assembly.name,
        chrom_lengths=dict(assembly),
        trained_on={"cell_types": list(cell_types), "splits": {name: list(texts) for name, texts in splits.items()}},
        inputs={WEIGHTS_INPUT: {Path(file).name: file_sha256(file)}},
        config=config,
    )
    with torch.device("meta"):
        model = Epiphany(expected)
    model.load_state_dict(state, assign=True)
    partial = run_dir.with_name(f".{run_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_checkpoint(partial, card, (model, None), Position(best_step=0))
    (partial / MODEL_CARD).write_text(model_card_text(card), encoding="utf-8")
    os.replace(partial, run_dir)
    return run_dir / "best"


def read_state_dict(file: str | Path) -> dict[str, Tensor]:
    """Read a PyTorch state dict without running anything in it.

    Parameters
    ----------
    file
        What ``torch.save(net.state_dict(), …)`` writes, of any version of its format.

    Returns
    -------
    Tensors by name, on the CPU, without the prefix of ``torch.nn.DataParallel``.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    InputFileError
        If it is no state dict.
    """
    path = Path(file)
    if not path.is_file():
        raise InputNotFoundError(f"weights {file}: no such file.")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file that is none of PyTorch's fails in whatever way its bytes lead to
        raise InputFileError(
            f"weights {file}: cannot be read as a state dict, and nothing in it was run ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}). Give a file that holds tensors "
            "only, as `torch.save(net.state_dict(), FILE)` writes it."
        ) from error
    if not isinstance(loaded, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        named = f" with the keys {[str(key) for key in list(loaded)[:5]]}" if isinstance(loaded, Mapping) else ""
        raise InputFileError(
            f"weights {file}: holds a {type(loaded).__name__}{named}, needs names with tensors. Save the network's own state "
            "dict, not a larger object around it."
        )
    if loaded and all(name.startswith(_PARALLEL_PREFIX) for name in loaded):
        return {name.removeprefix(_PARALLEL_PREFIX): value for name, value in loaded.items()}
    return dict(loaded)


def _misfits(state: Mapping[str, Tensor], network: NetworkConfig) -> list[str]:
    """Say how a released state dict differs from a network's, and which of its values are no numbers, one text a tensor."""
    with torch.device("meta"):
        model = Epiphany(network)
    # The first layer misfits where more or fewer tracks were named than the file has channels.
    problems = [
        f"{text} with {network.n_tracks} tracks" if text.startswith("tensor conv1.conv.weight has shape") else text
        for text in state_problems(state, model)
    ]
    return problems + [
        f"tensor {name} holds values that are not finite"
        for name in model.state_dict()
        if name in state and (state[name].is_meta or not bool(state[name].isfinite().all()))
    ]


def model_card_text(card: ModelCard) -> str:
    """Say in Markdown what an imported network is, what it reads and what is not known of it."""
    source = ", ".join(f"`{name}` (sha256 {digest})" for name, digest in card.inputs.get(WEIGHTS_INPUT, {}).items())
    splits = card.trained_on["splits"]
    rows = [
        ("weights", source),
        ("network", f"{card.network.core}, {card.network.n_offsets} offsets of {card.binsize:,} bp"),
        ("tracks, in the order of the channels", ", ".join(card.tracks)),
        ("track bins", f"{card.track_binsize:,} bp, transform `{card.track_transforms[card.tracks[0]].name}`"),
        ("assembly", f"{card.assembly}, {len(card.chrom_lengths)} chromosomes"),
        ("target", f"`{card.target_variable}`, transform `{card.target_transform.name}`"),
        ("cut at 0", card.network.final_relu),
        ("trained on cell types", ", ".join(card.trained_on["cell_types"])),
        *((f"{name} regions", ", ".join(splits[name]) or "not told") for name in ("train", "validation", "test")),
        ("scores", "not known: `epizarr predict`, then `epizarr evaluate` on regions and cell types not named above"),
        ("training state", "none: it predicts and cannot be trained on"),
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return f"# Imported weights\n\nWhat the file does not say is as given at the import.\n\n| | |\n|---|---|\n{table}\n"


def _nearest_published(state: Mapping[str, Tensor], n_tracks: int) -> NetworkConfig:
    """The published network that differs from the file in fewer tensors, and is named in its problems."""
    published = [
        dataclasses.replace(network, n_tracks=n_tracks)
        for network in (NetworkConfig.published_10kb(), NetworkConfig.published_5kb())
    ]
    with torch.device("meta"):
        shapes = [{name: t.shape for name, t in Epiphany(network).state_dict().items()} for network in published]
    found = {name: tensor.shape for name, tensor in state.items()}
    misfits = [sum(found.get(name) != wanted.get(name) for name in found.keys() | wanted.keys()) for wanted in shapes]
    return published[misfits.index(min(misfits))]


def _check_settings(
    tracks: Sequence[str],
    assembly: Assembly,
    target_transform: str,
    track_transform: str,
    cell_types: Sequence[str],
    train: Sequence[str],
    validation: Sequence[str],
    test: Sequence[str],
) -> None:
    problems = [
        f"no {what} are given, and the file does not name them"
        for what, entries in (("tracks", tracks), ("cell types", cell_types), ("training regions", train))
        if not entries
    ]
    repeated = sorted({name for name in tracks if list(tracks).count(name) > 1})
    if repeated:
        problems.append(f"tracks {repeated} are named more than once")
    for what, name, known in (
        ("target", target_transform, TARGET_TRANSFORMS),
        ("track", track_transform, TRACK_TRANSFORMS),
    ):
        fitted = [step for step in steps_of(name, known) if step != "blacklist" and STEPS[step].learns is not None]
        if fitted:
            usable = [
                other
                for other, steps in known.items()
                if all(s == "blacklist" or STEPS[s].learns is None for s in steps)
            ]
            problems.append(
                f"{what} transform {name!r} needs numbers fitted in training ({', '.join(fitted)}), which the file does not "
                f"hold; there are {', '.join(usable)}"
            )
    for text in (*train, *validation, *test):
        try:
            assembly.region(text)
        except RegionError as error:
            problems.append(str(error))
    raise_all(ConfigError, "import of weights", problems)


def _config(
    network: NetworkConfig,
    tracks: Sequence[str],
    target_variable: str,
    target_transform: str,
    track_transform: str,
    cell_types: Sequence[str],
) -> TrainConfig:
    """The named config whose bins give the network's stride, with what was said at the import."""
    base = load_config("epiphany-5kb" if network.stride == NetworkConfig.published_5kb().stride else "epiphany-10kb")
    binsize = network.stride * base.data.track_binsize
    data = dataclasses.replace(
        base.data,
        cell_types=tuple(cell_types),
        tracks=tuple(tracks),
        track_transform=track_transform,
        binsize=binsize,
    )
    target = dataclasses.replace(base.target, variable=target_variable, transform=target_transform, min_diagonal=0)
    shape = {f.name: getattr(network, f.name) for f in dataclasses.fields(base.network) if f.name != "window_bp"}
    settings = dataclasses.replace(base.network, window_bp=network.window * data.track_binsize, **shape)
    return dataclasses.replace(base, data=data, target=target, network=settings)
