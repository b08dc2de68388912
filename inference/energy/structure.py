"""What a program looks like: its sites, their plates, the data plate; found by running it once."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.util import get_rng_state, set_rng_state
from torch import Tensor, nn
from torch.distributions import biject_to

from .substitute import LiftMasks, hide_samples, innermost, is_real, is_subsample
from .user_code import warn_caller

__all__ = ["Site", "Structure", "probe", "sample_sites", "subsampling"]


@dataclass(frozen=True)
class Site:
    """One sample site: whether it is data, the shape of its value, the plates around it (outermost first).

    ``plate_dims`` gives the (negative) batch dimension of each plate that has one; a sequential plate has none.
    ``computed`` marks a Delta, by which a guide states a value that it has computed rather than drawn, and
    ``coordinates`` is the shape of the unconstrained coordinates of its value (None: it has none, as if discrete), and
    ``bounded`` says that the support of a continuous value is not all of the line.
    """

    name: str
    observed: bool
    shape: torch.Size
    event_dim: int
    plates: tuple[str, ...]
    plate_dims: dict[str, int]
    discrete: bool
    computed: bool
    coordinates: torch.Size | None
    bounded: bool

    @property
    def batch(self) -> int:
        """The number of batch dimensions of its value."""
        return len(self.shape) - self.event_dim


@dataclass(frozen=True)
class Structure:
    """The sites of a program in the order of running, and how its data are laid out.

    ``data_plate`` is the plate whose elements are the data (None: totals only), ``size`` its size in this call,
    ``subsampling`` its full size over that size, ``nesting`` the number of dimensions that plates use, and ``depth``
    the number of batch dimensions of any site, in a plate or not. ``observed`` holds the data, by site, and
    ``subsamples`` the indices that plates chose.
    """

    sites: dict[str, Site]
    data_plate: str | None
    size: int
    subsampling: float
    nesting: int
    depth: int
    observed: dict[str, Tensor] = field(repr=False)
    subsamples: dict[str, Tensor] = field(repr=False)

    @property
    def latents(self) -> list[str]:
        """Names of the latent sites."""
        return [name for name, site in self.sites.items() if not site.observed]

    @property
    def shared_latents(self) -> list[str]:
        """Names of the latent sites outside the data plate: they couple the data."""
        return [name for name in self.latents if self.data_plate not in self.sites[name].plates]

    @property
    def data(self) -> list[Site]:
        """The observed sites that hold data: a pyro.factor has no value, and a pyro.deterministic is ``computed``."""
        return [s for s in self.sites.values() if s.observed and not s.computed and s.shape.numel() > 0]

    @property
    def factors(self) -> list[str]:
        """Names of the observed sites without a value, as pyro.factor makes them."""
        return [s.name for s in self.sites.values() if s.observed and not s.computed and s.shape.numel() == 0]

    @property
    def computed(self) -> list[Site]:
        """What the program computes by ``pyro.deterministic``, or what reparam leaves of a site."""
        return [s for s in self.sites.values() if s.observed and s.computed]

    def refuse_without_data(self) -> None:
        """A program that observes nothing has a prior, and no posterior.

        Raises:
            ValueError: if it has neither data nor factors.
        """
        if not self.data and not self.factors:
            raise ValueError(
                f"the program observes nothing: its sites {self.latents} are all latent. Bind the view to data, as "
                f"EnergyView(model).bind(y), that the program passes on as obs=..."
            )

    def is_discrete(self, name: str) -> bool:
        """Whether the site takes values that can be enumerated."""
        return self.sites[name].discrete

    def check_given(self, given: Mapping[str, Tensor]) -> torch.Size:
        """The leading dimensions of values to hold fixed, which must be those of latent sites, in their own shapes.

        Raises:
            ValueError: naming the site, with both shapes.
        """
        unknown = [name for name in given if name not in self.latents]
        if unknown:
            raise ValueError(f"given names {unknown}; the program's latent sites are {self.latents}.")
        lead = torch.Size()
        for name, value in given.items():
            own = self.sites[name].shape
            if value.dim() < len(own) or value.shape[value.dim() - len(own) :] != own:
                raise ValueError(
                    f"given[{name!r}] has shape {tuple(value.shape)}; its trailing dimensions must be the site's own, "
                    f"{tuple(own)}, and any dimensions before them are draws."
                )
            lead = torch.broadcast_shapes(lead, value.shape[: value.dim() - len(own)])
        return torch.Size(lead)

    def refuse_subsampling(self, shared: list[str]) -> None:
        """A latent that the data share has no free energy given a part of the data.

        Raises:
            ValueError: if there is such a latent and the data plate is subsampled.
        """
        if shared and self.subsampling != 1:
            raise ValueError(
                f"the plate {self.data_plate!r} is subsampled, and the latents {shared} lie outside it: their free "
                f"energy needs all the data; bind the program without subsampling."
            )


def probe(program: Callable, plate: str | None, args: tuple, kwargs: dict) -> Structure:
    """Runs the program once, without gradient and leaving the random state as it was, and describes it.

    Args:
        program: any Pyro callable.
        plate: the name of the data plate. Where the program has none of that name, the outermost plate that holds
            every observed site is taken, or none; None asks for totals only.
        args, kwargs: the arguments of the program.

    Raises:
        ValueError: if a batch normalisation or dropout layer of the program is in training mode: running it would
            change its statistics, or give another energy at every call.
    """
    _refuse_training_mode(program)
    masks = _MaskVersions()
    state = get_rng_state()
    try:
        with torch.no_grad(), hide_samples(), LiftMasks(), masks:
            trace = poutine.trace(program).get_trace(*args, **kwargs)
    finally:
        set_rng_state(state)
    masks.warn_if_changed()
    return _describe(trace, plate)


def sample_sites(trace: poutine.Trace) -> dict[str, Any]:
    """The sample statements of a trace by name, in the order of running; the choices of subsamples are none."""
    nodes: dict[str, Any] = dict(trace.nodes.items())
    return {name: node for name, node in nodes.items() if node["type"] == "sample" and not is_subsample(node)}


def subsampling(frames: Sequence[Any], *, without: str | None = None) -> float:
    """The factor by which plates scale a site for their subsampling: the product of full size over size."""
    return math.prod((f.full_size or f.size) / f.size for f in frames if f.size > 0 and f.name != without)


def _describe(trace: poutine.Trace, plate: str | None) -> Structure:
    sampled = sample_sites(trace)
    frames = {f.name: f for node in sampled.values() for f in node["cond_indep_stack"]}
    sites = {name: _site(name, node) for name, node in sampled.items()}
    data_plate = _data_plate(sites, plate)
    nesting = max((-f.dim for f in frames.values() if f.vectorized), default=0)
    depth = max([nesting, *(len(node["fn"].batch_shape) for node in sampled.values())])
    size, factor = 0, 1.0
    if data_plate is not None:
        frame = frames[data_plate]
        size = frame.size if frame.size > 0 else _inferred_size(sampled, frame)
        factor = subsampling((frame,))
    nodes: dict[str, Any] = dict(trace.nodes.items())
    subsamples = {n: s["value"] for n, s in nodes.items() if s["type"] == "sample" and is_subsample(s)}
    observed = {name: node["value"] for name, node in sampled.items() if node["is_observed"]}
    return Structure(sites, data_plate, size, factor, nesting, depth, observed, subsamples)


def _site(name: str, node: Mapping[str, Any]) -> Site:
    fn = node["fn"]
    plates = tuple(f.name for f in node["cond_indep_stack"])
    discrete = bool(getattr(fn, "has_enumerate_support", False))
    dims = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
    computed = isinstance(innermost(fn), dist.Delta)
    coordinates = None if discrete else _coordinates(fn, node["value"].shape)
    bounded = coordinates is not None and not is_real(fn.support)
    deterministic = computed and node["is_observed"]
    event_dim = _computed_event_dim(node, fn.event_dim) if deterministic else fn.event_dim
    return Site(
        *(name, node["is_observed"], node["value"].shape, event_dim, plates, dims),
        *(discrete, computed, coordinates, bounded),
    )


def _computed_event_dim(node: Mapping[str, Any], told: int) -> int:
    """``pyro.deterministic`` takes all dimensions of a value for its own; those of the plates around it are not."""
    shape, frames = node["value"].shape, [f for f in node["cond_indep_stack"] if f.vectorized]

    def fits(event_dim: int) -> bool:
        axes = [len(shape) - event_dim + frame.dim for frame in frames]
        return all(axis >= 0 and shape[axis] == frame.size for axis, frame in zip(axes, frames, strict=True))

    return next((event_dim for event_dim in range(len(shape), -1, -1) if fits(event_dim)), told)


def _coordinates(fn: Any, shape: torch.Size) -> torch.Size | None:
    try:
        return torch.Size(biject_to(fn.support).inverse_shape(shape))
    except NotImplementedError:
        return None


def _data_plate(sites: dict[str, Site], plate: str | None) -> str | None:
    if plate is None:
        return None
    if any(plate in site.plates for site in sites.values()):
        return plate
    observed = [site.plates for site in sites.values() if site.observed]
    if not observed:
        return None
    return next((name for name in observed[0] if all(name in plates for plates in observed)), None)


def _inferred_size(nodes: dict[str, Any], frame: Any) -> int:
    # A plate without a size takes that of the batches inside it.
    batches = [n["fn"].batch_shape for n in nodes.values() if any(f.name == frame.name for f in n["cond_indep_stack"])]
    return max((shape[frame.dim] for shape in batches if len(shape) >= -frame.dim), default=1)


def _refuse_training_mode(program: Callable) -> None:
    if not isinstance(program, nn.Module):
        return
    for name, module in program.named_modules():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
            raise ValueError(
                f"the layer {name!r} ({type(module).__name__}) of {type(program).__name__} is in training mode, where "
                f"its output is no function of its input alone; call .eval() on the program before measuring it."
            )


class _MaskVersions(poutine.messenger.Messenger):
    """Notices masks that are changed in place after their site: losses would then see the last value."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, tuple[Tensor, int]] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["mask"], Tensor):
            self.seen[msg["name"]] = (msg["mask"], msg["mask"]._version)

    def warn_if_changed(self) -> None:
        changed = [name for name, (mask, version) in self.seen.items() if mask._version != version]
        if changed:
            warn_caller(
                f"the mask of site {changed[0]!r} is changed in place after the site: its energy uses the last value; "
                f"write mask = mask & ... rather than mask &= ..."
            )
