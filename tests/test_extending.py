"""Every part that docs/extending.md adds works, is saved, and is loaded again by a process that has defined it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S))
PARTS = [title for title, text in SECTIONS.items() if "```python" in text]

RUN = """
inputs = {"input_ids": torch.tensor([[7, 8, 9, 10], [11, 12, 5, 6]])}
if model.config.is_encoder_decoder:
    inputs["decoder_input_ids"] = inputs["input_ids"]
with torch.no_grad():
    logits = model(**inputs).logits
"""
SAVE = f"""
import torch
torch.manual_seed(0)
with torch.no_grad():
    for parameter in model.parameters():
        parameter.normal_(std=0.3)
{RUN}
assert logits.isfinite().all()
model.save_pretrained("model")
torch.save(logits, "logits.pt")
"""
LOAD = f"""
import torch
import triptych
cls = globals().get("DecoderForPreferences") or getattr(triptych, NAME)
model, report = cls.from_pretrained("model", output_loading_info=True)
assert not any(report.values()), report
{RUN}
assert torch.equal(logits, torch.load("logits.pt"))
"""
# What else must be true of a part.
ALSO = {
    "A position scheme": """
builtin = triptych.TriptychDecoderForCausalLM(
    triptych.TriptychDecoderConfig.from_preset("tiny-decoder", positions="alibi")
).eval()
builtin.load_state_dict(model.state_dict())
assert torch.equal(builtin(**inputs).logits, logits)
try:
    model.set_attn_implementation("flash_attention_2")
except ValueError as error:
    assert "cannot add the bias of positions='my_alibi'" in str(error), error
else:
    raise AssertionError("flash attention cannot add a bias")
""",
    "A norm": """
loss = model(**inputs, labels=inputs["input_ids"]).loss
loss.backward()
assert all(p.grad is not None for p in model.parameters())
""",
    "An activation": """
assert type(model.model.layers[0].feed_forward.activation).__name__ == "BoundedSquaredReLU"
assert triptych.TriptychEncoderConfig(pooler="bounded_relu2", classifier_activation="bounded_relu2")
""",
    "A head": """
better = model(**inputs, labels=torch.tensor([0])).loss
first, second = logits[:, 0]
torch.testing.assert_close(better, -torch.nn.functional.logsigmoid(first - second))
""",
}


def run(code: str, directory: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_page_across_the_disk(part, tmp_path):
    definition, use = re.findall(r"```python\n(.*?)```", SECTIONS[part], re.S)
    run(definition + use + SAVE + ALSO[part], tmp_path)
    name = re.search(r"triptych\.(Triptych\w*For\w+)\(", use)
    run(definition + f"NAME = {name and name[1]!r}\n" + LOAD, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [part for part in PARTS if "POSITIONS[" in SECTIONS[part] or "NORMS[" in SECTIONS[part]]
)
def test_a_process_without_the_part_refuses_its_word(part, tmp_path):
    definition, use = re.findall(r"```python\n(.*?)```", SECTIONS[part], re.S)
    run(definition + use + "model.save_pretrained('model')", tmp_path)
    code = "import triptych, transformers\ntransformers.AutoConfig.from_pretrained('model')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "unknown choice" in done.stderr


def test_every_part_is_tested():
    assert list(ALSO) == PARTS
