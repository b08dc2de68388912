"""A loss that is not finite stops the training with the epoch, the batch, the site and the rows."""

import functools
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from pyrometer.inference.svi import NonFiniteLossError, NonFiniteWeightsError, fit, load_weights

X = torch.arange(12.0)
BAD = (3.0, 8.0)  # values whose rows fail once the training has gone far enough
SGD = functools.partial(torch.optim.SGD, lr=0.5)
quiet = functools.partial(fit, batch_size=4, progress=False, seed=1)


class Counting(nn.Module):
    """A location that moves, and from the given call on a scale of NaN (or a value of -inf) in some rows."""

    def __init__(self, until: int = 10**6, bad: float = torch.nan) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.5))
        self.until, self.bad, self.calls = until, bad, 0

    def forward(self, x: Tensor) -> None:
        """The program."""
        self.calls += 1
        wrong = sum((x == value for value in BAD), torch.zeros(len(x), dtype=torch.bool)) & (self.calls > self.until)
        with pyro.plate("data", len(x)):
            pyro.sample("before", dist.Normal(self.location, 2.0), obs=torch.zeros(len(x)))
            pyro.sample("shifted", dist.Normal(torch.where(wrong, self.bad, 0.0), 2.0), obs=x)


def nothing(x: Tensor) -> None:
    pass


def test_epoch_batch_site_and_rows_are_named_and_the_weights_kept(tmp_path: Path) -> None:
    model = Counting(until=5)
    with pytest.raises(
        NonFiniteLossError, match="the loss is nan in epoch .*site model: shifted is not finite in rows of data: "
    ) as caught:
        quiet(model, nothing, {"x": X}, epochs=3, optimizer=SGD, out=tmp_path / "run")
    error = caught.value
    assert (error.epoch, error.site) == (2, "model: shifted")
    assert set(error.rows["data"]) <= {3, 8}
    assert error.rows["data"]
    assert f"in epoch 2, batch {error.batch}:" in str(error)
    assert torch.isfinite(model.location)
    load_weights(tmp_path / "run", model, nothing)
    assert model.location.item() == 0.5


def test_an_infinite_loss_is_found_as_well() -> None:
    def energy(model: Callable, guide: Callable, x: Tensor) -> Tensor:  # noqa: ARG001
        return -pyro.poutine.trace(model).get_trace(x).log_prob_sum()

    model = Counting(until=3, bad=torch.inf)
    with pytest.raises(NonFiniteLossError, match="the loss is inf in epoch 1, batch .*model: shifted") as caught:
        quiet(model, nothing, {"x": X}, objective=energy, epochs=1, optimizer=SGD)
    assert set(caught.value.rows["data"]) <= {3, 8}


class NoisyGuide(nn.Module):
    """q(z) = N(loc, 2), which a draw above a threshold turns into NaN: only the same random numbers show it again."""

    def __init__(self) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            noise = torch.rand(len(x))
            scale = torch.where(noise > 0.99, torch.nan, 2.0)
            pyro.sample("z", dist.Normal(self.location, scale))


def latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def test_the_step_is_run_again_with_the_same_random_numbers() -> None:
    with pytest.raises(NonFiniteLossError, match="site guide: z is not finite in rows of data") as caught:
        quiet(latent, NoisyGuide(), {"x": X}, epochs=200)
    assert caught.value.epoch > 1
    assert len(caught.value.rows["data"]) >= 1


def test_rows_are_found_in_a_subsampled_plate_and_where_the_log_probability_is_broadcast() -> None:
    def subsampled(x: Tensor) -> None:
        shift = pyro.param("shift", torch.tensor(0.5))
        with pyro.plate("columns", 2, dim=-1), pyro.plate("data", 12, subsample_size=len(x), dim=-2):
            spoilt = torch.where((x == 8) & (shift != 0.5), torch.nan, 0.0)
            pyro.sample("x", dist.Normal(shift + spoilt[:, None], 2.0), obs=x[:, None].expand(-1, 2))

    with pytest.raises(NonFiniteLossError, match="site model: x is not finite in rows of data: 8\\.") as caught:
        quiet(subsampled, nothing, {"x": X}, epochs=2, optimizer=SGD)
    assert caught.value.rows == {"data": [8]}
    pyro.clear_param_store()


def test_streams_name_the_stream_of_the_rows() -> None:
    def objective(model: Callable, guide: Callable, many: dict[str, Tensor], few: dict[str, Tensor]) -> Tensor:
        elbo = Trace_ELBO()
        return elbo.differentiable_loss(model, guide, **many) + elbo.differentiable_loss(model, guide, **few)

    data = {"many": {"x": X + 20}, "few": {"x": X[:9]}}
    sizes = {"many": 4, "few": 3}
    with pytest.raises(NonFiniteLossError) as caught:
        fit(Counting(until=5), nothing, data, objective=objective, batch_size=sizes, epochs=3, progress=False, seed=1)
    assert caught.value.rows.keys() == {"few"}
    assert set(caught.value.rows["few"]) <= {3, 8}


def test_an_objective_of_its_own_making_is_told_apart() -> None:
    def objective(model: Callable, guide: Callable, x: Tensor) -> Tensor:
        return Trace_ELBO().differentiable_loss(model, guide, x=x) + torch.nan

    with pytest.raises(NonFiniteLossError, match="each site is finite: the objective made it") as caught:
        quiet(Counting(), nothing, {"x": X}, objective=objective, epochs=1)
    assert caught.value.site is None


class Rooted(nn.Module):
    """A weight at 0 whose square root has a finite value and an infinite gradient."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.tensor(0.5))
        self.root = nn.Parameter(torch.tensor(0.0))
        self.after, self.calls = after, 0

    def forward(self, x: Tensor) -> None:
        """The program."""
        self.calls += 1
        shift = self.root.abs().sqrt() if self.calls > self.after else 0.0
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(self.location + shift, 2.0), obs=x)


def test_weights_that_a_gradient_has_spoilt_are_named_at_the_next_step() -> None:
    with pytest.raises(NonFiniteLossError, match="the weight model.root is not finite since the step before"):
        quiet(Rooted(after=3), nothing, {"x": X}, epochs=5)


def test_weights_that_are_not_finite_never_reach_a_checkpoint(tmp_path: Path) -> None:
    # Two calls before the training, one step of three batches: the last one of the only epoch spoils the weights.
    with pytest.raises(NonFiniteWeightsError, match="the weight model.root is not finite after epoch 1"):
        quiet(Rooted(after=4), nothing, {"x": X}, epochs=1, out=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["0000.pt"]
    assert not (tmp_path / "run" / "weights.pt").exists()


def test_a_program_that_breaks_on_spoilt_weights_is_reported_by_the_weight() -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.root = nn.Parameter(torch.tensor([0.0, 0.2]))

        def forward(self, x: Tensor) -> None:
            with pyro.plate("data", len(x)):
                pyro.sample("kind", dist.Categorical(logits=self.root.abs().sqrt()))

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            kind = pyro.sample(
                "kind", dist.Bernoulli(0.3).mask(False) if x is None else dist.Categorical(torch.tensor([0.3, 0.7]))
            )
            pyro.sample("x", dist.Normal(kind.float(), 2.0), obs=x)

    with pytest.raises(NonFiniteLossError, match=r"the weight guide.root is not finite since the step before"):
        quiet(model, Choosing(), {"x": X}, epochs=1)
