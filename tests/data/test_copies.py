import pytest
from datasets import Dataset

from triptych.data import add_copies


@pytest.fixture
def pairs():
    return Dataset.from_dict({"source": [f"one {i}" for i in range(10)], "target": [f"eins {i}" for i in range(10)]})


def test_a_part_of_the_targets_stands_on_both_sides(pairs):
    found = add_copies(pairs, 0.3)
    assert found[:10] == pairs[:]
    copies = found[10:]
    assert copies["source"] == copies["target"]
    assert len(set(copies["target"])) == 3
    assert set(copies["target"]) < set(pairs["target"])
    assert add_copies(pairs, 0.3)[:] == found[:]
    assert add_copies(pairs, 0.3, seed=1)[:] != found[:]


@pytest.mark.parametrize(("part", "size"), [(0, 10), (0.01, 10), (1, 20)])
def test_sizes(pairs, part, size):
    assert len(add_copies(pairs, part)) == size


@pytest.mark.parametrize("part", [-0.1, 1.5])
def test_no_part(pairs, part):
    with pytest.raises(ValueError, match=rf"must be in \[0, 1\], got {part}"):
        add_copies(pairs, part)
