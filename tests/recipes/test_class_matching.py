"""The matching of classes with digits against all permutations, and the agreement against sums by hand."""

import itertools
import math

import pytest
import torch

from pyrometer.recipes.class_matching import agreement, contingency, match_classes


def drawn(classes, digits, size=60):
    return torch.randint(classes, (size,)), torch.randint(digits, (size,))


def test_the_matching_is_the_best_of_all_one_to_one():
    found, digit = drawn(5, 5)
    counts = contingency(found, digit, 5, 5)
    best = max(sum(counts[c, d].item() for c, d in enumerate(one)) for one in itertools.permutations(range(5)))
    matched = match_classes(found, digit, 5, 5)
    assert sorted(matched.tolist()) == list(range(5))
    assert (matched[found] == digit).sum().item() == best


def test_classes_left_over_are_matched_with_none():
    found, digit = drawn(6, 4)
    matched = match_classes(found, digit, 6, 4)
    assert sorted(matched.tolist()) == [-1, -1, 0, 1, 2, 3]


def test_names_of_classes_do_not_matter():
    found, digit = drawn(5, 5)
    renamed = torch.tensor([3, 0, 4, 1, 2])[found]
    first = agreement(found, digit, match_classes(found, digit, 5, 5))
    second = agreement(renamed, digit, match_classes(renamed, digit, 5, 5))
    assert first == pytest.approx(second)


def test_the_contingency_counts_pairs():
    found, digit = drawn(4, 3)
    counts = contingency(found, digit, 4, 3)
    for c, d in itertools.product(range(4), range(3)):
        assert counts[c, d] == ((found == c) & (digit == d)).sum()


def test_the_mutual_information_is_its_formula():
    found, digit = drawn(4, 3)
    p = contingency(found, digit, 4, 3).double() / len(found)
    rows, columns = p.sum(1), p.sum(0)
    joint = sum(p[c, d] * math.log(p[c, d] / (rows[c] * columns[d])) for c in range(4) for d in range(3) if p[c, d])
    entropies = sum(-(one * one.log()).sum() for one in (rows, columns)) / 2
    reached = agreement(found, digit, match_classes(found, digit, 4, 3))
    assert reached.mutual_information == pytest.approx((joint / entropies).item())


def test_classes_matched_on_some_images_are_judged_on_others():
    """Oracle: with digits that are all wrong by one, the same matching is never right."""
    found = torch.arange(10).repeat(6)
    matched = match_classes(found, (found + 4) % 10)
    assert agreement(found, (found + 4) % 10, matched).accuracy == 1.0
    shifted = agreement(found, (found + 5) % 10, matched)
    assert shifted.accuracy == 0.0
    assert shifted.mutual_information == pytest.approx(1.0)
