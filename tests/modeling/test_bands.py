"""Banded self-attention (`attention_pattern`): what a layer sees, its caches, and long sequences."""

import subprocess
import sys

import pytest
import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from triptych import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig

WIDTH = 3
ALTERNATING, BANDED = ["full", WIDTH], [WIDTH]
SCHEMES = {"learned": {"positions": "learned"}, "sinusoidal": {}, "rotary": {"positions": "rotary"}}


@pytest.fixture(params=SCHEMES)
def scheme(request):
    """Relative positions have one bias for all layers, so they go with one pattern only."""
    return {"positions": request.param}


def influence(model, ids):
    """Which positions of the input each output of a body depends on: (T, T) of bools."""
    embeds = model.get_input_embeddings()(ids).detach().requires_grad_()
    hidden = model(inputs_embeds=embeds).last_hidden_state[0]
    rows = [torch.autograd.grad(hidden[t].sum(), embeds, retain_graph=True)[0][0] for t in range(ids.shape[1])]
    return torch.stack(rows).abs().sum(-1) > 1e-9


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_a_banded_layer_sees_its_band(make_model, words, attn_implementation, scheme):
    """GPT-3's and Mistral's: itself and the WIDTH - 1 before; with each layer it reaches as far again."""
    model = make_model("decoder", **scheme, attention_pattern=BANDED).model
    model.set_attn_implementation(attn_implementation)
    distance = torch.arange(9)[:, None] - torch.arange(9)
    reach = len(model.layers) * (WIDTH - 1)
    assert torch.equal(influence(model, words(1, 9)), (distance >= 0) & (distance <= reach))


def test_a_banded_encoder_sees_both_sides_of_the_band(make_model, words):
    """As transformers counts it there: WIDTH to either side."""
    model = make_model("encoder", attention_pattern=BANDED).model
    distance = (torch.arange(16)[:, None] - torch.arange(16)).abs()
    assert torch.equal(influence(model, words(1, 16)), distance <= len(model.layers) * WIDTH)


@pytest.mark.parametrize("pattern", [["full", WIDTH], [WIDTH, "full"]])
def test_layers_follow_the_pattern_in_turn(make_model, words, pattern):
    model = make_model("decoder", num_hidden_layers=4, attention_pattern=pattern)
    assert [layer.self_attention.sliding_window for layer in model.model.layers] == 2 * [
        None if entry == "full" else entry for entry in pattern
    ]
    assert model.config.layer_types == 2 * [
        "full_attention" if entry == "full" else "sliding_attention" for entry in pattern
    ]


@pytest.mark.parametrize("wide", [12, 100])
def test_a_band_as_wide_as_the_sequence_is_full_attention(make_model, family, make_batch, wide, close):
    batch = make_batch(family, [4, 9, 6])
    expected = make_model(family)(**batch)
    close(make_model(family, attention_pattern=[wide])(**batch).logits, expected.logits)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_in_a_band(make_model, family, make_ragged, logits_of, close, side, words):
    model, ragged, targets = make_model(family, attention_pattern=ALTERNATING), make_ragged(4, 9), words(2, 7)
    ids, mask = ragged.padded(side)
    together = logits_of(model, ids, mask, targets)
    for row, source in enumerate(ragged.rows):
        alone = logits_of(model, source[None], None, targets[row : row + 1])[0]
        kept = slice(None) if family == "encoder_decoder" else mask[row] == 1
        close(together[row][kept], alone)


@pytest.mark.parametrize("pattern", [ALTERNATING, BANDED])
@torch.no_grad()
def test_cached_equals_uncached_in_a_band(make_model, causal_family, scheme, words, logits_of, close, pattern):
    """Token by token, far beyond the band."""
    model = make_model(causal_family, **scheme, attention_pattern=pattern)
    source, target = words(2, 6), words(2, 11, seed=1)
    inputs = (source, None, target) if causal_family == "encoder_decoder" else (target,)
    expected = logits_of(model, *inputs)
    cache, found = None, []
    for t in range(target.shape[1]):
        step = target[:, t : t + 1]
        inputs = (source, None, step) if causal_family == "encoder_decoder" else (step,)
        ids, mask, *rest = (*inputs, None)[:3] if causal_family == "encoder_decoder" else (step, None)
        options = {"decoder_input_ids": rest[0]} if rest else {}
        output = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
        cache = output.past_key_values
        found.append(output.logits)
    close(torch.cat(found, dim=1), expected)


@torch.no_grad()
def test_banded_layers_keep_no_more_than_the_band(make_model, words):
    model = make_model("decoder", attention_pattern=ALTERNATING)
    cache = model(words(1, 12), use_cache=True).past_key_values
    assert [layer.keys.shape[-2] for layer in cache.layers] == [12, WIDTH - 1]
    assert isinstance(cache.layers[1], DynamicSlidingWindowLayer)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}])
@pytest.mark.parametrize("pattern", [ALTERNATING, BANDED])
def test_generation_in_a_band(make_model, causal_family, make_ragged, pattern, options):
    """Batched, padded on the left, with any cache, as each row alone without one."""
    model, ragged = make_model(causal_family, attention_pattern=pattern), make_ragged(3, 8)
    model.generation_config.eos_token_id = None
    ids, mask = ragged.padded("left")
    length = {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}
    together = model.generate(ids, attention_mask=mask, **length, **options)
    beams = {name: value for name, value in options.items() if name == "num_beams"}
    for row, source in enumerate(ragged.rows):
        alone = model.generate(source[None], use_cache=False, **length, **beams)
        assert together[row, -9:].tolist() == alone[0, -9:].tolist()


def test_packed_documents_in_a_band(make_model, make_ragged, close):
    rows = make_ragged(4, 7, 6).rows
    for family in ("encoder", "decoder"):
        model = make_model(family, attention_pattern=ALTERNATING)
        of = torch.repeat_interleave(torch.tensor([len(row) for row in rows]))[None]
        packed = model(torch.cat(rows)[None], document_ids=of).logits[0]
        close(packed, torch.cat([model(row[None]).logits[0] for row in rows]))


def test_kernels_without_a_mask_are_told_the_band(flash_stand_in, make_model, words):
    """Flash attention's."""
    model, seen = make_model("decoder", attention_pattern=ALTERNATING), []

    def kernel(module, query, key, value, attention_mask, sliding_window=None, **kwargs):
        seen.append(sliding_window)
        return value.transpose(1, 2), None

    flash_stand_in(model, kernel)
    model(words(1, 5))
    assert seen == [None, WIDTH]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ([], "must have an entry"),
        (["half"], 'entries must be "full" or a width of at least 1'),
        ([0], 'entries must be "full" or a width of at least 1'),
        ([True], 'entries must be "full" or a width of at least 1'),
        (["full", 3, 4], r"all banded layers have one width, got \[3, 4\]"),
    ],
)
@pytest.mark.parametrize("config_class", [TriptychConfig, TriptychEncoderConfig, TriptychDecoderConfig])
def test_impossible_patterns_are_refused(config_class, pattern, message):
    with pytest.raises(Exception, match=message):
        config_class(attention_pattern=pattern)


@pytest.mark.parametrize(("width", "pattern"), [(5, ["full", 5]), (None, ["full", "full"])])
def test_the_width_of_all_bands_can_be_set(width, pattern):
    """By transformers' name for it; layers that see everything go on to."""
    config = TriptychDecoderConfig.from_preset("tiny-decoder", attention_pattern=ALTERNATING)
    config.sliding_window = width
    assert config.attention_pattern == pattern
    assert config.sliding_window == width


def test_relative_positions_have_no_bands():
    with pytest.raises(Exception, match="does not fit relative positions"):
        TriptychDecoderConfig(attention_pattern=ALTERNATING, positions="relative")


@pytest.mark.parametrize("cache_class", [DynamicCache, StaticCache])
def test_caches_of_a_configuration_without_a_pattern_are_plain(cache_class):
    config = TriptychDecoderConfig.from_preset("tiny-decoder")
    assert set(config.layer_types) == {"full_attention"}
    assert config.sliding_window is None
    cache = cache_class(config=config, **({"max_cache_len": 8} if cache_class is StaticCache else {}))
    assert not any(cache.is_sliding)


LONG = """
import resource, sys, torch
from triptych import *
torch.set_num_threads(2)
family, scheme, length = sys.argv[1], sys.argv[2], int(sys.argv[3])
config, head = {{
    "encoder": (TriptychEncoderConfig, TriptychEncoderModel), "decoder": (TriptychDecoderConfig, TriptychDecoderModel)
}}[family]
model = head(config.from_preset(f"tiny-{{family}}", positions=scheme, max_position_embeddings=2**15,
                                num_hidden_layers=1, hidden_size=16, num_attention_heads=1)).eval()
ids = torch.arange(length)[None] % 90
with torch.no_grad():
    model(ids[:, :64])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert model(ids, use_cache=False).last_hidden_state.isfinite().all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("scheme", ["sinusoidal", "rotary"])
def test_memory_grows_linearly_with_the_length(family, scheme):
    """32k tokens: one mask or one matrix of scores would be 1 GB or more."""
    command = [sys.executable, "-c", LONG.replace("{{", "{").replace("}}", "}"), family, scheme, str(2**15)]
    megabytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
    assert megabytes < 150
