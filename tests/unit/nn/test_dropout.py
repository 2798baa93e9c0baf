import pytest
import torch

from epizarr.nn.dropout import ExampleDropout

CPU = torch.device("cpu")


def drop(seeds: list[int] | None, shape=(2, 3, 50, 7), example_dim=1, calls=1) -> torch.Tensor:
    dropout = ExampleDropout(0.25, None if seeds is None else torch.tensor(seeds), CPU)
    for _ in range(calls):
        dropped = dropout(torch.ones(shape), example_dim)
    return dropped


def test_example_dropout__mask_belongs_to_the_example():
    together, alone = drop([5, 6, 7]), drop([6], shape=(2, 1, 50, 7))
    assert torch.equal(together[:, 1], alone[:, 0])
    assert not torch.equal(together[:, 0], together[:, 1])


def test_example_dropout__layers_draw_masks_of_their_own():
    assert not torch.equal(drop([5, 6, 7]), drop([5, 6, 7], calls=2))


def test_example_dropout__keeps_the_mean():
    kept = drop([1], shape=(1, 1, 100, 100))
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert kept.mean() == pytest.approx(1, abs=0.03)


def test_example_dropout__without_seeds_or_probability_does_nothing():
    ones = torch.ones(2, 3)
    assert ExampleDropout(0.25, None, CPU)(ones, 0) is ones
    assert ExampleDropout(0.0, torch.tensor([1, 2]), CPU)(ones, 0) is ones
