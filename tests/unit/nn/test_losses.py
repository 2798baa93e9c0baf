from itertools import combinations

import pytest
import torch

from epizarr.errors import TensorShapeError
from epizarr.nn import difference_sum, gaussian_nll_sum, masked_mse, squared_error_sum

NAN = float("nan")


def test_squared_error_sum__sums_and_counts_valid_pixels_only():
    valid = torch.tensor([[True, False], [True, True]])
    total, n_valid = squared_error_sum(
        torch.tensor([[1.0, 9.0], [0.0, 2.0]]), torch.tensor([[3.0, NAN], [1.0, 2.0]]), valid
    )
    assert (total.item(), n_valid.item()) == (5.0, 3)


def test_squared_error_sum__keeps_nan_out_of_the_gradient():
    prediction = torch.tensor([1.0, 5.0, 4.0], requires_grad=True)
    total, _ = squared_error_sum(prediction, torch.tensor([3.0, NAN, 3.0]), torch.tensor([True, False, True]))
    total.backward()
    assert prediction.grad.tolist() == [-4.0, 0.0, 2.0]


def test_squared_error_sum__ignores_an_infinite_prediction_of_an_invalid_pixel():
    prediction = torch.tensor([1.0, float("inf")], requires_grad=True)
    total, _ = squared_error_sum(prediction, torch.tensor([3.0, 0.0]), torch.tensor([True, False]))
    total.backward()
    assert prediction.grad.tolist() == [-4.0, 0.0]


def test_squared_error_sum__shows_nan_in_a_valid_pixel():
    total, _ = squared_error_sum(torch.zeros(2), torch.tensor([NAN, 0.0]), torch.tensor([True, True]))
    assert total.isnan()


def test_squared_error_sum__of_parts_adds_up_to_the_global_loss():
    prediction, target, valid = torch.randn(4, 6), torch.randn(4, 6), torch.rand(4, 6) < 0.5
    parts = [squared_error_sum(prediction[half], target[half], valid[half]) for half in (slice(1), slice(1, 4))]
    loss = sum(total for total, _ in parts) / sum(n_valid for _, n_valid in parts)
    torch.testing.assert_close(loss, masked_mse(prediction, target, valid))


def test_masked_mse__is_zero_without_valid_pixels():
    prediction = torch.ones(3, requires_grad=True)
    loss = masked_mse(prediction, torch.full((3,), NAN), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert (loss.item(), prediction.grad.tolist()) == (0.0, [0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("target", "valid"), [((2, 3), torch.ones(3, dtype=torch.bool)), ((3,), torch.ones(3))], ids=["shape", "dtype"]
)
def test_squared_error_sum__refuses_what_would_broadcast_or_weigh(target, valid):
    with pytest.raises(TensorShapeError, match="boolean mask"):
        squared_error_sum(torch.zeros(3), torch.zeros(target), valid)


def pixels(*shape: int, seed: int = 0) -> list[torch.Tensor]:
    """Mean and log-variance, which ask for gradients, and target."""
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance, target = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return [mean.requires_grad_(), log_variance.requires_grad_(), target]


def test_gaussian_nll_sum__of_valid_pixels_is_that_of_torch():
    mean, log_variance, target = pixels(5, 7)
    valid = torch.rand(5, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    total, n_valid = gaussian_nll_sum(mean, log_variance, torch.where(valid, target, NAN), valid, beta=0.0)
    chosen = [values[valid] for values in (mean, target)]
    wanted = torch.nn.functional.gaussian_nll_loss(*chosen, log_variance[valid].exp(), reduction="sum")
    torch.testing.assert_close(total, wanted)
    assert n_valid.item() == valid.sum().item()
    for found, expected in zip(
        *(torch.autograd.grad(loss, [mean, log_variance]) for loss in (total, wanted)), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_gaussian_nll_sum__with_beta_one_trains_the_mean_as_half_the_squared_error():
    mean, log_variance, target = pixels(4, 6)
    valid = torch.ones(4, 6, dtype=torch.bool)
    (found,) = torch.autograd.grad(gaussian_nll_sum(mean, log_variance, target, valid, beta=1.0)[0], mean)
    torch.testing.assert_close(found, (mean - target).detach())


def test_gaussian_nll_sum__weighs_by_the_variance_without_a_gradient_of_the_weight():
    mean, log_variance, target = pixels(1)
    valid = torch.ones(1, dtype=torch.bool)
    plain, weighed = (
        torch.autograd.grad(gaussian_nll_sum(mean, log_variance, target, valid, beta=beta)[0], [mean, log_variance])
        for beta in (0.0, 0.5)
    )
    for before, after in zip(plain, weighed, strict=True):
        torch.testing.assert_close(after, before * torch.exp(0.5 * log_variance.detach()))


def test_gaussian_nll_sum__keeps_what_is_not_valid_out_of_the_gradient():
    mean = torch.tensor([1.0, float("inf"), 4.0], requires_grad=True)
    log_variance = torch.tensor([0.0, NAN, 1.0], requires_grad=True)
    valid = torch.tensor([True, False, True])
    gaussian_nll_sum(mean, log_variance, torch.tensor([3.0, NAN, 4.0]), valid, beta=0.5)[0].backward()
    assert mean.grad.tolist() == [-2.0, 0.0, 0.0]
    assert log_variance.grad.isfinite().all()
    assert log_variance.grad[1] == 0


def test_difference_sum__is_the_sum_over_all_pairs_of_a_locus():
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randn(6, 3, 4, generator=generator) for _ in range(2))
    valid = torch.rand(6, 3, 4, generator=generator) < 0.7
    locus = torch.tensor([7, 2, 7, 5, 2, 7])
    wanted, n = 0.0, 0
    for a, b in combinations(range(6), 2):
        if locus[a] == locus[b]:
            both = valid[a] & valid[b]
            error = (prediction[a] - prediction[b]) - (target[a] - target[b])
            wanted, n = wanted + float(error[both].square().sum()), n + int(both.sum())
    total, n_valid = difference_sum(prediction, torch.where(valid, target, NAN), valid, locus)
    torch.testing.assert_close(total, torch.tensor(wanted))
    assert n_valid.item() == n


def test_difference_sum__does_not_see_an_error_that_both_share():
    target = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    locus, valid = torch.tensor([3, 3]), torch.ones(2, 2, dtype=torch.bool)
    assert difference_sum(target + torch.tensor([5.0, -1.0]), target, valid, locus)[0].item() == 0.0
    assert difference_sum(target + torch.tensor([[1.0], [0.0]]), target, valid, locus)[0].item() == 2.0


def test_difference_sum__is_zero_with_zero_gradients_without_pairs():
    prediction = torch.randn(3, 2, requires_grad=True)
    total, n_valid = difference_sum(
        prediction, torch.full((3, 2), NAN), torch.zeros(3, 2, dtype=torch.bool), torch.arange(3)
    )
    total.backward()
    assert (total.item(), n_valid.item()) == (0.0, 0)
    assert not prediction.grad.any()


def test_difference_sum__keeps_nan_out_of_the_gradient():
    prediction = torch.tensor([[1.0, float("inf")], [3.0, 2.0]], requires_grad=True)
    valid = torch.tensor([[True, False], [True, True]])
    total, _ = difference_sum(
        prediction, torch.tensor([[0.0, NAN], [0.0, 1.0]]), valid, torch.zeros(2, dtype=torch.int64)
    )
    total.backward()
    assert prediction.grad.tolist() == [[-4.0, 0.0], [4.0, 0.0]]


def test_difference_sum__refuses_another_number_of_loci():
    with pytest.raises(TensorShapeError, match="each of the 3 examples"):
        difference_sum(torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(3, 2, dtype=torch.bool), torch.zeros(2))
