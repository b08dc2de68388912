"""What tables of a diagnosis amount to, in sentences: each with the number that says so, and what to try."""

from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from ..energy.free_energy import reliable_pareto_k
from .active_units import ACTIVE
from .discrepancy import SIGMAS, farthest, off_by
from .loo_pit import LEVEL
from .uniformity import NOMINAL, coverage, misfit, p_in_words

__all__ = [
    "Finding",
    "Level",
    "on_funnels",
    "on_labels",
    "on_loo_pit",
    "on_predictions",
    "on_push",
    "on_reference",
    "on_units",
]

Level = Literal["good", "care", "bad"]
TOLERABLE_PUSH = 0.2
"""Nats of ELBO that moving the guide by one of its standard deviations may gain at once."""
EXTREME = 0.005
"""Of a p-value, at either end."""
TOLERABLE_PART = 0.1
"""Of the data, whose weights without them may be unreliable."""
ROUNDING = 1e-12
"""Of a p-value: below, the departure says which is the least."""
PREDICTED = {
    "above": ("lies too low: {share:.1f} % of {count} data lie above its middle", "another mean"),
    "below": ("lies too high: {share:.1f} % of {count} data lie below its middle", "another mean"),
    "outside": ("is too narrow: its central 90 % hold {share:.1f} % of {count} data", "wider noise"),
    "inside": ("is too wide: its central 90 % hold {share:.1f} % of {count} data", "narrower noise"),
    "odd": ("has the wrong shape: its central 90 % hold {share:.1f} % of {count} data", "noise of another shape"),
}
"""What data tell of the predictive distribution, by where in it they are too often, and what a model would need."""


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
    worst = farthest(table, "shift")
    which = (
        f": the worst mean, of {worst.name}, is {worst.value:+.2f} posterior standard deviations off" if worst else ""
    )
    return Finding("care" if divergences else "good", f"Means and standard deviations agree with {by}{which}{doubt}.")


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


def on_loo_pit(table: xr.Dataset) -> list[Finding]:
    """Whether each datum lies where the model predicts it from the others."""
    count, doubt = table.sizes["data"], ""
    if "pareto_k" in table:
        limit = reliable_pareto_k(table.attrs["draws"])
        poor = int((~(table.pareto_k <= limit)).sum())
        doubt = f"; without it, Pareto k is above {limit:.2f} for {poor} of {count} data" if poor else ""
        if poor > TOLERABLE_PART * count:
            said = "What the model predicts of a datum from the others is not known, as too many hold latents alone"
            return [Finding("care", f"{said} (LOO-PIT{doubt}, up to {table.pareto_k.max().item():.2f}).")]
    worst = table.isel(quantity=np.lexsort([table.departure, table.p.clip(min=ROUNDING)])[0])
    name, u = worst["quantity"].item(), worst.pit.dropna("data").values
    p = min(1.0, table.sizes["quantity"] * worst.p.item())
    by = f"of {name}, each predicted from the others (LOO-PIT, p {p_in_words(p)}{doubt})"
    if p > 1 - LEVEL:
        share = 100 * coverage(u, NOMINAL)
        said = f"Data lie where the model predicts them: its central 90 % hold {share:.1f} % of {len(u)} data"
        return [Finding("good", f"{said} {by}.")]
    shape, share, _ = misfit(u)
    words, need = PREDICTED[shape]
    said = f"The predictive distribution {words.format(share=100 * share, count=len(u))} {by}."
    return [Finding("care", said, f"a model with {need}: this is no fault of the guide.")]


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


def _span(p: xr.DataArray) -> str:
    return f"{p.min().item():.2f} to {p.max().item():.2f}"
