"""Stochastic variational inference: train a model and its guide on data."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

from .augmentation import Augment
from .batches import as_batches
from .bfloat16 import BFloat16Products
from .compilation import check_compile, decide_on_compiling
from .data import BATCH_SIZE, Batch
from .device import make_fabric, set_up
from .pair import Pair, training_mode
from .pair_checks import no_guide
from .parallel import together
from .preparation import (
    build_optimizer,
    check_guide,
    check_length,
    check_loss,
    check_schedule,
    check_seed,
    inspect_pair,
)
from .processes import Processes
from .random_state import preserved_random_state
from .run import Row, RunDirectory
from .sharding import SharedBatches
from .shared_directory import open_shared
from .temperature import at_temperature
from .training import Training

__all__ = ["Fit", "fit"]


@dataclass(frozen=True, repr=False)
class Fit:
    """What a training has reached.

    Attributes:
        model: p(x, z), trained in place.
        guide: q(z | x), trained in place, or None.
        history: a row for each epoch: ``epoch``; ``steps`` so far; ``loss``, the mean over the epoch in nats per datum;
            ``rate``, the learning rate of its last step; and what ``on_epoch`` gave.
        seconds: time spent in training, over all resumes.
        out: the folder of the run, if there is one.
        engine: how steps were taken, in a line.
    """

    model: Callable
    guide: Callable | None
    history: list[Row]
    seconds: float
    out: Path | None = None
    engine: str = "plain steps"

    @property
    def loss(self) -> float:
        """Loss of the last epoch, in nats per datum."""
        return self.history[-1]["loss"]

    @property
    def epochs(self) -> int:
        """Epochs done, the last perhaps in part."""
        return int(self.history[-1]["epoch"])

    @property
    def steps(self) -> int:
        """Steps done."""
        return int(self.history[-1]["steps"])

    def __repr__(self) -> str:
        place = "" if self.out is None else f", out={str(self.out)!r}"
        length = f"epochs={self.epochs}, steps={self.steps}, seconds={self.seconds:.1f}"
        return f"Fit(loss={self.loss:.4f} nats per datum, {length}{place})"


def fit(  # noqa: PLR0913, PLR0915 - a training has this many independent choices, and all but three have a default
    model: Callable,
    guide: Callable | None,
    data: Mapping[str, Any] | Iterable[Batch],
    *,
    objective: Any = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | Mapping[str, int | None] | None = BATCH_SIZE,
    augment: Augment | None = None,
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer] | None = None,
    schedule: Callable[[float], float] | None = None,
    beta: float | Callable[[float], float] = 1.0,
    on_epoch: Callable[[Any, Any], Mapping[str, float]] | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
    compile: bool | str = "auto",
    accelerator: str = "auto",
    precision: Any = "32-true",
) -> Fit:
    r"""Train a model and its guide by gradient steps on an objective, in place.

    .. math:: \min_{\theta, \phi} \; E_{q_\phi(z | x)} \big[ \log q_\phi(z | x) - \log p_\theta(x, z) \big]

    which is minus the ELBO, in nats, where ``objective`` is left out. The order of the data and everything random
    depend on the seed alone; the caller's random state is put back.

    In processes that ``torchrun`` has started, each with the same call, the training is data-parallel: every process
    has all data and works on its rows of each batch, and the gradients are summed, so that each step is the one that a
    single process would take on the whole batch, were the noise the same. It is not: each process draws its own, by
    the seed and its rank, and so the numbers depend on the seed and the number of processes. The weights at the start
    are those of the first process, which alone writes, shows, warns and calls ``on_epoch``. An error or an interrupt of
    one is raised in all. What is not the sum, or the mean, of its value for the shares of a batch is refused.

    Args:
        model: p(x, z), any Pyro callable.
        guide: q(z | x), likewise, with the same arguments; None with an objective that infers the latents itself, such
            as ``Minimised`` and ``Marginalised``.
        data: tensors with a common first dimension, named as the arguments of the model; or several streams by name,
            each a dict of such tensors, for an objective that takes them; or anything that gives batches which are
            such dicts, as often as it is iterated, for example a DataLoader.
        objective: a Pyro ELBO object, by default ``Trace_ELBO()``, or a function (model, guide, **batch) that gives a
            scalar tensor, a sum over the rows of the batch. A function with an argument ``progress`` gets the fraction
            of the training that is done; one that has a method ``numbers`` gets, by name, what that makes of it.
        epochs: passes over the data, of streams over the one with the most batches; or
        steps: gradient steps. Exactly one of the two.
        batch_size: rows of a batch, over all processes; None: all at every step; for streams also a dict; for a loader,
            nothing.
        augment: data augmentation: a function of the entries of a batch, as keyword arguments, that gives in a dict
            those that it changes, as distorted images, or pixels drawn anew; called at each step, for model and guide
            alike, and for each stream by itself. That of ``SemiSupervised`` changes only what its classifier sees.
        optimizer: from parameters to a torch optimizer, by default ``functools.partial(torch.optim.Adam, lr=0.001)``.
        schedule: from the fraction of the training that is done to a factor on the learning rate.
        beta: inverse temperature, or a function from the fraction of the training that is done to it: with an ELBO of
            Pyro the objective is then F_beta[q] = E_q[E] - H(q) / beta, in nats of energy, where E = -log p(x, z); a
            function is passed it as its argument ``beta``. For a beta-VAE, whose KL has the weight 1 / beta and whose
            reconstruction has none, train ``temper(model, beta, base="prior")``, whose loss is beta times that.
        on_epoch: called as ``on_epoch(model, guide)`` after each epoch, in evaluation mode and without gradients; its
            numbers go into the history. What it draws changes nothing in the training.
        seed: by default drawn from torch's generator.
        out: a folder for checkpoints, metrics, weights and a summary; it must be new or empty,
        resume: or hold a run that is to be continued. A continued run reaches, bit for bit, what an uninterrupted one
            reaches, if it has as many processes; with others the order of the data stays, and the noise is new. Where
            there is nothing to resume a new run is started. A finished run is loaded.
        settings: anything else that makes the run what it is (plain JSON); kept, and compared when it is resumed.
        progress: show a bar on standard error.
        compile: whether whole steps are compiled, from the programs as they are: True, False, or "auto", where so many
            steps are to come that it pays. Compiled steps give the numbers of plain ones up to rounding, which is
            checked before they are taken; what cannot be compiled is taken plainly, and :attr:`Fit.engine` says why
            (with True, a warning does). A run that is resumed goes on as it began.
        accelerator: as Lightning Fabric has it: "auto", "cpu", "cuda", ...
        precision: likewise: "32-true", ...; or "bf16", which takes matrix products in bfloat16 and all else in float32.
            "bf16-mixed", Fabric's own, takes more in bfloat16 and is not compiled; it leaves the data as they are.

    Warning:
        Of a network that a plain function names by ``pyro.module``, only the weights are trained and kept: it stays in
        its mode and on its device, and its buffers are in no checkpoint. Make it part of a module.

    Warning:
        A compiled step has what the programs do in Python built in: a number that they read from an attribute, or a
        tensor that is replaced by another (a change in place is seen), stays what it was. What ``on_epoch`` changes is
        noticed by a check every 40 steps or more, and ends the compiled steps with a warning.

    Returns:
        The trained pair with its history. The modules are in evaluation mode, on the device of the training.

    Raises:
        ValueError: the data, the pair or an argument cannot be trained with; nothing has been written then.
        TypeError: an argument is of the wrong kind.
        FileExistsError: ``out`` is taken.
        NonFiniteLossError: a loss is NaN or infinite; the last checkpoint is good.
        NonFiniteWeightsError: a weight is.
        ConnectionError: another process has ended; the last checkpoint is good.

    Example:
        >>> import pyro.distributions as dist
        >>> from pyro.infer.autoguide import AutoNormal
        >>> def model(y):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("y", dist.Normal(mean, 0.5), obs=y)
        >>> y = torch.tensor([0.3, -0.1, 1.2])
        >>> result = fit(model, AutoNormal(model), {"y": y}, epochs=20, batch_size=None, seed=0, progress=False)
        >>> result.epochs, result.steps
        (20, 20)
    """
    check_length(epochs, steps)
    check_schedule(schedule)
    check_compile(compile)
    fabric = make_fabric(accelerator, precision)
    processes = Processes(fabric)
    directory = open_shared(processes, out, resume)
    seed = processes.told(lambda: check_seed(directory.seed if directory is not None and seed is None else seed))
    tempered = at_temperature(objective, beta)
    check_guide(guide, tempered)
    batches = as_batches(data, batch_size, seed, fabric.device)
    what = {"model": model, "guide": guide, "objective": objective, "data": data, "batch_size": batch_size}
    how = {"augment": augment, "optimizer": optimizer, "schedule": schedule, "beta": beta, "seed": seed}
    where = {"device": fabric.device.type, "precision": precision, "compile": compile}
    if processes.count > 1:
        processes.agree({**what, **how, **where, "epochs": epochs, "steps": steps})
        batches = SharedBatches(batches, processes)
    if directory is not None:
        directory.describe({**what, **how, **where}, settings, {"epochs": epochs, "steps": steps})
    pair = Pair(model, no_guide if guide is None else guide, tempered, fabric.device, augment)
    with preserved_random_state(), training_mode(pair), processes.quiet():
        samples = batches.samples()
        pyro.set_rng_seed(seed)
        data_size = inspect_pair(pair, samples, batches.total)
        begin = Training if processes.count == 1 else together(processes, pair, objective, samples, seed)
        loss, built = set_up(fabric, pair, build_optimizer(optimizer, pair.trainable()))
        seconds, *_ = [check_loss(pair, loss, batch) for batch in samples]
        products = BFloat16Products if precision == "bf16" else nullcontext
        training = begin(pair, loss, built, fabric, batches, epochs, steps, schedule, on_epoch, data_size, products)
        state = None if directory is None else directory.load(training.uses_progress)
        # A resumed run goes on as it began: compiled steps are rounded in another way.
        chosen = compile if state is None else state["compile"]
        decide_on_compiling(training, chosen, compile is True, seconds, lambda: check_loss(pair, loss, samples[0]))
        if directory is None:
            training.run(None, progress)
        else:
            _train_in(directory, training, state, progress)
    path = None if directory is None else directory.path
    return Fit(model, guide, training.history, training.seconds, path, training.how)


def _train_in(directory: RunDirectory, training: Training, state: dict[str, Any] | None, show: bool) -> None:
    """Train from where the run in the directory is, to the end, and leave there what can be loaded or resumed."""
    if state is not None:
        training.load(state)
    if not training.finished:
        directory.open(training.epoch)
        try:
            if state is None:
                training.save(directory)
            training.run(directory, show)
        except KeyboardInterrupt as interrupt:
            where = str(directory.path)
            interrupt.add_note(f"The training can be continued: call fit again with out={where!r} and resume=True.")
            raise
        finally:
            directory.close()
    if not directory.complete:
        done = {"epochs": training.epoch, "steps": training.step, "seconds": training.seconds}
        directory.finish(training.pair.weights(), {"loss": training.history[-1]["loss"], **done})
