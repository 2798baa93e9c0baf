"""Small networks for the tests of ``epizarr.nn``, run on one thread."""

from collections.abc import Callable, Iterator

import pytest
import torch

from epizarr.nn import Epiphany, NetworkConfig

SMALL = {
    "n_tracks": 2,
    "n_offsets": 6,
    "stride": 10,
    "window": 300,
    "conv_channels": (4, 5, 3),
    "conv_kernels": (7, 3, 3),
    "pool": 4,
    "adaptive_pool": 5,
    "hidden": 8,
    "n_layers": 2,
    "head_hidden": 7,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def make_model() -> Callable[..., Epiphany]:
    """Build a small float64 network in evaluation mode; keywords replace fields of its configuration."""

    def make(**changes: object) -> Epiphany:
        torch.manual_seed(1)
        return Epiphany(NetworkConfig(**{**SMALL, **changes})).double().eval()

    return make
