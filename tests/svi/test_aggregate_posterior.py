"""Densities of a guide's draws given other data: against the guide run for each of them, and over all batches."""

import itertools
import math

import pyro
import pyro.distributions as dist
import torch

from pyrometer.inference.svi.aggregate_posterior import draw, stratified_log_weights

SHARES = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.25, 0.25, 0.5], [0.1, 0.2, 0.7]]).double()
MEANS = torch.tensor([[-1.0, 0.3, 2.0], [0.5, -0.4, 1.1], [2.0, 1.0, 0.7], [0.1, -2.0, -0.3]]).double()
SIZE, KINDS, DIMENSIONS = 4, 3, 2


def guide(x):
    """kind | x,  side | x (two values),  place | x, kind, side (two dimensions),  size | x (a scalar)."""
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.OneHotCategorical(SHARES[x]))
        side = pyro.sample("side", dist.Bernoulli(SHARES[x, 0]))
        loc = (kind * MEANS[x]).sum(-1)
        place = torch.stack(torch.broadcast_tensors(loc, 1.5 * side), -1)
        pyro.sample("place", dist.Normal(place, 0.7 + 0.4 * side.unsqueeze(-1)).to_event(1))
        pyro.sample("size", dist.Normal(MEANS[x, 0], 0.6))


def test_the_guide_is_drawn_from_once_for_each_datum_and_joint_value_of_the_discrete_latents():
    q = draw(guide, {"x": torch.arange(SIZE)})
    assert q.choices == (2, KINDS)
    probabilities = q.log_choice.exp()
    torch.testing.assert_close(probabilities.sum(0), torch.ones(SIZE).double())
    torch.testing.assert_close(probabilities[1], (1 - SHARES[:, 0]) * SHARES[:, 1])  # side 0, kind 1
    assert q.equal["kind"].sum() == KINDS * 2**2
    assert q.equal["side"].sum() == 2 * KINDS**2
    assert q.flat(q.trace.nodes["place"]["value"], 1).shape == (2 * KINDS * SIZE, DIMENSIONS)


def test_densities_are_those_of_the_guide_run_for_each_datum():
    """Oracle: the mixture over discrete latents, summed in loops from the distributions themselves."""
    q = draw(guide, {"x": torch.arange(SIZE)})
    found = q.densities()
    place = q.flat(q.trace.nodes["place"]["value"], 1)
    size = q.flat(q.trace.nodes["size"]["value"])
    for row, j in itertools.product(range(2 * KINDS * SIZE), range(SIZE)):
        side, kind = divmod(row // SIZE, KINDS)
        parts = torch.zeros(2, KINDS, DIMENSIONS).double()
        chances = torch.stack([1 - SHARES[j, 0], SHARES[j, 0]])[:, None] * SHARES[j]
        for s, k in itertools.product(range(2), range(KINDS)):
            loc = torch.stack([MEANS[j, k], torch.tensor(1.5 * s).double()])
            parts[s, k] = dist.Normal(loc, 0.7 + 0.4 * s).log_prob(place[row]).exp()
        of_size = dist.Normal(MEANS[j, 0], 0.6).log_prob(size[row]).exp()
        expected = {
            ("kind",): chances[:, kind].sum(),
            ("side",): chances[side].sum(),
            ("kind", "side"): chances[side, kind],
            ("place",): (chances * parts.prod(-1)).sum(),
            ("kind", "place"): (chances * parts.prod(-1))[:, kind].sum(),
            ("side", "size", "place"): (chances * parts.prod(-1))[side].sum() * of_size,
            ("place", "side", "kind"): (chances * parts.prod(-1))[side, kind],
        }
        for sites, density in expected.items():
            torch.testing.assert_close(found.log_prob(sites)[row, j].exp(), density)
        elements = (chances.unsqueeze(-1) * parts).sum((0, 1))
        torch.testing.assert_close(found.log_prob_of_elements("place")[row, j].exp(), elements)
        torch.testing.assert_close(found.log_prob_of_elements("size")[row, j].exp(), of_size.unsqueeze(-1))


def test_some_rows_are_those_of_all():
    q = draw(guide, {"x": torch.arange(SIZE)})
    rows = slice(5, 19)
    some, every = q.densities(rows), q.densities()
    for sites in (["kind"], ["place", "side"]):
        torch.testing.assert_close(some.log_prob(sites), every.log_prob(sites)[rows])
        own = some.own(some.log_prob(sites))
        torch.testing.assert_close(own, every.own(every.log_prob(sites))[rows])
        aggregate = some.aggregate(some.log_prob(sites), 9)
        torch.testing.assert_close(aggregate, every.aggregate(every.log_prob(sites), 9)[rows])


def test_the_mean_over_data_weighs_discrete_values_by_their_probability():
    q = draw(guide, {"x": torch.arange(SIZE)})
    kind = q.flat(q.trace.nodes["kind"]["value"], 1)
    torch.testing.assert_close(q.mean(kind), SHARES.mean(0))


def test_the_estimate_of_the_aggregate_posterior_has_it_as_mean_over_all_batches():
    """Every batch of B of N data that has datum i is as probable as any other; with B = N there is one."""
    size, i = 6, 2
    density = torch.rand(size).double() + 0.1
    for batch in (2, 3, 6):
        others = itertools.combinations([n for n in range(size) if n != i], batch - 1)
        estimates = [
            (stratified_log_weights(batch, size, like=density)[0].exp() * density[[i, *rest]]).sum() for rest in others
        ]
        assert len(estimates) == math.comb(size - 1, batch - 1)
        torch.testing.assert_close(torch.stack(estimates).mean(), density.mean())


def test_the_weights_are_the_mean_of_the_stratified_ones_of_chen_et_al():
    """Theirs: the own datum 1/N, all others but the last 1/M, the last (N - M) / (N M), of a batch of M + 1."""
    size, others = 7, 3
    last = (size - others) / (size * others)
    mean = (last + (others - 1) / others) / others  # each of the others comes last as often
    weights = stratified_log_weights(others + 1, size, like=torch.zeros(())).exp()
    torch.testing.assert_close(weights[0, 1:], torch.full((others,), mean))
    torch.testing.assert_close(weights.sum(1), torch.ones(others + 1))
