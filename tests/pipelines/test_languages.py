"""Translation with tokenizers that have language codes: what the model is started with."""

import pytest
import torch
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
)

import triptych

SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SIZES |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64}


def nllb(**languages):
    tokenizer = NllbTokenizer(**languages)
    torch.manual_seed(0)
    config = M2M100Config(**SIZES, vocab_size=len(tokenizer), decoder_start_token_id=2, scale_embedding=True)
    return tokenizer, M2M100ForConditionalGeneration(config)


def mbart(**languages):
    tokenizer = MBartTokenizer(**languages)
    torch.manual_seed(0)
    config = MBartConfig(**SIZES, vocab_size=len(tokenizer), forced_eos_token_id=None)
    config.decoder_start_token_id = tokenizer.convert_tokens_to_ids("ro_RO")
    return tokenizer, MBartForConditionalGeneration(config)


def tokens(parts, task="translation", **options):
    tokenizer, model = parts
    pipe = triptych.pipeline(task, model=model, tokenizer=tokenizer, max_new_tokens=3, num_beams=1)
    outputs = pipe(["a b", "c"], return_tensors=True, batch_size=2, **options)
    return [tokenizer.convert_ids_to_tokens(output["translation_token_ids"][:2].tolist()) for output in outputs]


def test_a_model_that_writes_the_language_first():
    assert tokens(nllb(src_lang="eng_Latn", tgt_lang="deu_Latn")) == [["</s>", "deu_Latn"]] * 2
    assert tokens(nllb(), src_lang="eng_Latn", tgt_lang="fra_Latn") == [["</s>", "fra_Latn"]] * 2
    assert tokens(nllb(), "translation_eng_Latn_to_ita_Latn") == [["</s>", "ita_Latn"]] * 2


def test_a_model_that_starts_from_the_language():
    for languages, options in (({"tgt_lang": "de_DE"}, {}), ({}, {"src_lang": "en_XX", "tgt_lang": "de_DE"})):
        first, second = tokens(mbart(**languages), **options)
        assert first[0] == second[0] == "de_DE"
        assert "de_DE" not in (first[1], second[1])


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ({"src_lang": "eng_Latn"}, "tgt_lang is missing"),
        ({"tgt_lang": "fra_Latn"}, "src_lang is missing"),
        ({"src_lang": "eng_Latn", "tgt_lang": "french"}, "tgt_lang='french' is none of the 202 languages"),
    ],
)
def test_languages_that_are_missing_or_unknown(languages, message):
    with pytest.raises(ValueError, match=message):
        tokens(nllb(), **languages)
