"""Every model and guide of the package obeys one contract; a new pair gets a case here."""

import inspect
from typing import NamedTuple

import pyro
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate

from pyrometer import EnergyView, check
from pyrometer.guides import (
    Angle,
    AuxiliaryEncoder,
    ConditionalAngle,
    DigitAndStyle,
    FlowEncoder,
    GaussianEncoder,
    KindAndCode,
    LinearGaussian,
    PointEncoder,
    Responsibilities,
)
from pyrometer.inference.energy.log_weights import PointMass
from pyrometer.models import (
    VAE,
    AuxiliaryVAE,
    Ellipse,
    FactorAnalysis,
    GaussianMixture,
    Horn,
    KindAndCodeVAE,
    KMeans,
    SemiSupervisedVAE,
)
from pyrometer.networks import CurveDecoder


class Case(NamedTuple):
    """A pair with a batch for it."""

    model: object
    guide: object
    batch: dict
    shapes: dict  # of the sites, event dimensions included
    enumerate: bool = False


def cases():
    means = torch.tensor([[-2.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    return {
        "factor_analysis": Case(
            FactorAnalysis(4, 2, noise=0.6),
            LinearGaussian(4, 2, scale=0.5),
            {"features": torch.randn(5, 4)},
            {"factors": (5, 2), "features": (5, 4)},
        ),
        "gaussian_mixture": Case(
            GaussianMixture(means, scale=0.7),
            Responsibilities(3, 2),
            {"features": torch.randn(5, 3)},
            {"component": (5,), "features": (5, 3)},
            enumerate=True,
        ),
        "kmeans": Case(
            KMeans(means),
            Responsibilities(3, 2),
            {"features": torch.randn(5, 3)},
            {"component": (5,), "features": (5, 3)},
            enumerate=True,
        ),
        "digit_and_style": Case(
            SemiSupervisedVAE((8, 9), classes=4, style=3, hidden=6),
            DigitAndStyle((8, 9), classes=4, style=3, hidden=6),
            {"image": torch.rand(5, 8, 9)},
            {"digit": (5,), "style": (5, 3), "image": (5, 8, 9)},
            enumerate=True,
        ),
        **{
            kind: Case(
                AuxiliaryVAE((8, 9), classes=4, style=3, auxiliary=2, hidden=6, kind=kind),
                AuxiliaryEncoder((8, 9), classes=4, style=3, auxiliary=2, hidden=6),
                {"image": torch.rand(5, 8, 9)},
                {"digit": (5,), "style": (5, 3), "auxiliary": (5, 2), "image": (5, 8, 9)},
                enumerate=True,
            )
            for kind in ("auxiliary", "skip", "stacked")
        },
        "gaussian_encoder": Case(
            VAE((8, 9), latents=3, hidden=6),
            GaussianEncoder((8, 9), latents=3, hidden=6),
            {"image": torch.rand(5, 8, 9)},
            {"code": (5, 3), "image": (5, 8, 9)},
        ),
        "kind_and_code": Case(
            KindAndCodeVAE((8, 9), kinds=4, latents=3, hidden=6),
            KindAndCode((8, 9), kinds=4, latents=3, hidden=6),
            {"image": torch.rand(5, 8, 9)},
            {"kind": (5,), "code": (5, 3), "image": (5, 8, 9)},
            enumerate=True,
        ),
        "flow_encoder": Case(
            VAE((8, 9), latents=3, hidden=6),
            FlowEncoder((8, 9), latents=3, hidden=6),
            {"image": torch.rand(5, 8, 9)},
            {"code": (5, 3), "image": (5, 8, 9)},
        ),
        "ellipse": Case(
            Ellipse((2.0, 1.5), scale=0.6),
            Angle(hidden=6),
            {"point": torch.randn(5, 2)},
            {"angle": (5,), "point": (5, 2)},
        ),
        "horn": Case(
            Horn(scale=0.6),
            ConditionalAngle(hidden=6),
            {"x": torch.rand(5), "point": torch.randn(5, 2)},
            {"angle": (5,), "point": (5, 2)},
        ),
        "curve": Case(
            Horn(CurveDecoder(hidden=7, harmonics=2), scale=0.6),
            ConditionalAngle(hidden=6),
            {"x": torch.rand(5), "point": torch.randn(5, 2)},
            {"angle": (5,), "point": (5, 2)},
        ),
        "point_encoder": Case(
            VAE((8, 9), latents=3, hidden=6),
            PointEncoder((8, 9), latents=3, hidden=6),
            {"image": torch.rand(5, 8, 9)},
            {"code": (5, 3), "image": (5, 8, 9)},
        ),
    }


@pytest.fixture(params=cases())
def case(request):
    return cases()[request.param]


def test_model_and_guide_take_the_same_arguments(case):
    model, guide = (inspect.signature(program.forward).parameters for program in (case.model, case.guide))
    assert list(model) == list(guide)
    assert all(parameter.default is None for parameter in model.values())


def test_every_site_has_the_documented_shape_and_lies_in_the_data_plate(case):
    trace = poutine.trace(case.model).get_trace(**case.batch)
    sites = {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and n != "data"}
    assert {name: tuple(site["value"].shape) for name, site in sites.items()} == case.shapes
    assert all([frame.name for frame in site["cond_indep_stack"]] == ["data"] for site in sites.values())


def test_the_pair_fits_together(case):
    check(case.model, case.guide, **case.batch)


def test_without_arguments_the_model_simulates_one(case):
    trace = poutine.trace(case.model).get_trace()
    for name, shape in case.shapes.items():
        assert tuple(trace.nodes[name]["value"].shape) == (1, *shape[1:])


def test_every_parameter_gets_a_gradient(case):
    elbo = TraceEnum_ELBO(max_plate_nesting=1) if case.enumerate else Trace_ELBO()
    guide = config_enumerate(case.guide, "parallel") if case.enumerate else case.guide
    elbo.differentiable_loss(case.model, guide, **case.batch).backward()
    for program in (case.model, case.guide):
        for name, parameter in program.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_draws_can_stand_to_the_left_of_every_dimension(case):
    case.model.eval(), case.guide.eval()
    view = EnergyView(case.model).bind(**case.batch)
    draws = {n: [] for n in view.structure.latents}
    for _ in range(3):
        trace = poutine.trace(case.guide).get_trace(**case.batch)
        for name in draws:
            draws[name].append(trace.nodes[name]["value"].detach())
    flat = {name: torch.stack(values) for name, values in draws.items()}
    plain = view.program.in_mode("loop", flat, view.program.by_site)
    for mode in ("plate", "vmap"):
        for name, term in view.program.in_mode(mode, flat, view.program.by_site).items():
            torch.testing.assert_close(term.energy, plain[name].energy, rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_free_energy(case):
    case.model.eval(), case.guide.eval()
    view = EnergyView(case.model).bind(**case.batch)
    values = []
    for _ in range(2):
        pyro.set_rng_seed(5)
        try:
            values.append(view.variational_free_energy(case.guide, draws=10).value)
        except PointMass:  # which has an energy, and no bound
            values.append(view.energy({"code": case.guide.distribution(**case.batch).mean}))
    assert values[0] == values[1]
    assert values[0].isfinite()


def test_weights_survive_a_round_trip(case, tmp_path):
    for program in (case.model, case.guide):
        torch.save(program.state_dict(), tmp_path / "weights.pt")
        program.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))


def test_the_parameter_store_stays_empty(case):
    poutine.trace(case.guide).get_trace(**case.batch)
    poutine.trace(case.model).get_trace(**case.batch)
    assert len(pyro.get_param_store()) == 0
