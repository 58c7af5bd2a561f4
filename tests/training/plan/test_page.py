"""docs/training/sizes.md: its tables and numbers are those of sizes.json."""

from pathlib import Path

import pytest

from triptych.training.plan.forecast import FEWEST_UPDATES
from triptych.training.plan.table import rows_from_a_checkpoint, rows_from_nothing, table

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "training" / "sizes.md").read_text("utf-8")
TEXT = " ".join(PAGE.split())
# Columns of the tables: heading → what stands in it.
NEEDS = {"tokens": "tokens", "tokens seen": "tokens_seen", "core-minutes": "core_minutes"}
SIZES = {"d": "hidden_size", "d_ff": "intermediate_size", "heads": "num_attention_heads"}
TRAINING = {"vocabulary": "vocab_size", "max_tokens": "max_tokens", "optimizer": "optimizer"}
TRAINING |= {"learning rate": "learning_rate"}


def layers(options):
    both = options.get("encoder_layers"), options.get("decoder_layers")
    return "{}+{}".format(*both) if both[0] else f"{options['num_hidden_layers']}"


def cell(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else value


def table_of(family):
    """The table of a family in Markdown."""
    rows = rows_from_nothing(family)
    dropout = {"dropout": "dropout"} if "dropout" in rows[0].options else {}
    columns = {**SIZES, **dropout, **TRAINING}
    lines = [["row", *NEEDS, "layers", *columns]]
    for row in rows:
        needs = [cell(row.least[name]) for name in NEEDS.values()]
        lines.append([f"{row.number}", *needs, layers(row.options), *(cell(row.options[n]) for n in columns.values())])
    return markdown(lines)


def table_of_checkpoints():
    columns = {"epochs": "num_train_epochs", "max_tokens": "max_tokens", "optimizer": "optimizer"}
    columns |= {"learning rate": "learning_rate"}
    lines = [["row", "d", *columns]]
    for row in rows_from_a_checkpoint():
        given = [cell(row.options[name]) for name in columns.values()]
        lines.append([f"{row.number}", cell(row.least["hidden_size"]), *given])
    return markdown(lines)


def markdown(lines):
    heading, *rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([heading, "|" + "---|" * len(lines[0]), *rows])


@pytest.mark.parametrize("family", table()["from nothing"])
def test_the_table_of_a_family(family):
    assert table_of(family) in PAGE


def test_the_table_of_checkpoints():
    assert table_of_checkpoints() in PAGE


def test_the_numbers_in_the_text():
    cores = table()["cores of a device"]
    assert f"a GPU with CUDA counts as {cores['cuda']} cores, one of Apple's as {cores['mps']}" in TEXT
    assert table()["part of the time between evaluations"] == 0.2
    assert "after each fifth of the time" in TEXT
    assert f"fewer than {FEWEST_UPDATES} updates" in TEXT
    assert f"{table()['bytes of a token']['bpe']} bytes" in TEXT
    assert f"{table()['learning rate of another optimizer']:g} of it" in TEXT
    assert f"{table()['learning rate of adapters']:g} times" in TEXT


def test_what_is_common_to_all_rows_is_said():
    for part in (*table()["from nothing"].values(), table()["from a checkpoint"]):
        for name, value in part["common"].items():
            if name not in ("optimizer", "max_tokens", "num_train_epochs"):
                assert f"`{name} {cell(value)}`" in TEXT, name
