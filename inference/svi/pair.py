"""A model and a guide under one roof, and their parameters wherever they live."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from .augmentation import Augment, changed
from .data import Batch, Unconverted
from .decaying_averages import decaying_averages
from .objective import Numbers, Objective
from .pair_checks import module_of

__all__ = ["Pair", "Weights", "training_mode"]

Weights = dict[str, dict[str, Any]]


class Pair(nn.Module):
    """What is trained. Called with a batch, it gives the loss; as one module it moves, and could be run in parallel.

    Parameters are found in modules (the program itself, or the module whose method it is) and, for plain functions,
    in Pyro's store, by the ``pyro.param`` and ``pyro.module`` statements that a trace shows.

    Args:
        model: p(x, z), any Pyro callable.
        guide: q(z | x), likewise.
        objective: what is minimised.
        device: where modules are moved, and where programs make tensors whose device they do not say; None: as it is.
        augment: what changes batches before the programs see them.
    """

    def __init__(
        self,
        model: Callable,
        guide: Callable,
        objective: Objective,
        device: torch.device | None = None,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        self.programs = model, guide
        self.objective, self.augment = objective, augment
        modules = {"model": module_of(model), "guide": module_of(guide)}
        self.parts = nn.ModuleDict({role: module for role, module in modules.items() if module is not None})
        self.store: dict[str, Tensor] = {}
        self.device = device
        if device is not None:
            self.to(device)

    def forward(self, batch: Batch | Unconverted, numbers: Numbers) -> Tensor:
        """The loss of a batch in nats; ``numbers`` are the objective's at this moment of the training."""
        batch = batch.batch if isinstance(batch, Unconverted) else batch
        with self.on_device():
            loss = self.objective.loss(*self.programs, self.changed(batch), numbers)
        if self.objective.gradient_factor is not None:
            for leaf in self.leaves().values():
                if leaf.grad is not None:
                    leaf.grad.mul_(self.objective.gradient_factor(numbers))
        return loss

    def changed(self, batch: Batch) -> Batch:
        """A batch as the programs see it, anew at each call."""
        return changed(batch, self.augment)

    def loss_and_gradients(self, batch: Batch, numbers: Numbers) -> tuple[Tensor, list[Tensor | None]]:
        """The loss, and its gradient by each of :meth:`trainable`; None where it has none."""
        leaves = self.trainable()
        if not self.objective.accumulates:
            loss = self(batch, numbers)
            return loss, list(torch.autograd.grad(loss, leaves, allow_unused=True))
        for leaf in leaves:
            leaf.grad = None
        loss = self(batch, numbers)
        gradients = [leaf.grad for leaf in leaves]
        for leaf in leaves:
            leaf.grad = None
        return loss, gradients

    def on_device(self) -> AbstractContextManager:
        """Inside, new tensors are on the device, as those of ``dist.Normal(0.0, 2.0)`` in a program."""
        return nullcontext() if self.device is None or self.device.type == "cpu" else self.device

    def note_parameters(self, trace: Trace) -> None:
        """Remember the unconstrained parameters of a trace that no module holds."""
        held = {id(parameter) for parameter in self.parts.parameters()}
        nodes: Any = trace.nodes
        for name, site in nodes.items():
            if site["type"] == "param":
                value = site["value"]
                leaf = value.unconstrained() if hasattr(value, "unconstrained") else value
                if id(leaf) not in held:
                    self.store[name] = leaf

    def note_averages(self) -> None:
        """Remember what an objective keeps of earlier steps: it is no parameter, and part of the weights."""
        self.store |= decaying_averages()

    def leaves(self) -> dict[str, Tensor]:
        """All parameters by name, each once."""
        return {**dict(self.parts.named_parameters()), **self.store}

    def trainable(self) -> list[Tensor]:
        """The parameters that an optimizer may move.

        Raises:
            ValueError: there are none.
        """
        trainable = list({id(leaf): leaf for leaf in self.leaves().values() if leaf.requires_grad}.values())
        if not trainable:
            raise ValueError(
                "nothing to optimise: neither model nor guide has a parameter that requires a gradient. Make them "
                "modules with nn.Parameter, or use pyro.param; a network that a plain function closes over is seen "
                "only through pyro.module."
            )
        return trainable

    def non_finite(self) -> str | None:
        """The name of the first parameter with a value that is NaN or infinite."""
        return next((name for name, leaf in self.leaves().items() if not torch.isfinite(leaf).all()), None)

    def weights(self) -> Weights:
        """State dicts of model and guide, and the store's unconstrained values."""
        states: Weights = {role: dict(part.state_dict()) for role, part in self.parts.items()}
        return {"model": {}, "guide": {}, **states, "store": {name: leaf.detach() for name, leaf in self.store.items()}}

    def load(self, weights: Weights) -> None:
        """Copy what :meth:`weights` gave into the parameters.

        Raises:
            ValueError: the weights are those of another model or guide.
        """
        for role, values in self.weights().items():
            _compare(role, _shapes(weights[role]), _shapes(values))
        for role, part in self.parts.items():
            part.load_state_dict(weights[role])
        with torch.no_grad():
            for name, leaf in self.store.items():
                leaf.copy_(weights["store"][name])


@contextmanager
def training_mode(pair: Pair) -> Iterator[None]:
    """Modules are in training mode inside, and in evaluation mode afterwards."""
    pair.train()
    try:
        yield
    finally:
        pair.eval()


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}


def _compare(role: str, saved: dict[str, tuple[int, ...]], here: dict[str, tuple[int, ...]]) -> None:
    names = [name for name in {**saved, **here} if saved.get(name) != here.get(name)]
    if names:
        lines = [f"\n  {name}: {saved.get(name, 'absent')} -> {here.get(name, 'absent')}" for name in names]
        raise ValueError(
            f"the saved weights of the {role} are not those of this one (saved -> here):{''.join(lines)}\nBuild it as "
            "it was built for the run; a program that makes its parameters at the first call needs a batch."
        )
