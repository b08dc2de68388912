"""Whether a guide's draws can stand for the posterior: by their weights, by what explains these, beside a reference."""

import numpy as np
import xarray as xr

from .findings import Finding

__all__ = ["beside_reference", "explained", "on_gaps"]


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
