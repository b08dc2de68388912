r"""A label that is never observed:  F(x) = -log sum_y exp(-F(x, y)), while the guide learns the label's posterior."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .enumerated_label import log_probs_by_label, total

__all__ = ["SummedLabel"]


@dataclass(frozen=True)
class SummedLabel:
    r"""Variational free energy with a discrete latent summed out by the model, plus what the guide pays to follow it.

    With one draw z_y of all other latents from q(z | x, y) for each label y, and

    .. math:: F_w(x, y) = -\log p(y) - \log p(x \mid y, z_y) + w \log \frac{q(z_y \mid x, y)}{p(z_y \mid y)},

    it is, summed over a batch, in nats,

    .. math:: \sum_x \Big[ -\log \sum_y e^{-F_w(x, y)} - \sum_y r(y \mid x) \log q(y \mid x) \Big],
              \qquad r(y \mid x) \propto e^{-F_w(x, y)} \text{ held constant.}

    At w = 1 the first term is, on average, an upper bound on -log p(x), below that which averages F over q(y | x):
    the model need not wait for a guide that has yet to learn what its labels are. The second teaches q(y | x) the
    posterior r, and moves nothing else. Without labels to hold on to, continuous latents that come cheap explain
    everything before the label does; w falls geometrically from ``price`` to 1, so that labels are settled first.

    Args:
        label: the name of the site y.
        price: w at the start, at least 1.
        until: the part of the training, in (0, 1], by which w is 1.

    Raises:
        ValueError: if ``price`` or ``until`` is out of range.

    Reference: the price on continuous latents in the beginning is the idea, not the form, of the rising capacities in
    E. Dupont (2018), Learning disentangled joint continuous and discrete representations, equation 7.
    https://arxiv.org/abs/1804.00104

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
        ...         pyro.sample("y", dist.Normal(2.0 * k, 0.5), obs=y)
        >>> class Guide(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.slope = torch.nn.Parameter(torch.tensor(0.0))
        ...     def forward(self, y):
        ...         with pyro.plate("data", len(y)):
        ...             pyro.sample("k", dist.Categorical(logits=torch.stack([0 * y, self.slope * y], -1)))
        >>> SummedLabel("k")(model, Guide(), y=torch.tensor([0.1, 1.8])).detach()  # log 2 of it a datum is the guide's
        tensor(3.4961)
    """

    label: str = "digit"
    price: float = 1.0
    until: float = 0.5

    def __post_init__(self) -> None:
        """Refuses what is no schedule."""
        if self.price < 1:
            raise ValueError(f"price must be at least 1, a weight that falls to 1, got {self.price}.")
        if not 0 < self.until <= 1:
            raise ValueError(f"until must lie in (0, 1], a part of the training, got {self.until}.")

    def __call__(
        self,
        model: Callable,
        guide: Callable,
        *,
        progress: float = 1.0,
        weight: float | Tensor | None = None,
        **batch: Any,
    ) -> Tensor:
        """The objective in nats, a scalar with gradient.

        Args:
            model: p(x, y, z).
            guide: q(y, z | x).
            progress: in [0, 1], how much of the training is done.
            weight: w, in place of that at the progress.
            **batch: x.
        """
        weight = self.numbers(progress)["weight"] if weight is None else weight
        free_energy, log_q = _free_energies(model, guide, self.label, batch, weight)
        posterior = (-free_energy.detach()).softmax(0)
        return -(-free_energy).logsumexp(0).sum() - (posterior * log_q).sum()

    def numbers(self, progress: float) -> dict[str, float]:
        """What depends on the progress; a training computes it before each step."""
        return {"weight": self.price ** max(0.0, 1 - progress / self.until)}


def _free_energies(
    model: Callable, guide: Callable, label: str, batch: dict[str, Any], weight: float | Tensor
) -> tuple[Tensor, Tensor]:
    """F_w(x, y) and log q(y|x), each (K, N)."""
    log_q, of_guide, of_model = log_probs_by_label(model, guide, label, batch)
    priors = {name: of_model.pop(name) for name in of_guide}
    free_energy = weight * (total(of_guide) - total(priors)) - total(of_model)
    return free_energy.expand(log_q.shape), log_q
