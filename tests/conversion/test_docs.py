"""The architecture that docs/adding-an-architecture.md adds, taken from that page, converts exactly."""

import re
import types
from pathlib import Path

import pytest
import torch
from transformers import PhiConfig, PhiForCausalLM

import triptych
from triptych.conversion import registry
from triptych.conversion.table import Architecture

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-architecture.md"


@pytest.fixture
def phi(monkeypatch) -> Architecture:
    """The module that the page shows, as if it lay in architectures/."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    module = types.ModuleType(f"{registry.folder.__name__}.phi")
    module.__package__ = registry.folder.__name__
    exec(compile(blocks[0], str(PAGE), "exec"), vars(module))
    assert ("phi", module.PHI.config_class) not in registry._all()
    monkeypatch.setitem(registry._all(), ("phi", module.PHI.config_class), module.PHI)
    assert len(blocks[0].splitlines()) < 70
    return module.PHI


def test_the_page_adds_an_architecture(phi):
    torch.manual_seed(0)
    sizes = {"vocab_size": 53, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
    theirs = PhiForCausalLM(PhiConfig(**sizes, num_attention_heads=2, max_position_embeddings=40)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    ours, ids = triptych.from_hf(theirs), torch.randint(3, 53, (2, 9))
    torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=1e-5, atol=1e-5)
    options = {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(ours.generate(ids, **options), theirs.generate(ids, **options))
    back = triptych.to_hf(ours)
    assert type(back) is PhiForCausalLM
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in theirs.state_dict().items())


def test_what_it_refuses(phi):
    config = PhiConfig(vocab_size=53, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, qk_layernorm=True)
    with pytest.raises(triptych.conversion.CannotExpress, match="qk_layernorm=True, norms of queries and keys"):
        triptych.from_hf(PhiForCausalLM(config))
