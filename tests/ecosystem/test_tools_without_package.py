"""Tools that never import the package load a saved directory by the code that lies in it.

Each of them runs in a process where the package is not installed.
"""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from alone import alone, serving
from tiny import make_model, number_tokenizer
from triptych import TriptychDecoderForCausalLM, TriptychEncoderModel

pytestmark = pytest.mark.slow

CHAT = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"
MESSAGES = [{"role": "user", "content": "5 6 7 8"}]
SENTENCES = ["5 6 7 8", "90 80 70 60 50 40 30", "9"]


def save_with_tokenizer(model: Any, directory: Path) -> Path:
    tokenizer = number_tokenizer()
    tokenizer.chat_template = CHAT
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    return save_with_tokenizer(make_model("decoder"), tmp_path / "decoder")


@pytest.fixture
def run_alone(tmp_path: Path) -> Callable[..., Any]:
    """Runs a program without the package; returns what it wrote into result.json."""

    def run(program: str, *libraries: str) -> Any:
        command, environment = alone(program, libraries)
        environment["HF_MODULES_CACHE"] = str(tmp_path / "modules")
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads((tmp_path / "result.json").read_text())

    return run


def test_sentence_transformers_reloads_its_own_directory(library, needs, run_alone, tmp_path: Path):
    library("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    body = TriptychEncoderModel(make_model("encoder").config)
    folder = save_with_tokenizer(body, tmp_path / "encoder")
    model = SentenceTransformer(str(folder), device="cpu", prompts={"query": "7 8"})
    model.save(str(tmp_path / "saved"))
    found = run_alone(
        f"""
        import json
        from sentence_transformers import SentenceTransformer
        vectors = []
        for name in ("saved", "again"):
            model = SentenceTransformer(name, device="cpu", trust_remote_code=True)
            vectors.append(model.encode({SENTENCES!r}, prompt_name="query").tolist())
            model.save("again")
        json.dump([type(model[0].auto_model).__module__, vectors], open("result.json", "w"))
        """,
        "sentence_transformers",
    )
    module, vectors = found
    assert module.startswith("transformers_modules.")
    expected = model.encode(SENTENCES, prompt_name="query", convert_to_tensor=True)
    for of_one_load in vectors:
        torch.testing.assert_close(torch.tensor(of_one_load), expected, rtol=0, atol=0)


TRAIN = """
import json
import trl
from datasets import Dataset
from transformers import AutoTokenizer

options = {"max_steps": 6, "per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 1}
options |= {"report_to": [], "save_strategy": "no", "use_cpu": True, "bf16": False, "gradient_checkpointing": False}
options |= {"dataloader_pin_memory": False, "model_init_kwargs": {"trust_remote_code": True}}
tokenizer = AutoTokenizer.from_pretrained("decoder", trust_remote_code=True)
rows = [" ".join(str(5 + (start + i) % 92) for i in range(8)) for start in range(16)]
pairs = {"prompt": ["5 6 7"] * 8, "chosen": ["8 9"] * 8, "rejected": ["40 41"] * 8}
trainers = {
    "sft": lambda: trl.SFTTrainer(
        model="decoder",
        args=trl.SFTConfig(output_dir="sft", max_length=64, **options),
        train_dataset=Dataset.from_dict({"text": rows}),
        processing_class=tokenizer,
    ),
    "dpo": lambda: trl.DPOTrainer(
        model="decoder",
        args=trl.DPOConfig(output_dir="dpo", **options),
        train_dataset=Dataset.from_dict(pairs),
        processing_class=tokenizer,
    ),
}
losses = {}
for name, make in trainers.items():
    trainer = make()
    assert type(trainer.model).__module__.startswith("transformers_modules."), type(trainer.model)
    trainer.train()
    losses[name] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trainer.save_model(name)
json.dump(losses, open("result.json", "w"))
"""


def test_trl_trains_a_model_that_it_is_given_by_its_path(library, decoder: Path, run_alone, tmp_path: Path):
    library("trl")
    losses = run_alone(TRAIN, "trl", "datasets")
    assert losses.keys() == {"sft", "dpo"}
    for name, values in losses.items():
        assert len(values) == 6
        assert values[-1] < 0.9 * values[0], name
        model = TriptychDecoderForCausalLM.from_pretrained(tmp_path / name)
        before = TriptychDecoderForCausalLM.from_pretrained(decoder)
        assert not torch.equal(model.lm_head.weight, before.lm_head.weight)


@pytest.fixture
def server(needs, decoder: Path, tmp_path: Path) -> Iterator[str]:
    """The address of `transformers serve` with the decoder."""
    for module in ("fastapi", "uvicorn", "openai"):
        needs(module)
    with serving([str(decoder), "--trust-remote-code", "--device", "cpu"], tmp_path) as address:
        yield address


def ask(address: str, path: str, **fields: Any) -> str:
    """What the server answers to one request."""
    body = json.dumps(fields).encode()
    request = urllib.request.Request(f"{address}{path}", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error


def test_transformers_serve_answers_a_chat(server: str, decoder: Path):
    """As `generate` does here, in one piece and as a stream; a completion without a template, too."""
    tokenizer, model = number_tokenizer(), TriptychDecoderForCausalLM.from_pretrained(decoder)
    inputs = tokenizer("5 6 7 8", return_tensors="pt")
    generated = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    expected = tokenizer.decode(generated[0, 4:], skip_special_tokens=True)
    options = {"model": str(decoder), "max_tokens": 5, "temperature": 0.0}

    whole = json.loads(ask(server, "/v1/chat/completions", messages=MESSAGES, **options))
    assert whole["choices"][0]["message"]["content"].strip() == expected.strip() != ""
    assert whole["usage"]["prompt_tokens"] == 4

    streamed = ask(server, "/v1/chat/completions", messages=MESSAGES, stream=True, **options)
    pieces = [json.loads(line.removeprefix("data: ")) for line in streamed.splitlines() if line.startswith("data: {")]
    text = "".join(piece["choices"][0]["delta"].get("content") or "" for piece in pieces if piece["choices"])
    assert text.strip() == expected.strip()

    completed = json.loads(ask(server, "/v1/completions", prompt="5 6 7 8", **options))
    assert completed["choices"][0]["text"].strip() == expected.strip()
