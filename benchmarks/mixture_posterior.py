"""The Bayesian mixture by NUTS and by SVI, beside the reference draws of low_dim_gauss_mix.

`python -m benchmarks.mixture_posterior` writes a table into docs/results.md. It needs the files of
stan-dev/posteriordb; see `benchmarks/posteriors.py`. Exits with 1 where a mean by NUTS is off by more than 0.1
posterior standard deviations.

The reference orders the two means. Here they are not ordered, and draws are named by their order afterwards, which is
the same posterior: the program does not change where its components are renamed.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal, init_to_value
from torch import Tensor

from pyrometer import BoundView, EnergyView, diagnose, fit
from pyrometer.inference.diagnostics import nuts_draws
from pyrometer.models import BayesianMixture

from .posteriors import POSTERIORS, folder
from .results_page import PAGE, provenance, table, write_block

__all__ = ["Found", "main", "mixture", "named", "ordered", "report"]

WANTED = 0.1
STEPS, RATE, DRAWS = 5000, 0.02, 20_000
NAMES = ["mu_1", "mu_2", "sigma_1", "sigma_2", "theta"]


class Found(NamedTuple):
    """Means and standard deviations (5,) by one way; ``error`` is that of the mean by its ESS, ``k`` Pareto's."""

    way: str
    mean: np.ndarray
    sd: np.ndarray
    error: np.ndarray | None
    k: float


def mixture() -> BayesianMixture:
    """mu ~ N(0, 2), sigma ~ half-N(0, 2), weights ~ Dirichlet(5, 5), which is theta ~ Beta(5, 5)."""
    return BayesianMixture(2, 1, spread=2.0, concentration=5.0, scale_prior=dist.HalfNormal(2.0))


def ordered(draws: dict[str, Tensor]) -> dict[str, Tensor]:
    """The components of every draw (C, S, ...) named by the order of their means."""
    order = draws["means"].squeeze(-1).argsort(-1)
    return {name: _taken(value, order) for name, value in draws.items()}


def named(draws: dict[str, Tensor]) -> np.ndarray:
    """Draws of the reference's five numbers, (C, S, 5)."""
    columns = [draws["means"].squeeze(-1), draws["scales"].squeeze(-1), draws["weights"][..., :1]]
    return torch.cat(columns, -1).double().numpy()


def by_nuts(view: BoundView, draws: int, chains: int) -> tuple[Found, int]:
    """Means by NUTS, the component summed out, with their errors by the effective sample size; and its divergences."""
    each = [nuts_draws(view, draws=draws, warmup=200, chains=1, seed=seed) for seed in range(chains)]
    values = np.concatenate([named(ordered(found)) for found, _ in each])
    ess = np.array([float(az.ess(values[:, :, i])) for i in range(values.shape[-1])])
    sd = values.std((0, 1))
    way, divergences = f"NUTS, {chains} x {draws} draws", sum(one for _, one in each)
    return Found(way, values.mean((0, 1)), sd, sd / np.sqrt(ess), float("nan")), divergences


def by_guide(view: BoundView, kind: Callable, y: Tensor, seed: int) -> Found:
    """Means of a trained guide's draws, and Pareto k of their weights."""
    model = mixture()
    pyro.set_rng_seed(seed)
    start = {"means": torch.tensor([[-1.0], [1.0]]), "scales": torch.ones(2, 1), "weights": torch.full((2,), 0.5)}
    guide = kind(poutine.block(model, hide=["component"]), init_loc_fn=init_to_value(values=start))
    how: dict[str, Any] = {"batch_size": None, "seed": seed, "progress": False, "schedule": _decay}
    adam = partial(torch.optim.Adam, lr=RATE)
    fit(
        model, guide, {"features": y}, objective=TraceEnum_ELBO(max_plate_nesting=1), steps=STEPS, optimizer=adam, **how
    )
    said = diagnose(view, guide, DRAWS)
    with torch.no_grad(), pyro.plate("draws", DRAWS, dim=-2):
        drawn = {name: value.reshape(1, DRAWS, *_own(name)) for name, value in guide(y).items()}
    values = named(ordered(drawn))
    k = float(said.tables["moments"].pareto_k)
    return Found(f"SVI, {kind.__name__}", values.mean((0, 1)), values.std((0, 1)), None, k)


def report(reference: np.ndarray, found: list[Found]) -> tuple[str, bool]:
    """The table of deviations, in posterior standard deviations, and whether NUTS is within what is wanted."""
    mean, sd = reference.mean((0, 1)), reference.std((0, 1))
    rows = [["reference", *[f"{m:.4f} (sd {s:.4f})" for m, s in zip(mean, sd, strict=True)], "-"]]
    good = True
    for one in found:
        shift, ratio = (one.mean - mean) / sd, one.sd / sd
        errors = [""] * len(sd) if one.error is None else [f" ± {e:.3f}" for e in one.error / sd]
        k = "-" if np.isnan(one.k) else f"{one.k:.2f}"
        rows.append([f"{one.way}: mean off by", *[f"{s:+.3f}{e}" for s, e in zip(shift, errors, strict=True)], k])
        rows.append([f"{one.way}: sd over the posterior's", *[f"{r:.3f}" for r in ratio], k])
        good &= one.error is None or bool((np.abs(shift) < WANTED).all())
    return table(["", *NAMES, "Pareto k"], rows), good


def main() -> int:
    """The command; gives the exit status."""
    told = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixture_posterior", description=told)
    parser.add_argument("--posteriordb", type=Path, default=folder(), help="the folder of the files")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    if not chosen.posteriordb.is_dir():
        parser.error(f"there is no folder {str(chosen.posteriordb)!r}; see benchmarks/posteriors.py.")
    known = next(one for one in POSTERIORS if one.name == "low_dim_gauss_mix")
    y = known.load_data(chosen.posteriordb)["y"].unsqueeze(-1)
    draws = known.load_draws(chosen.posteriordb)
    reference = torch.cat([draws["mu"], draws["sigma"], draws["theta"].unsqueeze(-1)], -1).double().numpy()
    view = EnergyView(mixture()).bind(features=y)
    found = [by_guide(view, kind, y, seed=0) for kind in (AutoNormal, AutoMultivariateNormal)]
    nuts, divergences = by_nuts(view, chosen.draws, chosen.chains)
    text, good = report(reference, [nuts, *found])
    text += f"\n\n{divergences} of NUTS's trajectories diverged. {len(y)} data; the reference has 10,000 draws."
    write_block(chosen.results, "mixture_posterior", f"{text}\n\n{provenance('benchmarks.mixture_posterior')}")
    print(text)
    return 0 if good else 1


def _taken(values: Tensor, order: Tensor) -> Tensor:
    """The components (C, S, 2, ...) in this order (C, S, 2)."""
    return values.gather(2, order.reshape(*order.shape, *[1] * (values.dim() - 3)).expand_as(values))


def _own(name: str) -> tuple[int, ...]:
    return (2,) if name == "weights" else (2, 1)


def _decay(progress: float) -> float:
    return min(1.0, 2 * (1 - progress))


if __name__ == "__main__":
    sys.exit(main())
