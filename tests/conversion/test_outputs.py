"""What a configuration says about the form of all outputs is said of ours, too, and of theirs on the way back."""

import json

import pytest
import torch
import transformers

import triptych

WORDS = {"vocab_size": 53, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 24}
SIDES = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
BART = {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, **SIDES, "decoder_start_token_id": 2}
MODELS = {
    "BertForMaskedLM": SIZES,
    "GPT2LMHeadModel": {"n_embd": 16, "n_head": 2, "n_layer": 2},
    "BartForConditionalGeneration": BART,
}
RETURNED = {"output_hidden_states": True, "output_attentions": True}
LISTS = ("hidden_states", "attentions", "encoder_hidden_states", "decoder_attentions", "cross_attentions")
IDS = torch.tensor([[5, 6, 7, 8, 2]])


def make(name, **fields):
    torch.manual_seed(0)
    their_class = getattr(transformers, name)
    return their_class(their_class.config_class(**WORDS, **MODELS[name], **fields)).eval()


def run(model):
    further = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=IDS, **further)


def check_lists(actual, expected, assert_close):
    found = [name for name in LISTS if expected.get(name)]
    assert len(found) >= 2
    for name in found:
        for one, other in zip(actual[name], expected[name], strict=True):
            assert_close(one, other, name)


@pytest.mark.parametrize("name", MODELS)
def test_options_and_live_models_return_all_states(name, tmp_path, reload, assert_close):
    theirs = make(name)
    theirs.save_pretrained(tmp_path / "plain")
    expected = type(theirs).from_pretrained(tmp_path / "plain", attn_implementation="eager", **RETURNED)
    for ours in (
        triptych.from_hf(tmp_path / "plain", attn_implementation="eager", **RETURNED),
        triptych.from_hf(tmp_path / "plain", **RETURNED),
        triptych.from_hf(expected),
    ):
        check_lists(run(reload(ours)), run(expected), assert_close)
        check_lists(run(triptych.to_hf(ours)), run(expected), assert_close)


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_says_which_states_it_returns(name, tmp_path, assert_close):
    """transformers itself loads such a checkpoint with a kernel that returns no attentions."""
    make(name).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **RETURNED}))
    expected = run(getattr(transformers, name).from_pretrained(tmp_path, attn_implementation="eager"))
    check_lists(run(triptych.from_hf(tmp_path)), expected, assert_close)


@pytest.mark.parametrize("name", MODELS)
def test_tuples(name, tmp_path, reload, assert_close):
    """transformers' own GPT-2 and BART cannot compute with such a configuration."""
    theirs = make(name, return_dict=False)
    theirs.save_pretrained(tmp_path / "theirs")
    make(name).save_pretrained(tmp_path / "plain")
    sources = triptych.from_hf(theirs), triptych.from_hf(tmp_path / "theirs")
    for ours in (*sources, triptych.from_hf(tmp_path / "plain", return_dict=False)):
        output = run(reload(ours))
        assert isinstance(output, tuple)
        assert_close(output[0], run(make(name)).logits)
        back = reload(triptych.to_hf(ours))
        assert back.config.return_dict is False
        back.config.return_dict = True
        assert_close(run(back).logits, output[0])


def test_attentions_of_another_kernel_are_refused_before_weights_are_read(tmp_path):
    make("BertForMaskedLM").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"attn_implementation='sdpa' returns no attention weights.*eager"):
        triptych.from_hf(tmp_path, output_attentions=True, attn_implementation="sdpa")
