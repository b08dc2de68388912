r"""Sparse coding:  codes ~ Laplace(0, code_scale)^K,  features | codes ~ N(codes dictionary, noise^2 I)."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

__all__ = ["SparseCoding"]


class SparseCoding(nn.Module):
    r"""A dictionary of K unit atoms of which each datum uses few, with the least energy over its codes.

    .. math::

        E(x, z) = \frac{|x - z W|^2}{2 s^2} + \frac{|z|_1}{b} + D \log(\sqrt{2 \pi} s) + K \log(2 b)

    with z the site ``codes`` (K,), x the site ``features`` (D,), W ``dictionary`` (K, D), s ``noise`` and b
    ``code_scale``. The atoms have length 1: longer ones would need smaller codes, and E would fall for nothing.

    Args:
        atoms: the initial dictionary, (K, D), of any lengths but 0.
        noise: s, a standard deviation, held fixed.
        code_scale: b, the mean absolute code, held fixed; the lasso's penalty on ``|z|_1`` is s^2 / b.

    Sites, inside the plate ``data`` of N: ``codes`` (N, K), ``features`` (N, D). Without ``features`` the program
    simulates one.

    Reference: B. A. Olshausen, D. J. Field (1996), Emergence of simple-cell receptive field properties by learning a
    sparse code for natural images, Nature 381.

    Example:
        >>> model = SparseCoding(torch.tensor([[2.0, 0.0], [0.0, 0.5], [1.0, 1.0]]), noise=0.2, code_scale=0.4)
        >>> model.codes(torch.tensor([[1.5, 0.0], [0.05, 0.0]]))  # the penalty is 0.1
        tensor([[1.4000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """

    def __init__(self, atoms: Tensor, noise: float, code_scale: float) -> None:
        super().__init__()
        if atoms.dim() != 2 or not atoms.norm(dim=-1).all():
            raise ValueError(f"atoms must be K vectors other than 0, (K, D), got {tuple(atoms.shape)}, or one is 0.")
        if noise <= 0 or code_scale <= 0:
            raise ValueError(f"noise and code_scale must be positive, got {noise} and {code_scale}.")
        self.atoms = nn.Parameter(atoms.clone())
        self.noise, self.code_scale = noise, code_scale

    @property
    def dictionary(self) -> Tensor:
        """The atoms at length 1, (K, D)."""
        return nn.functional.normalize(self.atoms, dim=-1)

    def forward(self, features: Tensor | None = None) -> Tensor:
        """The program; returns the features, (N, D)."""
        zero = self.atoms.new_zeros(len(self.atoms))
        with pyro.plate("data", 1 if features is None else len(features)):
            codes = pyro.sample("codes", dist.Laplace(zero, self.code_scale).to_event(1))
            return pyro.sample("features", dist.Normal(codes @ self.dictionary, self.noise).to_event(1), obs=features)

    @torch.no_grad()
    def codes(self, features: Tensor, steps: int = 2000, tolerance: float = 1e-7) -> Tensor:
        r"""The codes of least energy, (N, K), by proximal gradient steps with momentum (FISTA); without gradient.

        .. math:: \hat z = \arg\min_z \tfrac{1}{2} |x - z W|^2 + \lambda |z|_1, \qquad \lambda = s^2 / b

        a convex problem. A step follows the gradient of the square over the largest eigenvalue of W W^T, and moves each
        code towards 0 by lambda over that, or to it.

        Args:
            features: x, (N, D).
            steps: at most.
            tolerance: it ends where no code moves by more than this part of the largest.

        Reference: A. Beck, M. Teboulle (2009), A fast iterative shrinkage-thresholding algorithm for linear inverse
        problems, SIAM Journal on Imaging Sciences 2, equations 4.1 to 4.3.
        """
        dictionary, penalty = self.dictionary, self.noise**2 / self.code_scale
        rate = 1 / torch.linalg.matrix_norm(dictionary, 2).square()
        codes = ahead = features.new_zeros(len(features), len(dictionary))
        momentum = 1.0
        for _ in range(steps):
            there = ahead - rate * (ahead @ dictionary - features) @ dictionary.T
            there = there.sign() * (there.abs() - rate * penalty).relu()
            faster = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = there + (momentum - 1) / faster * (there - codes)
            moved, codes, momentum = (there - codes).abs().max(), there, faster
            if moved <= tolerance * codes.abs().max():
                break
        return codes
