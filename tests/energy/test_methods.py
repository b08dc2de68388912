"""Which method is taken, and what is said about those that were not."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def mixture(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(real(0.2, 0.8)))
        pyro.sample("y", dist.Normal(2.0 * k, 0.7), obs=y)


def test_discrete_programs_are_enumerated():
    found = EnergyView(mixture).bind(real(0.3, 1.8)).free_energy()
    assert (found.method, found.bound) == ("enumerate", "exact")


def test_few_dimensions_are_integrated_by_quadrature(linear_gaussian):
    assert linear_gaussian(2).view.free_energy().method == "quadrature"


def test_three_dimensions_are_integrated_for_few_data(linear_gaussian):
    assert linear_gaussian(3).view.free_energy().method == "quadrature"


def test_more_dimensions_are_annealed_without_a_guide(linear_gaussian):
    model = linear_gaussian(4)
    found = model.view.free_energy()
    assert found.method == "annealing"
    assert found.evidence["passed_over"] == {}
    total = model.exact(1.0, "lebesgue")["free_energy"].sum()
    assert abs(found.value - total) < 4.3 * found.standard_error


def test_a_good_guide_is_enough(linear_gaussian):
    model = linear_gaussian(4)
    found = model.view.free_energy(guide=lambda x: model.guide(x, widen=1.2))
    assert found.method == "importance"
    assert found.evidence["passed_over"] == {}


def test_a_poor_guide_is_passed_over_and_the_reason_given(linear_gaussian):
    model = linear_gaussian(4)
    found = model.view.free_energy(guide=lambda x: model.guide(x, widen=0.3))
    assert found.method == "annealing"
    assert "Pareto k is" in found.evidence["passed_over"]["importance"]
    total = model.exact(1.0, "lebesgue")["free_energy"].sum()
    assert abs(found.value - total) < 4.3 * found.standard_error


def cauchy():
    pyro.sample("z", dist.Cauchy(real(0.0), 1.0))


def test_where_quadrature_gives_up_the_reason_is_kept():
    found = EnergyView(cauchy).bind().free_energy()
    assert found.method == "annealing"
    assert "has outgrown" in found.evidence["passed_over"]["quadrature"]
    assert abs(found.value) < 4.3 * found.standard_error + 1e-9


def test_what_is_given_no_longer_counts():
    def program():
        z = pyro.sample("z", dist.Normal(torch.zeros(9).double(), 1.0).to_event(1))
        pyro.sample("k", dist.Bernoulli(real(0.3)))
        pyro.sample("y", dist.Normal(z.sum(), 0.7), obs=real(1.0))

    view = EnergyView(program).bind()
    assert view.free_energy().method == "annealing"
    assert view.free_energy(given={"z": torch.zeros(9).double()}).method == "enumerate"


def test_unknown_methods_and_options_are_refused(linear_gaussian):
    view = linear_gaussian(2).view
    with pytest.raises(ValueError, match="method must be auto or one of enumerate, quadrature.*got 'vi'"):
        view.free_energy(method="vi")
    with pytest.raises(ValueError, match=r"'quadrature' has no options \['chains'\]; it has none"):
        view.free_energy(method="quadrature", chains=8)
    with pytest.raises(ValueError, match=r"'annealing' has no options \['draws'\]; it has \['chains', 'temperatures'"):
        view.free_energy(method="annealing", draws=8)
    with pytest.raises(ValueError, match=r"options \['chains'\] are those of one method: name it"):
        view.free_energy(chains=8)
    with pytest.raises(ValueError, match="the latent 'z'.*cannot be enumerated"):
        view.free_energy(method="enumerate")
