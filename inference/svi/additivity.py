r"""How the losses of shares make up the loss of a batch, so that the sum of gradients is that of one process.

With L the loss of a batch of B rows and L_r that of the share of b_r rows that process r has, the rule is one of

.. math:: L = \sum_r L_r \qquad \text{or} \qquad L = \sum_r \frac{b_r}{B} L_r,

the first where a loss stands for its rows, as with ``pyro.plate("data", len(x))``, the second where it stands for all
data, as with ``pyro.plate("data", N, subsample_size=len(x))``. What is neither cannot be shared, and is refused.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.distributions import transforms
from pyro.infer import RenyiELBO, Trace_MMD
from pyro.poutine import Trace
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..energy.structure import sample_sites
from .data import Batch, row_count
from .pair import Pair
from .pair_checks import Site, is_enumerated, preserved_buffers, traces
from .random_state import preserved_random_state
from .sharding import share

__all__ = ["stands_for_all_data"]

DRAWS = 16
"""Evaluations from which it is seen what a function does with a share."""


def stands_for_all_data(pair: Pair, objective: Any, samples: list[Batch], count: int) -> bool:
    """Whether a loss is to be weighted by its share of the rows (the second rule), or not (the first).

    Of an ELBO the scales of the sites in a whole batch and in a share tell. A function is evaluated on both, and should
    be a sum over the rows; it may also be a mean, or stand for all data.

    Args:
        pair: what is trained.
        objective: as ``fit`` takes it.
        samples: whole batches of all shapes that will come.
        count: the number of processes.

    Raises:
        ValueError: neither rule holds, and so several processes cannot train what a single one does.
    """
    _check_modules(pair)
    if not pair.objective.is_elbo:
        with _rows_apart(pair):
            return _by_values(pair, samples[0], count)
    if isinstance(objective, Trace_MMD) or (isinstance(objective, RenyiELBO) and objective.num_particles > 1):
        raise ValueError(
            f"objective must be a sum over the rows of a batch to be shared by {count} processes, and "
            f"{type(objective).__name__} is none: use one process, or Trace_ELBO()."
        )
    # A batch of one row is one process's alone, and right by either rule.
    divisible = [batch for batch in samples if row_count(batch) > 1]
    rules = {rule for batch in divisible for rule in [_by_scales(pair, batch, count)]}
    if len(rules) > 1:
        raise ValueError("model must scale its sites alike in full batches and in the last one, which is smaller.")
    return rules == {True}


def _check_modules(pair: Pair) -> None:
    for name, module in pair.parts.named_modules():
        if isinstance(module, transforms.BatchNorm):
            raise ValueError(
                f"{name} normalises over the rows of a batch, of which each process has only its share: leave Pyro's "
                "BatchNorm out of the flow, or use a single process."
            )
    if pair.objective.accumulates and any(isinstance(part, _BatchNorm) for part in pair.modules()):
        raise ValueError(
            "objective must be one whose loss can be differentiated, such as Trace_ELBO(), where several processes "
            "train a network with batch normalisation: use that, nn.LayerNorm, or a single process."
        )


@contextmanager
def _rows_apart(pair: Pair) -> Iterator[None]:
    """Inside, batch normalisation goes by its running statistics, so that no row depends on another."""
    layers = [part for part in pair.modules() if isinstance(part, _BatchNorm) and part.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


def _by_scales(pair: Pair, batch: Batch, count: int) -> bool:
    batch = pair.changed(batch)
    part = dict(share(batch, 0, count))
    rows, few = row_count(batch), row_count(part)
    with pair.on_device():
        whole = traces(*pair.programs, **batch)
        try:
            shared = traces(*pair.programs, **part)
        except Exception as error:
            raise ValueError(
                f"model and guide must take any number of rows to be shared by {count} processes, but after {rows} "
                f"rows they fail with {few}: {type(error).__name__}: {error} Are there parameters by row?"
            ) from error
    plates = _plates(whole, rows) & _plates(shared, few)
    factors = {
        f"{role}: {name}": factor
        for role, of_whole, of_share in zip(("model", "guide"), whole, shared, strict=True)
        for name, factor in _factors(of_whole, of_share, plates, rows / few)
    }
    if all(math.isclose(factor, 1, rel_tol=1e-4) for factor in factors.values()):
        return False
    if all(math.isclose(factor, few / rows, rel_tol=1e-4) for factor in factors.values()):
        return True
    once = [site for site, factor in factors.items() if not math.isclose(factor, 1, rel_tol=1e-4)]
    raise ValueError(
        f"the loss of {rows} rows must be the sum of those of their shares in {count} processes, but the sites {once} "
        "are outside the plate of the data and would count once in each process, or are scaled in another way than the "
        "rest. Write the plate as pyro.plate(name, N, subsample_size=len(batch)) with N the number of all data, or use "
        "a single process."
    )


def _plates(pair_of_traces: tuple[Trace, Trace], rows: int) -> set[str]:
    frames = [frame for trace in pair_of_traces for site in sample_sites(trace).values() for frame in _frames(site)]
    return {frame.name for frame in frames if frame.size == rows}


def _factors(whole: Trace, shared: Trace, plates: set[str], ratio: float) -> Iterator[tuple[str, float]]:
    """By site, what the sum of the losses of equal shares is to be multiplied by to be that of the whole."""
    before = sample_sites(whole)
    for name, site in sample_sites(shared).items():
        if name not in before:
            continue  # in a sequential plate of rows, where some are another's
        local = bool(plates & {frame.name for frame in _frames(site)})
        if not local:
            _check_common(name, before[name], site)
        yield name, _scale(before[name]) / _scale(site) / (1 if local else ratio)


def _check_common(name: str, whole: Site, shared: Site) -> None:
    observed = whole["is_observed"] and not whole["infer"].get("_deterministic")
    if observed or torch.as_tensor(whole["value"]).shape != torch.as_tensor(shared["value"]).shape:
        raise ValueError(
            f"the site {name!r} must be in a plate of the rows of the batch, pyro.plate(..., len(batch)), where "
            "several processes share them: only then is it known how it counts. Or use a single process."
        )
    if is_enumerated(whole):
        raise ValueError(
            f"the site {name!r} is summed out and all rows of a batch share it, so that their energies do not add up, "
            "and cannot be shared by several processes: let the guide draw it, or use a single process."
        )


def _frames(site: Site) -> list[Any]:
    return list(site["cond_indep_stack"])


def _scale(site: Site) -> float:
    # A scale by row has that of the first row first, and so in the share, which is of the first rows.
    scales = torch.as_tensor(site["scale"], dtype=torch.float64).flatten()
    return next((scale for scale in scales.tolist() if scale != 0), 1.0)


def _by_values(pair: Pair, batch: Batch, count: int) -> bool:
    shares = [share(batch, rank, count) for rank in range(count)]
    fits_sum, fits_mean = True, True
    for progress in (0.0, 1.0) if pair.objective.uses_progress else (0.0,):
        with preserved_random_state(), preserved_buffers([pair]):
            numbers = pair.objective.numbers(progress)
            whole = _draws(lambda numbers=numbers: pair(batch, numbers))
            parts = [_draws(lambda part=part, numbers=numbers: pair(part, numbers)) for part in shares]
        fits_sum &= _same_mean(whole, torch.stack(parts).sum(0))
        fits_mean &= _same_mean(
            whole, torch.stack([part.fraction * draws for part, draws in zip(shares, parts, strict=True)]).sum(0)
        )
    for leaf in pair.leaves().values():
        leaf.grad = None
    if not (fits_sum or fits_mean):
        raise ValueError(
            f"objective must be a sum over the rows of a batch to be shared by {count} processes, but its value for a "
            "batch is neither the sum nor the mean of those for the shares: make it one, or use a single process."
        )
    return not fits_sum


def _draws(loss: Callable[[], Tensor]) -> Tensor:
    return torch.stack([loss().detach().double().cpu() for _ in range(DRAWS)])


def _same_mean(first: Tensor, second: Tensor) -> bool:
    error = ((first.var() + second.var()) / DRAWS).sqrt()
    rounding = 1e-4 * (first.abs().mean() + second.abs().mean())
    return bool((first.mean() - second.mean()).abs() <= 6 * error + rounding)
