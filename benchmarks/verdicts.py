"""Verdicts of `diagnose` on guides from a point to a flow, beside reference draws that they have not seen.

`python -m benchmarks.verdicts` writes a table into docs/results.md. It needs the files of stan-dev/posteriordb; see
`benchmarks/posteriors.py`. Exits with 1 where a verdict says that a guide is good which is off.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
import xarray as xr
from pyro.infer.autoguide import AutoDelta, AutoIAFNormal, AutoMultivariateNormal, AutoNormal, init_to_value
from pyro.infer.autoguide.initialization import init_to_median

from pyrometer import Diagnosis, EnergyView, diagnose, fit
from pyrometer.inference.diagnostics.discrepancy import off_by
from pyrometer.inference.diagnostics.moments import TOLERABLE_RATIO, TOLERABLE_SHIFT

from .posteriors import POSTERIORS, Posterior, folder
from .results_page import PAGE, provenance, table, write_block

__all__ = ["Case", "judge_guide", "main", "report"]

STEPS, RATE, DRAWS = 20_000, 0.02, 20_000
STARTS = {"kidscore_momiq": {"beta": torch.tensor([80.0, 0.0]), "sigma": torch.tensor(20.0)}}
"""Where the prior's median is hundreds of posterior standard deviations away."""
HEADER = ["posterior", "guide", "verdict", "Pareto k", "worst mean", "worst sd", "mean error", "reweighted", "agrees"]


class Case(NamedTuple):
    """A trained guide: what was said of it, and what is true of it by the reference draws.

    ``off`` is what is off beyond tolerance; errors are root mean squares over the parameters, of means, in posterior
    standard deviations. ``remedy`` is what the verdict names.
    """

    posterior: str
    guide: str
    said: Diagnosis
    off: list[str]
    shift: float
    ratio: float
    error: float
    corrected: float

    @property
    def pareto_k(self) -> float:
        """Of the whole; nan for a point mass."""
        return float(self.said.tables["moments"].pareto_k) if "moments" in self.said.tables else float("nan")

    @property
    def verdict(self) -> str:
        """On the draws, and on those that are reweighted."""
        level, reweighted = self.said.level, self.said.reweighted
        return level if level == reweighted else f"{level} (reweighted: {reweighted})"

    @property
    def agrees(self) -> str:
        """Whether the verdict is what the reference draws say."""
        if self.said.level == "good":
            return "NO" if self.off else "yes"
        if self.said.level == "care":
            return "yes" if self.corrected <= TOLERABLE_SHIFT else "NO"
        return "yes" if self.off else "too strict"


def guides() -> dict[str, Callable]:
    """From a point to a flow."""
    return {
        "AutoDelta": AutoDelta,
        "AutoNormal": AutoNormal,
        "AutoMultivariateNormal": AutoMultivariateNormal,
        "AutoIAFNormal": lambda model, **_: AutoIAFNormal(model, hidden_dim=[32, 32], num_transforms=2),
    }


def judge_guide(posterior: Posterior, name: str, path: Path, seed: int, steps: int = STEPS) -> Case:
    """Train a guide, judge it without the reference draws, and then look at these."""
    data = posterior.load_data(path)
    pyro.set_rng_seed(seed)
    start = init_to_value(values=STARTS.get(posterior.name, {}), fallback=init_to_median)
    guide = guides()[name](posterior.model, init_loc_fn=start)
    how: dict[str, Any] = {"batch_size": None, "seed": seed, "progress": False, "schedule": _decay}
    fit(posterior.model, guide, data, steps=steps, optimizer=partial(torch.optim.Adam, lr=RATE), **how)
    view = EnergyView(posterior.model).bind(**data)
    pyro.set_rng_seed(seed)
    said = diagnose(view, guide, DRAWS)
    pyro.set_rng_seed(seed)  # for the same draws
    beside = diagnose(view, guide, DRAWS, reference=posterior.load_draws(path)).tables["reference"]
    shift, ratio = (_stacked(beside, moment) for moment in ("shift", "log_ratio"))
    error, corrected = _rms(shift), float("nan")
    if "moments" in said.tables:
        rows = [_corrected(said.tables["moments"][name], beside[name]) for name in beside]
        corrected = _rms(np.concatenate(rows))
    worst = float(shift[np.abs(shift).argmax()]), float(np.exp(ratio[np.abs(ratio).argmax()]))
    return Case(posterior.name, name, said, off_by(beside), *worst, error, corrected)


def report(cases: Sequence[Case]) -> tuple[str, bool]:
    """The table, what it amounts to, and whether no guide that is off was called good."""
    rows = []
    for posterior, guide in dict.fromkeys((case.posterior, case.guide) for case in cases):
        own = [case for case in cases if (case.posterior, case.guide) == (posterior, guide)]
        verdicts, agreed = (_counted([getattr(c, name) for c in own]) for name in ("verdict", "agrees"))
        numbers = [_span([getattr(c, n) for c in own]) for n in ("pareto_k", "shift", "ratio", "error", "corrected")]
        rows.append([posterior, guide, verdicts, *numbers, agreed])
    agreed = Counter(case.agrees for case in cases)
    reliable = [case for case in cases if case.pareto_k < 0.7]
    closer = [case for case in reliable if case.corrected < case.error]
    worse = "; ".join(
        f"{case.guide} on {case.posterior}: {case.error:.3f} and {case.corrected:.3f} reweighted"
        for case in reliable
        if case.corrected >= case.error
    )
    text = f"""{table(HEADER, rows)}

Of {len(cases)} verdicts {agreed["yes"]} agree with the reference draws, {agreed["too strict"]} are too strict
(bad, where every mean is within {TOLERABLE_SHIFT} posterior standard deviations and every standard deviation within a
factor of {TOLERABLE_RATIO:.2f}), and {agreed["NO"]} too mild. Reweighted means are closer to the reference in
{len(closer)} of {len(reliable)} cases with k < 0.7{f" (not: {worse})" if worse else ""}."""
    return text, not agreed["NO"]


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--posteriordb", type=Path, default=folder(), help="the folder of the files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    if not chosen.posteriordb.is_dir():
        parser.error(f"there is no folder {str(chosen.posteriordb)!r}; see benchmarks/posteriors.py.")
    cases = []
    for posterior in POSTERIORS:
        for name in guides():
            for seed in chosen.seeds:
                cases.append(judge_guide(posterior, name, chosen.posteriordb, seed))
                print(f"{posterior.name}, {name}, seed {seed}: {cases[-1].said.verdict}", flush=True)
    text, good = report(cases)
    write_block(
        chosen.results, "verdicts", f"{text}\n\n{WORDS}\n\n{_named(cases)}\n\n{provenance('benchmarks.verdicts')}"
    )
    print(text)
    return 0 if good else 1


WORDS = f"""Trained by {STEPS} steps of Adam at {RATE}, decaying to 0 over the second half, all data at every step, and
judged by {DRAWS} draws. Ranges are over seeds. Errors are of means, in posterior standard deviations: the worst, with
its sign, then the root mean square over all parameters, before and after reweighting; worst sd is the guide's over the
posterior's. The reference draws (10,000) know them to 0.01."""


def _named(cases: Sequence[Case]) -> str:
    """What was said, in full, of the first seed's mean-field guides."""
    seen: dict[str, Case] = {}
    for case in cases:
        if case.guide == "AutoNormal":
            seen.setdefault(case.posterior, case)
    quoted = [f"* {name}, AutoNormal: “{case.said.verdict}”" for name, case in seen.items()]
    return "\n".join(["What `diagnose` says, of the first seed:", "", *quoted])


def _decay(progress: float) -> float:
    return min(1.0, 2 * (1 - progress))


def _stacked(moments: xr.Dataset, moment: str) -> np.ndarray:
    return np.concatenate([np.ravel(values.sel(moment=moment)) for values in moments.values()])


def _corrected(own: xr.DataArray, known: xr.DataArray) -> np.ndarray:
    return np.ravel((own.sel(moment="mean") - known.sel(moment="mean")) / known.sel(moment="sd"))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _counted(values: Sequence[str]) -> str:
    return ", ".join(
        value if count == len(values) else f"{value} x {count}" for value, count in Counter(values).items()
    )


def _span(values: Sequence[float]) -> str:
    if any(np.isnan(values)):
        return "-"
    low, high = min(values), max(values)
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    sys.exit(main())
