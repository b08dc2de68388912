r"""Three posteriors with reference draws, of stan-dev/posteriordb, as Pyro programs.

The folder of the files is `--posteriordb`, or `posteriordb` in `$PYROMETER_DATA`; https://github.com/stan-dev/posteriordb
has them under `posterior_database/`.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrometer import noncentered

__all__ = ["POSTERIORS", "Posterior", "folder"]


class Posterior(NamedTuple):
    """A program, its data, and where its reference draws are: a site of the program for each of their names."""

    name: str
    model: Callable
    data: str
    draws: str
    sites: dict[str, list[str]]

    def load_data(self, path: Path) -> dict[str, Tensor]:
        """The arguments of the program."""
        values = _load(path / f"{self.data}.json.zip")
        names = {"eight_schools": ("y", "sigma"), "kidiq": ("kid_score", "mom_iq"), "low_dim_gauss_mix": ("y",)}
        return {name: torch.tensor(values[name], dtype=torch.float32) for name in names[self.data]}

    def load_draws(self, path: Path) -> dict[str, Tensor]:
        """Reference draws by site, (C, S, *own)."""
        chains = _load(path / f"draws-{self.draws}.json.zip")

        def of(names: list[str]) -> Tensor:
            columns = torch.tensor([[chain[name] for name in names] for chain in chains]).transpose(1, 2)
            return columns if len(names) > 1 else columns.squeeze(-1)

        return {site: of(names) for site, names in self.sites.items()}


def eight_schools(y: Tensor, sigma: Tensor) -> None:
    """mu ~ N(0, 5), tau ~ half-Cauchy(5), theta ~ N(mu, tau), y ~ N(theta, sigma)."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


def kidscore_momiq(kid_score: Tensor, mom_iq: Tensor) -> None:
    """beta flat (in so far as N(0, 1000) is), sigma ~ half-Cauchy(2.5), score ~ N(beta_1 + beta_2 iq, sigma)."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(2), 1000.0).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("data", len(kid_score)):
        mean = beta[..., :1] + beta[..., 1:] * mom_iq
        pyro.sample("kid_score", dist.Normal(mean.squeeze(0) if beta.dim() == 1 else mean, sigma), obs=kid_score)


def low_dim_gauss_mix(y: Tensor) -> None:
    """mu_1 < mu_2 ~ N(0, 2), sigma ~ half-N(0, 2), theta ~ Beta(5, 5), y ~ theta N(mu_1) + (1 - theta) N(mu_2)."""
    first = pyro.sample("first", dist.Normal(0.0, 2.0))
    gap = pyro.sample("gap", dist.Exponential(1.0))
    # The density of an ordered pair is that of each, so the gap's own is taken off.
    pyro.factor("second", dist.Normal(0.0, 2.0).log_prob(first + gap) - dist.Exponential(1.0).log_prob(gap))
    mu = pyro.deterministic("mu", torch.stack([first, first + gap], -1), event_dim=1)
    sigma = pyro.sample("sigma", dist.HalfNormal(torch.tensor(2.0)).expand([2]).to_event(1))
    theta = pyro.sample("theta", dist.Beta(5.0, 5.0))
    weights = torch.stack([theta, 1 - theta], -1)
    with pyro.plate("data", len(y)):
        mixture = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(mu, sigma))
        pyro.sample("y", mixture, obs=y)


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}[{index + 1}]" for index in range(count)]


SCHOOLS: dict[str, Any] = {
    "data": "eight_schools",
    "draws": "eight_schools-eight_schools_noncentered",
    "sites": {"mu": ["mu"], "tau": ["tau"], "theta": _numbered("theta", 8)},
}
POSTERIORS = [
    Posterior("eight schools, centred", eight_schools, **SCHOOLS),
    Posterior("eight schools, non-centred", noncentered(eight_schools, ["theta"]), **SCHOOLS),
    Posterior(
        "kidscore_momiq",
        kidscore_momiq,
        data="kidiq",
        draws="kidiq-kidscore_momiq",
        sites={"beta": _numbered("beta", 2), "sigma": ["sigma"]},
    ),
    Posterior(
        "low_dim_gauss_mix",
        low_dim_gauss_mix,
        data="low_dim_gauss_mix",
        draws="low_dim_gauss_mix-low_dim_gauss_mix",
        sites={"mu": _numbered("mu", 2), "sigma": _numbered("sigma", 2), "theta": ["theta"]},
    ),
]


def folder() -> Path:
    """Where the files are looked for."""
    return Path(os.environ.get("PYROMETER_DATA", "data")) / "posteriordb"


def _load(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(archive.namelist()[0]))
