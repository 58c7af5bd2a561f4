"""The most tokens that a model can take, ours or theirs: what it says is what it does."""

import pytest
import torch
import transformers

import triptych
from triptych.conversion.limits import position_limit

SIZES = {"d_model": 16, "vocab_size": 30, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
SIDES = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 1), ("attention_heads", 2))}
BART = {**SIZES, **SIDES, "max_position_embeddings": 20, "bos_token_id": 2}
T5 = {**SIZES, "d_kv": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "n_positions": 20}
FSMT = {**BART, "src_vocab_size": 30, "tgt_vocab_size": 30, "langs": ["en", "de"]}
SIDE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}

MODELS = {
    "bart": (transformers.BartForConditionalGeneration, transformers.BartConfig(**BART), 20, 20),
    "mbart": (transformers.MBartForConditionalGeneration, transformers.MBartConfig(**BART), 20, 20),
    "marian": (transformers.MarianMTModel, transformers.MarianConfig(**BART), 20, None),
    "pegasus": (transformers.PegasusForConditionalGeneration, transformers.PegasusConfig(**BART), 20, ...),
    "m2m_100": (transformers.M2M100ForConditionalGeneration, transformers.M2M100Config(**BART), None, None),
    "fsmt": (
        transformers.FSMTForConditionalGeneration,
        transformers.FSMTConfig(**{n: v for n, v in FSMT.items() if n != "vocab_size"}),
        None,
        None,
    ),
    "t5": (transformers.T5ForConditionalGeneration, transformers.T5Config(**T5), None, None),
    "led": (
        transformers.LEDForConditionalGeneration,
        transformers.LEDConfig(
            **{n: v for n, v in BART.items() if n != "max_position_embeddings"},
            max_encoder_position_embeddings=20,
            max_decoder_position_embeddings=20,
            attention_window=4,
        ),
        20,
        ...,
    ),
    "roberta and bert": (
        transformers.EncoderDecoderModel,
        transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
            transformers.RobertaConfig(**SIDE, max_position_embeddings=22, pad_token_id=1),
            transformers.BertConfig(**SIDE, max_position_embeddings=20),
        ),
        20,
        ...,
    ),
}


def takes(model, length):
    ids = torch.full((1, length), 7)
    try:
        with torch.no_grad():
            model(input_ids=ids, decoder_input_ids=ids, use_cache=False)
    except (IndexError, RuntimeError):  # BERT's slice of its positions is too short then
        return False
    return True


@pytest.mark.parametrize("name", MODELS)
def test_the_limit_is_what_a_model_takes(name):
    """Each as transformers has it, and as ours, where there is one: Marian's table of sinusoids is computed there."""
    model_class, config, limit, our_limit = MODELS[name]
    torch.manual_seed(0)
    models = [(model_class(config).eval(), limit)]
    if our_limit is not ...:
        models.append((triptych.from_hf(models[0][0]), our_limit))
    for model, expected in models:
        assert {position_limit(model.config, side) for side in ("encoder", "decoder")} == {expected}
        assert takes(model, 20)
        assert takes(model, 21) == (expected is None)
