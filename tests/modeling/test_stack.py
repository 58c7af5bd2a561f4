"""Properties of the whole: what sees what, padding, caches, attention backends, checkpointing, recorded outputs."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache
from transformers.modeling_outputs import BaseModelOutput

# --- what sees what


@torch.no_grad()
def test_no_leak_from_the_future(make_model, causal_family, scheme, residual, words, logits_of):
    model, source, target = make_model(causal_family, **scheme, residual=residual), words(1, 6), words(1, 8, seed=1)
    source = source if causal_family == "encoder_decoder" else target
    changed = target.clone()
    changed[0, 5] = (changed[0, 5] - 4) % 90 + 5
    ours, theirs = (
        logits_of(model, source if causal_family == "encoder_decoder" else ids, None, ids) for ids in (target, changed)
    )
    torch.testing.assert_close(ours[:, :5], theirs[:, :5], atol=1e-6, rtol=0)
    assert (ours[:, 5:] - theirs[:, 5:]).abs().amax(-1).gt(1e-3).all()


@torch.no_grad()
def test_encoder_sees_both_sides(make_model, scheme, words):
    ids = words(1, 7)
    changed = ids.clone()
    changed[0, 3] = (changed[0, 3] - 4) % 90 + 5
    stacks = make_model("encoder", **scheme).model, make_model("encoder_decoder", **scheme).model
    for encode in (stacks[0], lambda ids: stacks[1].encoder(ids)):
        ours, theirs = (encode(x).last_hidden_state for x in (ids, changed))
        assert (ours - theirs).abs().amax(-1).gt(1e-4).all()


@torch.no_grad()
def test_every_target_position_sees_the_whole_source(make_model, scheme, words, logits_of):
    model, target = make_model("encoder_decoder", **scheme), words(1, 4, seed=1)
    source = words(1, 7)
    changed = source.clone()
    changed[0, -1] = (changed[0, -1] - 4) % 90 + 5
    ours, theirs = (logits_of(model, ids, None, target) for ids in (source, changed))
    assert (ours - theirs).abs().amax(-1).gt(1e-4).all()


@torch.no_grad()
def test_order_matters_only_with_positions(make_model, scheme, words):
    """Without positions an encoder is a function of a set."""
    ids = words(1, 6)
    model = make_model("encoder", **scheme).model
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    before, behind = model(ids).last_hidden_state[:, order], model(ids[:, order]).last_hidden_state
    assert torch.allclose(before, behind, atol=1e-5) == (scheme["positions"] == "none")


def test_every_parameter_takes_part(make_model, family, scheme, residual, make_batch, gradients):
    """Data-parallel training waits for the gradient of each."""
    model = make_model(family, **scheme, residual=residual)
    found = gradients(model, model(**make_batch(family, [4, 6])).loss)
    assert found.keys() == dict(model.named_parameters()).keys()


# --- padding


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padded_rows_equal_each_row_alone(make_model, family, scheme, make_ragged, logits_of, close, side):
    model = make_model(family, **scheme)
    source, target = make_ragged(9, 3, 6), make_ragged(2, 5, 7, seed=50)
    batched = logits_of(model, *source.padded(side), *target.padded(side))
    mask = (target if family == "encoder_decoder" else source).padded(side)[1].bool()
    for i, (source_row, target_row) in enumerate(zip(source.rows, target.rows, strict=True)):
        close(batched[i, mask[i]], logits_of(model, source_row[None], None, target_row[None])[0])


@torch.no_grad()
def test_a_mask_of_ones_changes_nothing(make_model, family, words, logits_of, close):
    model, ids = make_model(family), words(2, 5)
    ones = torch.ones_like(ids)
    close(logits_of(model, ids, ones, ids, ones), logits_of(model, ids, None, ids))


# --- caches


def new_cache(kind, model, source_length):
    """The caches of transformers, as its `generate` makes them: 14 target positions at most."""
    config = model.config.get_text_config(decoder=True)

    def one(length):
        return StaticCache(config=config, max_cache_len=length) if kind == "static" else DynamicCache(config=config)

    return EncoderDecoderCache(one(14), one(source_length)) if model.config.is_encoder_decoder else one(14)


def run_cached(model, cache, chunks, source, target):
    """Logits of target pieces fed one after the other; `source` and `target` are pairs of ids and mask."""
    (source_ids, source_mask), (ids, mask), outputs, start = source, target, [], 0
    inputs = {}
    if model.config.is_encoder_decoder:
        memory = model.model.encoder(source_ids, source_mask).last_hidden_state
        inputs = {"encoder_outputs": BaseModelOutput(memory), "attention_mask": source_mask}
    prefix = "decoder_" if model.config.is_encoder_decoder else ""
    for size in chunks:
        end = start + size
        inputs[f"{prefix}input_ids"] = ids[:, start:end]
        inputs[f"{prefix}attention_mask"] = None if mask is None else mask[:, :end]
        output = model(**inputs, past_key_values=cache, use_cache=True)
        assert output.past_key_values is cache
        outputs.append(output.logits)
        start = end
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize(
    ("chunks", "padded"),
    [([1] * 9, True), ([4, 1, 3, 1], True), ([4, 1, 3, 1], False)],
    ids=["one-by-one-left-padded", "chunks-left-padded", "chunks-full"],
)
@torch.no_grad()
def test_cached_equals_uncached(
    make_model, causal_family, scheme, make_ragged, logits_of, close, kind, chunks, padded
):
    lengths = ([5, 8, 3], [9, 4, 6]) if padded else ([6, 6, 6], [9, 9, 9])
    source, target = make_ragged(*lengths[0]).padded("right"), make_ragged(*lengths[1], seed=50).padded("left")
    counted = target[1].bool()
    if not padded:
        source, target = (source[0], None), (target[0], None)
    model = make_model(causal_family, **scheme)
    inputs = (*source, *target) if causal_family == "encoder_decoder" else target
    cached = run_cached(model, new_cache(kind, model, source[0].shape[1]), chunks, source, target)
    close(cached[counted], logits_of(model, *inputs, use_cache=False)[counted])


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("residual", ["pre", "parallel", "parallel_norms"])
@torch.no_grad()
def test_cached_equals_uncached_with_few_heads_of_free_width(
    make_model, causal_family, make_ragged, logits_of, close, kind, attn_implementation, residual
):
    sizes = {"num_key_value_heads": 2, "head_dim": 6, "value_head_dim": 10, "residual": residual}
    model = make_model(causal_family, **sizes, positions="rotary", attn_implementation=attn_implementation)
    source, target = make_ragged(5, 8).padded("left"), make_ragged(9, 4, seed=50).padded("left")
    inputs = (*source, *target) if causal_family == "encoder_decoder" else target
    cached = run_cached(model, new_cache(kind, model, source[0].shape[1]), [4, 1, 3, 1], source, target)
    counted = target[1].bool()
    close(cached[counted], logits_of(model, *inputs)[counted])


@torch.no_grad()
def test_memory_is_projected_once(make_model, words):
    model, source = make_model("encoder_decoder"), words(1, 5)
    calls = []
    for layer in model.model.decoder.layers:
        layer.cross_attention.k_proj.register_forward_hook(lambda *_: calls.append(1))
    cache = new_cache("dynamic", model, 5)
    run_cached(model, cache, [1, 1, 1], (source, None), (words(1, 3), None))
    assert len(calls) == len(model.model.decoder.layers)


@torch.no_grad()
def test_use_cache_makes_and_returns_one(make_model, causal_family, words, logits_of):
    model, ids = make_model(causal_family), words(1, 4)
    decoder = {"decoder_input_ids": ids} if causal_family == "encoder_decoder" else {}
    cache = model(ids, **decoder, use_cache=True).past_key_values
    assert isinstance(cache, EncoderDecoderCache if decoder else DynamicCache)
    assert cache.get_seq_length() == 4
    assert model(ids, **decoder, use_cache=False).past_key_values is None
    assert make_model("encoder")(ids).get("past_key_values") is None


# --- attention backends


def outputs_of(model, family, batch, gradients):
    output = model(**batch)
    return output.logits.detach(), gradients(model, output.loss)


def test_eager_equals_sdpa(make_model, family, scheme, make_batch, gradients, assert_close_trees, close):
    model = make_model(family, **scheme)
    for batch in (make_batch(family, [4, 9, 6]), make_batch(family, [6, 6])):
        counted = batch["labels"] != -100 if family == "encoder_decoder" else batch["attention_mask"].bool()
        model.set_attn_implementation("eager")
        eager, eager_gradients = outputs_of(model, family, batch, gradients)
        model.set_attn_implementation("sdpa")
        sdpa, sdpa_gradients = outputs_of(model, family, batch, gradients)
        close(sdpa[counted], eager[counted])
        assert_close_trees(sdpa_gradients, eager_gradients)


@pytest.mark.slow  # the backend compiles its kernels
@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "relative"])
@torch.no_grad()  # it has no gradients on a CPU
def test_flex_equals_sdpa(flex_kernels, make_model, family, make_batch, close, positions):
    model = make_model(family, positions=positions, num_key_value_heads=2)
    batch = make_batch(family, [3, 9, 6])  # sources and targets of 9: torch 2.13 is wrong on CPUs for 8
    counted = batch["labels"] != -100 if family == "encoder_decoder" else batch["attention_mask"].bool()
    sdpa = model(**batch).logits
    model.set_attn_implementation("flex_attention")
    close(model(**batch).logits[counted], sdpa[counted])


def enable_checkpointing(model, **options):
    if hasattr(model, "activation_checkpointing_enable"):  # the name of newer releases
        model.activation_checkpointing_enable(options)
    else:
        model.gradient_checkpointing_enable(options)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing_changes_no_gradient(
    make_model, scheme, residual, make_batch, gradients, assert_close_trees, use_reentrant
):
    model = make_model("encoder_decoder", **scheme, residual=residual, dropout=0.1, attention_dropout=0.1).train()
    batch = make_batch("encoder_decoder", [4, 9, 6])

    def seeded():
        torch.manual_seed(3)
        loss = model(**batch).loss
        return gradients(model, loss)

    expected = seeded()
    enable_checkpointing(model, use_reentrant=use_reentrant)
    runs = []
    for stack in (model.model.encoder, model.model.decoder):
        stack.layers[0].feed_forward.register_forward_hook(lambda *_: runs.append(1))
    assert_close_trees(seeded(), expected, rtol=1e-5)
    assert len(runs) == 4  # each layer was computed twice


# --- inputs and outputs


@torch.no_grad()
def test_embeddings_in_place_of_ids(make_model, family, words, logits_of, close):
    model, ids = make_model(family, embedding_scale=3.0), words(2, 5)
    target = words(2, 4, seed=1)
    expected = logits_of(model, ids, None, target)
    embeds = {"inputs_embeds": model.get_input_embeddings()(ids)}
    if family == "encoder_decoder":
        embeds["decoder_inputs_embeds"] = model.model.target_embeddings(target)
    close(model(**embeds).logits, expected)


def test_both_ids_and_embeddings_are_refused(make_model, family, words):
    model, ids = make_model(family), words(1, 3)
    decoder = {"decoder_input_ids": ids} if family == "encoder_decoder" else {}
    both = {"input_ids": ids, "inputs_embeds": model.get_input_embeddings()(ids)}
    for given in (both, {}):
        with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
            model(**given, **decoder)


def test_memory_where_none_is_attended_to_is_refused(make_model, words):
    ids, memory = words(1, 3), torch.zeros(1, 4, 32)
    for family, stack in (("encoder", "TriptychEncoderModel"), ("decoder", "TriptychDecoderModel")):
        with pytest.raises(ValueError, match=f"{stack} has no cross-attention.*encoder_hidden_states"):
            make_model(family).model(ids, encoder_hidden_states=memory)
    with pytest.raises(ValueError, match="Decoder needs encoder_hidden_states"):
        make_model("encoder_decoder").model.decoder(ids)


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("length", [4, 6])
def test_mask_of_another_length_is_refused(make_model, family, words, attn_implementation, length):
    model, ids = make_model(family, attn_implementation=attn_implementation), words(2, 5)
    mask = torch.ones(2, length, dtype=torch.long)
    mask[0, 0] = 0
    decoder = {"decoder_input_ids": ids} if family == "encoder_decoder" else {}
    with pytest.raises(ValueError, match=rf"attention_mask covers {length} positions.*5"):
        model(ids, attention_mask=mask, **decoder)


@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
@torch.no_grad()
def test_recorded_states_and_weights_of_a_stack(make_model, words, attn_implementation):
    for family in ("encoder", "decoder"):
        model = make_model(family, num_hidden_layers=3, attn_implementation=attn_implementation)
        output = model(words(2, 5), output_hidden_states=True, output_attentions=attn_implementation == "eager")
        assert [h.shape for h in output.hidden_states] == [(2, 5, 32)] * 4
        assert torch.equal(output.hidden_states[-1], model.model(words(2, 5)).last_hidden_state)
        if attn_implementation == "eager":
            assert [a.shape for a in output.attentions] == [(2, 4, 5, 5)] * 3
            for weights in output.attentions:
                torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))
                assert weights.triu(1).any() == (family == "encoder")
        plain = model(words(2, 5))
        assert plain.hidden_states is None
        assert plain.attentions is None


@torch.no_grad()
def test_recorded_weights_are_empty_without_eager_attention(make_model, words):
    output = make_model("decoder", attn_implementation="sdpa").model(words(2, 5), output_attentions=True)
    assert not any(weights is not None for weights in output.attentions)


@torch.no_grad()
def test_tuples_on_request(make_model, family, words, logits_of):
    model, ids = make_model(family), words(1, 4)
    decoder = {"decoder_input_ids": ids} if family == "encoder_decoder" else {}
    as_tuple, named = model(ids, **decoder, return_dict=False), model(ids, **decoder)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], named.logits)
    labelled = model(ids, labels=ids, return_dict=False)
    assert labelled[0].ndim == 0
    body = model.model(ids, **decoder, return_dict=False)
    assert isinstance(body, tuple)
    assert body[0].shape == (1, 4, 32)


@torch.no_grad()
def test_only_the_logits_asked_for(make_model, causal_family, words, logits_of, close):
    model, ids = make_model(causal_family), words(2, 5)
    whole = logits_of(model, ids, None, ids)
    close(logits_of(model, ids, None, ids, logits_to_keep=2), whole[:, -2:])
    close(logits_of(model, ids, None, ids, logits_to_keep=torch.tensor([0, 3])), whole[:, [0, 3]])


@torch.no_grad()
def test_segments(make_model, words, close):
    model, ids = make_model("encoder"), words(1, 4)
    first = torch.zeros_like(ids)
    close(model(ids, token_type_ids=first).logits, model(ids).logits)
    second = torch.tensor([[0, 0, 1, 1]])
    assert not torch.allclose(model(ids, token_type_ids=second).logits, model(ids).logits, atol=1e-3)


@torch.no_grad()
def test_embeddings_are_scaled_normed_and_summed(make_model, words):
    """What enters the first layer: norm(√d · token + position + segment)."""
    ids = words(1, 4)
    body = make_model("encoder", embedding_scale=None).model
    entered = body(ids, output_hidden_states=True).hidden_states[0]
    segment = body.segments.table.weight[0]
    expected = body.embedding_norm(32**0.5 * body.embed_tokens(ids) + body.positions.table.weight[:4] + segment)
    torch.testing.assert_close(entered, expected)
