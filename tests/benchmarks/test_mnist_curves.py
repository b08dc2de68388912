"""The curves of error against CPU time, of made-up runs; and the peer on images that are easy to tell apart."""

import json
import math
from types import SimpleNamespace

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from pyrometer.benchmarks import peer_ssvae
from pyrometer.benchmarks.m2 import DIGITS, M2, M2Guide, M2Networks
from pyrometer.benchmarks.mnist_curves import OURS, PEER, figure, ours, report
from pyrometer.benchmarks.peer_ssvae import Epoch, train
from pyrometer.data import ImageDataset


def test_levels_are_reached_when_they_first_are_and_seeds_that_never_do_are_counted():
    """Oracle: by hand."""
    one, other = [Epoch(60.0, 0.2), Epoch(120.0, 0.04)], [Epoch(90.0, 0.09), Epoch(180.0, 0.06)]
    unknown = [Epoch(math.nan, 0.3), Epoch(math.nan, 0.02)]
    text = report({(OURS, 100): [one, other, unknown], (PEER, 100): [[Epoch(600.0, 0.5)]]})
    assert "| ssvae | 100 | 3 | 1.8 (2) | 2.0 (1) | - | - | 4.00 % | 2.5 (2) |" in text
    assert "| M2, Pyro alone | 100 | 1 | - | - | - | - | 50.00 % | 10.0 (1) |" in text
    lines = figure({(OURS, 100): [one, other], (PEER, 100): [[Epoch(600.0, 0.5)]]}).axes[0].lines
    assert [line.get_xdata()[-1] for line in lines] == [2.0, 3.0, 10.0]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--"]


def test_a_run_gives_its_errors_at_an_even_share_of_its_cost(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,validation_accuracy\n1,0.8\n2,0.95\n")
    (tmp_path / "summary.json").write_text(json.dumps({"cpu_seconds": 50.0}))
    assert ours(tmp_path) == [(25.0, pytest.approx(0.2)), (50.0, pytest.approx(0.05))]
    (tmp_path / "summary.json").write_text(json.dumps({"cpu_seconds": None}))
    assert [epoch.validation_error for epoch in ours(tmp_path)] == [pytest.approx(0.2), pytest.approx(0.05)]
    assert all(math.isnan(epoch.cpu_seconds) for epoch in ours(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no finished training: run python -m benchmarks\.mnist"):
        ours(tmp_path / "elsewhere")


def easy(count):
    """Of each digit its own two rows are black, among grey noise."""
    digit = torch.arange(count) % DIGITS
    image = 0.3 * torch.rand(count, 28, 28)
    for row, label in enumerate(digit):
        image[row, 2 * label : 2 * label + 2] = 0.9
    return ImageDataset(image, digit)


def test_the_peer_learns_what_is_easy(monkeypatch):
    monkeypatch.setattr(peer_ssvae, "mnist", lambda: SimpleNamespace(train=easy(12_000)))
    epochs = list(train(labels=100, seed=0, epochs=4))
    assert [epoch.cpu_seconds for epoch in epochs] == sorted(epoch.cpu_seconds for epoch in epochs)
    assert epochs[-1].validation_error < 0.1


def test_every_image_is_seen_once_an_epoch():
    plain, known = torch.arange(950.0)[:, None], (torch.arange(450.0)[:, None], torch.arange(450)[:, None])
    batches = list(peer_ssvae._epoch(plain, known))
    assert sorted(torch.cat([b[0] for b in batches if len(b) == 1]).flatten().tolist()) == list(range(950))
    assert sorted(torch.cat([b[0] for b in batches if len(b) == 2]).flatten().tolist()) == list(range(450))
    assert all(torch.equal(b[0], b[1]) for b in batches if len(b) == 2)


def test_the_peer_s_bound_without_a_label_is_that_of_every_label_weighed_by_the_guide():
    """Oracle: the bounds of all ten labels and the entropy, added up by hand, in the mean over draws."""
    networks, image, draws = M2Networks(), torch.rand(1, 784).round(), 100
    model, guide = M2(networks.decoder), M2Guide(networks.classifier, networks.encoder)
    log_q = networks.classifier(image).log_softmax(-1)[0].detach()
    with torch.no_grad(), pyro.get_param_store().scope():
        ours = torch.tensor([TraceEnum_ELBO(max_plate_nesting=1).loss(model, guide, image) for _ in range(draws)])
        total = torch.zeros(draws)
        for label in torch.eye(DIGITS):
            one = [Trace_ELBO().loss(model, guide, image, label[None]) for _ in range(draws)]
            total += (label * log_q.exp()).sum() * (torch.tensor(one) + (label * log_q).sum())
    error = ((ours.var() + total.var()) / draws).sqrt()
    assert (ours.mean() - total.mean()).abs() < 4.3 * error
