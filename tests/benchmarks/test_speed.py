"""The benchmark of speed compares like with like: all competitors take the same step, and ratios are what they say."""

import os
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pyrometer.benchmarks import speed, speed_agreement, speed_report
from pyrometer.benchmarks.speed import measure, restrict
from pyrometer.benchmarks.speed_agreement import DisagreementError, disagreements
from pyrometer.benchmarks.speed_mixture import mixture
from pyrometer.benchmarks.speed_ours import OURS
from pyrometer.benchmarks.speed_report import report
from pyrometer.benchmarks.speed_schools import eight_schools
from pyrometer.benchmarks.speed_ssvae import ssvae
from pyrometer.benchmarks.speed_systems import LOOP, PLAIN, SCAN, TRACED, floors, has_wide_vectors, missing, systems
from pyrometer.benchmarks.speed_vae import vae

can_compile = pytest.mark.skipif(shutil.which("g++") is None, reason="torch cannot compile without g++")

SMALL = [eight_schools, mixture, partial(vae, 5), partial(ssvae, 3)]
NAMES = ["schools", "mixture", "vae", "ssvae"]
needs_numpyro = pytest.mark.skipif(bool(missing()), reason="the extra `bench` is not installed")
# JAX warns of its own use of what NumPy deprecates, and AutoGuides of Pyro touch buffers of ours through torch.jit.
pytestmark = [can_compile, pytest.mark.filterwarnings("default::DeprecationWarning")]


@pytest.mark.parametrize("build", SMALL, ids=NAMES)
def test_all_competitors_take_the_step_of_plain_pyro(build):
    """Losses of five steps of Adam from the same weights with the same noise; `disagreements` raises above 1e-5."""
    found = disagreements(build())
    assert {OURS, PLAIN, TRACED, "by hand"} <= found.keys()
    assert found[PLAIN] == 0.0
    assert missing() or {LOOP, SCAN} <= found.keys()


@needs_numpyro
def test_what_is_timed_of_numpyro_takes_the_steps_that_were_compared():
    """The jitted loop and the scan, with keys of their own, beside each other; and over the seam of two scans."""
    from pyrometer.benchmarks import speed_numpyro

    pair = eight_schools()
    loop = torch.tensor([float(loss) for loss in speed_numpyro.loop(pair)(7)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed_numpyro, "SCANNED", 5)
        scan = torch.cat([torch.tensor(some.tolist()) for some in speed_numpyro.scan(pair)(7)])
    torch.testing.assert_close(loop, scan, rtol=1e-5, atol=0)


def deaf(step):
    """A hand-written step that leaves its last parameter where it is."""
    return step._replace(parameters=step.parameters[:-1])


def shifted(step):
    """One whose loss lacks 0.01 nats."""
    return step._replace(loss=lambda: step.loss() - 0.01)


@pytest.mark.parametrize("spoil", [deaf, shifted])
def test_a_competitor_that_takes_another_step_is_refused(spoil):
    pair = eight_schools()
    spoilt = replace(pair, by_hand={name: lambda write=write: spoil(write()) for name, write in pair.by_hand.items()})
    with pytest.raises(DisagreementError, match="'by hand' must be within 1e-05"):
        disagreements(spoilt)


@pytest.mark.parametrize(("build", "ways"), [(vae, ["by hand"]), (ssvae, ["by hand", "by hand, factored"])])
def test_the_floor_has_the_multiplications_of_the_hand_written_step(build, ways):
    """The oracle is torch's own count of floating-point operations, forwards and backwards."""
    pair = build(4)
    for way, products in zip(ways, pair.products.values(), strict=True):
        step = pair.by_hand[way]()
        with FlopCounterMode(display=False) as counter:
            step.loss().backward()
        assert counter.get_total_flops() == sum(2 * m * k * n for m, k, n in products)


def test_the_floor_multiplies_in_both_precisions():
    runs = floors(vae(4))
    for suffix in ("", ", bf16") if has_wide_vectors() else ("",):
        with FlopCounterMode(display=False) as counter:
            runs[f"multiplications alone, as written{suffix}"]()(3)
        assert counter.get_total_flops() == 3 * sum(2 * m * k * n for m, k, n in vae(4).products["as written"])


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_the_floor_of_onednn_multiplies_the_same_matrices():
    """oneDNN's operator, which the counter does not know, against the ordinary product."""
    made = []

    class Listener(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            made.append((function, arguments, result := function(*arguments, **(named or {}))))
            return result

    run = floors(vae(4))["multiplications alone, as written, oneDNN"]()
    with Listener():
        run(1)
    products = [one for one in made if "linear_pointwise" in str(one[0])]
    views = [one for one in made if one[2]._is_view()]
    assert len(made) == len(products) + len(views)  # nothing else is timed
    assert len(products) == len(vae(4).products["as written"])
    for (_, (left, right, *_), result), (m, k, n) in zip(products, vae(4).products["as written"], strict=True):
        assert (left.shape, right.shape) == ((m, k), (n, k))
        torch.testing.assert_close(result, left @ right.T, rtol=1e-5, atol=1e-3)


def test_building_a_competitor_changes_no_global_setting_and_a_second_one_starts_anew():
    """`conftest.py` looks after the settings; the losses of two builds are the same."""
    pair = vae(3)
    first, second = (systems(pair)[PLAIN]() for _ in range(2))
    torch.manual_seed(1)
    once = first(3)
    torch.manual_seed(1)
    assert second(3) == once


def test_ratios_are_medians_of_ratios_within_a_round():
    """By hand: plain over ours is 10, 5 and 2, though the medians' ratio is 4."""
    times = {OURS: [1.0, 2.0, 5.0], PLAIN: [10.0, 10.0, 10.0], LOOP: [0.5, 4.0, 20.0], "by hand": [4.0, 4.0, 4.0]}
    times[PLAIN] = [10.0, 10.0, 8.0]
    text = report(eight_schools(), times, {OURS: 2e-7, PLAIN: 0.0})
    assert "| pyrometer | 2.00 | 1.00 to 5.00 | 5.00 | 0.500 | - | 0.500 | 2e-07 |" in text
    assert "over NumPyro's scan" in text


def test_numbers_have_three_digits_and_no_exponent():
    values = (0.0067123, 0.12345, 1.2345, 151.4, 1234.5, 0.0)
    assert [speed_report._number(value) for value in values] == ["0.00671", "0.123", "1.23", "151", "1234", "0"]


def test_competitors_are_timed_as_often_and_ours_comes_first(monkeypatch):
    taken = {"a": [], "b": [], OURS: []}
    monkeypatch.setattr(speed, "ours", lambda _pair: {OURS: lambda: taken[OURS].append})
    monkeypatch.setattr(
        speed, "systems", lambda _pair: {"a": lambda: taken["a"].append, "b": lambda: taken["b"].append}
    )
    monkeypatch.setattr(speed, "floors", lambda _pair: {})
    monkeypatch.setattr(speed, "_block", lambda *_: 9)
    times = measure(eight_schools(), 4, 0.1)
    assert list(times) == [OURS, "a", "b"]
    assert taken == {"a": [9] * 4, "b": [9] * 4, OURS: [9] * 4}
    assert all(len(values) == 4 for values in times.values())


def test_more_threads_than_cores_are_refused(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 3}, raising=False)
    kept = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _process, cores: kept.append(cores), raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda _threads: None)
    with pytest.raises(ValueError, match="from 1 to the 2 cores"):
        restrict(3)
    assert "had 1 of the machine's cores" in restrict(1)
    assert kept == [[0]]


def test_without_numpyro_the_rest_is_compared_and_what_is_left_out_is_said(monkeypatch):
    for module in (speed, speed_agreement):
        monkeypatch.setattr(module, "missing", lambda: ["numpyro"])
    monkeypatch.setattr("pyrometer.benchmarks.speed_systems.missing", lambda: ["numpyro"])
    assert LOOP not in disagreements(eight_schools())
    assert "numpyro" in speed._left_out()
