"""A pair that cannot work is refused before the first step, by name and with the remedy."""

import random
import re
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoIAFNormal, AutoLowRankMultivariateNormal, AutoNormal
from torch import Tensor, nn

from pyrometer.guides.digit_and_style import DigitAndStyle
from pyrometer.inference.svi import check, fit
from pyrometer.models.semi_supervised_vae import SemiSupervisedVAE

Y = torch.tensor([0.3, -0.1, 1.2])


def model(y: Tensor) -> None:
    scale = pyro.sample("scale", dist.HalfNormal(2.0))
    weights = pyro.sample("weights", dist.Normal(torch.zeros(2), 2.0).to_event(1))
    with pyro.plate("data", len(y)):
        local = pyro.sample("local", dist.Normal(weights.sum(), 0.5))
        pyro.sample("y", dist.Normal(local, scale), obs=y)


def guide(y: Tensor) -> None:
    pyro.sample("scale", dist.LogNormal(0.3, 0.2))
    pyro.sample("weights", dist.Normal(torch.ones(2), 0.2).to_event(1))
    with pyro.plate("data", len(y)):
        pyro.sample("local", dist.Normal(y, 0.2))


def without_scale(y: Tensor) -> None:
    pyro.sample("weights", dist.Normal(torch.ones(2), 0.2).to_event(1))
    with pyro.plate("data", len(y)):
        pyro.sample("local", dist.Normal(y, 0.2))


def with_more(y: Tensor) -> None:
    guide(y)
    pyro.sample("extra", dist.Normal(0.0, 0.2))


def with_other_event(y: Tensor) -> None:
    without_scale_and_weights(y)
    pyro.sample("scale", dist.LogNormal(0.3, 0.2))
    pyro.sample("weights", dist.Normal(torch.ones(3), 0.2).to_event(1))


def without_scale_and_weights(y: Tensor) -> None:
    with pyro.plate("data", len(y)):
        pyro.sample("local", dist.Normal(y, 0.2))


def with_another_plate(y: Tensor) -> None:
    pyro.sample("scale", dist.LogNormal(0.3, 0.2))
    pyro.sample("weights", dist.Normal(torch.ones(2), 0.2).to_event(1))
    with pyro.plate("rows", len(y)):
        pyro.sample("local", dist.Normal(y, 0.2))


def with_an_observation(y: Tensor) -> None:
    guide(y)
    pyro.sample("y", dist.Normal(y, 2.0).to_event(1), obs=y)


def with_a_missing_plate(y: Tensor) -> None:
    pyro.sample("scale", dist.LogNormal(0.3, 0.2))
    pyro.sample("weights", dist.Normal(torch.ones(2), 0.2).to_event(1))
    pyro.sample("local", dist.Normal(y, 0.2).to_event(1))


def outside_the_support(y: Tensor) -> None:
    without_scale(y)
    pyro.sample("scale", dist.Normal(-3.0, 0.2))


def without_arguments() -> None:
    pass


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (without_scale, r"and the guide \['local', 'weights'\]: the guide lacks \['scale'\], the model lacks \[\]"),
        (with_more, r"the guide lacks \[\], the model lacks \['extra'\]"),
        (with_other_event, r"'weights' must have one event shape, but it is \(2,\) in the model and \(3,\) in the"),
        (with_another_plate, r"'local' must be in the same plates.*'data': 3\} in the model and in .*'rows': 3"),
        (with_a_missing_plate, r"'local' must have one event shape, but it is \(\) in the model and \(3,\) in the"),
        (with_an_observation, r"guide must not observe anything, but its sites \['y'\] have obs"),
        (outside_the_support, "(?s)Expected parameter scale .*to satisfy the constraint GreaterThan"),
        (without_arguments, r"guide cannot be called with the arguments \['y'\]: got an unexpected"),
    ],
)  # fmt: skip
def test_a_guide_that_does_not_fit_is_refused(wrong: Callable, message: str) -> None:
    check(model, guide, y=Y)
    with pytest.raises(ValueError, match=message):
        check(model, wrong, y=Y)
    with pytest.raises(ValueError, match=message):
        fit(model, wrong, {"y": Y}, steps=1, batch_size=None, progress=False)


def test_an_argument_of_the_model_that_the_data_lack_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"model cannot be called with the arguments \['x'\]: missing a required argument: 'y'"
    ):
        check(model, guide, x=Y)


def test_a_log_probability_that_is_not_finite_is_found() -> None:
    def overflowing(y: Tensor) -> None:
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Poisson(torch.tensor(2.0)).mask(torch.tensor(True)), obs=y)
        pyro.factor("penalty", torch.tensor(-torch.inf))

    with pytest.raises(ValueError, match="site 'penalty' of the model must have a finite log-probability, but 1 of 1"):
        check(overflowing, lambda y: None, y=Y.abs().round())  # noqa: ARG005


def test_auxiliary_sites_factors_and_deterministic_sites_of_a_guide_are_fine() -> None:
    def with_auxiliary(y: Tensor) -> None:
        guide(y)
        pyro.sample("noise", dist.Normal(0.0, 2.0), infer={"is_auxiliary": True})
        pyro.factor("correction", torch.tensor(0.5), has_rsample=False)
        pyro.deterministic("half", 0.5 * y)

    check(model, with_auxiliary, y=Y)


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoLowRankMultivariateNormal, AutoIAFNormal])
def test_autoguides_are_fine(autoguide: Callable) -> None:
    check(model, autoguide(model), y=Y)


def mixture(y: Tensor) -> None:
    with pyro.plate("data", len(y)):
        kind = pyro.sample("kind", dist.Bernoulli(0.3))
        pyro.sample("y", dist.Normal(kind + pyro.param("shift", torch.tensor(0.2)), 0.5), obs=y)


def nothing(y: Tensor) -> None:
    pass


def test_a_discrete_site_may_be_left_to_an_objective_that_enumerates() -> None:
    with pytest.raises(ValueError, match=r"lacks \['kind'\].*\['kind'\] can be summed out: config_enumerate"):
        check(mixture, nothing, y=Y)
    check(config_enumerate(mixture), nothing, y=Y)
    with pytest.raises(ValueError, match=r"objective must sum out the sites \['kind'\].*TraceEnum_ELBO"):
        fit(config_enumerate(mixture), nothing, {"y": Y}, steps=1, progress=False)
    fit(config_enumerate(mixture), nothing, {"y": Y}, objective=TraceEnum_ELBO(), steps=1, progress=False)
    pyro.clear_param_store()


def test_a_model_that_chokes_on_a_value_of_the_guide_is_reported_by_the_site() -> None:
    def choking(y: Tensor) -> None:
        matrix = pyro.sample("matrix", dist.Normal(torch.zeros(2, 3), 2.0).to_event(2))
        pyro.sample("y", dist.Normal(matrix @ torch.ones(3), 0.5).to_event(1), obs=y)

    def transposed(y: Tensor) -> None:  # noqa: ARG001
        pyro.sample("matrix", dist.Normal(torch.zeros(3, 2), 2.0).to_event(2))

    with pytest.raises(ValueError, match=r"site 'matrix' must have one event shape, but it is \(2, 3\) in the model"):
        check(choking, transposed, y=torch.zeros(2))


def test_a_dimension_without_a_plate_is_refused_with_pyros_own_remedies() -> None:
    def plain(y: Tensor) -> None:
        pyro.sample("y", dist.Normal(torch.zeros(3), 0.5), obs=y)

    with pytest.raises(ValueError, match=r"(?s)at site \"y\", invalid log_prob shape.*to_event"):
        check(plain, nothing, y=Y)


def test_the_check_leaves_no_trace() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, y: Tensor) -> None:
            with pyro.plate("data", len(y)):
                noise = np.random.rand() + random.random()  # noqa: NPY002 - a program that uses global generators
                pyro.sample("y", dist.Normal(self.norm(y[:, None])[:, 0] + noise, 0.5), obs=y)

    def storing(y: Tensor) -> None:  # noqa: ARG001
        pyro.param("unused", torch.rand(2))

    network = Normalised().train()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    check(network, storing, y=Y)
    assert network.training
    assert network.norm.running_mean.tolist() == [0.0]  # pyright: ignore[reportOptionalMemberAccess]
    assert network.norm.num_batches_tracked.item() == 0  # pyright: ignore[reportOptionalMemberAccess]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]
    assert "unused" not in pyro.get_param_store()


def test_the_digit_and_style_pair_is_fine_with_and_without_labels() -> None:
    pair = SemiSupervisedVAE((8, 8), style=3), DigitAndStyle((8, 8), style=3)
    check(*pair, image=torch.rand(5, 8, 8))
    check(*pair, image=torch.rand(5, 8, 8), digit=torch.tensor([0, 1, 2, 3, 9]))


def test_streams_are_checked_one_by_one() -> None:
    pair = SemiSupervisedVAE((8, 8), style=3), DigitAndStyle((8, 8), style=3)
    data = {
        "unlabelled": {"image": torch.rand(5, 8, 8)},
        "labelled": {"image": torch.rand(5, 8, 8), "label": torch.ones(5)},
    }
    with pytest.raises(
        ValueError, match=re.escape("labelled, 5 rows: model cannot be called with the arguments ['image', 'label']")
    ):
        fit(*pair, data, objective=lambda *_, **__: None, steps=1, progress=False)
    data["labelled"]["digit"] = data["labelled"].pop("label").long()
    with pytest.raises(ValueError, match=r"objective must take the streams \['labelled', 'unlabelled'\] by name"):
        fit(*pair, data, steps=1, progress=False)


def global_model(y: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def test_a_latent_that_all_data_share_is_refused_in_plain_minibatches() -> None:
    y = torch.linspace(-1.0, 2.0, 12)
    shared = AutoNormal(global_model)
    message = r"latent sites \['mean'\] outside every plate.*4 of 12 rows.*counted 3 times. Pass batch_size=None, or"
    with pytest.raises(ValueError, match=message):
        fit(global_model, shared, {"y": y}, epochs=1, batch_size=4, progress=False)
    fit(global_model, shared, {"y": y}, epochs=1, batch_size=None, progress=False)
    fit(global_model, shared, {"y": y}, epochs=1, batch_size=12, progress=False)


def test_a_shared_latent_is_fine_where_the_plate_subsamples_or_the_prior_is_scaled() -> None:
    y = torch.linspace(-1.0, 2.0, 12)

    def subsampled(y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("data", 12, subsample_size=len(y)):
            pyro.sample("y", dist.Normal(mean, 0.5), obs=y)

    def scaled(y: Tensor) -> None:
        with pyro.poutine.scale(scale=len(y) / 12):
            mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mean, 0.5), obs=y)

    for program in (subsampled, scaled):
        fit(program, AutoNormal(program), {"y": y}, epochs=1, batch_size=5, progress=False)


def test_a_plate_that_the_last_smaller_batch_does_not_fit_is_refused_at_the_start() -> None:
    def fixed(y: Tensor) -> None:
        with pyro.plate("data", 5):
            pyro.sample("y", dist.Normal(pyro.sample("local", dist.Normal(0.0, 2.0)), 0.5), obs=y)

    with pytest.raises(ValueError, match="(?s)data, 2 rows: .*log_prob at site 'y':.*not broadcastable"):
        fit(fixed, AutoNormal(fixed), {"y": torch.zeros(12)}, epochs=1, batch_size=5, progress=False)


def test_a_parameter_statement_that_an_autoguide_would_run_is_refused() -> None:
    def stating(y: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(pyro.param("prior_mean", torch.tensor(0.3)), 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mean, 0.5), obs=y)

    with pytest.raises(ValueError, match="must not run inside a PyroModule.*an AutoGuide.*nn.Parameter of a module"):
        check(stating, AutoNormal(stating), y=Y)
