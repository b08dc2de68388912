"""Training on the mean of normal data with known noise, whose posterior is known; and against Pyro's own loops."""

import functools
import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import (
    SVI,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
)
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal, AutoNormal
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyrometer.inference.svi import fit
from pyrometer.inference.svi.objective import Objective
from pyrometer.inference.svi.pair import Pair

Y = torch.tensor([0.3, -0.1, 1.2, 2.0, 0.7])
PRIOR_SCALE, NOISE = 2.0, 0.5
ADAM = functools.partial(torch.optim.Adam, lr=0.02)
quiet = functools.partial(fit, progress=False)


def model(y: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, PRIOR_SCALE))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, NOISE), obs=y)


def exact() -> dist.Normal:
    """p(mean | y): precisions add up, means are averaged by precision."""
    precision = PRIOR_SCALE**-2 + len(Y) * NOISE**-2
    return dist.Normal(Y.sum() * NOISE**-2 / precision, precision**-0.5)


class NormalGuide(nn.Module):
    """q(mean) = N(loc, exp(log_scale)^2), far from the posterior to begin with."""

    def __init__(self, loc: float = 4.0, scale: float = 0.05) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor(loc))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def distribution(self) -> dist.Normal:
        """q as an object."""
        return dist.Normal(self.loc, self.log_scale.exp())

    def forward(self, y: Tensor) -> None:  # noqa: ARG002 - the signature is the model's
        """The program."""
        pyro.sample("mean", self.distribution())

    def divergence(self) -> float:
        """KL(q, posterior) in nats."""
        return kl_divergence(self.distribution(), exact()).item()


def by_hand(guide: nn.Module, elbo: Trace_ELBO, steps: int, seed: int) -> list[float]:
    """Adam on Pyro's loss, written out; the losses per datum."""
    pyro.set_rng_seed(seed)
    optimizer = ADAM(guide.parameters())
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = elbo.differentiable_loss(model, guide, y=Y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / len(Y))
    return losses


def test_the_exact_posterior_is_reached_from_far_away() -> None:
    guide = NormalGuide()
    assert guide.divergence() > 1.0
    adam = functools.partial(torch.optim.Adam, lr=0.1)
    quiet(model, guide, {"y": Y}, steps=800, batch_size=None, optimizer=adam, schedule=lambda done: 0.01**done, seed=1)
    assert guide.divergence() < 0.01  # gradients keep their noise at the optimum, so the rate sets a floor


def test_the_first_loss_is_pyros_with_the_same_random_state() -> None:
    result = quiet(model, NormalGuide(), {"y": Y}, steps=1, batch_size=None, seed=3)
    pyro.set_rng_seed(3)
    assert result.loss * len(Y) == pytest.approx(Trace_ELBO().loss(model, NormalGuide(), y=Y), rel=1e-6)


@pytest.mark.parametrize(
    "elbo", [Trace_ELBO(), Trace_ELBO(num_particles=3, vectorize_particles=True), TraceMeanField_ELBO()]
)
def test_the_trajectory_is_that_of_a_loop_written_by_hand(elbo: Trace_ELBO) -> None:
    ours, theirs = NormalGuide(), NormalGuide()
    losses = [
        row["loss"]
        for row in quiet(
            model, ours, {"y": Y}, objective=elbo, epochs=20, batch_size=None, optimizer=ADAM, seed=5
        ).history
    ]
    assert losses == by_hand(theirs, elbo, steps=20, seed=5)
    assert torch.equal(ours.loc, theirs.loc)
    assert torch.equal(ours.log_scale, theirs.log_scale)


@pytest.mark.parametrize("elbo", [TraceGraph_ELBO(), RenyiELBO(alpha=0.5, num_particles=4), TraceEnum_ELBO()])
@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
def test_elbos_without_a_differentiable_loss_move_a_plain_module_as_they_move_a_pyro_parameter(
    elbo: TraceGraph_ELBO,
) -> None:
    def stored_guide(y: Tensor) -> None:  # noqa: ARG001
        loc = pyro.param("loc", torch.tensor(4.0))
        pyro.sample("mean", dist.Normal(loc, pyro.param("log_scale", torch.tensor(math.log(0.05))).exp()))

    guide = NormalGuide()
    quiet(model, guide, {"y": Y}, objective=elbo, steps=10, batch_size=None, optimizer=ADAM, seed=7)
    pyro.set_rng_seed(7)
    svi = SVI(model, stored_guide, pyro.optim.Adam({"lr": 0.02}), elbo)
    for _ in range(10):
        svi.step(y=Y)
    assert abs(guide.loc.item() - 4.0) > 0.1
    assert guide.loc.item() == pytest.approx(pyro.param("loc").item(), abs=1e-6)
    assert guide.log_scale.item() == pytest.approx(pyro.param("log_scale").item(), abs=1e-6)
    pyro.clear_param_store()


def test_a_plain_function_with_constrained_parameters_is_trained_as_by_pyros_own_svi() -> None:
    def guide(y: Tensor) -> None:  # noqa: ARG001
        loc = pyro.param("loc", torch.tensor(4.0))
        pyro.sample(
            "mean", dist.Normal(loc, pyro.param("scale", torch.tensor(0.05), constraint=dist.constraints.positive))
        )

    quiet(model, guide, {"y": Y}, steps=25, batch_size=None, optimizer=ADAM, seed=11)
    ours = pyro.param("loc").item(), pyro.param("scale").item()
    pyro.clear_param_store()
    pyro.set_rng_seed(11)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    for _ in range(25):
        svi.step(y=Y)
    assert ours[0] < 4.0
    assert ours == (pyro.param("loc").item(), pyro.param("scale").item())
    pyro.clear_param_store()


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoMultivariateNormal, AutoDelta])
def test_autoguides_make_their_parameters_in_time_to_be_trained(autoguide: Callable) -> None:
    guide = autoguide(model)
    quiet(model, guide, {"y": Y}, steps=400, batch_size=None, optimizer=ADAM, seed=2)
    assert guide.median(y=Y)["mean"].item() == pytest.approx(exact().loc.item(), abs=0.05)


def test_weights_of_a_model_and_modules_named_by_pyro_module_are_trained() -> None:
    network = nn.Linear(1, 1)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_noise = nn.Parameter(torch.tensor(1.5))

        def program(self, y: Tensor) -> None:
            mean = pyro.sample("mean", dist.Normal(0.0, PRIOR_SCALE))
            with pyro.plate("data", len(y)):
                pyro.sample("y", dist.Normal(mean, self.log_noise.exp()), obs=y)

    def guide(y: Tensor) -> None:
        loc = pyro.module("network", network)(y.mean().reshape(1, 1)).squeeze()
        pyro.sample("mean", dist.Normal(loc, 0.1))

    holder, before = Scaled(), network.weight.item()
    quiet(holder.program, guide, {"y": Y}, steps=50, batch_size=None, optimizer=ADAM, seed=4)
    assert holder.log_noise.item() < 1.0
    assert network.weight.item() != before
    pyro.clear_param_store()


def test_a_discrete_site_that_the_objective_sums_out_needs_no_guide() -> None:
    def mixture(y: Tensor) -> None:
        loc = pyro.param("locations", torch.tensor([-0.5, 0.5]))
        with pyro.plate("data", len(y)):
            kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.3, 0.7])), infer={"enumerate": "parallel"})
            pyro.sample("y", dist.Normal(loc[kind], NOISE), obs=y)

    def guide(y: Tensor) -> None:
        pass

    y = torch.tensor([-3.0, -2.9, 3.1, 3.0, 2.8])
    result = quiet(mixture, guide, {"y": y}, objective=TraceEnum_ELBO(), steps=600, optimizer=ADAM, seed=0)
    logits = torch.tensor([0.3, 0.7]).log() + dist.Normal(pyro.param("locations").detach(), NOISE).log_prob(y[:, None])
    assert pyro.param("locations").tolist() == pytest.approx([-2.95, 2.97], abs=0.02)
    assert result.loss == pytest.approx(-logits.logsumexp(1).mean().item(), abs=1e-3)
    pyro.clear_param_store()


def test_the_loss_is_per_datum_in_a_subsampled_plate_too() -> None:
    y = 0.5 * torch.randn(40) + 1.3

    def subsampled(y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, PRIOR_SCALE))
        with pyro.plate("data", 40, subsample_size=len(y)):
            pyro.sample("y", dist.Normal(mean, NOISE), obs=y)

    still = functools.partial(torch.optim.SGD, lr=0.0)
    guide = AutoDelta(model)  # at a point the loss has no noise: the mean over batches is that of all data
    whole = quiet(model, guide, {"y": y}, epochs=1, batch_size=None, optimizer=still, seed=0).loss
    parts = quiet(subsampled, guide, {"y": y}, epochs=1, batch_size=8, optimizer=still, seed=0).loss
    assert parts == pytest.approx(whole, rel=1e-6)


def test_the_seed_alone_decides_and_the_callers_random_state_is_put_back() -> None:
    def run(seed: int | None) -> float:
        guide = NormalGuide()
        quiet(model, guide, {"y": Y}, steps=3, batch_size=None, seed=seed)
        return guide.loc.item()

    state = torch.get_rng_state()
    first = run(17)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    assert run(17) == first
    assert run(18) != first


def test_without_a_seed_the_callers_own_seed_decides() -> None:
    def run(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        guides = NormalGuide(), NormalGuide()
        for guide in guides:
            quiet(model, guide, {"y": Y}, steps=3, batch_size=None)
        return guides[0].loc.item(), guides[1].loc.item()

    first = run(1)
    assert first == run(1)
    assert first != run(2)
    assert first[0] != first[1]


def test_a_schedule_multiplies_the_rate_by_the_part_of_the_training_that_is_done() -> None:
    rates = quiet(
        model,
        NormalGuide(),
        {"y": Y},
        epochs=4,
        batch_size=None,
        optimizer=ADAM,
        schedule=lambda done: 1 - done,
        seed=0,
    ).history
    assert [row["rate"] for row in rates] == pytest.approx([0.02, 0.015, 0.01, 0.005])


def test_an_objective_with_an_argument_progress_gets_it() -> None:
    seen = []

    def objective(model: Callable, guide: Callable, progress: float, y: Tensor) -> Tensor:
        seen.append(progress)
        return Trace_ELBO().differentiable_loss(model, guide, y=y)

    ours, theirs = NormalGuide(), NormalGuide()
    quiet(model, ours, {"y": Y}, objective=objective, steps=5, batch_size=None, optimizer=ADAM, seed=9)
    by_hand(theirs, Trace_ELBO(), steps=5, seed=9)
    assert seen[-5:] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert torch.equal(ours.loc, theirs.loc)


def test_what_on_epoch_does_is_in_the_history_and_changes_nothing() -> None:
    def noisy(_model: Callable, guide: NormalGuide) -> dict[str, float]:
        assert not guide.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        pyro.set_rng_seed(99)
        return {"location": guide.loc}

    watched, alone = NormalGuide(), NormalGuide()
    result = quiet(model, watched, {"y": Y}, epochs=3, batch_size=None, on_epoch=noisy, seed=6)
    quiet(model, alone, {"y": Y}, epochs=3, batch_size=None, seed=6)
    assert torch.equal(watched.loc, alone.loc)
    assert result.history[-1]["location"] == alone.loc.item()
    assert list(result.history[0]) == ["epoch", "steps", "loss", "rate", "location"]


def test_modules_train_in_training_mode_without_validation_and_end_in_evaluation_mode() -> None:
    seen = []

    class Watching(NormalGuide):
        def forward(self, y: Tensor) -> None:
            seen.append((self.training, pyro.settings.get("validate_poutine")))
            super().forward(y)

    guide = Watching().eval()
    quiet(model, guide, {"y": Y}, steps=2, batch_size=None, seed=0)
    assert seen[-2:] == [(True, False), (True, False)]
    assert not guide.training
    assert pyro.settings.get("validate_poutine")


def test_steps_end_in_the_middle_of_an_epoch() -> None:
    def local(y: Tensor) -> None:
        with pyro.plate("data", len(y)):
            mean = pyro.sample("mean", dist.Normal(0.0, PRIOR_SCALE))
            pyro.sample("y", dist.Normal(mean, NOISE), obs=y)

    class Local(NormalGuide):
        def forward(self, y: Tensor) -> None:
            with pyro.plate("data", len(y)):
                pyro.sample("mean", self.distribution())

    result = quiet(local, Local(), {"y": Y}, steps=4, batch_size=2, seed=0)
    assert [(row["epoch"], row["steps"]) for row in result.history] == [(1, 3), (2, 4)]
    assert (result.epochs, result.steps) == (2, 4)


def test_nothing_is_printed_without_progress_and_a_bar_is_drawn_on_standard_error_with_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(model, NormalGuide(), {"y": Y}, steps=3, batch_size=None, seed=0, progress=False)
    assert capsys.readouterr() == ("", "")
    fit(model, NormalGuide(), {"y": Y}, steps=3, batch_size=None, seed=0, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "3/3" in printed.err
    assert "loss" in printed.err


def test_a_result_shows_what_was_reached() -> None:
    result = quiet(model, NormalGuide(), {"y": Y}, steps=3, batch_size=None, seed=0)
    assert repr(result).startswith(f"Fit(loss={result.history[-1]['loss']:.4f} nats per datum, epochs=3, steps=3, ")
    assert result.out is None


def test_config_enumerate_marks_a_site_as_well() -> None:
    def mixture(y: Tensor) -> None:
        loc = pyro.param("location", torch.tensor(0.5))
        with pyro.plate("data", len(y)):
            sign = pyro.sample("sign", dist.Bernoulli(0.3))
            pyro.sample("y", dist.Normal(loc * (2 * sign - 1), NOISE), obs=y)

    def guide(y: Tensor) -> None:
        pass

    quiet(config_enumerate(mixture), guide, {"y": Y}, objective=TraceEnum_ELBO(), steps=2, seed=0)
    assert pyro.param("location").item() != 0.5
    pyro.clear_param_store()


def test_programs_make_their_tensors_on_the_device_of_the_training() -> None:
    made = []

    def loss(model: Callable, guide: Callable, batch: dict[str, Tensor], progress: float) -> Tensor:  # noqa: ARG001
        made.append(torch.zeros(2).device.type)
        return torch.zeros((), requires_grad=True)

    guide = NormalGuide()
    Pair(model, guide, Objective(loss), torch.device("meta"))({}, 0.0)
    Pair(model, NormalGuide(), Objective(loss), torch.device("cpu"))({}, 0.0)
    assert made == ["meta", "cpu"]
    assert guide.loc.device.type == "meta"


@pytest.mark.parametrize(
    ("precision", "data", "product"),
    [
        ("32-true", torch.float32, torch.float32),
        ("bf16-mixed", torch.float32, torch.bfloat16),
        ("64-true", torch.float64, torch.float64),
    ],
)
def test_precision_is_that_of_products_and_mixed_precision_leaves_data_alone(
    precision: str, data: torch.dtype, product: torch.dtype
) -> None:
    seen = []

    class Seeing(NormalGuide):
        def forward(self, y: Tensor) -> None:
            seen.append((y.dtype, (y[:1, None] @ self.loc.reshape(1, 1)).dtype))
            super().forward(y)

    quiet(model, Seeing(), {"y": Y}, steps=1, batch_size=None, precision=precision, accelerator="cpu", seed=0)
    assert seen[-1] == (data, product)


def test_double_precision_stays_double() -> None:
    guide = NormalGuide().double()
    quiet(model, guide, {"y": Y.double()}, steps=3, batch_size=None, seed=0)
    assert guide.loc.dtype == torch.float64
    assert guide.loc.item() != 4.0
