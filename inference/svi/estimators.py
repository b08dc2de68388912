r"""Gradient estimators, each as the weights of three gradients:  sum_k a_k d log p + b_k dz d(log w)/dz + c_k d log q.

A bound on log p(x) is estimated from S draws z_k of the guide, w_k = p(x, z_k) / q(z_k | x). Its gradient has three
parts: through the model at fixed draws, through the draws (where they are reparameterised), and through the density of
the guide at fixed draws. Estimators differ in how they weigh the parts, and in nothing else.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Estimator",
    "Weights",
    "doubly_reparameterised",
    "importance_weighted",
    "leave_one_out",
    "reparameterised",
    "score_function",
    "sticking_the_landing",
    "vimco",
    "wake",
]


class Weights(NamedTuple):
    """What an estimator makes of log weights (S, N): the bound (N,), and the weights (S, N) of the three gradients.

    ``path`` is None where draws need not be reparameterised, and ``score`` None where the density of the guide at fixed
    draws does not enter.
    """

    bound: Tensor
    model: Tensor
    path: Tensor | None
    score: Tensor | None


Estimator = Callable[[Tensor], Weights]


def reparameterised(log_w: Tensor) -> Weights:
    r"""The ELBO, mean of log w, differentiated through the draws: a = b = 1/S, c = -1/S. Unbiased.

    Reference: D. P. Kingma, M. Welling (2014), Auto-encoding variational Bayes, section 2.4.
    """
    each = torch.full_like(log_w, 1 / len(log_w))
    return Weights(log_w.mean(0), each, each, -each)


def sticking_the_landing(log_w: Tensor) -> Weights:
    r"""The ELBO, without the part of mean zero: a = b = 1/S, c = 0. Unbiased; no noise where q is the posterior.

    Reference: G. Roeder, Y. Wu, D. Duvenaud (2017), Sticking the landing, equation 8. https://arxiv.org/abs/1703.09194
    """
    each = torch.full_like(log_w, 1 / len(log_w))
    return Weights(log_w.mean(0), each, each, None)


def score_function(log_w: Tensor) -> Weights:
    r"""The ELBO, by the score of the guide: a = 1/S, c = log w / S. Unbiased; for any latents; very noisy.

    Reference: R. Ranganath, S. Gerrish, D. Blei (2014), Black box variational inference, equation 3.
    https://arxiv.org/abs/1401.0118
    """
    return Weights(log_w.mean(0), torch.full_like(log_w, 1 / len(log_w)), None, log_w / len(log_w))


def leave_one_out(log_w: Tensor) -> Weights:
    r"""The ELBO, by the score of the guide beside the mean of the other draws:  c_k = (log w_k - mean_{j != k}) / S.

    Unbiased, since what is taken off does not depend on the draw that it is taken off from.

    Reference: T. Salimans, D. Knowles (2014), On using control variates with stochastic approximation for variational
    Bayes, https://arxiv.org/abs/1401.1022; W. Kool, H. van Hoof, M. Welling (2019), Buy 4 REINFORCE samples, get a
    baseline for free!
    """
    centred = (log_w - log_w.mean(0)) / (_several(log_w) - 1)
    return Weights(log_w.mean(0), torch.full_like(log_w, 1 / len(log_w)), None, centred)


def importance_weighted(log_w: Tensor) -> Weights:
    r"""The tighter bound log mean w through the draws: a = b = v, c = -v with v_k = w_k / sum w. Unbiased.

    Its signal for the guide vanishes as S grows (T. Rainforth et al. 2018, Tighter variational bounds are not
    necessarily better).

    Reference: Y. Burda, R. Grosse, R. Salakhutdinov (2016), Importance weighted autoencoders, equation 14.
    https://arxiv.org/abs/1509.00519
    """
    shares = log_w.softmax(0)
    return Weights(_log_mean(log_w), shares, shares, -shares)


def doubly_reparameterised(log_w: Tensor) -> Weights:
    r"""The tighter bound log mean w, its score reparameterised once more: a = v, b = v^2, c = 0. Unbiased.

    Reference: G. Tucker, D. Lawson, S. Gu, C. Maddison (2019), Doubly reparameterized gradient estimators for Monte
    Carlo objectives, equation 8. https://arxiv.org/abs/1810.04152
    """
    shares = log_w.softmax(0)
    return Weights(_log_mean(log_w), shares, shares.square(), None)


def vimco(log_w: Tensor) -> Weights:
    r"""The tighter bound L = log mean w by the score of the guide:  c_k = L - L_k - v_k. Unbiased; for any latents.

    L_k is L with log w_k replaced by the mean of the others, which does not depend on draw k.

    Reference: A. Mnih, D. Rezende (2016), Variational inference for Monte Carlo objectives, equations 7-9.
    https://arxiv.org/abs/1602.06725
    """
    draws = _several(log_w)
    others = (log_w.sum(0) - log_w) / (draws - 1)
    eye = torch.eye(draws, dtype=torch.bool, device=log_w.device).unsqueeze(-1)
    replaced = torch.where(eye, others.unsqueeze(0), log_w.unsqueeze(0))  # (k, draw, N)
    bound, shares = _log_mean(log_w), log_w.softmax(0)
    baseline = replaced.logsumexp(1) - log_w.new_tensor(draws).log()
    return Weights(bound, shares, None, bound - baseline - shares)


def wake(log_w: Tensor) -> Weights:
    r"""Reweighted wake-sleep's two wake phases: a = v ascends log mean w; c = v brings q to the posterior, KL(p, q).

    The guide has another objective than the model; both are self-normalised, and biased of order 1/S.

    Reference: J. Bornschein, Y. Bengio (2015), Reweighted wake-sleep, equations 5 and 7.
    https://arxiv.org/abs/1406.2751
    """
    shares = log_w.softmax(0)
    return Weights(_log_mean(log_w), shares, None, shares)


def _log_mean(log_w: Tensor) -> Tensor:
    return log_w.logsumexp(0) - log_w.new_tensor(len(log_w)).log()


def _several(log_w: Tensor) -> int:
    if len(log_w) < 2:
        raise ValueError("draws must be at least 2 for an estimator that sets each beside the others, got 1.")
    return len(log_w)
