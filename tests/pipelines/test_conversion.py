"""Public checkpoints that are given by name: converted where their architecture is known, or used as they are."""

import json
import logging
from pathlib import Path

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from tiny import word_tokenizer
from triptych import TriptychForConditionalGeneration
from triptych.pipelines import pipeline

from .conftest import ENGLISH, bart, marian, t5, talkative

OPTIONS = {"max_new_tokens": 6, "num_beams": 3}
TEXTS = ["the house is red .", "a dog", "is the big cat in the small house ?"]
PUBLIC = {"marian": marian, "bart": bart, "t5": t5}


@pytest.fixture(params=PUBLIC)
def public(request: pytest.FixtureRequest, tokenizer, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = talkative(PUBLIC[request.param](len(tokenizer)))
    model.config.task_specific_params = {"summarization": {"prefix": "the big ", "num_beams": 1}}
    model.save_pretrained(tmp_path / "public")
    tokenizer.save_pretrained(tmp_path / "public")
    return tmp_path / "public"


def test_the_outputs_are_the_same_and_the_log_says_what_was_done(public: Path, caplog):
    with caplog.at_level(logging.INFO, logger="triptych"):
        converted = pipeline("translation", public, **OPTIONS)
    assert type(converted.model) is TriptychForConditionalGeneration
    [line] = [record.getMessage() for record in caplog.records if "converted" in record.getMessage()]
    assert line.endswith("was converted to TriptychForConditionalGeneration")
    theirs = pipeline("translation", public, convert=False, **OPTIONS)
    assert type(theirs.model).__module__.startswith("transformers.")
    assert converted(TEXTS, batch_size=2) == theirs(TEXTS, batch_size=2)
    scored = [pipe(TEXTS, output_scores=True) for pipe in (converted, theirs)]
    for ours, expected in zip(*scored, strict=True):
        assert ours["score"] == pytest.approx(expected["score"], abs=1e-4)


def test_what_the_checkpoint_says_of_a_task_stays(public: Path):
    ours, theirs = (pipeline("summarization", public, convert=convert, max_new_tokens=6) for convert in (True, False))
    assert ours(TEXTS) == theirs(TEXTS) == ours(TEXTS, prefix="the big ", num_beams=1)


def test_dtype(public: Path):
    assert pipeline("translation", public, dtype="bfloat16").model.dtype is torch.bfloat16
    assert pipeline("translation", public, model_kwargs={"attn_implementation": "eager"})("a dog")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_kwargs": {"use_kernels": True}}, "use_kernels is an option of its own class"),
        ({"device_map": {"": "cpu"}}, "device_map is an option of its own class"),
    ],
)
def test_options_that_a_conversion_lacks(tokenizer, tmp_path: Path, options, reason, caplog, monkeypatch):
    model = talkative(marian(len(tokenizer)))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded: dict = {}

    def load(name: str, **given: object) -> PreTrainedModel:
        loaded.update(given)
        return model

    monkeypatch.setattr(transformers.AutoModelForSeq2SeqLM, "from_pretrained", load)
    with caplog.at_level(logging.INFO, logger="triptych"):
        assert pipeline("translation", tmp_path, **options).model is model
    assert reason in caplog.text
    assert loaded.items() >= (options.get("model_kwargs") or options).items()


def test_an_unknown_architecture_is_used_as_it_is(tokenizer, tmp_path: Path, caplog):
    sides = {f"{side}_{name}": 1 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    config = transformers.BlenderbotSmallConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2, forced_eos_token_id=None, **sides,
    )  # fmt: skip
    talkative(transformers.BlenderbotSmallForConditionalGeneration(config)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="triptych"):
        pipe = pipeline("translation", tmp_path, **OPTIONS)
    assert "is used as it is, not converted: there is no table for the architecture 'blenderbot-small'" in caplog.text
    assert len(pipe(TEXTS)) == 3


def test_a_body_without_a_head_is_used_as_it_is(tokenizer, tmp_path: Path, caplog):
    talkative(marian(len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["MarianModel"]}))
    with caplog.at_level(logging.INFO, logger="triptych"):
        pipe = pipeline("translation", tmp_path, **OPTIONS)
    assert type(pipe.model) is transformers.MarianMTModel
    assert "MarianModel has another head" in caplog.text


def test_question_answering(tmp_path: Path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    tokenizer = word_tokenizer(ENGLISH)
    transformers.BertForQuestionAnswering(
        transformers.BertConfig(**sizes, vocab_size=len(tokenizer), pad_token_id=0, initializer_range=0.5)
    ).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    both = {"question": "is the dog red ?", "context": "the dog is big and the house is red ."}
    ours, theirs = (pipeline("question-answering", tmp_path, convert=convert) for convert in (True, False))
    assert type(ours.model).__name__ == "TriptychEncoderForQuestionAnswering"
    assert ours(both) == pytest.approx(theirs(both), abs=1e-5)


def test_the_card_names_the_task(public: Path):
    (public / "README.md").write_text("---\npipeline_tag: translation\n---\n# A translator\n", encoding="utf-8")
    assert pipeline(model=public, **OPTIONS)("a dog") == pipeline("translation", public, **OPTIONS)("a dog")
