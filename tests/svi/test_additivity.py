"""What the losses of shares have to do with that of the batch, seen by the scales of sites, or by values."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoDelta
from torch import Tensor

from pyrometer.inference.svi.additivity import stands_for_all_data
from pyrometer.inference.svi.objective import as_objective
from pyrometer.inference.svi.pair import Pair
from pyrometer.inference.svi.sharding import share

N, BATCH, COUNT = 40, 7, 3
X = torch.linspace(-1.0, 2.0, N)
WEIGHTS = torch.linspace(0.5, 2.0, N)


def in_a_plate(x: Tensor) -> None:
    loc = pyro.param("loc", torch.tensor(0.3))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, 0.5), obs=x)


def scaled_by_a_constant(x: Tensor) -> None:
    with poutine.scale(scale=N / BATCH):
        in_a_plate(x)


def scaled_to_all_data(x: Tensor) -> None:
    with poutine.scale(scale=N / len(x)):
        in_a_plate(x)


def one_by_one(x: Tensor) -> None:
    loc = pyro.param("loc", torch.tensor(0.3))
    for row in pyro.plate("data", len(x)):
        pyro.sample(f"x_{row}", dist.Normal(loc, 0.5), obs=x[row])


def subsampled(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", N, subsample_size=len(x)):
        pyro.sample("x", dist.Normal(mean, 0.5), obs=x)


def with_a_part_of_the_prior(x: Tensor) -> None:
    with poutine.scale(scale=len(x) / N):
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 0.5), obs=x)


def beside_a_plate_of_other_things(x: Tensor) -> None:
    with pyro.plate("things", BATCH, dim=-2):  # as many as a batch has rows
        loc = pyro.sample("loc", dist.Normal(0.0, 2.0))
    with pyro.plate("data", N, subsample_size=len(x), dim=-1):
        pyro.sample("x", dist.Normal(loc.mean(), 0.5), obs=x)


def nothing(x: Tensor) -> None:
    """q of no latents."""


def weighted_rows(x: Tensor, weight: Tensor) -> None:
    loc = pyro.param("loc", torch.tensor(0.3))
    with pyro.plate("data", len(x)), poutine.scale(scale=weight):
        pyro.sample("x", dist.Normal(loc, 0.5), obs=x)


def nothing_of_both(x: Tensor, weight: Tensor) -> None:
    """q of no latents."""


def guide_of(model: Callable) -> Callable:
    return AutoDelta(poutine.block(model, expose=["mean", "loc"]))


def part_of_the_entropy(x: Tensor) -> None:
    with poutine.scale(scale=len(x) / N):
        pyro.sample("mean", dist.Delta(pyro.param("center", torch.tensor(0.3))))


@pytest.mark.parametrize(
    ("model", "guide", "for_all"),
    [
        (in_a_plate, nothing, False),
        (scaled_by_a_constant, nothing, False),
        (scaled_to_all_data, nothing, True),
        (one_by_one, nothing, False),
        (weighted_rows, nothing_of_both, False),
        (with_a_part_of_the_prior, part_of_the_entropy, False),
        (subsampled, guide_of(subsampled), True),
        (beside_a_plate_of_other_things, guide_of(beside_a_plate_of_other_things), True),
    ],
)
def test_the_losses_of_shares_make_up_that_of_the_batch(model: Callable, guide: Callable, for_all: bool) -> None:
    """Against the definition: the losses of three shares of seven rows, by the rule, and that of the rows at once."""
    batch = {"x": X[:BATCH], "weight": WEIGHTS[:BATCH]} if model is weighted_rows else {"x": X[:BATCH]}
    pair = Pair(model, guide, as_objective(None))
    whole = pair(batch, 0.0)
    assert stands_for_all_data(pair, None, [batch], COUNT) == for_all
    shares = [share(batch, rank, COUNT) for rank in range(COUNT)]
    parts = [(part.fraction if for_all else 1) * pair(part, 0.0) for part in shares]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    pyro.clear_param_store()


def without_a_plate(x: Tensor) -> None:
    pyro.sample("x", dist.Normal(0.0, 0.5).expand(x.shape).to_event(1), obs=x)


def of_two_kinds(x: Tensor) -> None:
    scaled_to_all_data(x)
    with pyro.plate("again", len(x)):
        pyro.sample("y", dist.Normal(0.0, 0.5), obs=x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (without_a_plate, "the site 'x' must be in a plate of the rows of the batch"),
        (of_two_kinds, r"\['model: x'\] are outside the plate of the data"),
    ],
)
def test_programs_whose_shares_do_not_add_up_are_refused(model: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stands_for_all_data(Pair(model, nothing, as_objective(None)), None, [{"x": X[:BATCH]}], COUNT)
    pyro.clear_param_store()


def noisy_guide(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(pyro.param("slope", torch.tensor(0.2)) * x, 0.6))


def noisy(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def bound(model: Callable, guide: Callable, x: Tensor) -> Tensor:
    return Trace_ELBO().differentiable_loss(model, guide, x=x)


@pytest.mark.parametrize(
    ("objective", "for_all"),
    [(bound, False), (lambda *pair, x: bound(*pair, x=x) / len(x), True)],
)
def test_a_function_is_seen_to_be_a_sum_or_a_mean_in_spite_of_its_noise(objective: Callable, for_all: bool) -> None:
    pair = Pair(noisy, noisy_guide, as_objective(objective))
    assert stands_for_all_data(pair, objective, [{"x": X}], COUNT) == for_all
    pyro.clear_param_store()


def test_every_row_is_in_one_share_and_streams_are_shared_equally() -> None:
    for rows in (1, 2, 3, 7, 12):
        shares = [share({"x": torch.arange(rows)}, rank, COUNT) for rank in range(COUNT)]
        assert torch.cat([part["x"] for part in shares]).tolist() == list(range(rows))
        assert sum(part.fraction for part in shares) == pytest.approx(1)
        assert max(len(part["x"]) for part in shares) - min(len(part["x"]) for part in shares) <= 1
    streams = {"many": {"x": torch.arange(6)}, "few": {"x": torch.arange(4)}}
    assert share(streams, 1, 2)["few"]["x"].tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"data\['few'\] has 4 rows in a batch, and 3 processes cannot share"):
        share(streams, 0, 3)
