r"""The semi-supervised objective of Kingma et al. (2014): two bounds on two streams, and a classification term."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyro.infer import Trace_ELBO
from torch import Tensor

from .enumerated_label import enumerate_label, label_log_prob, label_log_probs

__all__ = ["SemiSupervised"]


@dataclass(frozen=True)
class SemiSupervised:
    r"""Variational free energy of unlabelled and labelled data, plus a weight on classifying the labelled.

    With F(x, y) = E_q(z|x,y)[log q(z|x, y) - log p(x, y, z)] and L labelled among N data, it is, for a batch of B
    unlabelled x and a batch of labelled (x, y), an unbiased estimate of B / N times equation 9 of the paper,

    .. math:: \sum_x \Big[ \sum_y q(y|x) \big( F(x, y) + \log q(y|x) \big) \Big]
              + \sum_{x, y} F(x, y) - \alpha \; \overline{\log q(y|x)}

    where the bar is the mean over labelled data and alpha = ``classification_weight`` times N. All labels are
    enumerated in parallel, with one z drawn for each.

    With ``augment`` the bounds stay those of the data as they are, and the classifier learns from copies x' of them,
    distorted anew at each step: the copy of a labelled datum has its label, so that the bar is over log q(y|x'). With
    ``consistency`` it learns from copies of unlabelled data as well: what a copy is classified as is drawn to what the
    datum itself is, made sharper and as often each label as any other,

    .. math:: - c \sum_x \sum_y t(y|x) \log q(y|x'), \qquad
              t(y|x) \propto \Big( q(y|x) \Big/ \sum_x q(y|x) \Big)^{1 / \tau}

    where no gradient passes through t, and the sum in it is over the batch.

    Args:
        labelled_fraction: L / N, the weight of the labelled bound beside the unlabelled one.
        label: the name of the site y, which the model and guide also take as an argument.
        classification_weight: alpha / N; the paper's alpha = 0.1 N is the default.
        self_training: a factor on the gradient by which the bound of *unlabelled* data moves q(y|x), and on nothing
            else: a number or a function of the progress in [0, 1]. At 1 the gradient is that of the formula above; a
            schedule from 0 to 1 lets the classifier learn from the labels before it learns from the model's guesses.
            The value of the objective does not depend on it.
        augment: data augmentation, which gets the entries of a batch but for the label as keyword arguments, and gives
            such entries in a dict.
        consistency: c, the weight of agreement between a datum and its copy, which takes ``augment``: a number or a
            function of the progress in [0, 1].
        target_temperature: tau, below 1 for targets sharper than the classifier.

    Raises:
        ValueError: if ``consistency`` is negative, or given without ``augment``; if ``target_temperature`` is not
            positive.

    Reference: D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling (2014), Semi-supervised learning with deep
    generative models, equations 6-9. https://arxiv.org/abs/1406.5298; of the agreement: Q. Xie, Z. Dai, E. Hovy,
    M.-T. Luong, Q. Le (2020), Unsupervised data augmentation for consistency training, section 2,
    https://arxiv.org/abs/1904.12848; of the equal shares: D. Berthelot et al. (2020), ReMixMatch, section 3.1,
    https://arxiv.org/abs/1911.09785.
    """

    labelled_fraction: float
    label: str = "digit"
    classification_weight: float = 0.1
    self_training: float | Callable[[float], float] = 1.0
    augment: Callable[..., Mapping[str, Tensor]] | None = None
    consistency: float | Callable[[float], float] = 0.0
    target_temperature: float = 0.5

    def __post_init__(self) -> None:
        if not callable(self.consistency) and self.consistency < 0:
            raise ValueError(f"consistency must be a weight of 0 or more, got {self.consistency}.")
        if self.consistency != 0 and self.augment is None:
            raise ValueError("consistency compares each datum with a copy of it: pass augment, which makes the copies.")
        if not self.target_temperature > 0:
            raise ValueError(f"target_temperature must be positive, got {self.target_temperature}.")

    def __call__(  # noqa: PLR0913 - a pair, two streams, and the progress or what a training makes of it
        self,
        model: Callable,
        guide: Callable,
        *,
        unlabelled: dict[str, Tensor],
        labelled: dict[str, Tensor],
        progress: float = 1.0,
        weight: float | Tensor | None = None,
        agreement: float | Tensor | None = None,
    ) -> Tensor:
        """The objective in nats, a scalar with gradient.

        Args:
            model: p(x, y, z).
            guide: q(y, z | x).
            unlabelled: a batch of x.
            labelled: a batch of (x, y).
            progress: in [0, 1], how much of the training is done.
            weight: the value of ``self_training``, in place of that at the progress.
            agreement: the value of ``consistency``, likewise.
        """
        weight = self.numbers(progress)["weight"] if weight is None else weight
        size, labels = len(next(iter(unlabelled.values()))), len(labelled[self.label])
        bound, log_q = self._unlabelled(model, guide, unlabelled, weight)
        fit = Trace_ELBO().differentiable_loss(model, guide, **labelled)
        classify = -label_log_prob(guide, self.label, self._copy(labelled)).mean()
        loss = bound + size * (self.labelled_fraction * fit / labels + self.classification_weight * classify)
        if self.consistency == 0:
            return loss
        agreement = self.numbers(progress)["agreement"] if agreement is None else agreement
        of_copy = label_log_probs(guide, self.label, self._copy(unlabelled))
        return loss - agreement * (targets(log_q.detach(), self.target_temperature) * of_copy).sum()

    def _copy(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with its data, all but the labels, distorted anew."""
        if self.augment is None:
            return batch
        return batch | dict(self.augment(**{name: value for name, value in batch.items() if name != self.label}))

    def numbers(self, progress: float) -> dict[str, float]:
        """What depends on the progress; a training computes it before each step."""
        weights = {"weight": self.self_training, "agreement": self.consistency}
        return {name: float(one(progress) if callable(one) else one) for name, one in weights.items()}

    def _unlabelled(
        self, model: Callable, guide: Callable, batch: dict[str, Tensor], weight: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """The bound of a batch, and log q(y|x), (K, N)."""
        free_energy, log_q = enumerate_label(model, guide, self.label, batch)
        # The gradient to q(y|x) passes through `q` alone, the rest through `free_energy` alone.
        held = (log_q.detach().exp() * free_energy).sum()
        moves = (log_q.exp() * (free_energy.detach() + log_q)).sum()
        return held + weight * moves + (1 - weight) * moves.detach() - held.detach(), log_q


def targets(log_q: Tensor, temperature: float) -> Tensor:
    r"""t(y|x), (K, N), proportional to (q(y|x) / sum_x q(y|x))^(1/tau).

    Example:
        >>> import torch
        >>> q = torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]])  # most are taken for the first of two
        >>> targets(q.log(), temperature=1.0)[0]
        tensor([0.6923, 0.5000, 0.3684])
    """
    return ((log_q - log_q.logsumexp(-1, keepdim=True)) / temperature).softmax(0)
