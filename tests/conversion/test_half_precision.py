"""Half precision: what transformers keeps in float32, mixed dtypes, and sums that float16 cannot hold."""

import pytest
import torch
import transformers
from torch import nn
from transformers import MT5Config, T5Config

import triptych
from triptych.conversion.directories import convert_directory

SIZES = {"vocab_size": 61, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
CLASSES = [
    ("T5", "ForConditionalGeneration", "relu"),
    ("T5", "ForConditionalGeneration", "gated-gelu"),
    ("T5", "Model", "gated-silu"),
    ("T5", "EncoderModel", "relu"),
    ("MT5", "ForConditionalGeneration", "gated-gelu"),
    ("MT5", "EncoderModel", "gated-gelu"),
]
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(params=CLASSES, ids=" ".join)
def t5(request):
    """A random model, whose feed-forward networks write more than float16 holds."""
    family, head, kind = request.param
    torch.manual_seed(0)
    config = {"T5": T5Config, "MT5": MT5Config}[family](
        **SIZES, feed_forward_proj=kind, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1
    )
    return with_large_sums(getattr(transformers, family + head)(config))


def with_large_sums(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3).add_(float(parameter.ndim == 1))
            if name.endswith(("wo.weight", "down_proj.weight")):
                parameter.mul_(20000)
    return model.eval()


def batch_of(model):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, SIZES["vocab_size"], (3, 9), generator=generator)
    mask = torch.arange(9) < torch.tensor([9, 6, 4])[:, None]
    batch = {"input_ids": ids, "attention_mask": mask.long()}
    if "Encoder" not in type(model).__name__:
        batch["decoder_input_ids"] = torch.randint(2, SIZES["vocab_size"], (3, 7), generator=generator)
    return batch


@torch.no_grad()
def hidden(model, **options):
    return model(**batch_of(model), **options)[0]


def assert_same_bits(one, other):
    """All tensors, in dtype and numbers."""
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    assert {name: tensor.dtype for name, tensor in a.items()} == {name: tensor.dtype for name, tensor in b.items()}
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def in_float32(model):
    return {name for name, parameter in model.named_parameters() if parameter.dtype == torch.float32}


@pytest.mark.parametrize("dtype", HALVES)
def test_t5_is_as_exact_as_in_float32(t5, dtype, tmp_path):
    """The same bits, from a directory or alive, back, and through files."""
    t5.save_pretrained(tmp_path / "float32")
    theirs = type(t5).from_pretrained(tmp_path / "float32", dtype=dtype)
    kept = {name for name in theirs.state_dict() if name.endswith("wo.weight") and dtype == torch.float16}
    assert in_float32(theirs) == kept
    expected = hidden(theirs)
    assert expected.isfinite().all()
    ours = triptych.from_hf(theirs)
    assert_same_bits(triptych.from_hf(tmp_path / "float32", dtype=dtype), ours)
    assert {name.rpartition("feed_forward")[2] for name in in_float32(ours)} == (
        {".down_proj.weight"} if kept else set()
    )
    assert len(in_float32(ours)) == len(kept)
    assert hidden(ours).dtype == dtype
    assert torch.equal(hidden(ours), expected)
    assert_same_bits(triptych.to_hf(ours), theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    again = type(ours).from_pretrained(tmp_path / "ours")
    assert_same_bits(again, ours)
    assert_same_bits(triptych.from_hf(tmp_path / "theirs"), ours)
    assert_same_bits(triptych.to_hf(again), type(t5).from_pretrained(tmp_path / "theirs"))
    assert torch.equal(hidden(again), expected)


def test_one_file_in_two_precisions(t5, tmp_path):
    """Float32 weights of ours, loaded in float16, are those of theirs."""
    triptych.from_hf(t5).save_pretrained(tmp_path / "ours")
    t5.save_pretrained(tmp_path / "theirs")
    theirs = type(t5).from_pretrained(tmp_path / "theirs", dtype=torch.float16)
    ours = type(triptych.from_hf(t5)).from_pretrained(tmp_path / "ours", dtype=torch.float16)
    assert_same_bits(ours, triptych.from_hf(theirs))
    back = convert_directory(tmp_path / "ours", tmp_path / "b", to="hf", dtype=torch.float16)
    assert_same_bits(back, theirs)
    assert_same_bits(type(t5).from_pretrained(tmp_path / "b"), theirs)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_all_in_float16_sums_that_overflow_are_cut(t5, attention):
    """`half()` spares no part, so that everything overflows; then the largest numbers are those of transformers."""
    t5.half()
    for name, parameter in t5.named_parameters():
        if name.endswith((".o.weight", "wo.weight")):
            parameter.data.normal_(std=3e3)
    ours = triptych.from_hf(t5)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float16}
    for model in (t5, ours):
        model.set_attn_implementation(attention)
    expected = hidden(t5)
    assert torch.equal(hidden(ours).isfinite(), expected.isfinite())
    assert torch.equal(hidden(ours).nan_to_num(), expected.nan_to_num())
    assert_same_bits(triptych.to_hf(ours), t5)


@pytest.mark.parametrize("dtype", HALVES)
def test_generation_and_gradients(dtype, tmp_path):
    torch.manual_seed(0)
    model = with_large_sums(transformers.T5ForConditionalGeneration(T5Config(**SIZES, decoder_start_token_id=0)))
    model.save_pretrained(tmp_path)
    theirs = type(model).from_pretrained(tmp_path, dtype=dtype)
    ours = triptych.from_hf(theirs)
    options = {"max_new_tokens": 8, "do_sample": False, "num_beams": 2}
    batch = {name: value for name, value in batch_of(model).items() if name != "decoder_input_ids"}
    assert torch.equal(ours.generate(**batch, **options), theirs.generate(**batch, **options))
    ours.train()(**batch, labels=batch["input_ids"]).loss.backward()
    assert all(p.grad.dtype == p.dtype and p.grad.isfinite().all() for p in ours.parameters())


# --- models that never were T5


def t5_like(family, **fields):
    """Of our own configuration: relative positions, RMSNorm before each sublayer."""
    configs = {
        "encoder_decoder": (triptych.TriptychConfig, triptych.TriptychForConditionalGeneration, "tiny"),
        "encoder": (triptych.TriptychEncoderConfig, triptych.TriptychEncoderForMaskedLM, "tiny-encoder"),
        "decoder": (triptych.TriptychDecoderConfig, triptych.TriptychDecoderForCausalLM, "tiny-decoder"),
    }
    config_class, model_class, preset = configs[family]
    like = {"positions": "relative", "norm": "rms", "residual": "pre", "attention_scale": 1.0, "vocab_size": 97}
    torch.manual_seed(0)
    return with_large_sums(model_class(config_class.from_preset(preset, **{**like, "dropout": 0.0, **fields})))


def logits_of(model):
    ids = torch.arange(5, 15)[None]
    decoder = {"decoder_input_ids": ids + 20} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model(input_ids=ids, **decoder).logits


@pytest.mark.parametrize("kind", ["plain", "gated"])
@pytest.mark.parametrize("family", ["encoder_decoder", "encoder", "decoder"])
def test_a_model_like_t5_has_the_same_protection(family, kind, tmp_path):
    model = t5_like(family, feed_forward=kind)
    model.save_pretrained(tmp_path / "float32")
    half = type(model).from_pretrained(tmp_path / "float32", dtype=torch.float16)
    kept = in_float32(half)
    layers = model.config.num_hidden_layers + getattr(model.config, "decoder_layers", 0)
    assert len(kept) == layers * (2 if model.config.feed_forward_bias else 1)
    assert all(".feed_forward.down_proj." in name for name in kept)
    assert all(torch.equal(half.get_parameter(name), model.get_parameter(name)) for name in kept)
    exact, rough = logits_of(model), logits_of(half)
    assert rough.dtype == torch.float16
    assert (rough - exact).norm() < 0.05 * exact.norm()  # and no infinity, so no NaN
    half.save_pretrained(tmp_path / "half")
    again = type(model).from_pretrained(tmp_path / "half")
    assert_same_bits(again, half)
    assert torch.equal(logits_of(again), rough)
    assert in_float32(type(model).from_pretrained(tmp_path / "float32", dtype=torch.bfloat16)) == set()


def test_only_the_side_that_is_like_t5(tmp_path):
    """A decoder with LayerNorm behind an encoder like T5's."""
    model = t5_like("encoder_decoder", decoder_overrides={"positions": "learned", "norm": "layer"})
    model.save_pretrained(tmp_path)
    half = type(model).from_pretrained(tmp_path, dtype=torch.float16)
    assert {name.split(".")[1] for name in in_float32(half)} == {"encoder"}


def test_fewer_layers_and_a_second_side_keep_the_dtypes(tmp_path):
    model = t5_like("encoder")
    model.save_pretrained(tmp_path)
    half = type(model).from_pretrained(tmp_path, dtype=torch.float16)
    student = triptych.keep_layers(half, [1])
    assert in_float32(student) == {name for name in in_float32(half) if ".layers.0." in name}
    for name in in_float32(student):
        assert torch.equal(student.get_parameter(name), half.get_parameter(name.replace(".0.", ".1.")))
    decoder = triptych.TriptychDecoderForCausalLM(
        triptych.TriptychDecoderConfig.from_preset("tiny-decoder", hidden_size=model.config.hidden_size)
    ).half()
    joined = triptych.TriptychForConditionalGeneration.from_encoder_decoder(half, decoder)
    wanted = {name.replace("model.", "model.encoder.") for name in in_float32(half)}
    assert in_float32(joined) == wanted
    for name in wanted:
        assert torch.equal(joined.get_parameter(name), half.get_parameter(name.replace(".encoder.", ".")))


class WithoutWeight(nn.Module):
    """What a quantised layer can look like: its numbers have other names or types."""

    def __init__(self, inner, weight=None):
        super().__init__()
        self.inner = [inner]
        if weight is not None:
            self.register_buffer("weight", weight)

    def forward(self, x):
        assert x.dtype == torch.bfloat16
        return self.inner[0](x)


@pytest.mark.parametrize("weight", [None, torch.zeros(2, 2, dtype=torch.int8), torch.zeros(4, dtype=torch.uint8)])
def test_a_quantised_matrix_gets_what_it_computes_with(weight):
    model = t5_like("encoder").bfloat16()
    expected = logits_of(model)
    for layer in model.model.encoder.layers if hasattr(model.model, "encoder") else model.model.layers:
        layer.feed_forward.down_proj = WithoutWeight(layer.feed_forward.down_proj, weight)
    assert torch.equal(logits_of(model), expected)


def test_autocast_is_not_undone():
    """Weights in float32, activations in bfloat16: the last matrix gets them as autocast made them."""
    model, seen = t5_like("encoder"), []
    layer = model.model.layers[0].feed_forward.down_proj
    layer.register_forward_hook(lambda module, args, output: seen.append((args[0].dtype, output.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        logits_of(model)
    assert seen == [(torch.bfloat16, torch.bfloat16)]


# --- every architecture


def test_one_part_in_another_precision(one_of_each):
    """Whatever part of a live model is in another dtype, it comes over and goes back so."""
    theirs = one_of_each.bfloat16()
    for name, parameter in theirs.named_parameters():
        if "norm" in name.lower() or "ln_" in name:
            parameter.data = parameter.data.float() * 1.001
    ours = triptych.from_hf(theirs)
    assert len(in_float32(ours)) == len(in_float32(theirs)) > 0
    assert_same_bits(triptych.to_hf(ours), theirs)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "residual"), [("MBart", "pre"), ("M2M100", "pre"), ("Bart", "post"), ("Marian", "post")]
)
def test_encoders_are_cut_where_transformers_cuts_them(name, residual):
    """In float16, at the end of each layer of the encoder; what comes before overflows in both alike."""
    config = getattr(transformers, f"{name}Config")(
        vocab_size=61, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=32,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    head = "MTModel" if name == "Marian" else "ForConditionalGeneration"
    torch.manual_seed(0)
    theirs = getattr(transformers, name + head)(config).half().eval()
    last = "fc2.weight" if residual == "pre" else "final_layer_norm.weight"
    for place, parameter in theirs.named_parameters():
        if "encoder.layers" in place and place.endswith(last):
            parameter.normal_(std=3e4 if residual == "pre" else 4e4)
    ours = triptych.from_hf(theirs)
    ids = torch.arange(5, 17)[None]
    expected = theirs.get_encoder()(ids, output_hidden_states=True)
    actual = ours.get_encoder()(ids, output_hidden_states=True)
    assert any((state.abs() == 64512).any() for state in expected.hidden_states)  # 65504 - 1000, rounded
    for mine, state in zip(actual.hidden_states, expected.hidden_states, strict=True):
        assert torch.equal(mine.nan_to_num(), state.nan_to_num())
