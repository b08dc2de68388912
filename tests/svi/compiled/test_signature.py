"""The key of a graph tells apart all batches that a graph cannot share."""

import itertools

import torch

from pyrometer.inference.svi.compiled.signature import rebuilt, signature, tensors_of


def test_batches_that_a_graph_cannot_share_have_different_keys():
    """Rows, type, strides, names, further arguments and streams."""
    y = torch.ones(4, 2)
    batches = [
        {"y": y},
        {"y": y[:1]},
        {"y": y.double()},
        {"y": torch.ones(2, 4).mT},
        {"x": y},
        {"y": y, "flag": True},
        {"y": y, "flag": False},
        {"many": {"y": y}},
        {"many": {"y": y}, "few": {"y": y[:2]}},
        {"many": {"y": y}, "few": {"y": y[:1]}},
    ]
    for a, b in itertools.combinations(batches, 2):
        assert signature(a) != signature(b)


def test_values_of_tensors_are_no_part_of_the_key():
    assert signature({"y": torch.zeros(3)}) == signature({"y": torch.ones(3)})


def test_a_batch_is_rebuilt_with_other_tensors_in_its_places():
    batch = {"many": {"x": torch.ones(2), "k": 3}, "few": {"x": torch.zeros(1)}}
    doubled = rebuilt(batch, [tensor + 1 for tensor in tensors_of(batch)])
    assert doubled["many"]["k"] == 3
    assert [tensor.tolist() for tensor in tensors_of(doubled)] == [[2.0, 2.0], [1.0]]
    assert batch["many"]["x"].tolist() == [1.0, 1.0]
