"""The negative-binomial fit against an independent optimiser, against its own truth, and where there is no fit."""

import numpy as np
import pytest
from scipy import optimize, special, stats

from epizarr.errors import FitError
from epizarr.normalize import negative_binomial
from epizarr.normalize.grouped_design import GroupedDesign
from epizarr.normalize.negative_binomial import fit_negative_binomial, upper_tail


def make_design(rng, n_groups=30, mean_size=40, n_columns=2):
    """Intercept and a parabola of the group, and columns that differ from row to row."""
    x = np.linspace(-1, 1, n_groups)
    sizes = rng.integers(1, 2 * mean_size, n_groups)
    table = np.column_stack([np.ones(n_groups), x, x**2])
    names = ("intercept", "x", "x2", *(f"c{i}" for i in range(n_columns)))
    return GroupedDesign(table, sizes, rng.normal(size=(n_columns, sizes.sum())), names)


def dense(design):
    return np.column_stack([np.repeat(design.table, design.sizes, axis=0), *design.columns])


def draw(rng, design, beta, theta):
    mu = np.exp(dense(design) @ beta)
    return rng.poisson(mu * rng.gamma(theta, 1 / theta, len(mu)))


def log_likelihood(beta, log_theta, counts, X):
    """The textbook density, with R's parameter theta."""
    theta, eta = np.exp(log_theta), X @ beta
    mu = np.exp(eta)
    return np.sum(
        special.gammaln(counts + theta)
        - special.gammaln(theta)
        - special.gammaln(counts + 1)
        + theta * np.log(theta)
        + counts * eta
        - (counts + theta) * np.log(theta + mu)
    )


@pytest.mark.parametrize("theta", [0.05, 0.6, 4.0, 60.0])
def test_fit_negative_binomial__agrees_with_a_general_optimiser(theta):
    rng = np.random.default_rng(7)
    design = make_design(rng)
    counts = draw(rng, design, np.array([1.5, -1.0, 0.5, 0.4, -0.2]), theta)
    fit = fit_negative_binomial(counts, design, what="chromosome test")
    X = dense(design)
    best = optimize.minimize(
        lambda p: -log_likelihood(p[:-1], p[-1], counts, X), np.zeros(6), method="BFGS", options={"gtol": 1e-6}
    )
    np.testing.assert_allclose(fit.log_likelihood, log_likelihood(fit.beta, -np.log(fit.alpha), counts, X), rtol=1e-10)
    assert fit.log_likelihood >= -best.fun - 1e-9
    np.testing.assert_allclose(fit.beta, best.x[:-1], atol=1e-4)
    np.testing.assert_allclose(fit.theta, np.exp(best.x[-1]), rtol=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 1e-9, 1e-4, 0.3, 20.0])
def test_likelihood__derivatives_are_those_of_its_value(alpha):
    rng = np.random.default_rng(3)
    design = make_design(rng, n_groups=8, mean_size=5)
    counts = draw(rng, design, np.array([1.0, -1.0, 0.5, 0.4, -0.2]), 2.0)
    likelihood = negative_binomial._Likelihood(counts, design)
    beta = np.array([0.8, -0.9, 0.6, 0.3, -0.1])
    found = likelihood.at(beta, alpha)

    def around(i, h):
        step = np.zeros(6)
        step[i] = h
        return likelihood.at(beta + step[:5], alpha + step[5])

    for i in range(6):
        h = 1e-5 * (alpha if i == 5 and alpha > 0 else 1)
        if i == 5 and alpha < 1e-3:  # one-sided: alpha is not negative
            h = 1e-6
            value = (around(i, h).value - found.value) / h
            slope = (around(i, h).gradient - found.gradient) / h
            tolerance = 2e-3
        else:
            value = (around(i, h).value - around(i, -h).value) / (2 * h)
            slope = (around(i, h).gradient - around(i, -h).gradient) / (2 * h)
            tolerance = 1e-5
        scale = np.abs(found.hessian).max()
        np.testing.assert_allclose(found.gradient[i], value, rtol=tolerance, atol=tolerance * scale * 1e-2)
        np.testing.assert_allclose(found.hessian[i], slope, rtol=tolerance, atol=tolerance * scale * 1e-2)


def test_fit_negative_binomial__recovers_its_own_truth_within_sampling_error():
    truth = np.array([0.5, -1.0, 0.5, 0.4, -0.2])
    rng = np.random.default_rng(11)
    design = make_design(rng, n_groups=40, mean_size=100)
    fits = [fit_negative_binomial(draw(rng, design, truth, 1.5), design, what="chromosome test") for _ in range(25)]
    estimates = np.array([[*fit.beta, np.log(fit.theta)] for fit in fits])
    z = (estimates.mean(axis=0) - [*truth, np.log(1.5)]) / (estimates.std(axis=0, ddof=1) / 5)
    assert np.abs(z).max() < 4
    assert estimates.std(axis=0).max() < 0.1  # so that the test means something


def test_fit_negative_binomial__start_changes_nothing():
    rng = np.random.default_rng(5)
    design = make_design(rng)
    counts = draw(rng, design, np.array([1.5, -1.0, 0.5, 0.4, -0.2]), 0.8)
    cold = fit_negative_binomial(counts, design, what="chromosome test")
    other = fit_negative_binomial(draw(rng, design, -cold.beta, 5.0), design, what="chromosome test")
    warm = fit_negative_binomial(counts, design, what="chromosome test", start=other)
    np.testing.assert_allclose([*warm.beta, warm.theta], [*cold.beta, cold.theta], rtol=1e-9)


def test_fit_negative_binomial__rows_in_several_blocks_give_the_same(monkeypatch):
    rng = np.random.default_rng(5)
    design = make_design(rng)
    counts = draw(rng, design, np.array([1.5, -1.0, 0.5, 0.4, -0.2]), 0.8)
    whole = fit_negative_binomial(counts, design, what="chromosome test")
    monkeypatch.setattr("epizarr.normalize.grouped_design._BLOCK_ROWS", 64)
    split = GroupedDesign(design.table, design.sizes, design.columns, design.names)
    assert len(split.blocks) > 10
    again = fit_negative_binomial(counts, split, what="chromosome test")
    np.testing.assert_allclose([*again.beta, again.theta], [*whole.beta, whole.theta], rtol=1e-9)


def test_fit_negative_binomial__counts_without_overdispersion_have_alpha_0():
    rng = np.random.default_rng(2)
    design = make_design(rng)
    mean = np.exp(dense(design) @ [1.5, -1.0, 0.5, 0.4, -0.2])
    counts = np.round(mean).astype(int)  # varies less than Poisson
    fit = fit_negative_binomial(counts, design, what="chromosome test")
    assert (fit.alpha, fit.theta) == (0.0, np.inf)
    X = dense(design)
    gradient = X.T @ (counts - np.exp(X @ fit.beta))
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(fit.log_likelihood, stats.poisson.logpmf(counts, np.exp(X @ fit.beta)).sum())


def test_fit_negative_binomial__overdispersion_leaves_0_gradually():
    """A single count grows: alpha is 0 at first, and the first alpha above 0 is tiny and the likeliest."""
    rng = np.random.default_rng(5)
    design = make_design(rng, n_groups=20, mean_size=100, n_columns=0)
    counts = rng.poisson(np.exp(dense(design) @ [1.0, -1.0, 0.5]))
    larger = np.arange(20, 60)
    fits = []
    for count in larger:
        counts[0] = count
        fits.append(fit_negative_binomial(counts, design, what="chromosome test"))
    alphas = np.array([fit.alpha for fit in fits])
    first = int(np.argmax(alphas > 0))
    assert 0 < first < 39
    assert 0 < alphas[first] < 3e-4
    assert (alphas[:first] == 0).all()
    assert (np.diff(alphas[first:]) > 0).all()
    counts[0] = larger[first]
    X = dense(design)
    others = [log_likelihood(fits[first].beta, -np.log(alphas[first] * f), counts, X) for f in (0.5, 2)]
    assert max(others) < fits[first].log_likelihood


def test_fit_negative_binomial__refuses_rows_that_only_ever_smaller_means_fit():
    design = GroupedDesign(
        np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([50, 50]), np.empty((0, 100)), ("intercept", "far")
    )
    counts = np.concatenate([np.random.default_rng(0).poisson(3, 50), np.zeros(50, dtype=int)])
    with pytest.raises(FitError, match=r"chromosome chr9: .* did not converge .* 1 of its 2 groups"):
        fit_negative_binomial(counts, design, what="chromosome chr9")


@pytest.mark.parametrize(
    ("counts", "columns", "message"),
    [
        (np.zeros(40, dtype=int), np.arange(40.0)[None], "all 40 counts are 0"),
        (np.full(40, 2**24 + 1), np.arange(40.0)[None], "16,777,217"),
        (np.ones(40, dtype=int), np.ones((1, 40)), r"columns \['intercept', 'gc'\] are collinear"),
        (np.ones(40, dtype=int), np.zeros((1, 40)), r"columns \['gc'\] are 0 in all 40 rows"),
        (np.ones(2, dtype=int), np.arange(2.0)[None], "2 rows cannot determine 2 coefficients"),
    ],
)
def test_fit_negative_binomial__refuses_what_has_no_fit(counts, columns, message):
    design = GroupedDesign(np.ones((1, 1)), np.array([len(counts)]), columns, ("intercept", "gc"))
    with pytest.raises(FitError, match=rf"chromosome chr9: .*{message}"):
        fit_negative_binomial(counts, design, what="chromosome chr9")


@pytest.mark.parametrize("alpha", [0.0, 1e-7, 0.5, 30.0])
def test_upper_tail__is_scipys_survival_function(alpha):
    counts = np.array([[0.0, 1, 2, 17], [400, 3, np.nan, 5]])
    mu = np.array([[0.1, 2, 0.01, 3], [20, 90, 3, np.nan]])
    theirs = (
        stats.poisson.sf(counts - 1, mu) if alpha == 0 else stats.nbinom.sf(counts - 1, 1 / alpha, 1 / (1 + alpha * mu))
    )
    found = upper_tail(counts, mu, alpha)
    assert found[0, 0] == 1
    np.testing.assert_allclose(found, theirs, rtol=1e-6)
