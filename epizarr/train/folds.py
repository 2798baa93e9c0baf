"""Leave-one-cell-type-out: one configuration for each cell type that is held out."""

from collections.abc import Sequence
from dataclasses import replace

from epizarr.errors import ConfigError
from epizarr.train.config import TrainConfig
from epizarr.train.config_checks import check_config


def leave_one_out(config: TrainConfig, cell_types: Sequence[str] = ()) -> dict[str, TrainConfig]:
    """Give the configuration that trains on all cell types but one, for each one.

    Each names the others in ``data.cell_types`` and the one in ``splits.held_out_cell_types``; all else stays. Cell types that
    ``config`` holds out already are held out of all.

    Parameters
    ----------
    config
        What the runs share.
    cell_types
        Cell types to go through. Default: ``data.cell_types`` of ``config``.

    Returns
    -------
    Configurations by the cell type that is left out.

    Raises
    ------
    ConfigError
        If there are fewer than two cell types, or what is left cannot be trained on as configured.

    Examples
    --------
    >>> from epizarr.train.config_text import load_config
    >>> folds = leave_one_out(load_config("small"), ["GM12878", "K562", "H1"])
    >>> folds["K562"].data.cell_types, folds["K562"].splits.held_out_cell_types
    (('GM12878', 'H1'), ('K562',))
    """
    names = tuple(dict.fromkeys(cell_types or config.data.cell_types))
    if len(names) < 2:
        raise ConfigError(
            f"leave-one-out: {list(names)} are too few cell types to leave one out; name two or more (--cell-type A,B,C or "
            "data.cell_types)."
        )
    folds = {}
    for name in names:
        data = replace(config.data, cell_types=tuple(other for other in names if other != name))
        splits = replace(
            config.splits, held_out_cell_types=tuple(dict.fromkeys([*config.splits.held_out_cell_types, name]))
        )
        folds[name] = check_config(replace(config, data=data, splits=splits), f"leave-one-out without {name!r}")
    return folds
