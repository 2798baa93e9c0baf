"""The named training configurations, and the chromosomes of the paper's splits.

Each is a table of departures from the defaults of :mod:`epizarr.train.config`, which are those of the published 10-kb network;
``load_config`` there reads them. The numbers of the published networks live in these two modules and nowhere else.

Source of the published settings: PUBLISHED_EPIPHANY, sections 2 and 3.
"""

from typing import Any

_AUTOSOMES = tuple(f"chr{n}" for n in range(1, 23))
_PAPER_TEST = ("chr3", "chr11", "chr17")
# The paper validated on its test chromosomes; these two are ours.
_OUR_VALIDATION = ("chr10", "chr22")
_PAPER_SPLITS = {
    "train": [c for c in _AUTOSOMES if c not in (*_PAPER_TEST, *_OUR_VALIDATION)],
    "validation": list(_OUR_VALIDATION),
    "test": list(_PAPER_TEST),
}

#: Named configurations: ``{name: {section: {key: value}}}``, as TOML would have them.
NAMED_CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "epiphany-10kb": {"splits": _PAPER_SPLITS},
    # The weights of the two losses are those that PUBLISHED_EPIPHANY, section 3, settles on.
    "epiphany-10kb-gan": {"splits": _PAPER_SPLITS, "training": {"mse_weight": 0.95, "adversarial_weight": 0.05}},
    # What the released code does where it departs from the paper or from good sense (PUBLISHED_EPIPHANY, section 4): raw signal
    # and contacts, missing pixels trained towards 0, the same windows every epoch, a new Adam each epoch, negatives cut at 0.
    "epiphany-as-published": {
        "data": {"track_transform": "linear"},
        "target": {"transform": "linear", "missing": "zero", "min_diagonal": 0},
        "splits": _PAPER_SPLITS,
        "network": {"final_relu": "predict"},
        "training": {"mse_weight": 0.95, "adversarial_weight": 0.05, "random_phase": False, "reset_adam": True},
    },
    "epiphany-5kb": {
        "data": {"binsize": 5_000},
        "splits": _PAPER_SPLITS,
        "network": {"n_offsets": 200, "hidden": 2400, "n_layers": 2, "head_hidden": 1200},
        "training": {"n_bins": 400},
    },
    # For a laptop: the published inputs, outputs and layers at a fraction of the width. Splits come from the user.
    "small": {
        "data": {"track_transform": "blacklist_clip_log1p_standardise"},
        "network": {
            "conv_channels": [32, 32, 32, 16],
            "adaptive_pool": 45,
            "hidden": 96,
            "n_layers": 2,
            "head_hidden": 128,
        },
        "training": {
            "batch_size": 2,
            "epochs": 32,
            "lr": 1e-3,
            "weight_decay": 1e-5,
            "halve_epochs": 8,
            "start_at_mean": True,
            "mirror": True,
            "warmup_steps": 100,
            "clip_norm": 0.3,
        },
    },
}

#: What each is for, and the memory that training takes at most on a CPU with five tracks, by ``estimate.step_bytes``.
ABOUT = {
    "epiphany-10kb": "the published network at 10 kb, mean squared error; 2.6 GB",
    "epiphany-10kb-gan": "the same with the adversarial loss; 2.6 GB",
    "epiphany-as-published": "the same as the released code trains it, faults included; to compare with; 2.6 GB",
    "epiphany-5kb": "the published network at 5 kb; 5.8 GB",
    "small": "a fraction of the width, for a laptop; splits come from you; 0.2 GB",
}
