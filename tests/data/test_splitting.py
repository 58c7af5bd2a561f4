"""A validation split: its size, its seed, and equal texts on one side."""

import tracemalloc

import numpy as np
import pytest
from datasets import Dataset

from triptych.data.splitting import split_off


def make_rows(number, sources=None):
    sources = sources or [f"text {i}" for i in range(number)]
    return Dataset.from_dict({"source": sources, "target": [f"{i}" for i in range(number)]})


def test_every_row_is_on_one_side_and_in_order():
    rows = make_rows(1000)
    left, drawn = split_off(rows, 0.05, "source", 1000)
    assert (len(left), len(drawn)) == (950, 50)
    numbers = [[int(n) for n in side["target"]] for side in (left, drawn)]
    assert sorted(numbers[0] + numbers[1]) == list(range(1000))
    assert all(side == sorted(side) for side in numbers)


def test_the_rows_are_spread_over_the_data_set():
    _, drawn = split_off(make_rows(20_000), 0.05, "source", 1000)
    numbers = np.asarray([int(n) for n in drawn["target"]])
    # The mean of 1,000 uniform numbers has a standard deviation of 183 here.
    assert abs(numbers.mean() - 10_000) < 4 * 183
    assert np.histogram(numbers, bins=4)[0].min() > 190


@pytest.mark.parametrize(
    ("number", "part", "most", "expected"),
    [(1000, 0.05, 20, 20), (19, 0.05, 20, 0), (100, 0.05, 0, 0), (3, 0.5, 9, 1)],
)
def test_the_number_of_rows(number, part, most, expected):
    left, drawn = split_off(make_rows(number), part, "source", most)
    assert (len(left), len(drawn)) == (number - expected, expected)


@pytest.mark.parametrize("covered", [None, "target"])
def test_no_python_object_of_each_row_is_kept(tmp_path, covered):
    """Beside the rows that are read at a time, a row takes at most 40 bytes: a few numbers in arrays."""

    def peak(number):
        rows = make_rows(number)
        path = tmp_path / f"{number}-{covered}"
        rows.map(lambda batch: {"target": ["a", "b"] * (len(batch["source"]) // 2)}, batched=True).save_to_disk(path)
        rows = Dataset.load_from_disk(path)
        tracemalloc.start()
        split_off(rows, 0.05, "source", 1000, covered=covered)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(60_000) - peak(20_000) < 40 * 40_000


def test_equal_sources_stay_on_one_side():
    sources = [f"text {i % 40}" for i in range(400)]
    left, drawn = split_off(make_rows(400, sources), 0.2, "source", 1000)
    assert len(drawn) == 80
    assert len(set(drawn["source"])) == 8
    assert not set(left["source"]) & set(drawn["source"])


def test_where_even_one_group_is_too_many_nothing_is_drawn():
    left, drawn = split_off(make_rows(100, ["the same"] * 100), 0.5, "source", 1000)
    assert (len(left), len(drawn)) == (100, 0)


def test_the_seed_decides_and_the_order_of_the_rows_does_not():
    rows = make_rows(300)
    drawn = [split_off(rows, 0.1, "source", 99, seed)[1]["source"][:] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    turned = split_off(rows.select(range(299, -1, -1)), 0.1, "source", 99)[1]["source"][:]
    assert sorted(turned) == sorted(drawn[0])


def test_lists_can_be_the_values():
    rows = Dataset.from_dict({"tokens": [["a", "b"], ["c"]] * 50})
    left, drawn = split_off(rows, 0.5, "tokens", 99)
    assert len({tuple(tokens) for tokens in drawn["tokens"]}) == 1
    assert len(left) == len(drawn) == 50


def test_every_label_stays_among_the_rows_that_remain():
    for labels in (
        [i % 7 if i % 50 else 99 + i for i in range(200)],
        [[f"{i % 3}", f"once {i // 2}"] for i in range(200)],
    ):
        rows = Dataset.from_dict({"source": [f"text {i}" for i in range(200)], "label": labels})
        _, plain = split_off(rows, 0.2, "source", 99)
        left, drawn = split_off(rows, 0.2, "source", 99, covered="label")
        flat = [{str(label) for row in side["label"] for label in np.atleast_1d(row)} for side in (left, drawn)]
        assert flat[1] <= flat[0]
        assert len(left) + len(drawn) == 200
        assert 0 < len(drawn) < len(plain)  # so the test can fail


def test_fractions_are_no_labels():
    rows = Dataset.from_dict({"source": [f"text {i}" for i in range(200)], "label": [i / 7 for i in range(200)]})
    assert len(split_off(rows, 0.2, "source", 99, covered="label")[1]) == 40


@pytest.mark.parametrize(("part", "most"), [(0, 1), (1, 1), (-0.1, 1), (1.5, 1), (0.5, -1)])
def test_mistakes(part, most):
    with pytest.raises(ValueError, match=r"that (is|are) split off must"):
        split_off(make_rows(10), part, "source", most)
