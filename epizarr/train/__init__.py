"""Training: a TOML configuration and a store in, a folder of checkpoints out.

``config`` says what a run is; ``sources`` opens what it reads and fits the transforms; ``reader`` and ``sampler`` make the
examples; ``dataset`` hands them to PyTorch; ``loop`` trains; ``checkpoint`` keeps and reads back the result. Names are loaded
when first used: reading a configuration does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epizarr.train.checkpoint import Checkpoint, load_checkpoint
    from epizarr.train.config import NAMED_CONFIGS, TrainConfig, config_fields, config_toml, load_config
    from epizarr.train.folds import leave_one_out
    from epizarr.train.loop import TrainResult, train_model

_PUBLIC = {
    "Checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "NAMED_CONFIGS": "config",
    "TrainConfig": "config",
    "config_fields": "config",
    "config_toml": "config",
    "load_config": "config",
    "leave_one_out": "folds",
    "TrainResult": "loop",
    "train_model": "loop",
}

__all__ = [
    "NAMED_CONFIGS",
    "Checkpoint",
    "TrainConfig",
    "TrainResult",
    "config_fields",
    "config_toml",
    "leave_one_out",
    "load_checkpoint",
    "load_config",
    "train_model",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'epizarr.train' has no attribute {name!r}")
    return getattr(import_module(f"epizarr.train.{_PUBLIC[name]}"), name)
