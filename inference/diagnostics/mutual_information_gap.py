r"""Whether each factor of variation has one latent to itself:  MIG = mean over v of (I_1(z; v) - I_2(z; v)) / H(v)."""

from collections.abc import Callable, Mapping

import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import one_hot

from ..svi.aggregate_posterior import Densities
from .mutual_information import element_densities, latent_names, mean_and_error, mean_by_datum

__all__ = ["mutual_information_gap"]

LARGEST = 700.0
"""Of a logarithm whose exponential is still a number."""


@torch.no_grad()
def mutual_information_gap(
    guide: Callable, data: Mapping[str, Tensor], factors: Mapping[str, Tensor], draws: int = 4
) -> xr.Dataset:
    r"""The mutual information gap of latents and known factors, between 0 and 1.

    .. math:: I(z_e; v) = \frac1N \sum_n E_{q(z_e \mid x_n)} \Big[ \log q(z_e \mid v_n) - \log q(z_e) \Big], \qquad
              q(z_e \mid v) = \operatorname*{mean}_{n : v_n = v} q(z_e \mid x_n)

    in nats, for every element e of the latents and every factor v of the data; and for every factor the ``gap``
    between the element that knows most of it and the next, over the factor's entropy H(v). It is 1 where one element
    knows the factor's value and no other anything of it. A discrete latent is one element. Factors are to be
    independent of each other, as on a complete grid: else one latent has reason to know of several.

    Args:
        guide: q(z | x), as for ``mutual_information``.
        data: the guide's arguments, tensors of N data each.
        factors: the true values by name, (N,) integers from 0; no model has seen them.
        draws: of each datum's latents, at least 2.

    Returns:
        ``information`` and its standard ``error`` over ``factor`` and ``latent``; ``entropy``, ``gap`` and
        ``gap_error`` over ``factor``; ``mig`` and ``mig_error``, the mean gap. The errors are those of drawing, for
        these data and the elements that come first and second in them.

    Raises:
        ValueError: if a factor has another length or only one value, or the latents fewer than two elements.

    Reference: R. T. Q. Chen, X. Li, R. Grosse, D. Duvenaud (2018), Isolating sources of disentanglement in VAEs,
    section 4.1. https://arxiv.org/abs/1802.04942

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def guide(x):  # k follows the first factor, most of the time, and j nothing
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("k", dist.Bernoulli(0.05 + 0.9 * (x // 2)))
        ...         pyro.sample("j", dist.Bernoulli(0.3 + 0.0 * x))
        >>> x = torch.arange(4)
        >>> found = mutual_information_gap(guide, {"x": x}, {"first": x // 2, "second": x % 2})
        >>> found.gap.values.round(3)
        array([0.714, 0.   ])
    """
    names = latent_names(guide, data)
    rows = len(next(iter(data.values())))
    entropy = torch.stack([_entropy(name, value, rows) for name, value in factors.items()])
    if len(names) < 2:
        raise ValueError(f"the guide's latents must have at least two elements for a gap, but they are {names}.")

    def known(part: Densities) -> Tensor:
        log_q = element_densities(part).double()
        # Over the density given the draw's own datum, which is in every mean below: none of them is then under 1/N,
        # even of a draw that is impossible given all other data.
        ratio = (log_q - part.own(log_q).unsqueeze(1)).clamp(max=LARGEST).exp()
        everywhere = ratio.mean(1).log()
        return torch.stack([_given_value(part, ratio, value) - everywhere for value in factors.values()], 1)

    values = mean_by_datum(guide, data, draws, known)  # (S, N, F, E)
    information, error = mean_and_error(values)
    order = information.argsort(-1, descending=True)
    first, second = (values.gather(-1, order[:, i : i + 1].expand(*values.shape[:3], 1)).squeeze(-1) for i in (0, 1))
    gaps = (first - second) / entropy
    (gap, gap_error), (mig, mig_error) = mean_and_error(gaps), mean_and_error(gaps.mean(-1))
    both, one = ("factor", "latent"), ("factor",)
    variables = {"information": (both, information.numpy()), "error": (both, error.numpy())}
    by_factor = {"entropy": (one, entropy.numpy()), "gap": (one, gap.numpy()), "gap_error": (one, gap_error.numpy())}
    total = {"mig": mig.item(), "mig_error": mig_error.item()}
    return xr.Dataset({**variables, **by_factor, **total}, coords={"factor": list(factors), "latent": names})


def _given_value(part: Densities, ratio: Tensor, value: Tensor) -> Tensor:
    """The log of the mean ratio over data that have the value v of a draw's own datum, (R, E), of ratios (R, N, E)."""
    value = value.to(ratio.device)
    has = one_hot(value).to(ratio)
    given = torch.einsum("nv,rne->rve", has / has.sum(0).clamp(min=1), ratio)
    return given[torch.arange(len(given), device=ratio.device), value[part.datum]].log()


def _entropy(name: str, value: Tensor, rows: int) -> Tensor:
    """Of a factor, over the data, in nats."""
    if value.shape != (rows,) or value.is_floating_point():
        raise ValueError(
            f"factors[{name!r}] must have one integer for each of the {rows} data, got shape {tuple(value.shape)} of "
            f"{value.dtype}."
        )
    counts = torch.bincount(value.cpu()).double()
    share = counts[counts > 0] / rows
    if len(share) < 2:
        raise ValueError(f"factors[{name!r}] must have at least two values, or there is nothing to know of it.")
    return -(share * share.log()).sum()
