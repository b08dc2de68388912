"""What is trained in two processes for tests/svi/test_parallel.py, and in one beside them."""

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pyrometer import SemiSupervised
from pyrometer.inference.svi import fit

RANK = int(os.environ.get("RANK", "0"))
ADAM = functools.partial(torch.optim.Adam, lr=0.05)
GENERATOR = torch.Generator().manual_seed(1)
X, EPS = torch.randn(21, 5, generator=GENERATOR), torch.randn(21, 3, generator=GENERATOR)
CLASS = torch.randint(3, (21,), generator=GENERATOR)


class Decoder(nn.Module):
    """x ~ N(net(z), 0.5); ``eps`` is the guide's noise, given as data."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4 + RANK)  # what differs at the start must not stay so
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5))

    def forward(self, x: Tensor, eps: Tensor) -> None:  # noqa: ARG002
        """The program."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z), 0.5).to_event(1), obs=x)


class Encoder(nn.Module):
    """q(z | x) = N(loc(x), scale(x)) at the given noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5 + RANK)
        self.net = nn.Linear(5, 6)

    def forward(self, x: Tensor, eps: Tensor) -> None:
        """The program."""
        loc, log_scale = self.net(x).chunk(2, -1)
        q = dist.Normal(loc, log_scale.exp())
        z = loc + log_scale.exp() * eps
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(z, q.log_prob(z).sum(-1), event_dim=1))


class Noisy(Encoder):
    """The same with noise of its own, which it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def forward(self, x: Tensor, eps: Tensor) -> None:
        """The program."""
        eps = torch.randn_like(eps)
        self.seen.append(eps[0, 0].item())
        super().forward(x, eps)


class Classes(nn.Module):
    """x ~ N(loc of its class, 0.5), a parameter for each class, so that a batch has no gradient for some."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.ParameterList([nn.Parameter(torch.full((5,), float(k))) for k in range(3)])

    def forward(self, x: Tensor, label: Tensor) -> None:
        """The program."""
        loc = torch.stack([self.loc[k] for k in label.tolist()])
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)


class Digits(nn.Module):
    """digit, style and x; or, as ``guide``, digit and a style without noise."""

    def __init__(self, guide: bool) -> None:
        super().__init__()
        torch.manual_seed(8 + RANK)
        self.guide = guide
        self.style, self.x = nn.Linear(5 + 3, 2), nn.Linear(2 + 3, 5)
        self.digit = nn.Linear(5, 3)

    def forward(self, x: Tensor, digit: Tensor | None = None) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            if not self.guide or digit is None:
                logits = self.digit(x) if self.guide else torch.zeros(3)
                digit = pyro.sample("digit", dist.Categorical(logits=logits), obs=digit)
            one_hot = torch.eye(3)[digit]
            if self.guide:
                pyro.sample("style", dist.Delta(self.style(joined(x, one_hot)), event_dim=1))
            else:
                style = pyro.sample("style", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
                pyro.sample("x", dist.Normal(self.x(joined(style, one_hot)), 0.5).to_event(1), obs=x)


def joined(left: Tensor, right: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    return torch.cat([left.expand(*shape, -1), right.expand(*shape, -1)], -1)


def subsampled(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0).expand([5]).to_event(1))
    with pyro.plate("data", 21, subsample_size=len(x)):
        pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)


def plain_guide(x: Tensor) -> None:  # noqa: ARG001
    loc = pyro.param("loc", lambda: torch.full((5,), 0.3 + RANK))
    pyro.sample("mean", dist.Delta(loc, event_dim=1))


def with_globals(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0).expand([5]).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)


def local(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z[:, None], 0.5).expand([len(x), 5]).to_event(1), obs=x)


@config_enumerate
def mixture(x: Tensor) -> None:
    loc = pyro.param("locs", lambda: torch.linspace(-1.0, 1.0, 3))
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(torch.ones(3) / 3))
        pyro.sample("x", dist.Normal(loc[k], 0.5), obs=x[:, 0])


@config_enumerate
def shared_cause(x: Tensor) -> None:
    loc = pyro.param("locs", lambda: torch.linspace(-1.0, 1.0, 3))
    k = pyro.sample("k", dist.Categorical(torch.ones(3) / 3))
    with pyro.plate("data", 21, subsample_size=len(x)):
        pyro.sample("x", dist.Normal(loc[k], 0.5), obs=x[:, 0])


def empty_guide(x: Tensor) -> None:
    """q of nothing."""


def empty_guide_of_classes(x: Tensor, label: Tensor) -> None:
    """q of nothing."""


def mean_of_rows(model: Callable, guide: Callable, x: Tensor, eps: Tensor) -> Tensor:
    return Trace_ELBO().differentiable_loss(model, guide, x=x, eps=eps) / len(x)


def of_the_whole(model: Callable, guide: Callable, x: Tensor, eps: Tensor) -> Tensor:
    return Trace_ELBO().differentiable_loss(model, guide, x=x, eps=eps) ** 2


def failing_in_process_1(model: Callable, guide: Callable, x: Tensor, eps: Tensor, progress: float) -> Tensor:
    if RANK == 1 and progress > 0.4:
        raise ValueError("this process has had enough.")
    return Trace_ELBO().differentiable_loss(model, guide, x=x, eps=eps)


def interrupting(model: Callable, guide: Callable, x: Tensor, eps: Tensor, progress: float) -> Tensor:
    if RANK == 1 and progress == 9 / 20:  # once: a second signal would not wait
        os.kill(os.getpid(), signal.SIGINT)
    return Trace_ELBO().differentiable_loss(model, guide, x=x, eps=eps)


class NanAt(Decoder):
    """A density that is NaN for one of the data, the row 13, once it comes up in a share."""

    def forward(self, x: Tensor, eps: Tensor) -> None:  # noqa: ARG002
        """The program."""
        bad = (x == X[13]).all(-1, keepdim=True) & (len(x) < 8)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z).masked_fill(bad, torch.nan), 0.5).to_event(1), obs=x)


def failing_after_the_model(model: Callable, guide: Callable, x: Tensor, eps: Tensor, progress: float) -> Tensor:
    loss = Trace_ELBO().differentiable_loss(model, guide, x=x, eps=eps)
    if RANK == 1 and progress > 0.4:
        raise ValueError("this process has had enough.")
    return loss


def loader(seed: int | None) -> DataLoader:
    items: Any = [{"x": x, "eps": eps} for x, eps in zip(X, EPS, strict=True)]
    return DataLoader(
        items, batch_size=8, shuffle=True, generator=None if seed is None else torch.Generator().manual_seed(seed)
    )


class Breaking:
    """Batches of which the second process cannot read the third."""

    def __iter__(self) -> Any:
        for number, batch in enumerate(loader(seed=3)):
            if RANK == 1 and number == 2:
                raise OSError("the disk is gone")
            yield batch


def streams(rows: int = 10) -> dict[str, Any]:
    return {"unlabelled": {"x": X}, "labelled": {"x": X[:rows], "digit": CLASS[:rows]}}


def neural(**changed: Any) -> dict[str, Any]:
    usual = {"model": Decoder(), "guide": Encoder(), "data": {"x": X, "eps": EPS}, "batch_size": 8}
    return {**usual, **changed}


def plain(model: Callable, guide: Callable, **changed: Any) -> dict[str, Any]:
    return {"model": model, "guide": guide, "data": {"x": X}, "batch_size": 8, **changed}


EQUAL: dict[str, Callable[[], dict[str, Any]]] = {
    "rows": neural,
    "a last batch of one row": lambda: neural(data={"x": X[:17], "eps": EPS[:17]}),
    "a function that is a mean": lambda: neural(objective=mean_of_rows),
    "at a temperature": lambda: neural(objective=TraceGraph_ELBO(), beta=lambda done: 0.5 + done),
    "batch normalisation": lambda: neural(model=normalised()),
    "batch normalisation in a mean": lambda: neural(model=normalised(), objective=mean_of_rows),
    "a loader": lambda: {**neural(), "data": loader(seed=3), "batch_size": 256},
    "a subsampled plate": lambda: plain(subsampled, AutoDelta(subsampled)),
    "all rows, in Pyro's store": lambda: plain(subsampled, plain_guide, batch_size=None),
    "an ELBO that adds to gradients itself": lambda: plain(subsampled, plain_guide, objective=TraceGraph_ELBO()),
    "enumeration": lambda: plain(mixture, empty_guide, objective=TraceEnum_ELBO()),
    "parameters without gradients": lambda: plain(
        Classes(), empty_guide_of_classes, data={"x": X, "label": CLASS}, batch_size=2
    ),
    "streams": lambda: {
        "model": Digits(guide=False), "guide": Digits(guide=True), "data": streams(),
        "objective": SemiSupervised(0.25), "batch_size": {"unlabelled": 6, "labelled": 4},
    },
}  # fmt: skip

REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "a latent that all data share": lambda: plain(with_globals, AutoDelta(with_globals), batch_size=None),
    "a shared latent that is summed out": lambda: plain(
        shared_cause, empty_guide, objective=TraceEnum_ELBO(), batch_size=None
    ),
    "parameters by row": lambda: plain(local, AutoNormal(local), batch_size=None),
    "weights of all rows": lambda: neural(objective=RenyiELBO(num_particles=3)),
    "a function of the whole": lambda: neural(objective=of_the_whole),
    "normalisation of too few rows": lambda: neural(model=single_normalised(), data={"x": X[:17], "eps": EPS[:17]}),
    "normalisation beside gradients of its own": lambda: neural(model=normalised(), objective=TraceGraph_ELBO()),
    "a process that fails where others normalise": lambda: neural(model=normalised(), objective=failing_in_process_1),
    "more processes than rows": lambda: neural(batch_size=1),
    "streams that cannot be halved": lambda: {**EQUAL["streams"](), "batch_size": {"unlabelled": 6, "labelled": 3}},
    "other data in each": lambda: neural(data={"x": X + RANK, "eps": EPS}),
    "a loader with another order in each": lambda: {**neural(), "data": loader(seed=None), "batch_size": 256},
    "a loss that is NaN in one": lambda: neural(model=NanAt(), batch_size=14),
    "a process that fails": lambda: neural(objective=failing_in_process_1),
    "a loader that fails": lambda: neural(data=Breaking(), batch_size=256),
    "a process that fails when others differentiate": lambda: neural(
        model=normalised(), objective=failing_after_the_model
    ),
    "on_epoch that fails": lambda: neural(on_epoch=lambda *_: {"rank": float("no number")}),
}


def normalised() -> nn.Module:
    """No bias before the normalisation: its gradient would be rounding error, of which Adam makes whole steps."""
    model = Decoder()
    pictures = nn.Sequential(nn.Unflatten(1, (4, 2, 1)), nn.BatchNorm2d(4), nn.Flatten())
    model.net = nn.Sequential(nn.Linear(3, 8, bias=False), pictures, nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 5))
    return model


def single_normalised() -> nn.Module:
    """Torch takes a batch of one picture, but of no single number."""
    model = normalised()
    model.net[3] = nn.Identity()
    return model


def train(arguments: dict[str, Any], steps: int = 20, **more: Any) -> dict[str, Any]:
    """All that a training reaches, as plain types and tensors."""
    pyro.clear_param_store()
    result = fit(**{"optimizer": ADAM, "seed": 7, "steps": steps, "progress": False, **arguments, **more})
    return {"history": result.history, "weights": weights(result), "out": str(result.out)}


def weights(result: Any) -> dict[str, Tensor]:
    found = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    pyro.clear_param_store()
    for role in ("model", "guide"):
        part = getattr(result, role)
        if isinstance(part, nn.Module):
            found |= {f"{role}.{name}": value.clone() for name, value in part.state_dict().items()}
    return found


def refused(arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The error that a training ends with."""
    try:
        train(arguments, **more)
    except BaseException as error:
        fields = {"rows": error.rows} if hasattr(error, "rows") else {}
        notes = getattr(error, "__notes__", [])
        return {"type": type(error).__name__, "message": str(error), "notes": notes, **fields}
    return {"type": "none"}
