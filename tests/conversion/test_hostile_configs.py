"""The config.json of a public architecture is not trusted, either: it makes no crash, no hang and no large memory."""

import time

import pytest
import transformers

import triptych
from copies import copy_with
from triptych.conversion.loading import read_config

SIZES = {
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}),
    "gptj": ("GPTJForCausalLM", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "rotary_dim": 4}),
    "bert": (
        "BertForMaskedLM",
        {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    ),
    "t5": ("T5ForConditionalGeneration", {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}),
    "llama": (
        "LlamaForCausalLM",
        {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    ),
}
SLOW = [pytest.param(value, marks=pytest.mark.slow) for value in (10**12, 10**9, -5, [8], 2.5)]
VALUES = [10**6, "8", *SLOW]
MODEL_TYPES = [name for name in SIZES if name != "gptj"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("public")
    for model_type, (name, sizes) in SIZES.items():
        config = transformers.AutoConfig.for_model(
            model_type, vocab_size=40, bos_token_id=2, eos_token_id=3, pad_token_id=0, **sizes
        )
        getattr(transformers, name)(config).save_pretrained(directory / model_type)
    return directory


@pytest.fixture
def with_fields(saved, tmp_path):
    return lambda model_type, fields: copy_with(saved / model_type, tmp_path, fields)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(("model_type", "name"), [(kind, name) for kind in MODEL_TYPES for name in SIZES[kind][1]])
def test_a_size_that_the_weights_do_not_have_is_refused(model_type, name, value, with_fields):
    directory, began = with_fields(model_type, {name: value}), time.process_time()
    with pytest.raises((ValueError, OSError)) as raised:
        triptych.from_hf(directory)
    message = str(raised.value)
    assert name in message or "config.json" in message or str(directory) in message, message
    assert time.process_time() - began < 5


def test_a_table_that_no_file_holds_is_not_made_large(with_fields):
    """GPT-J computes its table of positions, so that no tensor in the files contradicts the number of them."""
    with pytest.raises(ValueError, match=r"embed_positions would be \(100000000, 4\), and the files do not have it"):
        triptych.from_hf(with_fields("gptj", {"n_positions": 10**8}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "unheard_of"}, "model_type='unheard_of' is none that transformers"),
        ({"model_type": "unheard_of", "auto_map": {"AutoConfig": "a.B"}}, "only with trust_remote_code=True"),
        ({"model_type": "../x"}, "model_type='../x' is none"),
        ({"architectures": ["os.system"]}, "transformers has no class os.system"),
        ({"architectures": [None]}, "architectures="),
        ({"transformers_weights": "adapter_model.bin"}, "transformers_weights="),
        ({"transformers_weights": "../gpt2/model.safetensors"}, "transformers_weights="),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(fields, said, with_fields):
    with pytest.raises(ValueError, match=r"config\.json|transformers has no class") as raised:
        triptych.from_hf(with_fields("gpt2", fields))
    assert said in str(raised.value)


def test_a_name_that_is_given_twice_is_refused(with_fields):
    path = with_fields("gpt2", {}) / "config.json"
    path.write_text(path.read_text().removesuffix("}") + ', "n_embd": 16}')
    with pytest.raises(ValueError, match="it gives 'n_embd' twice"):
        read_config(path.parent)
