r"""The aggregate posterior of a guide:  q(z) = (1/N) sum over n of q(z | x_n),  estimated from the data of a batch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from torch import Tensor

from ..energy.structure import sample_sites
from .enumerated_label import enumerated

__all__ = ["Densities", "GuideDraws", "by_element", "draw", "stratified_log_weights"]


@dataclass(frozen=True)
class GuideDraws:
    """Draws of a guide for each of B data.

    Discrete latents are enumerated: with C joint values of theirs (1 if there are none) there are S = C * B draws, of
    which row c * B + i has the values c and continuous latents drawn from q(. | x_i, c). Continuous ones have to be
    independent of each other given the data and the discrete ones.

    Attributes:
        trace: of the guide, with a dimension left of the plate for each discrete latent.
        choices: the sizes of these dimensions.
        log_choice: log q(c | x_j), (C, B).
        equal: by discrete site, whether it has the same value in c and c', (C, C).
    """

    trace: poutine.Trace
    choices: torch.Size
    log_choice: Tensor
    equal: dict[str, Tensor]

    @property
    def size(self) -> int:
        """B, the number of data."""
        return self.log_choice.shape[1]

    @property
    def sites(self) -> list[str]:
        """The latents, in the order of the guide."""
        return list(sample_sites(self.trace))

    def flat(self, tensor: Tensor, event_dim: int = 0) -> Tensor:
        """What is shaped as the trace's batches, (..., B, *event), by draw: (S, *event)."""
        event = tensor.shape[tensor.dim() - event_dim :]
        return tensor.expand(*self.choices, self.size, *event).reshape(-1, *event)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of what each draw has, (S, ...), over data and over q(c | x_i): (...)."""
        weight = self.log_choice.exp().flatten() / self.size
        return torch.einsum("s,s...->...", weight, values)

    def densities(self, rows: slice = slice(None)) -> "Densities":
        """Of the draws in ``rows``, given every datum."""
        index = torch.arange(self.log_choice.numel(), device=self.log_choice.device)[rows]
        tables = {site: self._table(site, rows) for site in self.sites if site not in self.equal}
        return Densities(self, index // self.size, index % self.size, tables)

    def _table(self, site: str, rows: slice) -> Tensor:
        """log q(z_d | x_j, c') of a continuous site, (S, C, B, D), or (S, 1, B, D) where c' makes no difference."""
        node: Any = self.trace.nodes[site]
        fn = node["fn"]
        value = self.flat(node["value"], fn.event_dim)[rows]
        found = by_element(fn, value.reshape(len(value), *[1] * len(fn.batch_shape), *fn.event_shape))
        lead = found.shape[1:-2]
        if lead.numel() > 1:
            found = found.reshape(len(value), *[1] * (len(self.choices) - len(lead)), *found.shape[1:])
            found = found.expand(-1, *self.choices, -1, -1)
        return found.reshape(len(value), -1, *found.shape[-2:])


@dataclass(frozen=True)
class Densities:
    """The density of R draws of a guide given every one of its B data.

    Attributes:
        draws: the guide's.
        choice, datum: of which joint value of the discrete latents and of which datum each draw is, (R,).
        tables: log q(z_d | x_j, c') by continuous site, (R, C, B, D) or (R, 1, B, D).
    """

    draws: GuideDraws
    choice: Tensor
    datum: Tensor
    tables: dict[str, Tensor]

    def log_prob(self, sites: Sequence[str]) -> Tensor:
        """log q(z_sites | x_j), jointly: (R, B)."""
        log_choice = self.draws.log_choice
        other = log_choice.new_zeros(len(log_choice), len(log_choice), dtype=torch.bool)
        density = log_choice.new_zeros(1, 1, 1)
        for site in sites:
            if site in self.tables:
                density = density + self.tables[site].sum(-1)
            else:
                other = other | ~self.draws.equal[site]
        agreeing = log_choice.masked_fill(other.unsqueeze(-1), -math.inf)  # (C, C, B): of the draw's c, c' and j
        if density.shape[1] == 1:
            return agreeing.logsumexp(1)[self.choice] + density.squeeze(1)
        return (agreeing[self.choice] + density).logsumexp(1)

    def log_prob_of_elements(self, site: str) -> Tensor:
        """log q(z_d | x_j) of each of the D elements of a site by itself: (R, B, D)."""
        if site not in self.tables:
            return self.log_prob([site]).unsqueeze(-1)
        if self.tables[site].shape[1] == 1:
            return self.tables[site].squeeze(1)  # a mean over c' of what is the same for all
        return (self.draws.log_choice.unsqueeze(-1) + self.tables[site]).logsumexp(1)

    def own(self, log_q: Tensor) -> Tensor:
        """Of densities given every datum, (R, B, ...), those given the datum that the draw is of, (R, ...)."""
        return log_q[torch.arange(len(log_q), device=log_q.device), self.datum]

    def aggregate(self, log_q: Tensor, size: int) -> Tensor:
        """log q(z) over N = ``size`` data, (R, ...), estimated from the densities given those here, (R, B, ...)."""
        weights = stratified_log_weights(self.draws.size, size, like=log_q)[self.datum]
        return (log_q + weights.reshape(*weights.shape, *[1] * (log_q.dim() - 2))).logsumexp(1)


def draw(guide: Callable, batch: dict[str, Any]) -> GuideDraws:
    """Runs the guide with its discrete latents enumerated, and draws the others once for each of their values."""
    by_choice = enumerated(guide, lambda site: getattr(site["fn"], "has_enumerate_support", False))
    with poutine.enum(first_available_dim=-2):
        trace = poutine.trace(by_choice).get_trace(**batch)
    trace.compute_log_prob()
    nodes = sample_sites(trace)
    size = next(f.size for node in nodes.values() for f in node["cond_indep_stack"] if f.vectorized)
    discrete = {name: node for name, node in nodes.items() if node["fn"].has_enumerate_support}
    choices = torch.broadcast_shapes((size,), *(node["log_prob"].shape for node in discrete.values()))[:-1]
    log_choice = next(iter(nodes.values()))["log_prob"].new_zeros(*choices, size)
    for node in discrete.values():
        log_choice = log_choice + node["log_prob"]
    equal = {name: _equal(node["value"], node["fn"].event_dim, choices) for name, node in discrete.items()}
    return GuideDraws(trace, choices, log_choice.reshape(-1, size), equal)


def by_element(fn: Any, value: Tensor) -> Tensor:
    """The log density of a site's elements, (..., D), where ``.to_event`` says that they are independent, else D = 1.

    Example:
        >>> import pyro.distributions as dist
        >>> by_element(dist.Normal(0.0, 2.0).expand([4, 3]).to_event(1), torch.zeros(4, 3)).shape
        torch.Size([4, 3])
        >>> by_element(dist.MultivariateNormal(torch.zeros(3), 4 * torch.eye(3)), torch.zeros(4, 3)).shape
        torch.Size([4, 1])
    """
    if not isinstance(fn, dist.Independent) or fn.reinterpreted_batch_ndims != fn.event_dim:
        return fn.log_prob(value).unsqueeze(-1)
    return fn.base_dist.log_prob(value).flatten(-fn.event_dim)


def stratified_log_weights(batch: int, size: int, like: Tensor) -> Tensor:
    r"""log w_ij by which densities given B of N data estimate the aggregate posterior at a draw of datum i: (B, B).

    .. math:: \hat q(z) = \sum_j w_{ij} \, q(z \mid x_j), \qquad w_{ii} = \frac1N, \quad
              w_{ij} = \frac{N - 1}{N (B - 1)} \text{ for } j \ne i

    Datum i is in every batch that has a draw of its own, and the others stand for all that remain: over batches that
    are drawn without replacement, the mean of the estimate is q(z), and with B = N it is exact. These weights are the
    mean, over the orders in which the others can come, of those by which Chen et al. (2018, appendix C.2) stratify,
    and so have the same mean and no more variance. The weights 1 / (N B) that the same authors train with are exact
    for no B: they are the same for the draw's own datum, whose density is the largest by far, as for any other.

    Args:
        batch: B.
        size: N.
        like: a tensor of the type and on the device that are wanted.

    Example:
        >>> stratified_log_weights(3, 5, like=torch.zeros(())).exp()
        tensor([[0.2000, 0.4000, 0.4000],
                [0.4000, 0.2000, 0.4000],
                [0.4000, 0.4000, 0.2000]])
    """
    other = math.log(size - 1) - math.log(size) - math.log(batch - 1)
    return like.new_full((batch, batch), other).fill_diagonal_(-math.log(size))


def _equal(value: Tensor, event_dim: int, choices: torch.Size) -> Tensor:
    """Whether an enumerated site, whose value is (..., 1, *event), has the same one in every two of all choices."""
    event = value.shape[value.dim() - event_dim :]
    values = value.expand(*choices, 1, *event).reshape(choices.numel(), -1)
    return (values.unsqueeze(0) == values.unsqueeze(1)).all(-1)
