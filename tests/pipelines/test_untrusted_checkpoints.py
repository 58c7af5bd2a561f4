"""No file of a checkpoint makes code run, unless `trust_remote_code=True` is given."""

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

import triptych
from triptych import TriptychDecoderConfig, TriptychDecoderForCausalLM
from triptych.pipelines import pipeline
from triptych.tokenization import load_tokenizers

from .conftest import ENGLISH, word_tokenizer

OPTIONS = {"max_new_tokens": 6, "num_beams": 2}
# What generate() would load or call, were it given by the checkpoint.
HARMFUL = {
    "trust_remote_code": True,
    "assistant_model": "elsewhere",
    "assistant_early_exit": 1,
    "cache_implementation": "offloaded",
    "compile_config": {"backend": "inductor"},
    "constraints": ["elsewhere"],
    "logits_processor": ["elsewhere"],
    "prompt_lookup_num_tokens": 2,
    "stopping_criteria": ["elsewhere"],
    "streamer": "elsewhere",
    "tokenizer": "elsewhere",
    "unheard_of": 1,
}


@pytest.fixture(autouse=True)
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears when code of a checkpoint runs. Whoever asks on standard input is told yes."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    return tmp_path / "code-ran"


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def plant(directory: Path, marker: Path) -> None:
    """Code for every place where transformers looks for some."""
    touch = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    (directory / "custom_generate").mkdir()
    generate = "def generate(model, **kwargs):\n    return 0\n"
    (directory / "custom_generate" / "generate.py").write_text(touch + generate)
    imports = "import transformers\n"
    for name, base in (
        ("Config", "PreTrainedConfig"),
        ("Model", "PreTrainedModel"),
        ("Tokenizer", "PreTrainedTokenizerFast"),
        ("Pipe", "Pipeline"),
    ):
        body = "    model_type = 'unheard_of'\n" if name == "Config" else "    pass\n"
        (directory / f"{name.lower()}.py").write_text(
            touch + imports + f"class {name}(transformers.{base}):\n{body}", encoding="utf-8"
        )


@pytest.fixture
def hostile(checkpoint: Path, marker: Path) -> Path:
    plant(checkpoint, marker)
    return checkpoint


def test_task_specific_params(hostile: Path, marker: Path, caplog: pytest.LogCaptureFixture):
    expected = pipeline("translation", hostile, **OPTIONS)("a dog")
    harmful = {"custom_generate": str(hostile), **HARMFUL}
    edit(hostile / "config.json", task_specific_params={"translation": {**harmful, "num_beams": 1}})
    for trust in (False, True):
        caplog.clear()
        pipe = pipeline("translation", hostile, trust_remote_code=trust, max_new_tokens=6)
        if not trust:  # with trust, the code in custom_generate/ replaces generate(): that is what trust means
            assert pipe("a dog", num_beams=2) == expected
            assert pipe("a dog") == pipe("a dog", num_beams=1)
            assert not marker.exists()
        (warning,) = [record.getMessage() for record in caplog.records if record.name.startswith("triptych")]
        assert all(f"{name}=" in warning for name in harmful)
        assert "num_beams" not in warning


@pytest.mark.parametrize("params", [["custom_generate"], "custom_generate", {"translation": "custom_generate"}, 7])
def test_task_specific_params_of_another_form(
    marian_model, tokenizer, tmp_path: Path, params: object, caplog: pytest.LogCaptureFixture
):
    marian_model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    edit(tmp_path / "model" / "config.json", task_specific_params=params, prefix=["a"])
    assert pipeline("translation", tmp_path / "model", **OPTIONS)("a dog")
    assert "ignored config.task_specific_params" in caplog.text
    assert "prefix=['a']" in caplog.text


def test_generation_config(hostile: Path, marker: Path):
    inputs = load_tokenizers(hostile)[0]("a dog", return_tensors="pt")
    expected = AutoModelForSeq2SeqLM.from_pretrained(hostile).generate(**inputs, **OPTIONS)
    names = ("trust_remote_code", "tokenizer", "unheard_of")
    edit(
        hostile / "generation_config.json",
        custom_generate=str(hostile),
        _from_model_config=False,  # else transformers drops what it does not know
        **{name: HARMFUL[name] for name in names},
    )
    model = AutoModelForSeq2SeqLM.from_pretrained(hostile)
    assert model.generation_config.custom_generate == str(hostile)  # transformers keeps it, and must not heed it
    assert torch.equal(model.generate(**inputs, **OPTIONS), expected)
    (output,) = pipeline("translation", hostile, return_tensors=True, **OPTIONS)("a dog")
    assert torch.equal(output["translation_token_ids"], expected[0])
    assert not marker.exists()


def test_generation_config_of_a_decoder(tmp_path: Path, marker: Path):
    tokenizer, directory = word_tokenizer(ENGLISH), tmp_path / "decoder"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    TriptychDecoderForCausalLM(TriptychDecoderConfig(vocab_size=20, **sizes, **ids)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    plant(directory, marker)
    edit(directory / "generation_config.json", custom_generate=str(directory), trust_remote_code=True)
    edit(
        directory / "config.json",
        task_specific_params={"text-generation": {"custom_generate": str(directory), "trust_remote_code": True}},
    )
    inputs = tokenizer("a dog", return_tensors="pt", add_special_tokens=False)
    assert AutoModelForCausalLM.from_pretrained(directory).generate(**inputs, max_new_tokens=3).shape == (1, 5)
    for make in (pipeline, transformers.pipeline):
        pipe = make("text-generation", model=str(directory), trust_remote_code=False)
        assert pipe("a dog", max_new_tokens=3, do_sample=False)
    assert not marker.exists()


class TestCodeThatTheFilesName:
    """`auto_map` and `custom_pipelines`: refused or not heeded, and never asked about on standard input."""

    @pytest.fixture
    def hostile(self, marian_model, tokenizer, tmp_path: Path, marker: Path) -> Path:
        # The name of a known model in the path would be taken for the model's type.
        marian_model.save_pretrained(tmp_path / "checkpoint")
        tokenizer.save_pretrained(tmp_path / "checkpoint")
        plant(tmp_path / "checkpoint", marker)
        return tmp_path / "checkpoint"

    @pytest.mark.parametrize("task", ["translation", "summarization", "fill-mask", None])
    def test_a_class_of_config(self, hostile: Path, marker: Path, task: str | None):
        edit(hostile / "config.json", model_type="unheard_of", auto_map={"AutoConfig": "config.Config"})
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            pipeline(task, hostile)
        assert not marker.exists()
        with contextlib.suppress(Exception):  # it runs, whatever comes of it
            pipeline(task, hostile, trust_remote_code=True)
        assert marker.exists()

    def test_a_class_of_model_beside_a_known_config(self, hostile: Path, marker: Path):
        expected = pipeline("translation", hostile, **OPTIONS)("a dog")
        edit(hostile / "config.json", auto_map={"AutoModelForSeq2SeqLM": "model.Model", "AutoConfig": "config.Config"})
        assert pipeline("translation", hostile, **OPTIONS)("a dog") == expected
        assert not marker.exists()

    @pytest.mark.parametrize("load", [load_tokenizers, lambda path: pipeline("translation", path)])
    def test_a_class_of_tokenizer(self, hostile: Path, marker: Path, load):
        edit(
            hostile / "tokenizer_config.json",
            tokenizer_class="Tokenizer",
            auto_map={"AutoTokenizer": [None, "tokenizer.Tokenizer"]},
        )
        with contextlib.suppress(ValueError):  # refused, or read by a class of transformers
            load(hostile)
        assert not marker.exists()

    def test_a_class_of_target_tokenizer(self, two_vocabulary_checkpoint: Path, marker: Path):
        folder = two_vocabulary_checkpoint / "target_tokenizer"
        plant(folder, marker)
        edit(
            folder / "tokenizer_config.json",
            tokenizer_class="Tokenizer",
            auto_map={"AutoTokenizer": [None, "tokenizer.Tokenizer"]},
        )
        with contextlib.suppress(ValueError):
            pipeline("translation", two_vocabulary_checkpoint)
        assert not marker.exists()

    def test_a_class_of_pipeline(self, hostile: Path, marker: Path):
        expected = pipeline("translation", hostile, **OPTIONS)("a dog")
        impl = {"impl": "pipe.Pipe", "pt": ["AutoModelForSeq2SeqLM"], "type": "text"}
        edit(hostile / "config.json", custom_pipelines={"translation": impl, "mine": impl})
        assert pipeline("translation", hostile, **OPTIONS)("a dog") == expected
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            pipeline("mine", hostile)
        with pytest.raises(RuntimeError):
            pipeline(None, hostile)
        assert not marker.exists()

    def test_a_class_of_config_for_from_hf(self, hostile: Path, marker: Path):
        edit(hostile / "config.json", model_type="unheard_of", auto_map={"AutoConfig": "config.Config"})
        with pytest.raises(ValueError, match="trust_remote_code=True"):
            triptych.from_hf(hostile)
        assert not marker.exists()


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_an_attention_kernel_of_the_hub(
    hostile: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """It is code, too: a file that names one is not heeded, in our models and in transformers' own."""
    fetched = []

    def fetch(kernel: str, *args: object, **kwargs: object) -> None:
        fetched.append(kernel)
        raise ImportError("no kernel")

    monkeypatch.setattr("transformers.integrations.hub_kernels.load_and_register_attn_kernel", fetch)
    expected = pipeline("translation", hostile, **OPTIONS)("a dog")
    edit(hostile / "config.json", **{name: "kernels-community/flash-attn"})
    for task in ("translation", "feature-extraction"):
        caplog.clear()
        pipe = pipeline(task, hostile)
        assert "ignored" in caplog.text
        assert "kernels-community/flash-attn" in caplog.text
        assert task != "translation" or pipe("a dog", **OPTIONS) == expected
    if pipe.model.config.model_type != "triptych":
        triptych.from_hf(hostile)
    assert not fetched
