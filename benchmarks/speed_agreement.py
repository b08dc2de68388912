"""Whether all competitors take the same step: the losses of a few, from the same weights and with the same noise.

The later losses depend on the gradients and on Adam, so that these are compared as well.
"""

import torch

from .speed_ours import ours
from .speed_pair import Run, SpeedPair
from .speed_systems import LOOP, PLAIN, SCAN, missing, systems

__all__ = ["STEPS", "TOLERANCE", "TOLERANCE_BF16", "DisagreementError", "disagreements"]

STEPS = 5
SEED = 0  # that of `speed_ours`, whose training sets its own
TOLERANCE = 1e-5
"""Of a loss in float32, relative: rounding, of sums of up to 1.6 million terms in another order."""
TOLERANCE_BF16 = 2e-2
"""Likewise in bfloat16, whose numbers have eight bits; where the sums have them too, so has the loss."""


class DisagreementError(ValueError):
    """Two competitors do not take the same step, and their times cannot be compared."""


def disagreements(pair: SpeedPair) -> dict[str, float]:
    """The largest relative difference of a loss from plain Pyro's over ``STEPS`` steps, by competitor.

    Raises:
        DisagreementError: one is larger than rounding explains.
    """
    builds = {**ours(pair), **systems(pair)}
    if not missing():
        from .speed_numpyro import given_noise

        builds |= {LOOP: lambda: given_noise(pair), SCAN: lambda: given_noise(pair, scanned=True)}
    truth = _losses(builds[PLAIN]())
    found = {name: ((_losses(build()) - truth) / truth).abs().max().item() for name, build in builds.items()}
    for name, difference in found.items():
        allowed = TOLERANCE_BF16 if name.endswith("bf16") else TOLERANCE
        if not difference <= allowed:
            raise DisagreementError(
                f"{pair.name}: the losses of {name!r} must be within {allowed:.0e} of plain Pyro's, which are "
                f"{truth.tolist()}, and differ by up to {difference:.1e}: it takes another step."
            )
    return found


def _losses(run: Run) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return torch.tensor([float(loss) for loss in run(STEPS)], dtype=torch.float64)
