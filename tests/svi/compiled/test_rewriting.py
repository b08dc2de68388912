"""What a graph keeps when it is set in order."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pyrometer.inference.svi.compiled.rewriting import set_in_order


def unused_draw(x):
    torch.randn(2)
    return x + 1


def check(x):
    return torch.linalg.cholesky(x) + 1


def unused_write(x):
    x.mul_(2)
    return torch.ones(2)


def unused_result(x):
    torch.sin(x)
    return x + 1


@pytest.mark.parametrize(
    ("function", "kept"),
    [(unused_draw, "randn"), (check, "_linalg_check_errors"), (unused_write, "mul_"), (unused_result, None)],
)
def test_what_has_an_effect_stays_though_nobody_uses_its_result_and_all_else_goes(function, kept, monkeypatch):
    """Versions of torch differ in what they take for an effect; the least that one can think of are writes."""
    graph = make_fx(function)(torch.eye(2))
    monkeypatch.setattr(torch.fx.Node, "is_impure", only_writes)
    set_in_order(graph)
    targets = " ".join(str(node.target) for node in graph.graph.nodes)
    assert "sin" not in targets
    assert kept is None or f"aten.{kept}." in targets


def only_writes(node, *_args, **_flags):
    if node.op in ("placeholder", "output"):
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable
