"""Did it work?  Whether a guide's draws can stand for the posterior, where not, by how much, and what to try."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ..energy.elbo_gap import elbo_gap
from ..energy.free_energy import reliable_pareto_k
from ..energy.guide_draws import Guide
from ..energy.log_weights import PointMass
from ..energy.view import BoundView
from .active_units import active_units
from .arviz_groups import values_of
from .discrepancy import corrected_off, off_by
from .discrete_draws import draw_discrete
from .findings import Finding, Level, on_funnels, on_labels, on_loo_pit, on_predictions, on_push, on_reference, on_units
from .importance_resampling import resampled
from .inference_data import drawn_groups
from .label_calibration import label_calibration
from .loo_pit import loo_pit
from .moments import reference_moments, weighted_moments
from .predictive import run_forward, seen
from .predictive_checks import predictive_checks
from .push import push
from .reference import Reference, reference_draws
from .reparameterisation import funnels
from .verdict import beside_reference, explained, on_gaps

__all__ = ["Diagnosis", "diagnose"]

# By Pinsker's inequality a gap KL(q, p) of this many nats keeps every probability within 0.1 of the posterior's.
NEGLIGIBLE_GAP = 0.02


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a guide; printing it gives the verdict and what else was found.

    Attributes:
        level: ``"good"``: the guide's draws can stand for the posterior; ``"care"``: after what the verdict says;
            ``"bad"``: they cannot.
        reweighted: the same of the draws of ``to_arviz(view, guide, resample=True)``.
        verdict: what to trust, in plain words, with the number that says so, and what to try.
        findings: what the other checks say, each with its level and number.
        criterion: what the verdict rests on: ``"Pareto k"``; ``"gap"`` where every latent is discrete, since the gap
            KL(q, p) is then known up to the error of the ELBO; or ``"point mass"``.
        limit: the largest value of the criterion at which the draws are reliable.
        unreliable: for how many data (or 1, of the whole) it is above the limit.
        tables: the numbers, by name, those that apply: ``gaps`` of ``elbo_gap`` (F_1, -ELBO, the gap, ``pareto_k``,
            ``ess``); ``moments``: the guide's beside those by importance weights, and ``reference``: beside reference
            draws; ``push``: what moving the guide gains; ``funnels``: spread and width of latents with an uncertain
            scale; ``units``: how active dimensions of codes are; ``labels``: how often the guide's probabilities are
            right; ``predictions``: statistics of simulated data beside those of the data; ``loo_pit``: where each datum
            lies in what is predicted of it from the others.
    """

    level: Level
    reweighted: Level
    verdict: str
    findings: list[Finding]
    criterion: str
    limit: float
    unreliable: int
    tables: dict[str, xr.Dataset] = field(repr=False)

    def __str__(self) -> str:
        return "\n".join([self.verdict, *(f"* {finding}" for finding in self.findings)])


def diagnose(
    view: BoundView,
    guide: Callable,
    draws: int = 1000,
    reference: Reference | None = None,
    labels: Mapping[str, Tensor] | None = None,
    gaps: xr.Dataset | None = None,
) -> Diagnosis:
    r"""Can a guide's draws stand for the posterior?

    The verdict rests on Pareto k, the shape of the tail of the weights p(x, z) / q(z): below min(1 - 1 / log10 S, 0.7)
    they can correct the draws. Then it rests on how far the corrected means and standard deviations are from the
    guide's own: more than a quarter of a posterior standard deviation, or a ratio of 4 : 3, and the draws are to be
    reweighted. Where the ELBO still gains by moving the guide, it has not arrived, and the weights say little.

    Args:
        view: a bound view of the model.
        guide: q(z | x), a Pyro program that takes the arguments that the view is bound to.
        draws: the number of draws of the guide, at least 100.
        reference: what else to compare with: ``"nuts"``, which is run if ten minutes are enough; the result of a
            ``pyro.infer.MCMC`` run; or draws of the posterior by site, (C, S, *own), of C chains.
        labels: true values of discrete latents at the view's data, (N,), for the calibration of the guide's
            probabilities.
        gaps: the table of ``elbo_gap``, where it was made before.

    Raises:
        ValueError: if there are fewer than 100 draws, the guide misses a site, a weight is infinite or nan, or the
            reference or labels are none of this program.

    Reference: Y. Yao, A. Vehtari, D. Simpson, A. Gelman (2018), Yes, but did it work? Evaluating variational
    inference, ICML. https://arxiv.org/abs/1802.02538

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("y", dist.Normal(z, 1.0), obs=y)
        >>> def exact(y):
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("z", dist.Normal(y / 2, 0.5**0.5))
        >>> print(diagnose(EnergyView(model).bind(torch.tensor([0.3, -0.1])), exact))
        The guide's draws can stand for the posterior: its weights are all the same, for all 2 data; ...
    """
    if draws < 100:
        raise ValueError(f"draws must be at least 100 for a Pareto tail to be fitted, got {draws}.")
    known = {} if reference is None else {"posterior": reference_draws(view, reference)}
    try:
        tables = {"gaps": elbo_gap(view, guide, draws) if gaps is None else gaps}
    except PointMass as point:
        return _of_a_point(view, guide, point.names, known.get("posterior"))
    with torch.no_grad():
        groups, _ = drawn_groups(view, guide, draws, sum_discrete=True)
    posterior = groups["posterior"]
    if any(np.issubdtype(value.dtype, np.floating) for value in posterior.values()):
        tables["moments"] = weighted_moments(posterior, groups["sample_stats"].log_weight)
    if known:
        tables["reference"] = reference_moments(posterior, known["posterior"]).assign_attrs(known["posterior"].attrs)
    found = funnels(view, _as_draws(view, posterior))
    if found.sizes["site"]:
        tables["funnels"] = found
    tables["push"] = push(view, guide, draws)
    tables["units"] = active_units(posterior, groups["prior"], view.plate) if "prior" in groups else xr.Dataset()
    if labels:
        tables["labels"] = label_calibration(view, guide, labels)
    if "observed_data" in groups:
        groups = _only_seen(view, groups)
        tables["predictions"] = _predictions(groups)
        tables["loo_pit"] = loo_pit(view, groups)
    return judge({name: table for name, table in tables.items() if table})


def judge(tables: Mapping[str, xr.Dataset]) -> Diagnosis:
    """The diagnosis that the tables amount to; ``gaps`` must be among them."""
    gaps = tables["gaps"]
    if "pareto_k" in gaps:
        criterion, limit, values = "Pareto k", reliable_pareto_k(gaps.attrs["draws"]), gaps.pareto_k.values
        if "moments" in tables:  # of other draws of the same guide
            values = np.maximum(values, tables["moments"].pareto_k.values)
    else:
        by_datum = "gap_per_datum" in gaps
        criterion, limit, values = "gap", NEGLIGIBLE_GAP, (gaps.gap_per_datum if by_datum else gaps.gap).values
    values = np.atleast_1d(values)
    unreliable = int((~(values <= limit)).sum())
    off = off_by(tables["moments"]) if "moments" in tables else []
    main, findings = on_gaps(gaps, criterion, values, limit, off), []
    if main.level != "good":
        findings = [*on_push(tables.get("push")), *on_funnels(tables.get("funnels"))]
        main = explained(main, findings)
    if "reference" in tables:
        findings.insert(0, on_reference(tables["reference"]))
        main = beside_reference(main, findings[0], corrected_off(tables.get("moments"), tables["reference"]))
    rules = {"units": on_units, "labels": on_labels}
    if main.level != "bad":  # else what is simulated is the guide's fault
        rules |= {"predictions": on_predictions, "loo_pit": on_loo_pit}
    elif "pareto_k" not in tables.get("loo_pit", xr.Dataset()):  # which no guide has a part in
        rules |= {"loo_pit": on_loo_pit}
    for name, rule in rules.items():
        findings += rule(tables[name]) if name in tables else []
    reweighted = main.level if unreliable or main.level == "bad" else "good"
    return Diagnosis(main.level, reweighted, str(main), findings, criterion, limit, unreliable, dict(tables))


def _of_a_point(view: BoundView, guide: Callable, names: list[str], reference: xr.Dataset | None) -> Diagnosis:
    """Of a guide such as AutoDelta, which has no weights: the reference alone says how far off it is."""
    said = (
        f"Do not take the guide's draws for the posterior: it puts a point mass on {names}, and says nothing of their "
        f"spread."
    )
    main = Finding("bad", said, "a guide with a spread, such as AutoNormal, started from this point.")
    tables, findings = {}, []
    if reference is not None:
        tables["reference"] = reference_moments(_points(view, guide), reference).assign_attrs(reference.attrs)
        findings.append(on_reference(tables["reference"]))
    count = max(1, view.structure.size)
    return Diagnosis(main.level, main.level, str(main), findings, "point mass", 0.0, count, tables)


@torch.no_grad()
def _points(view: BoundView, guide: Callable) -> xr.Dataset:
    """The point, as two draws over (chain, draw, ...)."""
    structure = view.structure
    drawn = Guide(guide, view.plate, *view.program.call, given={}).draw(2).latents
    latents = {name: value for name, value in drawn.items() if name in structure.latents}
    latents |= draw_discrete(view.program, latents, 2)
    values = {**run_forward(view.program, latents, 2), **latents}
    rows = values_of([*(structure.sites[name] for name in latents), *structure.computed], values)
    return xr.Dataset({name: (["chain", "draw", *dims], value.unsqueeze(0).numpy()) for name, value, dims in rows})


def _predictions(groups: dict[str, xr.Dataset]) -> xr.Dataset:
    """Of the posterior where weights can correct the guide's draws, else of the guide."""
    if "posterior_predictive" not in groups:
        return xr.Dataset()
    anew, k = resampled(groups)
    groups = anew if k <= reliable_pareto_k(groups["posterior"].sizes["draw"]) else groups
    return predictive_checks(groups["posterior_predictive"], groups["observed_data"])


def _only_seen(view: BoundView, groups: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The data, and what is simulated of them, nan where a mask leaves them out."""
    where = seen(view, {name: value[0] for name, value in _as_draws(view, groups["posterior"]).items()})
    for name in {"observed_data", "posterior_predictive", "prior_predictive"} & groups.keys():
        groups = groups | {name: groups[name].assign({site: groups[name][site].where(where[site]) for site in where})}
    return groups


def _as_draws(view: BoundView, posterior: xr.Dataset) -> dict[str, Tensor]:
    return {name: torch.from_numpy(posterior[name].values[0]) for name in view.structure.latents}
