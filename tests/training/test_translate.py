import copy

import pytest
import torch

from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.tokenization import special_token_config, train_tokenizer
from triptych.training.translate import one_line, score_translations, translate

SENTENCES = ["one", "two three", "one two three four five", "four", "five four three", "two", "three one two"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(SENTENCES, "word", 30)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    return TriptychForConditionalGeneration(
        TriptychConfig(**sizes, max_position_embeddings=8, initializer="normal", initializer_range=1.0,
                       **special_token_config(tokenizer))
    )  # fmt: skip


def test_order_and_batches_do_not_matter(model, tokenizer):
    options = {"max_new_tokens": 6, "num_beams": 2}
    single = [translate(model, tokenizer, [sentence], **options)[0] for sentence in SENTENCES]
    assert len(set(single)) > 3
    for batch_size in (1, 3, 100):
        assert translate(model, tokenizer, SENTENCES, batch_size=batch_size, **options) == single


def test_the_mode_of_the_model_is_put_back(model, tokenizer):
    for mode in (True, False):
        model.train(mode)
        translate(model, tokenizer, SENTENCES[:1], max_new_tokens=2)
        assert model.training is mode


def with_positions(model, positions):
    """Another model of the same sizes."""
    config = copy.deepcopy(model.config)
    config.positions = positions
    return TriptychForConditionalGeneration(config).eval()


def test_sources_longer_than_the_model_are_cut_with_a_warning(model, tokenizer, caplog):
    model, long = with_positions(model, "learned"), " ".join(["one"] * 20)
    first, second = translate(model, tokenizer, [long, "two"], max_new_tokens=3)
    assert "cut 1 source that is longer than 8 tokens, e.g. row 1" in caplog.text
    assert first == translate(model, tokenizer, [" ".join(["one"] * 7)], max_new_tokens=3)[0]
    assert second == translate(model, tokenizer, ["two"], max_new_tokens=3)[0]


@pytest.mark.parametrize("positions", ["none", "sinusoidal", "rotary", "relative"])
def test_sources_are_cut_for_learned_positions_only(model, tokenizer, caplog, monkeypatch, positions):
    """Not at `max_position_embeddings`, and not where the tokenizer would cut if asked to."""
    unlimited, read = with_positions(model, "sinusoidal" if positions == "rotary" else positions), []
    if positions == "rotary":  # whose parameters are made with the configuration
        fields = {**unlimited.config.to_dict(), "positions": positions, "rope_parameters": None}
        unlimited = TriptychForConditionalGeneration(TriptychConfig(**fields)).eval()
    hook = unlimited.model.encoder.register_forward_pre_hook
    hook(lambda module, args, kwargs: read.append((*args, kwargs.get("input_ids"))[0]), with_kwargs=True)
    monkeypatch.setattr(tokenizer, "model_max_length", 10)
    translate(unlimited, tokenizer, [" ".join(["one"] * 20)], max_new_tokens=3)
    assert not caplog.text
    assert read[0].shape == (1, 21)


def test_nothing_to_translate(model, tokenizer):
    assert translate(model, tokenizer, []) == []


def test_scores_of_the_translations(model, tokenizer):
    translations = translate(model, tokenizer, SENTENCES, max_new_tokens=6)
    perfect = score_translations(translate(model, tokenizer, SENTENCES, max_new_tokens=6), translations)
    assert perfect["bleu"] == pytest.approx(100)
    reversed_references = [" ".join(["nothing", "of", "the", "kind"])] * len(SENTENCES)
    scores = score_translations(translations, reversed_references)
    assert scores["bleu"] < 20
    assert scores["chrf_signature"].startswith("nrefs:1|")


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_a_source_without_text_has_an_empty_translation(model, tokenizer, batch_size):
    texts = ["", "one", " ", "\n", "two three", ""]
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "batch_size": batch_size}
    translations = translate(model, tokenizer, texts, **options)
    assert [bool(text) for text in translations] == [bool(text.strip()) for text in texts]
    assert [translations[1], translations[4]] == translate(model, tokenizer, ["one", "two three"], **options)
    assert translate(model, tokenizer, ["", ""]) == ["", ""]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_one_line(end):
    assert one_line(f"a{end}b\u00a0c  d{end}") == "a b\u00a0c  d"
