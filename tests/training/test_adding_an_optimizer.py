"""The optimizer that docs/adding-an-optimizer.md adds, taken from that page, trains and is resumed."""

import re
from pathlib import Path

import pytest
import torch
from transformers import HfArgumentParser

from triptych.training import LoopArguments, create_optimizer
from triptych.training.optimizer import OPTIMIZERS

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-optimizer.md"
CLASS, ROW = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def lion():
    """The class of the page, in the table."""
    namespace = {"OPTIMIZERS": OPTIMIZERS}
    for code in (CLASS, ROW):
        exec(compile(code, str(PAGE), "exec"), namespace)
    yield namespace["Lion"]
    del OPTIMIZERS["lion"]


def test_two_steps_by_hand(lion):
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(model.weight, 2.0)
    optimizer = create_optimizer(model, "lion", learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    assert type(optimizer) is lion
    for gradient in ([0.5, -0.1], [-0.001, -0.1]):  # in the second step the mean outweighs the gradient
        model.weight.grad = torch.tensor([gradient])
        optimizer.step()
    first = [2 * 0.95 - 0.1, 2 * 0.95 + 0.1]
    expected = [first[0] * 0.95 - 0.1, first[1] * 0.95 + 0.1]
    torch.testing.assert_close(model.weight.detach(), torch.tensor([expected]))


def test_it_is_an_option(lion, capsys):
    parser = HfArgumentParser(LoopArguments)
    [arguments] = parser.parse_args_into_dataclasses(["--output_dir", "out", "--optimizer", "lion"])
    assert arguments.optimizer == "lion"
    assert "lion" in parser.format_help()
    with pytest.raises(ValueError, match="optimizer='lamb' is not known; choose one of adam, adamw, muon, lion"):
        LoopArguments("out", optimizer="lamb")


def test_a_resumed_run_equals_an_unbroken_one(lion, tiny_run, tmp_path):
    options = {"optimizer": "lion", "lr_scheduler": "constant", "learning_rate": 1e-3, "dropout": 0.3}
    options |= {"save_steps": 2, "evaluation_steps": 1}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    tiny_run.loop(tmp_path / "killed", **options, max_steps=4).run()
    tiny_run.loop(tmp_path / "killed", **options, resume=True).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "unbroken"), tiny_run.weights(tmp_path / "killed"))
    losses = tiny_run.metrics(tmp_path / "unbroken", "validation_loss")
    assert losses[6] < losses[1]
