"""Hidden chains in five styles, in kind of Pyro's HMM examples 0 to 4, against a forward algorithm by hand."""

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.ops.indexing import Vindex

H, D = 3, 2
SEQUENCES = (torch.rand(3, 4, D, generator=torch.Generator().manual_seed(7)) < 0.4).double()
LENGTHS = torch.tensor([4, 1, 3])


def transitions(name="probs_x", size=H):
    return pyro.sample(name, dist.Dirichlet((0.9 * torch.eye(size) + 0.1).double()).to_event(1))


def emissions(*shape):
    return pyro.sample("probs_y", dist.Beta(torch.tensor(0.6).double(), 0.9).expand(shape).to_event(len(shape)))


def loop_over_sequences(sequences, lengths):
    probs_x, probs_y = transitions(), emissions(H, D)
    tones_plate = pyro.plate("tones", D, dim=-1)
    for i in pyro.plate("sequences", len(sequences)):
        x = 0
        for t in pyro.markov(range(lengths[i])):
            x = pyro.sample(f"x_{i}_{t}", dist.Categorical(probs_x[x]))
            with tones_plate:
                pyro.sample(f"y_{i}_{t}", dist.Bernoulli(probs_y[x.squeeze(-1)]), obs=sequences[i, t])


def plate_of_sequences(sequences, lengths):
    probs_x, probs_y = transitions(), emissions(H, D)
    tones_plate = pyro.plate("tones", D, dim=-1)
    with pyro.plate("sequences", len(sequences), dim=-2):
        x = 0
        for t in pyro.markov(range(int(lengths.max()))):
            with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]), infer={"enumerate": "parallel"})
                with tones_plate:
                    pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[x.squeeze(-1)]), obs=sequences[:, t])


def tones_that_last(sequences, lengths):
    probs_x, probs_y = transitions(), emissions(H, 2, D)
    tones_plate = pyro.plate("tones", D, dim=-1)
    with pyro.plate("sequences", len(sequences), dim=-2):
        x, y = 0, torch.zeros(D).long()
        for t in pyro.markov(range(int(lengths.max()))):
            with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]))
                with tones_plate as tones:
                    y = pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[x, y, tones]), obs=sequences[:, t]).long()


def two_chains(sequences, lengths):
    probs_w, probs_x, probs_y = transitions("probs_w", 2), transitions(), emissions(2, H, D)
    tones_plate = pyro.plate("tones", D, dim=-1)
    with pyro.plate("sequences", len(sequences), dim=-2):
        w, x = 0, 0
        for t in pyro.markov(range(int(lengths.max()))):
            with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                w = pyro.sample(f"w_{t}", dist.Categorical(probs_w[w]))
                x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]))
                with tones_plate as tones:
                    pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[w, x, tones]), obs=sequences[:, t])


def a_chain_that_drives_another(sequences, lengths):
    probs_w = transitions("probs_w", 2)
    with pyro.plate("drivers", 2):
        probs_x = transitions()
    probs_y = emissions(2, H, D)
    tones_plate = pyro.plate("tones", D, dim=-1)
    with pyro.plate("sequences", len(sequences), dim=-2):
        w, x = torch.tensor(0), torch.tensor(0)
        for t in pyro.markov(range(int(lengths.max()))):
            with poutine.mask(mask=(t < lengths).unsqueeze(-1)):
                w = pyro.sample(f"w_{t}", dist.Categorical(probs_w[w]))
                x = pyro.sample(f"x_{t}", dist.Categorical(Vindex(probs_x)[w, x]))
                with tones_plate as tones:
                    pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[w, x, tones]), obs=sequences[:, t])


PROGRAMS = [loop_over_sequences, plate_of_sequences, tones_that_last, two_chains, a_chain_that_drives_another]


def joint_chain(program, given):
    """Transitions (S, S) and tone probabilities (S, 2, D) by the tone before, of the joint state of all chains."""
    probs_x, probs_y = given["probs_x"], given["probs_y"]
    if program in (loop_over_sequences, plate_of_sequences):
        return probs_x, probs_y.unsqueeze(1).expand(H, 2, D)
    if program is tones_that_last:
        return probs_x, probs_y
    probs_x = probs_x.expand(2, H, H)  # by the driver's new state
    joint = given["probs_w"][:, None, :, None] * probs_x.permute(1, 0, 2)[None]
    return joint.reshape(2 * H, 2 * H), probs_y.reshape(2 * H, 1, D).expand(2 * H, 2, D)


def forward(transition, tones, sequence):
    """-log p of one sequence, from state 0 and silence."""
    alpha, before = transition[0].log(), torch.zeros(D).long()
    for t, y in enumerate(sequence):
        if t:
            alpha = (alpha[:, None] + transition.log()).logsumexp(0)
        p = tones[:, before, torch.arange(D)]
        alpha, before = alpha + (y * p.log() + (1 - y) * (-p).log1p()).sum(-1), y.long()
    return -alpha.logsumexp(0)


@pytest.mark.parametrize("program", PROGRAMS)
def test_energies_and_gradients_are_finite_and_those_of_plain_traces(program, measured):
    assert measured(program, SEQUENCES, LENGTHS).plate == "sequences"


@pytest.mark.parametrize("program", PROGRAMS)
def test_given_its_probabilities_the_evidence_of_each_sequence_is_exact(program, measured):
    view = measured(program, SEQUENCES, LENGTHS)
    trace = poutine.trace(program).get_trace(SEQUENCES, LENGTHS)
    given = {name: trace.nodes[name]["value"] for name in view.structure.latents if name.startswith("probs")}
    transition, tones = joint_chain(program, given)
    expected = torch.stack([forward(transition, tones, y[:n]) for y, n in zip(SEQUENCES, LENGTHS, strict=True)])
    for base in ("lebesgue", "prior"):
        exact = view.free_energy(given=given, base=base)
        torch.testing.assert_close(exact.per_datum, expected)
        prior = sum(-trace.nodes[name]["fn"].log_prob(value).sum() for name, value in given.items())
        torch.testing.assert_close(exact.common, prior)
