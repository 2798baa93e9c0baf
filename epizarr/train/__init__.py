"""Training: a TOML configuration and a store in, a folder of checkpoints out.

``config`` says what a run is; ``sources`` opens what it reads and fits the transforms; ``reader`` and ``sampler`` make the
examples; ``dataset`` hands them to PyTorch; ``loop`` trains; ``checkpoint`` keeps and reads back the result. Names are loaded
when first used: reading a configuration does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epizarr.train.checkpoint import Checkpoint, load_checkpoint
    from epizarr.train.config import TrainConfig, config_fields
    from epizarr.train.config_text import config_toml, load_config
    from epizarr.train.estimate import TrainingEstimate, estimate_training
    from epizarr.train.folds import leave_one_out
    from epizarr.train.loop import TrainResult, train_model
    from epizarr.train.named_configs import NAMED_CONFIGS
    from epizarr.train.released_weights import import_weights

_PUBLIC = {
    "Checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "NAMED_CONFIGS": "named_configs",
    "TrainConfig": "config",
    "config_fields": "config",
    "config_toml": "config_text",
    "load_config": "config_text",
    "TrainingEstimate": "estimate",
    "estimate_training": "estimate",
    "leave_one_out": "folds",
    "TrainResult": "loop",
    "train_model": "loop",
    "import_weights": "released_weights",
}

__all__ = [
    "NAMED_CONFIGS",
    "Checkpoint",
    "TrainConfig",
    "TrainResult",
    "TrainingEstimate",
    "config_fields",
    "config_toml",
    "estimate_training",
    "import_weights",
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
