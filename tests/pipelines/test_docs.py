"""docs/pipelines.md: its blocks run in order, the one for a machine without the package in such a process."""

import pytest
from transformers import PreTrainedTokenizerFast

from alone import run_alone
from pages import blocks_of
from tiny import make_model, word_tokenizer
from triptych.pipelines import withdraw

from .conftest import marian, talkative

WORDS = ["The", "light", "is", "on.", "window", "open.", "Good", "morning.", "Where", "Kim?", "Kim", "in", "Oslo."]


def save(model, tokenizer: PreTrainedTokenizerFast, directory: str) -> None:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.fixture
def directories(tmp_path, monkeypatch):
    """The models that the page names."""
    monkeypatch.chdir(tmp_path)
    tokenizer = word_tokenizer(WORDS)
    sizes = {"vocab_size": len(tokenizer), "positions": "learned", "max_position_embeddings": 32}
    save(talkative(make_model("encoder_decoder", **sizes)), tokenizer, "translator")
    save(make_model("TriptychEncoderForQuestionAnswering", **sizes), tokenizer, "reader")
    save(talkative(marian(len(tokenizer))), tokenizer, "Helsinki-NLP/opus-mt-en-de")
    yield
    withdraw()


@pytest.mark.slow
def test_the_examples_run_and_print_what_the_page_says(directories, capsys):
    namespace: dict = {}
    shown_outputs = 0
    for block in blocks_of("pipelines.md"):
        if "without-the-package" in block.flags:
            printed = run_alone(block.code)
        else:
            assert (block.language, block.flags) == ("python", [])
            exec(block.code, namespace)
            printed = capsys.readouterr().out
        if block.shown:
            shown_outputs += 1
            assert printed.endswith(block.shown)
    assert shown_outputs == 2
    assert len(namespace["pieces"]) == 40
    assert namespace["translation"].count("\n\n") == 39
