"""Animals caught again, and seals that travel and rest: capture-recapture and mixed hidden Markov models."""

import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.ops.indexing import Vindex

HISTORIES = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0]]).double()


def capture_recapture(histories):
    phi = pyro.sample("phi", dist.Uniform(torch.tensor(0.0).double(), 1.0))
    rho = pyro.sample("rho", dist.Uniform(torch.tensor(0.0).double(), 1.0))
    with pyro.plate("animals", len(histories), dim=-1):
        z = torch.ones(len(histories)).double()
        first_capture_mask = torch.zeros(len(histories)).bool()
        for t in pyro.markov(range(histories.shape[1])):
            with poutine.mask(mask=first_capture_mask):
                mu_z = first_capture_mask.double() * phi * z + (1 - first_capture_mask.double())
                z = pyro.sample(f"z_{t}", dist.Bernoulli(mu_z), infer={"enumerate": "parallel"})
                pyro.sample(f"y_{t}", dist.Bernoulli(rho * z), obs=histories[:, t])
            first_capture_mask = first_capture_mask | histories[:, t].bool()


def survival_by_year(histories):
    mean = pyro.sample("phi_logit_mean", dist.Normal(torch.tensor(0.0).double(), 1.5))
    spread = pyro.sample("phi_logit_spread", dist.HalfNormal(torch.tensor(0.7).double()))
    rho = pyro.sample("rho", dist.Beta(torch.tensor(1.4).double(), 1.0))
    animals_plate = pyro.plate("animals", len(histories), dim=-1)
    z, seen = torch.ones(len(histories)).double(), torch.zeros(len(histories)).bool()
    for t in pyro.markov(range(histories.shape[1])):
        phi_logit = pyro.sample(f"phi_logit_{t}", dist.Normal(mean, spread)) if t > 0 else torch.tensor(0.0).double()
        with animals_plate, poutine.mask(mask=seen):
            z = pyro.sample(f"z_{t}", dist.Bernoulli(seen.double() * torch.sigmoid(phi_logit) * z + (~seen).double()))
            pyro.sample(f"y_{t}", dist.Bernoulli(rho * z), obs=histories[:, t])
        seen = seen | histories[:, t].bool()


def log_likelihood(history, phi, rho):
    """By hand: from the first capture on, alive with probability phi a year and seen with rho while alive."""
    first = int(history.argmax())
    alive, dead = torch.zeros(()).double(), torch.tensor(-math.inf).double()
    for seen in history[first + 1 :]:
        dead = torch.logaddexp(dead, alive + torch.log1p(-phi))
        alive = alive + phi.log() + (rho.log() if seen else torch.log1p(-rho))
        dead = torch.tensor(-math.inf).double() if seen else dead
    return torch.logaddexp(alive, dead)


def test_capture_recapture_has_finite_energies_and_gradients(measured):
    assert measured(capture_recapture, HISTORIES).plate == "animals"


def test_given_survival_and_recapture_the_evidence_of_each_animal_is_exact(measured):
    phi, rho = torch.tensor(0.83).double(), torch.tensor(0.37).double()
    exact = measured(capture_recapture, HISTORIES).free_energy(given={"phi": phi, "rho": rho})
    expected = -torch.stack([log_likelihood(history, phi, rho) for history in HISTORIES])
    torch.testing.assert_close(exact.per_datum, expected)


def test_the_evidence_over_survival_and_recapture_is_that_of_a_grid(measured):
    """Oracle: Gauss's rule on the unit square, exact here, since the likelihood is a polynomial of low degree."""
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(15))
    points, weights = (nodes + 1) / 2, weights / 2
    total = sum(
        v * w * sum(log_likelihood(h, a, b) for h in HISTORIES).exp()
        for (a, v), (b, w) in itertools.product(zip(points, weights, strict=True), repeat=2)
    )
    exact = measured(capture_recapture, HISTORIES).free_energy(method="quadrature")
    torch.testing.assert_close(exact.value, -total.log(), rtol=1e-5, atol=1e-5)


def test_survival_by_year_has_finite_energies_and_gradients(measured):
    measured(survival_by_year, HISTORIES)


STATES, TIMES = 3, 3
GAMMA = torch.randn(STATES, STATES, generator=torch.Generator().manual_seed(3)).double()
EFFECTS_GROUP = torch.tensor([0.0, 1.2]).double()
EFFECTS_SEAL = torch.tensor([-0.7, 0.4]).double()
PROBS_GROUP, PROBS_SEAL = torch.tensor([0.3, 0.7]).double(), torch.tensor([0.6, 0.4]).double()
STEP = torch.tensor([[1.0, 2.0], [2.5, 1.0], [6.0, 0.8]]).double()  # concentration and rate by state
TURN = torch.tensor([0.3, 1.5, 5.0]).double()


def mixed_hidden_markov(step, turn, present):
    """Seals in groups: discrete random effects of the group and of the seal tilt the transitions of its states."""
    groups, seals = step.shape[1], step.shape[0]
    with pyro.plate("group", groups, dim=-1):
        group = pyro.sample("e_group", dist.Categorical(PROBS_GROUP))
        tilt_group = Vindex(EFFECTS_GROUP)[group]
        with pyro.plate("individual", seals, dim=-2), poutine.mask(mask=present):
            seal = pyro.sample("e_seal", dist.Categorical(PROBS_SEAL))
            tilt = tilt_group + Vindex(EFFECTS_SEAL)[seal]
            state = torch.tensor(0)
            for t in pyro.markov(range(TIMES)):
                row = Vindex(GAMMA)[state.unsqueeze(-1), torch.arange(STATES)]
                logits = row + tilt.unsqueeze(-1) * torch.arange(STATES)
                state = pyro.sample(f"state_{t}", dist.Categorical(logits=logits))
                pyro.sample(f"step_{t}", dist.Gamma(Vindex(STEP)[state, 0], Vindex(STEP)[state, 1]), obs=step[..., t])
                pyro.sample(f"turn_{t}", dist.VonMises(0.0, Vindex(TURN)[state]), obs=turn[..., t])


def test_the_mixed_hidden_markov_models_evidence_is_exact(measured):
    """Oracle: for each group a sum over its effect, of each seal's sum over its own, of a forward algorithm."""
    step, turn = torch.rand(2, 3, TIMES).double() * 4 + 0.1, torch.rand(2, 3, TIMES).double() * 6 - 3
    present = torch.tensor([[True, True, True], [True, False, True]])
    emission = dist.Gamma(STEP[:, 0], STEP[:, 1]).log_prob(step[..., None])
    emission = emission + dist.VonMises(0.0, TURN).log_prob(turn[..., None])

    def forward(tilt, rows):
        transition = (GAMMA + tilt * torch.arange(STATES)).log_softmax(-1)
        alpha = transition[0] + rows[0]
        for row in rows[1:]:
            alpha = (alpha[:, None] + transition).logsumexp(0) + row
        return alpha.logsumexp(0)

    expected = []
    for g in range(3):
        by_effect = []
        for a, p in zip(EFFECTS_GROUP, PROBS_GROUP, strict=True):
            seals = [i for i in range(2) if present[i, g]]
            sums = [
                torch.stack(
                    [q.log() + forward(a + b, emission[i, g]) for b, q in zip(EFFECTS_SEAL, PROBS_SEAL, strict=True)]
                )
                for i in seals
            ]
            by_effect.append(p.log() + sum(each.logsumexp(0) for each in sums))
        expected.append(-torch.stack(by_effect).logsumexp(0))
    view = measured(mixed_hidden_markov, step, turn, present)
    assert view.plate == "group"
    torch.testing.assert_close(view.free_energy().per_datum, torch.stack(expected))
