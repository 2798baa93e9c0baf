"""Every core of the network is trained, resumed, read back and predicted with, through the public functions."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from epizarr.errors import ConfigError
from epizarr.io.store import open_prediction
from epizarr.predict import predict_contacts
from epizarr.train.checkpoint import load_checkpoint
from epizarr.train.loop import train_model
from tests._killing import tree_digest
from tests._runs import BINSIZE, write_store
from tests._training import tiny_config


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "store.zarr")


@pytest.mark.parametrize("core", ["conv", "dilated", "transformer"])
def test_train_model__with_another_core_resumes_to_the_same_bytes_and_predicts(store, tmp_path, core):
    settings = [f"network.core={core}", "training.epochs=1"]
    for name, stops in (("whole", (0,)), ("resumed", (2, 0))):
        for stop in stops:
            config = tiny_config([*settings, f"execution.max_steps={stop}"])
            result = train_model(store, config, tmp_path / name, cell_types=["A"])
    digests = [tree_digest(tmp_path / name, ignore=["log.csv", "provenance.json"]) for name in ("whole", "resumed")]
    assert digests[0] == digests[1]
    checkpoint = load_checkpoint(result.best)
    assert (checkpoint.network.core, checkpoint.config.network.core) == (core, core)
    out = tmp_path / "out.zarr"
    predict_contacts(store, result.best, cell_type="B", out=out, regions=["chr3"])
    contact = open_prediction(out, "B", "resumed", BINSIZE)["contact"].values
    assert np.isfinite(contact[-31:, 1]).sum() == 30


def test_train_model__refuses_settings_that_mean_nothing_to_the_core(store, tmp_path):
    with pytest.raises(ConfigError, match="only core 'transformer' uses"):
        train_model(store, tiny_config(["network.n_heads=2"]), tmp_path / "run", cell_types=["A"])
    assert not (tmp_path / "run").exists()


def test_load_checkpoint__from_before_there_were_cores_has_the_lstms(store, tmp_path):
    result = train_model(store, tiny_config(["execution.max_steps=1"]), tmp_path / "run", cell_types=["A"])
    ours = load_checkpoint(result.last)
    for file in (ours.path / "checkpoint.json", ours.path / "config.toml", tmp_path / "run" / "config.toml"):
        if file.suffix == ".json":
            document = json.loads(file.read_text())
            del document["network"]["core"], document["network"]["n_heads"]
            file.write_text(json.dumps(document))
        else:
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith(("core =", "n_heads ="))))
    old = load_checkpoint(result.last)
    assert old.network == ours.network == dataclasses.replace(ours.network, core="bilstm")
    resumed = train_model(store, tiny_config(["execution.max_steps=2"]), tmp_path / "run", cell_types=["A"])
    assert load_checkpoint(resumed.last).step == 2
