r"""Reweighted wake-sleep: the model ascends log mean w; the guide learns posteriors of data, and of dreams."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from ..energy.simulated_data import Simulator
from .estimators import Weights, wake
from .monte_carlo import MonteCarlo

__all__ = ["WakeSleep"]


@dataclass(frozen=True)
class WakeSleep:
    r"""An objective of ``fit`` in which model and guide descend different things.

    .. math:: \text{model}: \; -\log \tfrac{1}{S} \sum_k w_k, \qquad
              \text{guide}: \; -(1 - s) \sum_k v_k \log q(z_k \mid x)
              \; - \; s \; E_{p(\tilde z, \tilde x)} [ \log q(\tilde z \mid \tilde x) ]

    with w_k = p(x, z_k) / q(z_k given x), v_k = w_k / sum w, and data that the model simulates in the place of the
    batch. Latents of any kind; nothing is differentiated through draws. The value is the model's, in nats.

    Args:
        draws: of the guide, S.
        sleep: the share s of dreams in what the guide learns from: 0 is the wake phase alone, 1 the wake-sleep
            algorithm of Hinton et al. (1995).
        plate: the data plate.

    Raises:
        ValueError: if ``sleep`` is not in [0, 1]; by ``fit``, where the program cannot simulate its data, or these are
            not arguments that the guide sees.

    Reference: J. Bornschein, Y. Bengio (2015), Reweighted wake-sleep, equations 5, 7 and 8.
    https://arxiv.org/abs/1406.2751
    """

    draws: int = 10
    sleep: float = 0.5
    plate: str | None = "data"
    awake: MonteCarlo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.sleep <= 1:
            raise ValueError(f"sleep must be a share from 0 to 1 of what the guide learns from, got {self.sleep}.")
        object.__setattr__(self, "awake", MonteCarlo(partial(_wake, 1 - self.sleep), self.draws, self.plate))

    def __call__(self, model: Callable, guide: Callable, **batch: Any) -> Tensor:
        """The bound of a batch, a scalar whose gradients are those above."""
        bound = self.awake(model, guide, **batch)
        if self.sleep == 0:
            return bound
        dreamt = self._dreamt(model, guide, batch)
        return bound + self.sleep * (dreamt - dreamt.detach())

    def _dreamt(self, model: Callable, guide: Callable, batch: dict[str, Any]) -> Tensor:
        """-log q of simulated latents at simulated data, as many as the batch has."""
        program = self.awake.views.view(model, self.plate).bind(**batch).program
        simulator = Simulator(program)
        simulated = simulator.draw()
        asleep = simulator.bind(simulated)
        q = self.awake.views.view(guide, self.plate).bind(*asleep.args, **asleep.kwargs)
        return q.energy({name: simulated.latents[name] for name in q.structure.latents})


def _wake(share: float, log_w: Tensor) -> Weights:
    weights = wake(log_w)
    assert weights.score is not None
    return weights._replace(score=share * weights.score)
