r"""K-means as an energy:  E(y, k) = |y - w_k|^2, the program  component ~ uniform,  features ~ N(w_k, I / 2)."""

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

__all__ = ["KMeans", "assignments", "em_step", "squared_distances"]


class KMeans(nn.Module):
    r"""K prototypes and nothing else: the squared distance to the component's prototype is the energy.

    .. math:: E(y, k) = -\log p(y, k) = |y - w_k|^2 + \tfrac{D}{2} \log \pi + \log K

    with y the site ``features``, k the site ``component`` and w ``prototypes`` (K, D). The constants normalise the
    program, a Gaussian mixture with equal weights and the one standard deviation sqrt(1/2). Its lowest energy is the
    objective of K-means, and F_beta that of a mixture with the variance 1 / (2 beta).

    Args:
        prototypes: the initial ones, (K, D): distinct ones, since equal prototypes never separate.

    Sites, inside the plate ``data`` of N: ``component`` (N,), ``features`` (N, D). Without ``features`` the program
    simulates one; ``pyro.poutine.uncondition(model)(x)`` simulates as many as x has.

    Reference: C. M. Bishop (2006), Pattern recognition and machine learning, section 9.3.2; Y. LeCun and A. Canziani,
    Deep Learning (NYU, 2021), the lectures on latent-variable energy models.

    Example:
        >>> model = KMeans(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]))
        >>> y = torch.tensor([[2.0, 0.0], [-2.0, 0.5]])
        >>> model.squared_distances(y).tolist(), model.inertia(y).item()
        ([[16.0, 1.0], [0.25, 16.25]], 1.25)
    """

    def __init__(self, prototypes: Tensor) -> None:
        super().__init__()
        if prototypes.dim() != 2:
            raise ValueError(f"prototypes must have shape (components, dimensions), got {tuple(prototypes.shape)}.")
        self.prototypes = nn.Parameter(prototypes.detach().clone())

    @property
    def constant(self) -> float:
        r"""E(y, k) - |y - w_k|^2 = (D / 2) log pi + log K, in nats."""
        components, dimensions = self.prototypes.shape
        return dimensions / 2 * math.log(math.pi) + math.log(components)

    def forward(self, features: Tensor | None = None) -> Tensor:
        """The program; returns the features, (N, D)."""
        equal = self.prototypes.new_zeros(len(self.prototypes))
        with pyro.plate("data", 1 if features is None else len(features)):
            component = pyro.sample("component", dist.Categorical(logits=equal))
            normal = dist.Normal(self.prototypes[component], math.sqrt(0.5))
            return pyro.sample("features", normal.to_event(1), obs=features)

    def squared_distances(self, features: Tensor) -> Tensor:
        """|y_n - w_k|^2, (N, K)."""
        return squared_distances(features, self.prototypes)

    def responsibilities(self, features: Tensor, beta: float = 1.0) -> Tensor:
        """p_beta(component | features), (N, K): soft at finite beta, one-hot at ``math.inf``."""
        return assignments(features, self.prototypes, beta)

    def free_energy(self, features: Tensor, beta: float = 1.0) -> Tensor:
        r"""F_beta = -(1/beta) log sum over k of exp(-beta E), by datum, (N,), exact, in nats; at ``math.inf`` min E."""
        energy = self.squared_distances(features) + self.constant
        return energy.amin(-1) if beta == math.inf else -(-beta * energy).logsumexp(-1) / beta

    def inertia(self, features: Tensor) -> Tensor:
        """The objective of K-means: the sum over data of the squared distance to the nearest prototype."""
        return self.squared_distances(features).amin(-1).sum()


def squared_distances(features: Tensor, prototypes: Tensor) -> Tensor:
    """|y_n - w_k|^2, (..., N, K), from features (N, D) and prototypes (..., K, D), leading dimensions being runs."""
    own, of_prototypes = (x.square().sum(-1) for x in (features, prototypes))
    return (own.unsqueeze(-1) - 2 * features @ prototypes.mT + of_prototypes.unsqueeze(-2)).clamp(min=0)


def assignments(features: Tensor, prototypes: Tensor, beta: float) -> Tensor:
    r"""The inner minimisation: softmax over k of -beta |y_n - w_k|^2, (..., N, K); at ``math.inf`` the nearest one."""
    distances = squared_distances(features, prototypes)
    if beta == math.inf:
        return one_hot(distances.argmin(-1), prototypes.shape[-2]).to(distances.dtype)
    return (-beta * distances).softmax(-1)


def em_step(features: Tensor, prototypes: Tensor, beta: float = math.inf) -> Tensor:
    r"""The inner minimisation, then the outer one in closed form: the weighted means of the data.

    .. math:: r_{nk} = p_\beta(k \mid y_n), \qquad w_k = \frac{\sum_n r_{nk} y_n}{\sum_n r_{nk}}

    Neither raises the sum over n of F_beta(y_n). At ``beta=math.inf`` it is a step of Lloyd's algorithm (hard EM), at
    others one of EM. A prototype that no datum is assigned to stays where it is.

    Args:
        features: (N, D).
        prototypes: (..., K, D), whose leading dimensions are runs of their own.
        beta: inverse temperature.

    Returns:
        The new prototypes, (..., K, D).

    Reference: S. P. Lloyd (1982), Least squares quantization in PCM; C. M. Bishop (2006), section 9.3.

    Example:
        >>> y = torch.tensor([[0.0], [2.0], [10.0]])
        >>> em_step(y, torch.tensor([[0.0], [9.0]])).flatten().tolist()
        [1.0, 10.0]
    """
    responsibilities = assignments(features, prototypes, beta)
    mass = responsibilities.sum(-2).unsqueeze(-1)
    tiny = torch.finfo(mass.dtype).tiny
    means = responsibilities.mT @ features / mass.clamp(min=tiny)
    return torch.where(mass > tiny, means, prototypes)
