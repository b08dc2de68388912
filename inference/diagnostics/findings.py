"""What tables of a diagnosis amount to, in sentences: each with the number that says so, and what to try."""

import math
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from .active_units import ACTIVE
from .moments import TOLERABLE_RATIO, TOLERABLE_SHIFT

__all__ = [
    "Finding",
    "Level",
    "beside_reference",
    "corrected_off",
    "explained",
    "off_by",
    "on_funnels",
    "on_gaps",
    "on_labels",
    "on_predictions",
    "on_push",
    "on_reference",
    "on_units",
]

Level = Literal["good", "care", "bad"]
TOLERABLE_PUSH = 0.2
"""Nats of ELBO that moving the guide by one of its standard deviations may gain at once."""
SIGMAS = 4.0
"""What is off by less than so many standard errors is noise: the worst of thousands of numbers is looked at."""
EXTREME = 0.005
"""Of a p-value, at either end."""


class Finding(NamedTuple):
    """A sentence of a diagnosis.

    Attributes:
        level: ``"good"``: to be trusted; ``"care"``: to be trusted after what the remedy says; ``"bad"``: not.
        said: what was found, with the number that says so.
        remedy: what to try, or nothing.
    """

    level: Level
    said: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.said} Try: {self.remedy}" if self.remedy else self.said


def off_by(moments: xr.Dataset) -> list[str]:
    """What is off in a table of moments beyond tolerance and noise: the worst mean, the worst standard deviation."""
    said = []
    name, value, error = _worst(moments, "shift")
    if abs(value) > max(TOLERABLE_SHIFT, SIGMAS * error):
        said.append(f"its mean of {name} is {value:+.2f} ± {error:.2f} posterior standard deviations off")
    name, value, error = _worst(moments, "log_ratio")
    if abs(value) > max(math.log(TOLERABLE_RATIO), SIGMAS * error):
        ratio = math.exp(value)
        said.append(f"its standard deviation of {name} is {ratio:.2f} ± {ratio * error:.2f} times the posterior's")
    return said


def on_gaps(gaps: xr.Dataset, criterion: str, values: np.ndarray, limit: float, off: list[str]) -> Finding:
    """Whether a guide's draws can stand for the posterior, by its weights.

    Args:
        gaps: the table of ``elbo_gap``.
        criterion: ``"Pareto k"``, or ``"gap"`` in nats.
        values: of it, by datum or of the whole, (N,) or (1,).
        limit: up to which they are reliable.
        off: what ``off_by`` says of the corrected moments.
    """
    if not np.isfinite(gaps.negative_elbo.item()):
        said = "Do not take the guide's draws for the posterior: its ELBO is not finite, as some draws lie outside the "
        return Finding("bad", f"{said}support of the program's latents; give the guide the same supports.")
    reliable, whole, count = values <= limit, "data" not in gaps.sizes, len(values)
    over = "the data as a whole" if whole else f"all {count} data"
    size = 1 if whole else count
    cost = f"{gaps.gap.item() / size:.2g} ± {gaps.gap_error.item() / size:.1g} nats{'' if whole else ' a datum'}"
    unit = " nats" if criterion == "gap" else ""
    most = "" if whole else "at most "
    met = f"{criterion} is {most}{values.max():.2f}{unit} (the limit is {limit:.2f}) for {over}"
    if values.max() == -np.inf:
        met = f"its weights are all the same, for {over}"
    if reliable.all() and not off:
        said = f"The guide's draws can stand for the posterior: {met}; its ELBO lies {cost} below log p(x)."
        return Finding("good", said)
    if reliable.all():
        said = f"Reweight the guide's draws before they stand for the posterior: {met}, so that weights can correct "
        said += f"them, but as they are, {', and '.join(off)}; its ELBO lies {cost} below log p(x)."
        return Finding("care", said, "to_arviz(view, guide, resample=True), or a more expressive guide.")
    missed = f"{criterion} is above {limit:.2f}{unit}, up to {values.max():.2f},"
    if whole:
        missed = f"{criterion} is {values.max():.2f}{unit}, above {limit:.2f},"
    if not reliable.any():
        said = f"Do not take the guide's draws for the posterior: {missed} for {over}, and its ELBO lies {cost} or "
        return Finding("bad", f"{said}more below log p(x).", "a more expressive guide.")
    said = f"Take care: {missed} for {count - int(reliable.sum())} of {count} data, whose posterior the guide misses "
    said += f"in part, while its draws can be reweighted for the others; its ELBO lies {cost} or more below log p(x)."
    return Finding("care", said)


def explained(main: Finding, findings: list[Finding]) -> Finding:
    """A verdict that is not good, with the remedy for what was found; bad where the guide has not arrived."""
    if not findings:
        return main
    first = findings[0]
    if main.level == "care" and first.level == "bad":
        said = (
            "Do not take the guide's draws for the posterior, reweighted or not: it has not arrived, and weights are "
        )
        return Finding("bad", f"{said}measured where it is. {first.said} ({main.said})", first.remedy)
    return main._replace(remedy=first.remedy) if main.level == "bad" else main


def beside_reference(main: Finding, beside: Finding, corrected: str) -> Finding:
    """What is concluded from the weights, once reference draws are known: they see what weights cannot.

    Args:
        main: what the weights say.
        beside: what ``on_reference`` says.
        corrected: what ``corrected_off`` says.
    """
    if main.level != "bad" and beside.level == "bad" and corrected:
        said = f"Do not take the guide's draws for the posterior, reweighted or not. {beside.said} Even reweighted, "
        said += (
            f"{corrected}. The weights saw nothing of it: the guide misses a part of the posterior altogether, such as "
        )
        return Finding("bad", f"{said}a second mode.")
    if main.level == "good" and beside.level == "bad":
        said = f"Reweight the guide's draws before they stand for the posterior. {beside.said} Reweighted, means agree."
        return Finding("care", said, "to_arviz(view, guide, resample=True), or a more expressive guide.")
    if main.level == "bad" and beside.level == "good":
        said = f"Take care: the guide's means and standard deviations can be trusted, its tails cannot. {beside.said} "
        return Finding("care", f"{said}But of the weights it holds: {main.said}", main.remedy)
    return main


def corrected_off(moments: xr.Dataset | None, reference: xr.Dataset) -> str:
    """Which mean is off beside the reference although weights have corrected it; nothing where none is."""
    if moments is None:
        return ""
    rows = {}
    for name in (name for name in reference if name in moments and "moment" in moments[name].dims):
        own, known = moments[name], reference[name]
        corrected, mean, sd = (
            part.sel(moment=m, drop=True) for part, m in ((own, "mean"), (known, "mean"), (known, "sd"))
        )
        errors = (part.sel(moment="shift_error", drop=True) for part in (own, known))
        shift, error = (corrected - mean) / sd, sum(one**2 for one in errors) ** 0.5
        rows[name] = xr.concat([shift, error], "moment", coords="minimal", compat="override")
    table = xr.Dataset(rows).assign_coords(moment=["shift", "shift_error"])
    name, value, error = _worst(table, "shift")
    if abs(value) <= max(TOLERABLE_SHIFT, SIGMAS * error):
        return ""
    return f"its mean of {name} is {value:+.2f} posterior standard deviations off"


def on_push(table: xr.Dataset | None) -> list[Finding]:
    """Whether a shift of the guide would still gain something."""
    if table is None:
        return []
    pushed = table.where(abs(table.push) > np.maximum(TOLERABLE_PUSH, SIGMAS * table.push_error), drop=True)
    if not pushed.sizes["direction"]:
        return []
    most = pushed.isel(direction=int(np.abs(pushed.push.values).argmax()))
    said = (
        f"The guide has not arrived: moving it gains {abs(most.push.item()):.2f} ± {most.push_error.item():.2f} nats "
    )
    said += f"of ELBO for each standard deviation of {most.direction.item()}, where the best guide has 0."
    return [Finding("bad", said, "more steps, a learning rate that ends lower, or a better start.")]


def on_reference(table: xr.Dataset) -> Finding:
    """Whether the guide's means and standard deviations are those of reference draws."""
    by, off = table.attrs["reference"], off_by(table)
    divergences = table.attrs.get("divergences", 0)
    doubt = f" ({divergences} trajectories of NUTS diverged: it may have missed a narrow part)" if divergences else ""
    if off:
        return Finding("bad", f"Beside {by}, {', and '.join(off)}{doubt}.")
    name, value, _ = _worst(table, "shift")
    return Finding(
        "care" if divergences else "good",
        f"Means and standard deviations agree with {by}: the worst mean, of {name}, is {value:+.2f} posterior standard "
        f"deviations off{doubt}.",
    )


def on_funnels(table: xr.Dataset | None) -> list[Finding]:
    """Which latents lie in a funnel, and would rather be written non-centred."""
    if table is None:
        return []
    found = table.where(table.funnel, drop=True)
    return [
        Finding(
            "care",
            f"{name} lies in a funnel: over draws the logarithm of its scale varies by {row.spread.item():.2f}, and it "
            f"is {row.width.item():.2f} times as wide as its scale, so the data do not hold it by themselves.",
            f"pyrometer.noncentered(model, [{str(name)!r}]), with a guide made anew for it; reweight its draws if the "
            f"verdict then says so.",
        )
        for name, row in ((name, found.sel(site=name)) for name in found.site.values)
    ]


def on_units(table: xr.Dataset) -> list[Finding]:
    """How many dimensions of each code carry something of the data."""
    findings = []
    for name, values in table.items():
        active, count = int((values > ACTIVE).sum()), values.size
        said = f"{active} of {count} dimensions of {name} are active: they differ between data by more than "
        said += f"{ACTIVE:g} of the prior's variance"
        if active == count:
            findings.append(Finding("good", f"{said}."))
        elif active:
            findings.append(Finding("care", f"{said}; the others carry nothing.", "fewer latents, to the same ELBO."))
        else:
            remedy = "a weight on the divergence that grows during the training (fit(beta=...)), or a weaker decoder."
            findings.append(Finding("bad", f"{said}: the posterior has collapsed to the prior.", remedy))
    return findings


def on_predictions(table: xr.Dataset) -> list[Finding]:
    """Which statistics of the data the model does not make."""
    if "p" not in table:
        return []
    rows = [(site, statistic) for site in table.site.values for statistic in table.statistic.values]
    findings = []
    for site, statistic in rows:
        row = table.sel(site=site, statistic=statistic)
        p = row.p.item()
        if not EXTREME <= p <= 1 - EXTREME:
            said = f"The model does not make the {statistic} of {site}: {row.observed.item():.3g} in the data, "
            said += f"{row.simulated.item():.3g} on average when simulated (p = {p:.3g})."
            findings.append(Finding("care", said, "another model: this is no fault of the guide."))
    if rows and not findings:
        means = "mean, standard deviation, minimum and maximum"
        findings.append(Finding("good", f"Simulated data have the {means} of the data (p from {_span(table.p)})."))
    return findings


def on_labels(table: xr.Dataset) -> list[Finding]:
    """Whether the guide's probabilities of discrete latents are frequencies."""
    findings = []
    for site in table.site.values:
        row = table.sel(site=site)
        ece, expected = row.ece.item(), row.ece_if_calibrated.item()
        sure = "too sure" if row.confidence > row.accuracy else "not sure enough"
        said = f"The guide's {site} is right in {100 * row.accuracy.item():.1f} % of the data; its probabilities are "
        said += f"off by {100 * ece:.1f} points (ECE), where {100 * expected:.1f} are to be expected of right ones"
        if ece > 2 * expected + 0.01:
            remedy = "a temperature for its logits, chosen on validation data."
            findings.append(Finding("care", f"{said}: it is {sure}.", remedy))
        else:
            findings.append(Finding("good", f"{said}."))
    return findings


def _worst(moments: xr.Dataset, moment: str) -> tuple[str, float, float]:
    """The element that is off most, with its error: its name, as theta[3]."""
    candidates = []
    for name, values in moments.items():
        if "moment" in values.dims:
            value, error = (np.asarray(values.sel(moment=m)) for m in (moment, f"{moment}_error"))
            size = np.where(np.isnan(value), -1.0, np.abs(value))
            index = np.unravel_index(size.argmax(), size.shape)
            label = f"{name}[{', '.join(map(str, index))}]" if index else str(name)
            candidates.append((label, float(value[index]), float(error[index])))
    return max(candidates, key=lambda one: abs(one[1]))


def _span(p: xr.DataArray) -> str:
    return f"{p.min().item():.2f} to {p.max().item():.2f}"
