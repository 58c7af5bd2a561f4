"""What cannot be expressed is refused, by name: features, architectures, classes, incomplete checkpoints."""

import json
import re

import pytest
import safetensors.torch
import transformers

import triptych
from triptych import TriptychDecoderConfig, TriptychDecoderForCausalLM
from triptych.conversion import CannotExpress, known_architectures
from triptych.conversion.fields import logger
from triptych.conversion.registry import UNLIKE

NAMES = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings"]
SIZES = {**dict.fromkeys(NAMES, 4), "num_hidden_layers": 1, "hidden_size": 8}
TOKENS = {"vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def their_model(name, **fields):
    model_class = getattr(transformers, name)
    return model_class(model_class.config_class(**{**TOKENS, **SIZES, **fields}))


def our_model(**fields):
    config = {**TOKENS, **SIZES, "num_key_value_heads": 4, **fields}
    return TriptychDecoderForCausalLM(TriptychDecoderConfig(**config))


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": True}, "divided by the number of the layer"),
        ("GPT2LMHeadModel", {"add_cross_attention": True}, "cross-attention"),
        ("FalconForCausalLM", {"alibi": True}, "ALiBi"),
        ("OPTForCausalLM", {"word_embed_proj_dim": 4}, "maps between the embeddings and the layers"),
        ("OPTForCausalLM", {"layer_norm_elementwise_affine": False}, "norms without a gain"),
        ("OPTForCausalLM", {"_remove_final_layer_norm": True}, "no norm at the end"),
        (
            "Phi3ForCausalLM",
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0],
                    "long_factor": [2.0],
                }
            },
            "longrope",
        ),
        (
            "LlamaForCausalLM",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor=0.5",
        ),
    ],
)
def test_features_of_decoders(name, fields, said):
    complete = triptych.from_hf(their_model(name))
    assert isinstance(complete, TriptychDecoderForCausalLM)
    with pytest.raises(CannotExpress) as error:
        triptych.from_hf(their_model(name, **fields))
    assert said in str(error.value)
    feature = next(iter(fields))
    assert feature in str(error.value) or feature == "rope_parameters"


def refused():
    return [(known.model_type, name) for known in known_architectures() for name in known.refused]


@pytest.mark.parametrize(("model_type", "name"), refused())
def test_every_refused_feature_is_named(model_type, name):
    """Whatever value a field has that is not among those that can be expressed."""
    known = next(a for a in known_architectures(model_type=model_type) if name in a.refused)
    config = transformers.AutoConfig.for_model(model_type)
    allowed, meaning = known.refused[name]
    object.__setattr__(config, name, not allowed[0] if isinstance(allowed[0], bool) else "another")
    with pytest.raises(CannotExpress) as error:
        known.read_config(config, next(iter(known.heads)))
    assert name in str(error.value)
    assert meaning in str(error.value)


@pytest.mark.parametrize("model_type", sorted(UNLIKE))
def test_architectures_that_are_unlike_ours(model_type, tmp_path):
    """Said from config.json alone, before anything is loaded."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": ["Some"]}))
    with pytest.raises(CannotExpress) as error:
        triptych.from_hf(tmp_path)
    assert str(error.value) == f"{model_type} has {UNLIKE[model_type]}: Triptych has no such thing"
    assert not [a for a in known_architectures() if a.model_type == model_type]
    assert model_type in transformers.CONFIG_MAPPING


def test_a_model_that_is_unlike_ours():
    with pytest.raises(CannotExpress, match="qwen3 has norms of queries and keys"):
        triptych.from_hf(their_model("Qwen3ForCausalLM", num_key_value_heads=4))


def test_an_unknown_architecture_says_which_are_known():
    with pytest.raises(CannotExpress, match="no table for the architecture 'codegen'; there are") as error:
        triptych.from_hf(their_model("CodeGenForCausalLM", rotary_dim=2))
    assert {a.model_type for a in known_architectures()} <= set(str(error.value).replace(",", "").split())


def test_a_class_without_a_counterpart_is_named():
    with pytest.raises(CannotExpress, match="GPT2DoubleHeadsModel has no counterpart in Triptych; of gpt2: GPT2Model"):
        triptych.from_hf(their_model("GPT2DoubleHeadsModel"))


def save(model, folder):
    model.save_pretrained(folder)
    return folder / "config.json", folder / "model.safetensors"


def test_a_checkpoint_that_lacks_weights(tmp_path):
    _, weights = save(their_model("GPT2LMHeadModel"), tmp_path)
    tensors = safetensors.torch.load_file(weights)
    missing = ["transformer.h.0.ln_2.bias", "transformer.ln_f.weight"]
    for name in missing:
        del tensors[name]
    safetensors.torch.save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights of GPT2LMHeadModel: " + ", ".join(missing)):
        triptych.from_hf(tmp_path)


def test_a_configuration_that_names_no_class(tmp_path):
    path, _ = save(their_model("GPT2LMHeadModel"), tmp_path)
    content = json.loads(path.read_text())
    del content["architectures"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="names no class in `architectures`"):
        triptych.from_hf(tmp_path)
    for name in ("GPT2ModelOfOthers", "pipeline", "Trainer", "GPT2Config"):  # a model, and nothing else
        path.write_text(json.dumps({**content, "architectures": [name]}))
        with pytest.raises(CannotExpress, match=f"transformers has no class {name}"):
            triptych.from_hf(tmp_path)
    path.write_text(json.dumps({**content, "architectures": [3]}))
    with pytest.raises(ValueError, match=r"config.json is damaged \(architectures=\[3\] is not a list of names\)"):
        triptych.from_hf(tmp_path)


def test_a_triptych_checkpoint_needs_no_conversion(tmp_path):
    our_model().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a Triptych model already"):
        triptych.from_hf(tmp_path)


def test_options_belong_to_what_is_loaded():
    with pytest.raises(ValueError, match="dtype: options belong to a source that is loaded"):
        triptych.from_hf(their_model("GPT2LMHeadModel"), dtype="bfloat16")


def test_a_model_that_none_can_express():
    """What each lacks is said."""
    with pytest.raises(CannotExpress) as error:
        triptych.to_hf(our_model(positions="relative"))
    for known in known_architectures(TriptychDecoderConfig):
        said = next(part for part in str(error.value).split("; ") if part.startswith(f"{known.model_type} cannot"))
        assert "positions='relative' (there" in said


@pytest.mark.parametrize(
    ("model_type", "fields", "said"),
    [
        ("gpt2", {"residual": "parallel"}, ["residual='parallel' (there 'pre')"]),
        ("gpt2", {"head_dim": 3, "value_head_dim": 3}, ["head_dim=3 (there 2)", "value_head_dim=3 (there 2)"]),
        ("openai-gpt", {"residual": "post", "activation": "tanh"}, ["no activation 'tanh'", "gelu"]),
        ("openai-gpt", {"residual": "post", "activation": "gelu", "intermediate_size": 32}, ["no activation 'gelu'"]),
        ("gptj", {"positions": "rotary", "residual": "parallel_norms"}, ["residual='parallel_norms'"]),
        ("falcon", {"positions": "rotary", "residual": "post"}, ["residual='post'"]),
        ("llama", {"attention_bias": True, "attention_output_bias": False}, ["norm='layer' (there 'rms')"]),
        ("llama", {"rotary_dim": 2, "positions": "rotary", "head_dim": 4}, ["partial_rotary_factor"]),
        ("mistral", {"attention_pattern": ["full", 3], "num_hidden_layers": 2}, ["attention_pattern=['full', 3]"]),
    ],
)
def test_features_of_ours_that_an_architecture_lacks(model_type, fields, said):
    with pytest.raises(CannotExpress) as error:
        triptych.to_hf(our_model(**fields), model_type)
    assert all(part in str(error.value) for part in said), error.value
    assert model_type in str(error.value) or "partial_rotary_factor" in said


def test_a_decoder_is_no_encoder():
    with pytest.raises(CannotExpress, match="bert has no counterpart of TriptychDecoderForCausalLM; it has BertModel"):
        triptych.to_hf(our_model(), "bert")
    with pytest.raises(CannotExpress, match="all layers share one set of weights"):
        triptych.to_hf(our_model(), "albert")
    with pytest.raises(CannotExpress, match="no table for the architecture 'nothing'"):
        triptych.to_hf(our_model(), "nothing")


def test_without_a_name_the_first_that_can_express_a_model():
    assert triptych.to_hf(our_model(intermediate_size=24)).config.model_type == "gpt2"
    llama = dict.fromkeys(["attention_bias", "attention_output_bias", "feed_forward_bias"], False)
    llama |= {"positions": "rotary", "norm": "rms", "feed_forward": "gated", "activation": "silu"}
    assert triptych.to_hf(our_model(**llama)).config.model_type == "llama"
    assert triptych.to_hf(our_model(**llama, attention_pattern=[3])).config.model_type == "mistral"
    banded = {"num_hidden_layers": 2, "attention_pattern": ["full", 3]}
    assert triptych.to_hf(our_model(**{**llama, "attention_bias": True}, **banded)).config.model_type == "qwen2"
    neo = triptych.to_hf(our_model(attention_bias=False, attention_scale=1.0, **banded))
    assert neo.config.attention_types == [[["global", "local"], 1]]
    parallel = {"positions": "rotary", "residual": "parallel_norms"}
    partial = {"hidden_size": 16, "rotary_dim": 2}
    assert triptych.to_hf(our_model(**parallel, **partial)).config.model_type == "gpt_neox"
    assert triptych.to_hf(our_model(**parallel, num_key_value_heads=2)).config.model_type == "falcon"


def test_what_a_converted_model_was_changed_to_is_what_is_written():
    """The origin has the last word on nothing that our configuration says."""
    neo = their_model("GPTNeoForCausalLM", num_hidden_layers=2, attention_types=[[["global"], 1], [["local"], 1]])
    ours = triptych.from_hf(neo)
    assert ours.config.attention_pattern == ["full", 256]
    assert triptych.to_hf(ours).config.attention_types == [[["global"], 1], [["local"], 1]]
    ours.config.attention_pattern = [5]
    back = triptych.to_hf(ours).config
    assert (back.attention_types, back.window_size) == ([[["local"], 2]], 5)
    assert back.attention_layers == ["local", "local"]


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("GPT2LMHeadModel", {"embd_pdrop": 0.37, "resid_pdrop": 0.21}, "embd_pdrop=0.37.*as with embd_pdrop=0.21"),
        ("GPT2LMHeadModel", {"embd_pdrop": 0.3, "resid_pdrop": 0.3}, None),
        ("OPTForCausalLM", {"layerdrop": 0.43}, "layerdrop=0.43.*as with layerdrop=0.0"),
        ("OPTForCausalLM", {"layerdrop": 0.0}, None),
        (
            "DistilBertForQuestionAnswering",
            {"qa_dropout": 0.2, "num_labels": 2, "dim": 8, "n_heads": 2},
            "qa_dropout=0.2",
        ),
        ("DistilBertForMaskedLM", {"qa_dropout": 0.2, "dim": 8, "n_heads": 2}, None),
    ],
)
def test_what_training_alone_would_notice_is_said(name, fields, said, caplog, monkeypatch):
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "warning_once", logger.warning)  # not only the first time
    triptych.from_hf(their_model(name, **fields))
    messages = [record.getMessage() for record in caplog.records if "in training it computes" in record.getMessage()]
    assert len(messages) == (said is not None)
    assert said is None or re.search(said, messages[0])
