"""Numbers with their units: one is singular, however it is written."""

import pytest

from triptych.data.quantities import counted


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1, "updates"), "1 update"),
        ((0, "updates"), "0 updates"),
        ((1002, "updates"), "1,002 updates"),
        ((1, "pairs of texts"), "1 pair of texts"),
        ((2, "pairs of texts"), "2 pairs of texts"),
        ((1.0, "minutes", "g"), "1 minute"),
        ((1.0, "minutes", ".1f"), "1.0 minutes"),
        ((0.5, "minutes", "g"), "0.5 minutes"),
        (("1", "layers"), "1 layer"),
        (("1+1", "layers"), "1+1 layers"),
        ((1, "processes", ",", "process"), "1 process"),
        ((1, "rows have", ",", "row has"), "1 row has"),
    ],
)
def test_a_number_and_its_unit_agree(arguments, text):
    assert counted(*arguments) == text
