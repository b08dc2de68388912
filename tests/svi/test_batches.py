"""The order of data: each row once an epoch, streams that go round, nothing but the seed and the epoch."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

import pytest
import torch
from torch.utils.data import DataLoader

from pyrometer.inference.svi.batches import Batches, as_batches
from pyrometer.inference.svi.data import Batch

CPU = torch.device("cpu")


def rows(data: dict[str, torch.Tensor]) -> list[int]:
    return data["x"].tolist()


def chained(batches: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def numbered(count: int) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(count), "y": 10 * torch.arange(count)}


def order(batches: Batches, epoch: int) -> list[list[int]]:
    return [rows(batch) for batch in batches.epoch(epoch)]


def test_every_row_comes_up_once_an_epoch_and_the_last_batch_is_smaller() -> None:
    epoch = order(as_batches(numbered(11), 4, seed=3, device=CPU), 0)
    assert [len(batch) for batch in epoch] == [4, 4, 3]
    assert sorted(chained(epoch)) == list(range(11))
    assert chained(epoch) != list(range(11))


def test_tensors_stay_aligned() -> None:
    for batch in as_batches(numbered(11), 4, seed=3, device=CPU).epoch(2):
        assert torch.equal(batch["y"], 10 * batch["x"])


def test_the_order_depends_on_the_seed_and_the_epoch_and_on_nothing_else() -> None:
    first = order(as_batches(numbered(50), 8, seed=3, device=CPU), 1)
    torch.manual_seed(12345)
    batches = as_batches(numbered(50), 8, seed=3, device=CPU)
    state = torch.get_rng_state()
    assert order(batches, 1) == first
    assert order(batches, 0) != first
    assert order(batches, 1) == first
    assert order(as_batches(numbered(50), 8, seed=4, device=CPU), 1) != first
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_batch_size_an_epoch_is_one_step_on_all_rows_as_they_are() -> None:
    batches = as_batches(numbered(7), None, seed=0, device=CPU)
    assert batches.steps == 1
    assert order(batches, 5) == [list(range(7))]


def streams(sizes: int | dict[str, int | None], many: int = 20, few: int = 6) -> Batches:
    return as_batches({"few": numbered(few), "many": numbered(many)}, sizes, seed=1, device=CPU)


def test_an_epoch_of_streams_is_one_pass_over_the_one_with_the_most_batches() -> None:
    batches = streams({"many": 5, "few": 3})
    epoch = list(batches.epoch(0))
    assert batches.steps == len(epoch) == 4
    assert sorted(chained(rows(batch["many"]) for batch in epoch)) == list(range(20))
    passes = chained(rows(batch["few"]) for batch in epoch)
    assert sorted(passes[:6]) == sorted(passes[6:]) == list(range(6))
    assert passes[:6] != passes[6:]
    assert batches.size(epoch[0]) == 5


def test_every_batch_of_a_stream_is_full_and_rows_come_up_equally_often() -> None:
    batches = streams({"many": 8, "few": 4})
    seen: Counter[int] = Counter()
    for epoch in range(5):
        for batch in batches.epoch(epoch):
            assert (len(batch["many"]["x"]), len(batch["few"]["x"])) == (8, 4)
            seen.update(rows(batch["many"]))
    assert len(seen) == 20
    assert set(seen.values()) == {5 * 3 * 8 // 20}


def test_streams_go_on_from_one_epoch_to_the_next_as_if_there_were_none() -> None:
    batches = streams({"many": 8, "few": 4})
    both = chained(rows(batch["few"]) for epoch in (0, 1) for batch in batches.epoch(epoch))
    assert [sorted(both[start : start + 6]) for start in (0, 6, 12, 18)] == [list(range(6))] * 4


def test_a_batch_size_beyond_a_stream_is_cut_to_it_and_none_takes_the_rows_as_they_are() -> None:
    assert [len(batch["few"]["x"]) for batch in streams(10).epoch(0)] == [6, 6]
    assert all(rows(batch["few"]) == list(range(6)) for batch in streams({"many": 10, "few": None}).epoch(3))


def test_streams_have_orders_of_their_own() -> None:
    batch = next(iter(streams(6, many=6, few=6).epoch(0)))
    assert rows(batch["many"]) != rows(batch["few"])


@pytest.mark.parametrize("sizes", [4, {"many": 8, "few": 4}])
def test_a_batch_can_be_traced_back_to_its_rows(sizes: int | dict[str, int]) -> None:
    batches = streams(sizes) if isinstance(sizes, dict) else as_batches({"x": torch.arange(11)}, sizes, 1, CPU)
    for number, batch in enumerate(batches.epoch(2)):
        for source, traced in batches.rows(2, number).items():
            assert rows(batch if source == "data" else batch[source]) == traced.tolist()


def test_a_loader_is_read_anew_in_every_epoch() -> None:
    items = [{"x": torch.tensor(i), "y": torch.tensor(10 * i)} for i in range(6)]
    batches = as_batches(DataLoader(items, batch_size=4), 256, seed=0, device=CPU)  # pyright: ignore[reportArgumentType]
    assert batches.steps == 2
    assert order(batches, 0) == order(batches, 1) == [[0, 1, 2, 3], [4, 5]]


def test_looking_at_the_first_batch_of_a_loader_does_not_advance_its_generator() -> None:
    generator = torch.Generator().manual_seed(5)
    items = [{"x": torch.tensor(i)} for i in range(6)]
    loader = DataLoader(items, batch_size=2, shuffle=True, generator=generator)  # pyright: ignore[reportArgumentType]
    before = generator.get_state()
    as_batches(loader, 256, seed=0, device=CPU).samples()
    assert torch.equal(generator.get_state(), before)


class Unsized:
    """Batches whose number nobody knows."""

    def __iter__(self) -> Iterator[Batch]:
        yield {"x": torch.arange(3)}


def test_a_loader_need_not_know_its_length() -> None:
    batches = as_batches(Unsized(), 256, seed=0, device=CPU)
    assert batches.steps is None
    assert order(batches, 0) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("data", "batch_size", "error", "message"),
    [
        ({}, 4, ValueError, "data is an empty dict"),
        ({"x": torch.zeros(0, 2)}, 4, ValueError, "must not be empty, but its tensors have 0 rows"),
        ({"x": torch.zeros(3), "y": torch.zeros(4)}, 2, ValueError, "'x' has 3 rows and 'y' has 4"),
        ({"x": torch.tensor(3.0)}, 2, ValueError, r"data\['x'\] must have data along its first dimension"),
        ({"x": [1.0, 2.0]}, 2, TypeError, r"data\['x'\] must be a tensor, got list: convert data with torch.as_tensor"),
        ({"x": torch.tensor([[1.0, 2.0], [0.0, torch.nan]])}, 2, ValueError, "1 of its 2 rows are not.* is row 1"),
        ({"a": {"x": torch.tensor([torch.inf, 1.0])}}, 2, ValueError, r"data\['a'\]\['x'\] must be finite.* row 0"),
        ({"x": torch.zeros(3)}, 0, ValueError, "batch_size must be at least 1.*got 0"),
        ({"x": torch.zeros(3)}, 2.0, TypeError, "batch_size must be a positive integer.*got 2.0"),
        ({"x": torch.zeros(3)}, True, TypeError, "batch_size must be a positive integer.*got True"),
        ({"a": {"x": torch.zeros(3)}}, {"b": 2}, ValueError, r"name the streams \['a'\] and no others, got \['b'\]"),
        (iter([{"x": torch.zeros(3)}]), 256, TypeError, "an iterator .list_iterator. is spent after"),
        (5, 256, TypeError, "must be a dict of tensors, a dict of such dicts, or an iterable.* got int"),
        ([{"x": torch.zeros(3)}], 3, ValueError, "a loader makes its own batches: leave out 3"),
        ([], 256, ValueError, "at least one batch, but its length is 0"),
        ([(torch.zeros(3),)], 256, TypeError, "must give batches that are dicts of tensors.*got tuple"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on_are_refused(
    data: object, batch_size: object, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        as_batches(data, batch_size, seed=0, device=CPU).samples()
