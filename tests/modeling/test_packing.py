"""Several documents in one row: exactly as each in a row of its own, or refused."""

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache

import triptych

LENGTHS, TARGET_LENGTHS = [4, 3, 6], [5, 2, 4]
PADDED = 2  # tokens of padding on the side that a test names


@pytest.fixture
def make_packed(make_ragged):
    """The documents of a family apart, and the same in one row: inputs, labels, ids; perhaps padded on one side."""

    def row(documents, side):
        ids, of = torch.cat(documents), torch.repeat_interleave(torch.tensor([len(d) for d in documents]))
        mask, zeros = torch.ones_like(ids), torch.zeros(PADDED, dtype=torch.long)
        if side == "left":
            return [torch.cat([zeros, x])[None] for x in (ids, of, mask)]
        if side == "right":
            return [torch.cat([x, zeros])[None] for x in (ids, of, mask)]
        return [x[None] for x in (ids, of, mask)]

    def make(family, side=None):
        sources = make_ragged(*LENGTHS).rows
        ids, of, mask = row(sources, side)
        packed = {"input_ids": ids, "document_ids": of}
        if side:
            packed["attention_mask"] = mask
        if family != "encoder_decoder":
            labels = [source.clone() for source in sources]
            apart = [{"input_ids": s[None], "labels": s[None]} for s in sources]
            packed["labels"] = row(labels, side)[0].masked_fill(mask == 0, -100)
            return apart, packed
        targets = make_ragged(*TARGET_LENGTHS, seed=50).rows
        labels, of, mask = row(targets, side)
        packed |= {"labels": labels.masked_fill(mask == 0, -100), "decoder_document_ids": of}
        if side:
            packed["decoder_attention_mask"] = mask
        return [{"input_ids": s[None], "labels": t[None]} for s, t in zip(sources, targets, strict=True)], packed

    return make


def labelled(batch, family):
    labels = batch["labels"]
    return (labels[:, 1:] if family == "decoder" else labels).ne(-100).sum()


@pytest.mark.parametrize("side", [None, "left", "right"])
@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_packed_equals_separate(
    make_model, family, scheme, make_packed, gradients, assert_close_trees, close, attn_implementation, side
):
    """Logits, loss and gradients."""
    model = make_model(family, **scheme, label_smoothing=0.1).train()  # dropout is 0
    model.set_attn_implementation(attn_implementation)
    apart, packed = make_packed(family, side)
    items = sum(labelled(document, family) for document in apart)
    expected = [model(**document, num_items_in_batch=items) for document in apart]
    found = model(**packed)
    mask = packed.get("decoder_attention_mask", packed.get("attention_mask"))
    logits = found.logits[0] if mask is None else found.logits[0, mask[0] == 1]
    close(logits, torch.cat([output.logits[0] for output in expected]))
    loss = sum(output.loss for output in expected)
    torch.testing.assert_close(found.loss, loss)
    assert_close_trees(gradients(model, found.loss), gradients(model, loss))


@pytest.mark.slow  # the backend compiles its kernels
@torch.no_grad()  # it has no gradients on a CPU
def test_packed_equals_separate_with_flex(flex_kernels, make_model, family, make_packed, close):
    model, (apart, packed) = make_model(family), make_packed(family)
    expected = torch.cat([model(**document).logits[0] for document in apart])
    model.set_attn_implementation("flex_attention")
    close(model(**packed).logits[0], expected)


@pytest.mark.parametrize("mask_of_ones", [True, False])
@pytest.mark.parametrize("use_cache", [None, True])
def test_positions_that_start_anew_mean_documents(make_model, family, make_packed, close, mask_of_ones, use_cache):
    """Whether or not there is a mask and a cache is asked for: in both cases transformers' own models mix them."""
    model, (apart, packed) = make_model(family), make_packed(family)
    for name in ("", "decoder_"):
        if (of := packed.pop(f"{name}document_ids", None)) is not None:
            packed[f"{name}position_ids"] = torch.cat([torch.arange(int(n)) for n in of[0].bincount()])[None]
            if mask_of_ones:
                packed[f"{name}attention_mask"] = torch.ones_like(of)
    if use_cache and family != "encoder":
        packed["use_cache"] = True
    found = model(**packed)
    close(found.logits[0], torch.cat([model(**document).logits[0] for document in apart]))
    assert found.get("past_key_values") is None
    items = sum(labelled(document, family) for document in apart)
    torch.testing.assert_close(found.loss, sum(model(**d, num_items_in_batch=items).loss for d in apart))


@torch.no_grad()
def test_the_same_in_rows_of_different_documents(make_model, family, make_packed, close):
    """Each row of a batch has its own cuts."""
    model, (_, packed) = make_model(family), make_packed(family)
    batch = {
        name: torch.cat([value, value.flip(1) if "document" not in name else 2 - value.flip(1)])
        for name, value in packed.items()
    }
    together = model(**batch).logits
    for row in range(2):
        close(together[row], model(**{name: value[row : row + 1] for name, value in batch.items()}).logits[0])


def test_an_id_that_comes_again_is_another_document(make_model, words, close):
    """A document is a run; two runs of one id are not joined over what lies between."""
    model, ids = make_model("encoder"), words(1, 6)
    again, other = torch.tensor([[0, 0, 1, 1, 0, 0]]), torch.tensor([[0, 0, 1, 1, 2, 2]])
    close(model(ids, document_ids=again).logits, model(ids, document_ids=other).logits)


def test_own_positions_beside_documents(make_model, words, close):
    """`position_ids` say where, `document_ids` who."""
    model, ids, of = make_model("decoder", positions="learned"), words(1, 6), torch.tensor([[0, 0, 0, 1, 1, 1]])
    positions = torch.tensor([[0, 1, 2, 10, 11, 12]])
    packed = model(ids, document_ids=of, position_ids=positions).logits
    alone = model(ids[:, 3:], position_ids=positions[:, 3:]).logits
    close(packed[:, 3:], alone)


def test_left_padded_positions_are_no_documents(make_model, causal_family, words, logits_of):
    """As `generate` makes them; a cache is kept."""
    model, ids = make_model(causal_family), words(2, 5)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    positions = torch.tensor([[0, 1, 2, 3, 4], [1, 1, 0, 1, 2]])
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    if causal_family == "encoder_decoder":
        inputs = {"input_ids": ids} | {f"decoder_{name}": value for name, value in inputs.items()}
    assert model(**inputs, use_cache=True).past_key_values is not None


UNDER_A_MASK = [1, 1, 0, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    "positions",
    [
        [0, 1, 1, 1, 2, 3, 3, 4],  # they stand still
        [0, 1, 1, 1, 2, 3, 1, 4],
        [0, 1, 0, 0, 2, 3, 0, 4],
        [0, 1, 2, 3, 4, 5, 6, 7],
        [0, 1, 9, 9, 7, 8, 9, 30],  # they jump
        [0, 1, 0, 0, 1, 2, 0, 1],  # as generate counts on behind masked tokens at the end of a prompt
    ],
)
@torch.no_grad()
def test_positions_under_a_mask_are_no_documents(make_model, family, words, logits_of, close, positions):
    """Every token sees all others, or those before it, whatever its position: with and without a cache."""
    model = make_model(family, positions="none")
    ids, mask, positions = words(1, 8), torch.tensor([UNDER_A_MASK]), torch.tensor([positions])
    kept = mask[0].bool()
    expected = logits_of(model, ids[:, kept], None, ids[:, kept])[0]
    both = {"position_ids": positions}
    if family == "encoder_decoder":
        both["decoder_position_ids"] = positions
    for options in [{}] if family == "encoder" else [{"use_cache": False}, {"use_cache": True}]:
        close(logits_of(model, ids, mask, ids, mask, **both, **options)[0, kept], expected)


def test_positions_that_jump_are_no_documents(make_model, causal_family, words, logits_of, close):
    """A document begins at the position 0 and nowhere else, with a mask of ones or without."""
    model, ids = make_model(causal_family, positions="none"), words(1, 6)
    prefix = "decoder_" if causal_family == "encoder_decoder" else ""
    expected = logits_of(model, ids, None, ids)
    for positions in ([0, 1, 2, 10, 11, 12], [3, 4, 5, 6, 7, 8], [5, 4, 3, 3, 3, 2]):
        given = {f"{prefix}position_ids": torch.tensor([positions])}
        close(logits_of(model, ids, None, ids, **given), expected)
        close(logits_of(model, ids, torch.ones_like(ids), ids, torch.ones_like(ids), **given), expected)


@pytest.mark.parametrize("by_positions", [True, False])
@torch.no_grad()
def test_a_mask_with_holes_cuts_no_document(make_model, family, words, close, by_positions):
    """Documents with masked tokens before, inside, between and behind them; each as it is without those."""
    model, side = make_model(family, positions="learned"), ["", "decoder_"] if family == "encoder_decoder" else [""]
    mask = torch.tensor([[0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0]])
    of = torch.tensor([[0, 0, 7, 0, 0, 3, 1, 1, 1, 1, 1, 1]])  # what masked tokens say has no meaning
    positions = torch.tensor([[0, 0, 0, 1, 2, 0, 0, 1, 0, 0, 2, 3]])
    batch = {f"{name}input_ids": words(1, 12, seed=len(name)) for name in side}
    packed = dict(batch)
    for name in side:
        packed[f"{name}attention_mask"] = mask
        packed[f"{name}position_ids" if by_positions else f"{name}document_ids"] = positions if by_positions else of
    found = model(**packed).logits[0]
    for document in (0, 1):
        kept = (mask[0] == 1) & (of[0] == document)
        close(found[kept], model(**{name: ids[:, kept] for name, ids in batch.items()}).logits[0])


def test_a_cache_and_documents_are_refused(make_model, causal_family, make_packed):
    model, (_, packed) = make_model(causal_family), make_packed(causal_family)
    packed.pop("labels")
    cache = DynamicCache(config=model.config)
    if causal_family == "encoder_decoder":
        packed["decoder_input_ids"] = torch.zeros_like(packed["decoder_document_ids"])
        cache = EncoderDecoderCache(cache, DynamicCache(config=model.config))
    with pytest.raises(ValueError, match="cannot be continued from past_key_values; leave out the cache"):
        model(**packed, past_key_values=cache)


def test_documents_of_another_shape_are_refused(make_model, family, make_packed):
    _, packed = make_packed(family)
    packed["document_ids"] = packed["document_ids"][:, :-1]
    with pytest.raises(ValueError, match=r"document_ids has the shape \(1, 12\), but the tokens have \(1, 13\)"):
        make_model(family)(**packed)


@pytest.mark.parametrize("missing", ["document_ids", "decoder_document_ids"])
def test_documents_on_one_side_are_refused(make_model, make_packed, missing):
    _, packed = make_packed("encoder_decoder")
    del packed[missing]
    with pytest.raises(ValueError, match="give both document_ids and decoder_document_ids"):
        make_model("encoder_decoder")(**packed)


@pytest.mark.parametrize("rows", [1, 2])
def test_flash_attention_gets_the_boundaries_of_documents(flash_stand_in, make_model, family, make_packed, rows):
    """It takes no mask: all tokens come in one flat row, with the boundaries of its documents."""
    model, (_, packed) = make_model(family), make_packed(family)
    batch = {name: value.repeat(rows, 1) for name, value in packed.items()}
    seen = []

    def kernel(module, query, key, value, attention_mask, cu_seq_lens_q, cu_seq_lens_k, max_length_q, **kwargs):
        assert attention_mask is None
        assert query.shape[0] == 1
        seen.append((cu_seq_lens_q.diff().tolist(), cu_seq_lens_k.diff().tolist()))
        assert max_length_q == max(seen[-1][0])
        return query.transpose(1, 2), None

    flash_stand_in(model, kernel)
    model(**batch)
    own, cross = (TARGET_LENGTHS, LENGTHS) if family == "encoder_decoder" else (LENGTHS, LENGTHS)
    assert ((own * rows, own * rows)) in seen
    assert ((LENGTHS * rows, LENGTHS * rows)) in seen
    assert ((own * rows, cross * rows)) in seen


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_flash_attention_gets_no_masked_tokens(flash_stand_in, make_model, words, family):
    """Masked tokens are cut out, at the ends and inside of documents; what comes back there is zeros."""
    model, ids, of = make_model(family), words(1, 6), torch.tensor([[0, 0, 0, 1, 1, 1]])
    seen = []

    def kernel(module, query, key, value, attention_mask, cu_seq_lens_q, **kwargs):
        seen.append(cu_seq_lens_q.tolist())
        return query.transpose(1, 2), None

    flash_stand_in(model, kernel)
    model(ids, document_ids=of, attention_mask=torch.tensor([[1, 0, 1, 1, 1, 0]]))
    assert seen == [[0, 2, 4]] * 2


@pytest.mark.parametrize(
    "family_head", ["TriptychEncoderForTokenClassification", "TriptychDecoderForTokenClassification"]
)
def test_other_heads_pass_documents_on(make_packed, family_head, close):
    head = getattr(triptych, family_head)
    family = "encoder" if "Encoder" in family_head else "decoder"
    torch.manual_seed(0)
    model = head(head.config_class.from_preset(f"tiny-{family}")).eval()
    apart, packed = make_packed(family)
    expected = torch.cat([model(document["input_ids"]).logits[0] for document in apart])
    close(model(packed["input_ids"], document_ids=packed["document_ids"]).logits[0], expected)


@pytest.mark.slow
@torch.no_grad()
def test_compiled_rows_of_documents(make_model, family, make_packed, close):
    """A compiler cannot look whether positions return to 0; the result is the same."""
    torch._dynamo.reset()
    model, (_, packed) = make_model(family), make_packed(family)
    for name in ("", "decoder_"):
        if (of := packed.get(f"{name}document_ids")) is not None:
            packed[f"{name}position_ids"] = torch.cat([torch.arange(int(n)) for n in of[0].bincount()])[None]
    by_positions = {name: value for name, value in packed.items() if "document" not in name}
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    expected = model(**packed)
    for batch in (packed, by_positions):
        found = compiled(**batch)
        close(found.logits, expected.logits)
        torch.testing.assert_close(found.loss, expected.loss)
