"""What the tests of energies share: measuring other people's kinds of programs, and a program with closed forms."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch

from pyrometer import BoundView, EnergyView


@pytest.fixture
def measured() -> Callable[..., BoundView]:
    """A function that binds a program and holds its energies and their gradients against plain traces, draw by draw."""

    def measure(program: Callable, *args: Any, draws: int = 3) -> BoundView:
        view = EnergyView(program).bind(*args)
        sites = view.structure.sites
        traces = [poutine.trace(program).get_trace(*args) for _ in range(draws)]
        latents = {}
        for name in view.structure.latents:
            rows = torch.stack([trace.nodes[name]["value"].detach() for trace in traces])
            latents[name] = rows if sites[name].discrete else rows.requires_grad_()
        energy = view.energy(latents)
        expected = torch.stack([-trace.log_prob_sum() for trace in traces]).detach()
        assert expected.isfinite().all()
        torch.testing.assert_close(energy.detach(), expected, rtol=1e-4, atol=1e-3)
        if view.plate is not None:
            parts = view.energy_per_datum(latents).sum(-1) + view.global_energy(latents)
            torch.testing.assert_close(parts.detach(), expected, rtol=1e-4, atol=1e-3)
        continuous = [value for value in latents.values() if value.requires_grad]
        for gradient in torch.autograd.grad(energy.sum(), continuous) if continuous else ():
            assert gradient.isfinite().all()
            assert gradient.abs().sum() > 0
        return view

    return measure


class LinearGaussian(NamedTuple):
    """z ~ N(0, I_K), x ~ N(W z + m, s^2) by datum, in the dtype of its tensors: W (D, K), m (D,), s (D,), x (N, D)."""

    loadings: torch.Tensor
    mean: torch.Tensor
    noise: torch.Tensor
    x: torch.Tensor

    def program(self, x: torch.Tensor) -> None:
        zero = x.new_zeros(self.loadings.shape[1])
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            loc = z @ self.loadings.mT + self.mean
            pyro.sample("x", dist.Normal(loc, self.noise).to_event(1), obs=x)

    def guide(self, x: torch.Tensor, shift: float = 0.0, widen: float = 1.0) -> None:
        """The posterior, or one that is shifted and widened."""
        root = torch.linalg.cholesky(torch.linalg.inv(self.precision))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(self.minimiser + shift, scale_tril=widen * root))

    @property
    def view(self) -> BoundView:
        return EnergyView(self.program).bind(self.x)

    @property
    def precision(self) -> torch.Tensor:
        """The second derivative of the energy, (K, K)."""
        scaled = self.loadings / self.noise.square().unsqueeze(-1)
        return torch.eye(self.loadings.shape[1]).to(scaled) + self.loadings.mT @ scaled

    @property
    def minimiser(self) -> torch.Tensor:
        """By the normal equations, (N, K)."""
        right = ((self.x - self.mean) / self.noise.square()) @ self.loadings
        return torch.linalg.solve(self.precision, right.mT).mT

    @property
    def lowest(self) -> torch.Tensor:
        """-log p(z, x) at the minimiser, by datum."""
        z = self.minimiser
        likelihood = dist.Normal(z @ self.loadings.mT + self.mean, self.noise).log_prob(self.x)
        return -dist.Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1) - likelihood.sum(-1)

    def exact(self, beta: float, base: str) -> dict[str, torch.Tensor]:
        """F, U, H and c by datum, float64: powers of normal densities are normal, so that Z is one of the data."""
        at = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
        product = -self._log_z(at, base)  # beta F, of which U and c are derivatives
        slopes = [torch.autograd.grad(row, at, create_graph=True)[0] for row in product]
        bends = [torch.autograd.grad(slope, at, retain_graph=True)[0] for slope in slopes]
        u = torch.stack(slopes).detach()
        f = product.detach() / beta
        table = {"free_energy": f, "mean_energy": u, "entropy": beta * (u - f)}
        return table | {"heat_capacity": -(beta**2) * torch.stack(bends)}

    def _log_z(self, beta: torch.Tensor, base: str) -> torch.Tensor:
        w, s, k = self.loadings.double(), self.noise.double(), self.loadings.shape[1]
        power = torch.ones(()).double() if base == "prior" else beta  # N(z; 0, I)^power is as N(z; 0, I / power)
        covariance = w @ w.mT / power + torch.diag(s.square()) / beta
        density = dist.MultivariateNormal(self.mean.double(), covariance).log_prob(self.x.double())
        log_two_pi = math.log(2 * math.pi)
        noise = 0.5 * len(s) * ((1 - beta) * log_two_pi - beta.log()) + (1 - beta) * s.log().sum()
        return density + noise + 0.5 * k * ((1 - power) * log_two_pi - power.log())


@pytest.fixture
def linear_gaussian() -> Callable[..., LinearGaussian]:
    """A function that makes a linear-Gaussian program with its data."""

    def make(
        latents: int, data: int = 3, features: int = 4, noise: float = 0.7, dtype: torch.dtype = torch.float64
    ) -> LinearGaussian:
        loadings = torch.randn(features, latents, dtype=dtype) / math.sqrt(latents)
        scales = noise * torch.linspace(0.8, 1.25, features, dtype=dtype)
        mean = torch.linspace(-0.5, 1.0, features, dtype=dtype)
        z = torch.randn(data, latents, dtype=dtype)
        x = z @ loadings.mT + mean + scales * torch.randn(data, features, dtype=dtype)
        return LinearGaussian(loadings, mean, scales, x)

    return make
