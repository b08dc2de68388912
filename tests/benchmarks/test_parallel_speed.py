"""The table of several processes says who is how fast, and the blocks of a training are of as many steps."""

from pyrometer.benchmarks.parallel_speed import SETUPS, report
from pyrometer.benchmarks.parallel_speed_worker import Metronome


class Wire:
    """Somebody who always gives the word, and notes what is told."""

    def __init__(self) -> None:
        self.told, self.words = [], 0

    def send_bytes(self, told):
        self.told.append(float(told))

    def recv_bytes(self):
        self.words += 1
        return b"go"


def test_ratios_are_medians_over_rounds_of_the_ratio_within_a_round():
    """Two processes take half of the time of one in each round, though rounds differ."""
    one, two = [1.0, 2.0, 4.0], [0.5, 1.0, 2.0]
    times = {(setup, compile): one for setup in SETUPS[:2] for compile in (False, True)}
    text = report("m2", {**times, (SETUPS[2], False): one, (SETUPS[2], True): two}, rows=200)
    assert "| one process, 1 core | 100 | 100 | 1.00 |" in text
    assert "| 2 processes, 1 core each | 100 | 200 | 2.00 |" in text


def test_a_training_waits_for_the_word_before_every_block_and_tells_how_long_the_last_one_took():
    """The first call is by ``fit``, to see what the schedule gives; then 3 blocks of 4 steps and one step."""
    wire = Wire()
    metronome = Metronome(wire, 4, lambda progress: 1 - progress)
    assert [metronome.factor(0.25) for _ in range(1 + 3 * 4 + 1)] == [0.75] * 14
    assert wire.words == 4
    assert len(wire.told) == 3
    assert all(seconds >= 0 for seconds in wire.told)


def test_a_process_that_is_not_the_first_waits_for_nobody():
    assert [Metronome(None, 1, None).factor(0.0) for _ in range(3)] == [1.0] * 3
