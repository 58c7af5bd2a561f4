"""Masks with zeros anywhere: a token that is masked is as good as not there, however it came to be masked."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache
from transformers.modeling_outputs import BaseModelOutput

from triptych.modeling.attention import eager_attention

HOLES = {
    "inner": [1, 1, 0, 0, 1, 1, 1, 0, 1],
    "trailing": [1, 1, 1, 1, 0, 1, 1, 0, 0],
    "leading": [0, 0, 1, 1, 1, 1, 1, 1, 1],
    "everywhere": [0, 1, 1, 0, 1, 0, 0, 1, 0],
}
MASK = torch.tensor([*HOLES.values(), [1] * 9])  # a row for each, and one without
STEPS, START, END = 5, 2, 3


def usual_positions(mask, masked=None):
    """As callers make them: masked tokens stand still, or get one number."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return positions if masked is None else positions.masked_fill(mask == 0, masked)


POSITIONS = {
    "none": lambda mask: None,
    "standing still": usual_positions,
    "masked are 1": lambda mask: usual_positions(mask, 1),
    "masked are 0": lambda mask: usual_positions(mask, 0),
}


VERBS = {  # one scheme for each place where order enters, and none
    "embed": {"positions": "learned", "position_offset": 2},
    "rotation": {"positions": "rotary"},
    "bias": {"positions": "relative", "relative_num_buckets": 8, "relative_max_distance": 12},
    "none": {"positions": "none"},
}


@pytest.fixture(params=VERBS)
def scheme(request):
    return VERBS[request.param]


@pytest.fixture
def batch(words):
    """Inputs of a family for the rows of MASK, source and target masked in other places, and the target's mask."""

    def make(family, positions="none", mask=MASK, seed=0):
        ids, position_ids = words(*mask.shape, seed=seed), POSITIONS[positions](mask)
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": position_ids}
        if family == "encoder_decoder":
            source = mask.flip(0)
            inputs = {f"decoder_{name}": value for name, value in inputs.items()}
            inputs |= {"input_ids": words(*mask.shape, seed=seed + 1), "attention_mask": source}
            inputs["position_ids"] = POSITIONS[positions](source)
        return inputs

    return make


def alone(batch, row):
    """One row without what is masked in it."""
    found = {}
    for prefix in ("", "decoder_"):
        if f"{prefix}input_ids" in batch:
            kept = batch[f"{prefix}attention_mask"][row].bool()
            found[f"{prefix}input_ids"] = batch[f"{prefix}input_ids"][row][kept][None]
    return found


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_a_masked_token_is_as_good_as_not_there(make_model, family, scheme, batch, close, attn_implementation):
    """Against each row without its masked tokens; relative distances count them, as T5 counts them."""
    model = make_model(family, **scheme, attn_implementation=attn_implementation)
    outputs = [model(**batch(family, positions)).logits for positions in POSITIONS]
    for row, mask in enumerate(MASK.bool()):
        expected = outputs[0][row][mask]
        if scheme["positions"] not in ("relative", "alibi"):
            expected = model(**alone(batch(family), row)).logits[0]
        for found in outputs:
            close(found[row][mask], expected)
    changed = batch(family)
    for name in changed.keys() & {"input_ids", "decoder_input_ids"}:
        mask = changed[name.replace("input_ids", "attention_mask")]
        changed[name] = torch.where(mask == 1, changed[name], 7)
    close(model(**changed).logits[MASK.bool()], outputs[0][MASK.bool()])


def new_cache(kind, model):
    config = model.config.get_text_config(decoder=True)

    def one(length):
        return StaticCache(config=config, max_cache_len=length) if kind == "static" else DynamicCache(config=config)

    length = MASK.shape[1]
    return EncoderDecoderCache(one(length + 5), one(length)) if model.config.is_encoder_decoder else one(length + 5)


def in_pieces(model, inputs, cache, pieces):
    """Logits of the target's pieces, one after the other."""
    prefix, start, outputs = "", 0, []
    if model.config.is_encoder_decoder:
        prefix = "decoder_"
        memory = model.model.encoder(*(inputs[n] for n in ("input_ids", "attention_mask", "position_ids")))[0]
        inputs = inputs | {"encoder_outputs": BaseModelOutput(memory), "input_ids": None}
    for size in pieces:
        end = start + size
        piece = {f"{prefix}input_ids": inputs[f"{prefix}input_ids"][:, start:end]}
        piece[f"{prefix}attention_mask"] = inputs[f"{prefix}attention_mask"][:, :end]
        if inputs[f"{prefix}position_ids"] is not None:
            piece[f"{prefix}position_ids"] = inputs[f"{prefix}position_ids"][:, start:end]
        outputs.append(model(**inputs | piece, past_key_values=cache, use_cache=True).logits)
        start = end
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@torch.no_grad()
def test_continued_from_a_cache_equals_one_go(make_model, causal_family, scheme, batch, close, kind):
    """Logits, and keys and values of what is not masked, in pieces of one token and of several."""
    seen = MASK.bool()
    bands = [None] if scheme["positions"] in ("relative", "alibi") else [None, [3, "full"]]
    for attention_pattern, masked_positions in zip(bands, ("counted", "skipped"), strict=False):
        fields = {**scheme, "attention_pattern": attention_pattern, "masked_positions": masked_positions}
        model = make_model(causal_family, **fields)
        for positions in ("none", "masked are 1"):
            inputs = batch(causal_family, positions)
            whole = new_cache(kind, model)
            expected = model(**inputs, past_key_values=whole, use_cache=True).logits
            close(model(**inputs, use_cache=False).logits[seen], expected[seen])
            for pieces in ([4, 1, 3, 1], [1] * 9):
                cache = new_cache(kind, model)
                close(in_pieces(model, inputs, cache, pieces)[seen], expected[seen])
                for one, other in zip(layers(whole), layers(cache), strict=True):
                    if attention_pattern is None:  # else the cache of a band holds its end
                        close(held(one.keys)[seen], held(other.keys)[seen])
                        close(held(one.values)[seen], held(other.values)[seen])


def layers(cache):
    return cache.self_attention_cache.layers if isinstance(cache, EncoderDecoderCache) else cache.layers


def held(states):
    """(B, G, S, d) → (B, T, G, d)"""
    return states.transpose(1, 2)[:, : MASK.shape[1]]


# --- generation


PROMPTS = MASK[[0, 2, 4]].clone()
PROMPTS[1, 5] = 0
OPTIONS = {"max_new_tokens": STEPS, "do_sample": False, "suppress_tokens": [END]}


@pytest.fixture
def prompts(batch):
    """A batch to generate from; the outputs of an encoder–decoder are begun with the mask, too."""

    def make(family):
        inputs = {name: value for name, value in batch(family, mask=PROMPTS).items() if value is not None}
        if family == "encoder_decoder":
            inputs["decoder_input_ids"][:, 0] = START
        return inputs

    return make


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generation_from_masks_with_holes(make_model, causal_family, scheme, prompts, num_beams):
    """Each way to generate a batch gives each row what it is given alone, without its masked tokens."""
    model, inputs = make_model(causal_family, **scheme, logit_scale=0.3), prompts(causal_family)
    options = OPTIONS | {"num_beams": num_beams}
    expected = model.generate(**inputs, **options, use_cache=False)[:, -STEPS:]
    if scheme["positions"] not in ("relative", "alibi"):
        for row in (0, 2) if model.config.is_encoder_decoder else (0, 1, 2):  # alone, 1 would get a start token
            single = model.generate(**alone(inputs, row), **options, use_cache=False)
            assert single[0, -STEPS:].tolist() == expected[row].tolist()
    ways = [{}, {"cache_implementation": "static", "disable_compile": True}]
    if causal_family == "decoder":
        ways.append({"prefill_chunk_size": 2})
    for way in ways:
        assert torch.equal(model.generate(**inputs, **options, **way)[:, -STEPS:], expected)


def test_drafted_from_masks_with_holes(make_model, causal_family, scheme, prompts):
    """Prompt lookup and an assistant, which take one row at a time."""
    model = make_model(causal_family, **scheme, logit_scale=0.3)
    assistant = make_model(causal_family, seed=1, logit_scale=0.3)
    inputs = prompts(causal_family)
    expected = model.generate(**inputs, **OPTIONS, use_cache=False)
    for row in range(len(PROMPTS)):
        single = {name: value[row : row + 1] for name, value in inputs.items()}
        for way in ({"prompt_lookup_num_tokens": 2}, {"assistant_model": assistant}):
            assert torch.equal(model.generate(**single, **OPTIONS, **way)[0], expected[row])


@pytest.mark.parametrize("known", [4, 8])
@torch.no_grad()
def test_generation_goes_on_from_a_cache(make_model, causal_family, scheme, prompts, known):
    """With several tokens or one that the cache has not; masked or not."""
    model, inputs = make_model(causal_family, **scheme, logit_scale=0.3), prompts(causal_family)
    prefix = "decoder_" if causal_family == "encoder_decoder" else ""
    for masked in (True, False):
        if not masked:
            del inputs[f"{prefix}attention_mask"]
        expected = model.generate(**inputs, **OPTIONS, use_cache=False)
        first = {n: v[:, :known] if n.startswith(prefix) else v for n, v in inputs.items()}
        cache = model(**first, use_cache=True).past_key_values
        assert torch.equal(model.generate(**inputs, **OPTIONS, past_key_values=cache), expected)


@torch.no_grad()
def test_a_batch_that_goes_on_after_its_ends(make_model, scheme, make_ragged, words):
    """Answers of different lengths are padded at their ends, and the conversation goes on behind the padding."""
    model = make_model("decoder", **scheme, logit_scale=0.3)
    prompts = make_ragged(6, 4)
    ids, mask = prompts.padded("left")
    first = model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False, suppress_tokens=[END])
    answered = torch.cat([mask, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])], dim=1)  # the first ended early
    more = words(2, 3, seed=70)
    ids, mask = torch.cat([first, more], dim=1), torch.cat([answered, torch.ones_like(more)], dim=1)
    together = model.generate(ids, attention_mask=mask, **OPTIONS)[:, -STEPS:]
    cache = model(first, attention_mask=answered, use_cache=True).past_key_values
    assert torch.equal(
        model.generate(ids, attention_mask=mask, **OPTIONS, past_key_values=cache)[:, -STEPS:], together
    )
    if scheme["positions"] not in ("relative", "alibi"):
        for row in range(2):
            single = model.generate(ids[row][mask[row].bool()][None], **OPTIONS, use_cache=False)
            assert single[0, -STEPS:].tolist() == together[row].tolist()


@torch.no_grad()
def test_guidance_under_masks_with_holes(make_model, causal_family, prompts, words):
    """The other prompt, or the output begun by the caller, may have holes, too."""
    counted = (
        {"masked_positions": "counted"} if causal_family == "decoder" else {}
    )  # generate gives a decoder positions
    model = make_model(causal_family, logit_scale=0.3, **counted)
    inputs, other = prompts(causal_family), words(3, 5, seed=90)
    mask = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 0, 0, 1], [1, 1, 1, 1, 1]])
    options = OPTIONS | {"guidance_scale": 1.5}
    found = model.generate(**inputs, negative_prompt_ids=other, negative_prompt_attention_mask=mask, **options)[
        :, -STEPS:
    ]
    for row in (0, 2):  # the second begins with masked tokens
        single = alone(inputs, row) | {"negative_prompt_ids": other[row][mask[row].bool()][None]}
        assert model.generate(**single, **options)[0, -STEPS:].tolist() == found[row].tolist()


# --- rows of zeros


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_without_a_token_do_no_harm(make_model, family, scheme, words, gradients, attn_implementation, dtype):
    """Nothing is NaN, neither the loss nor a gradient, and the other rows are as they are alone."""
    model = make_model(family, **scheme, attn_implementation=attn_implementation).to(dtype)
    ids, mask = words(2, 5), torch.tensor([[0] * 5, [1] * 5])
    output = model(ids, attention_mask=mask, labels=ids)
    assert output.logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(model, output.loss).values())
    single = model(ids[1:], labels=ids[1:]).logits[0]
    torch.testing.assert_close(output.logits[1], single, atol=2e-5 if dtype == torch.float32 else 0.5, rtol=1e-2)


@torch.no_grad()
def test_a_source_of_padding_says_nothing(make_model, words, close):
    """Cross-attention to it is zero, in each backend: what the source is, changes nothing."""
    outputs = []
    for attn_implementation in ("sdpa", "eager"):
        model = make_model("encoder_decoder", attn_implementation=attn_implementation)
        for seed in (0, 1):
            source, target = words(1, 4, seed=seed), words(1, 5, seed=9)
            mask = torch.zeros_like(source)
            outputs.append(model(source, attention_mask=mask, decoder_input_ids=target).logits)
            tokens = model.generate(source, attention_mask=mask, max_new_tokens=3, num_beams=2)
            assert ((tokens >= 0) & (tokens < 97)).all()
    for output in outputs:
        close(output, outputs[0])


@pytest.mark.parametrize("hidden", [torch.finfo(torch.float16).min, -torch.inf])
def test_eager_attention_to_nothing_in_half_precision(hidden):
    """The scores below the mask's own number would be -inf, all of them, and their softmax NaN."""
    module = torch.nn.Module()
    module.num_key_value_groups = 1
    query = torch.full((1, 1, 2, 4), -50.0, dtype=torch.float16, requires_grad=True)
    key, value = torch.full((1, 1, 3, 4), 1.0, dtype=torch.float16), torch.ones(1, 1, 3, 4, dtype=torch.float16)
    mask = torch.tensor([[hidden] * 3, [0.0, 0.0, hidden]], dtype=torch.float16)[None, None]
    heads, weights = eager_attention(module, query, key, value, mask, scaling=1.0)
    assert weights[0, 0].tolist() == [[0, 0, 0], [0.5, 0.5, 0]]
    heads.sum().backward()
    assert query.grad.isfinite().all()


@pytest.mark.slow  # the backend compiles its kernels
@pytest.mark.parametrize("positions", ["learned", "relative"])
@torch.no_grad()  # it has no gradients on a CPU
def test_flex_equals_sdpa_under_masks_with_holes(flex_kernels, make_model, family, batch, close, positions):
    model = make_model(family, positions=positions)
    inputs = batch(family, "masked are 1")
    inputs["attention_mask"][-1] = 0
    expected = model(**inputs).logits
    model.set_attn_implementation("flex_attention")
    seen = inputs.get("decoder_attention_mask", inputs["attention_mask"]).bool()
    found = model(**inputs).logits
    assert found.isfinite().all()
    close(found[seen], expected[seen])
