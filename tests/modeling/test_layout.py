"""Documents in a row, said in each of the three ways, with every kind of kernel; and how often the device is asked."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DataCollatorWithFlattening

import tiny
from triptych.modeling import layout

LENGTHS, TARGET_LENGTHS = [4, 3, 6], [5, 2, 4]
DIALECTS = ["document_ids", "position_ids", "boundaries"]
ENDS = ("SequenceClassification", "Prediction", "QuestionAnswering")
ONE_ANSWER = [name for name in tiny.HEADS if name.endswith(ENDS)]


def said(lengths, dialect, prefix=""):
    """The arguments that say where the documents of one flat row lie."""
    numbers = torch.tensor(lengths)
    if dialect == "document_ids":
        return {f"{prefix}document_ids": torch.repeat_interleave(numbers)[None]}
    if dialect == "position_ids":
        return {f"{prefix}position_ids": torch.cat([torch.arange(n) for n in lengths])[None]}
    starts = torch.nn.functional.pad(numbers.cumsum(0), (1, 0)).to(torch.int32)
    return {
        f"{prefix}cu_seq_lens_q": starts,
        f"{prefix}cu_seq_lens_k": starts,
        f"{prefix}max_length_q": max(lengths),
        f"{prefix}max_length_k": max(lengths),
    }


@pytest.fixture
def documents(make_ragged):
    """Documents of a family apart, and one flat row of them without anything that says where they lie."""

    def make(family):
        sources = make_ragged(*LENGTHS).rows
        targets = make_ragged(*TARGET_LENGTHS, seed=50).rows if family == "encoder_decoder" else sources
        apart = [{"input_ids": s[None], "labels": t[None]} for s, t in zip(sources, targets, strict=True)]
        return apart, {"input_ids": torch.cat(sources)[None], "labels": torch.cat(targets)[None]}

    return make


def said_of(family, dialect, dialect_of_target=None):
    both = said(LENGTHS, dialect)
    if family == "encoder_decoder":
        both |= said(TARGET_LENGTHS, dialect_of_target or dialect, "decoder_")
    return both


@pytest.mark.parametrize("kernel", ["eager", "sdpa", "varlen"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_means_the_same(
    make_model, family, documents, gradients, assert_close_trees, close, dialect, kernel
):
    """Logits, loss and gradients of one flat row are those of the documents apart."""
    model = make_model(family, positions="rotary", num_key_value_heads=2, attn_implementation=kernel).train()
    apart, row = documents(family)
    items = sum((d["labels"][:, 1:] if family == "decoder" else d["labels"]).numel() for d in apart)
    expected = [model(**document, num_items_in_batch=items) for document in apart]
    found = model(**row, **said_of(family, dialect))
    close(found.logits[0], torch.cat([output.logits[0] for output in expected]))
    loss = sum(output.loss for output in expected)
    torch.testing.assert_close(found.loss, loss)
    assert_close_trees(gradients(model, found.loss), gradients(model, loss))


@pytest.mark.parametrize("kernel", ["sdpa", "varlen"])
@pytest.mark.parametrize("dialects", [(a, b) for a in DIALECTS for b in DIALECTS if a != b])
@torch.no_grad()
def test_each_side_can_say_it_otherwise(make_model, documents, close, dialects, kernel):
    model = make_model("encoder_decoder", attn_implementation=kernel)
    apart, row = documents("encoder_decoder")
    found = model(**row, **said_of("encoder_decoder", *dialects)).logits[0]
    close(found, torch.cat([model(**document).logits[0] for document in apart]))


@pytest.mark.parametrize("kernel", ["sdpa", "varlen"])
@pytest.mark.parametrize("dialect", DIALECTS[1:])
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_ids_on_one_side_match_by_their_order(make_model, documents, close, kernel, dialect, masked):
    """Ids of the caller's own choice, and the other side said otherwise: the first belongs to the first."""
    model = make_model("encoder_decoder", attn_implementation=kernel)
    apart, row = documents("encoder_decoder")
    given = said_of("encoder_decoder", dialect, "document_ids")
    ids = given["decoder_document_ids"]
    given["decoder_document_ids"] = torch.where(ids == 0, 7, torch.where(ids == 1, 3, 5))
    if masked:  # a padding token before the first target
        pad = torch.nn.functional.pad
        row["labels"] = pad(row["labels"], (1, 0), value=-100)
        given["decoder_document_ids"] = pad(given["decoder_document_ids"], (1, 0), value=9)
        given["decoder_attention_mask"] = pad(torch.ones_like(ids), (1, 0), value=0)
    found = model(**row, **given).logits[0, int(masked) :]
    close(found, torch.cat([model(**document).logits[0] for document in apart]))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ONE_ANSWER)
def test_a_head_with_one_answer_for_a_row_refuses_documents(name, dialect):
    model, ids = tiny.make_model(name), tiny.words(1, 5)
    given = said([2, 3], dialect)
    if model.config.is_encoder_decoder:
        ids[0, -1] = model.config.eos_token_id
        given |= said([2, 3], dialect, "decoder_")
    with pytest.raises(ValueError, match=f"{name} gives one answer for a row.*give each document its own row"):
        model(input_ids=ids, **given)


@pytest.mark.parametrize("kernel", ["sdpa", "varlen"])
@torch.no_grad()
def test_a_batch_that_transformers_flattens(make_model, words, close, kernel):
    model, rows = make_model("decoder", attn_implementation=kernel), [words(1, n, seed=n)[0] for n in LENGTHS]
    collator = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    batch = collator([{"input_ids": row.tolist()} for row in rows])
    close(model(**batch).logits[0], torch.cat([model(row[None]).logits[0] for row in rows]))


@pytest.mark.parametrize("dialect", DIALECTS)
@torch.no_grad()
def test_the_bodies_take_each_dialect(make_model, family, documents, close, dialect):
    body = make_model(family).model
    apart, row = documents(family)

    def hidden(batch, **more):
        inputs = {"input_ids": batch["input_ids"]}
        if family == "encoder_decoder":
            inputs["decoder_input_ids"] = batch["labels"]
        return body(**inputs, **more).last_hidden_state[0]

    close(hidden(row, **said_of(family, dialect)), torch.cat([hidden(document) for document in apart]))


# --- with padding, holes and several rows, a kernel that takes boundaries is as exact as one that takes masks


@pytest.mark.parametrize("side", ["left", "right"])
def test_varlen_equals_sdpa_with_padding(make_model, family, make_ragged, logits_of, close, side):
    model = make_model(family, positions="rotary", num_key_value_heads=2, value_head_dim=12)
    source, target = make_ragged(9, 3, 6).padded(side), make_ragged(2, 5, 7, seed=50).padded(side)
    counted = (target if family == "encoder_decoder" else source)[1].bool()
    expected = logits_of(model, *source, *target)[counted]
    model.set_attn_implementation("varlen")
    close(logits_of(model, *source, *target)[counted], expected)


@pytest.mark.parametrize("pattern", [None, [3, "full"]])
@torch.no_grad()
def test_varlen_equals_sdpa_with_holes_and_documents_in_several_rows(make_model, family, words, close, pattern):
    model = make_model(family, attention_pattern=pattern)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]])
    of = torch.tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1], [4, 4, 4, 4, 4, 4, 4, 2, 2, 2, 9, 9]])
    batch = {"input_ids": words(2, 12), "attention_mask": mask, "document_ids": of}
    if family == "encoder_decoder":
        batch |= {f"decoder_{name}": value for name, value in batch.items()}
    expected = model(**batch).logits[mask.bool()]
    model.set_attn_implementation("varlen")
    close(model(**batch).logits[mask.bool()], expected)


@torch.no_grad()
def test_a_source_without_tokens(make_model, words, close):
    """Its target sees nothing there, with a mask as with boundaries."""
    model, mask = make_model("encoder_decoder"), torch.tensor([[1, 1, 1], [0, 0, 0]])
    expected = model(words(2, 3), attention_mask=mask, decoder_input_ids=words(2, 4)).logits
    model.set_attn_implementation("varlen")
    close(model(words(2, 3), attention_mask=mask, decoder_input_ids=words(2, 4)).logits, expected)


@torch.no_grad()
def test_documents_of_the_source_in_another_order(make_model, words, close):
    """A target sees the source of its own id, wherever that stands in the row."""
    model = make_model("encoder_decoder")
    batch = {
        "input_ids": words(1, 6),
        "document_ids": torch.tensor([[7, 7, 3, 3, 3, 5]]),
        "decoder_input_ids": words(1, 5, seed=1),
        "decoder_document_ids": torch.tensor([[3, 3, 7, 7, 7]]),
    }
    expected = model(**batch).logits
    model.set_attn_implementation("varlen")
    close(model(**batch).logits, expected)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}])
@torch.no_grad()
def test_varlen_generates_the_same(make_model, causal_family, make_ragged, options):
    model = make_model(causal_family, positions="rotary")
    ids, mask = make_ragged(7, 3, 5).padded("left")
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, **options}
    expected = model.generate(ids, **options)
    model.set_attn_implementation("varlen")
    assert torch.equal(model.generate(ids, **options), expected)


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
@torch.no_grad()
def test_varlen_compiled_as_one_graph(make_model, words, close, dialect, padded):
    """A compiler cannot fetch boundaries. Where they are not given the kernel gets a mask."""
    torch._dynamo.reset()
    model = make_model("decoder", attn_implementation="varlen")
    batch = {"input_ids": words(1, sum(LENGTHS)), **said(LENGTHS, dialect)}
    if padded:
        batch["attention_mask"] = torch.ones_like(batch["input_ids"]).index_fill(1, torch.tensor([2, 5]), 0)
    expected = model(**batch).logits
    counted = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
    compiled = torch.compile(model, backend="eager", fullgraph=dialect != "boundaries" or padded)
    close(compiled(**batch).logits[counted], expected[counted])


# --- what is refused


REFUSED = {
    "give one of them": {"document_ids": torch.tensor([[0, 0, 1, 1, 1]]), "cu_seq_lens_q": torch.tensor([0, 2, 5])},
    "end with the 5 tokens": {"cu_seq_lens_q": torch.tensor([0, 2, 4])},
    "begin with 0": {"cu_seq_lens_q": torch.tensor([2, 5])},
    "never decrease": {"cu_seq_lens_q": torch.tensor([0, 4, 3, 5])},
    "cu_seq_lens_k, max_length_k without cu_seq_lens_q": {
        "cu_seq_lens_k": torch.tensor([0, 2, 5]),
        "max_length_k": 3,
    },
    r"cu_seq_lens_k=\[0, 1, 5\] must be equal": {
        "cu_seq_lens_q": torch.tensor([0, 2, 5]),
        "cu_seq_lens_k": torch.tensor([0, 1, 5]),
    },
}


@pytest.mark.parametrize("reason", REFUSED)
def test_boundaries_that_do_not_fit_are_refused(make_model, words, reason):
    with pytest.raises(ValueError, match=reason):
        make_model("decoder")(words(1, 5), **REFUSED[reason])


def test_boundaries_of_several_rows_are_refused(make_model, words):
    with pytest.raises(ValueError, match=r"one flat row \(1, tokens\).*there are 2 rows; give document_ids"):
        make_model("encoder")(words(2, 5), cu_seq_lens_q=torch.tensor([0, 2, 5]))


@pytest.mark.parametrize("missing", ["", "decoder_"])
@pytest.mark.parametrize("kernel", ["sdpa", "varlen"])
def test_boundaries_of_one_side_are_refused(make_model, words, kernel, missing):
    given = said([2, 3], "boundaries", "" if missing else "decoder_")
    model = make_model("encoder_decoder", attn_implementation=kernel)
    with pytest.raises(ValueError, match="give both document_ids and decoder_document_ids"):
        model(words(1, 5), decoder_input_ids=words(1, 5), **given)


@pytest.mark.parametrize("kernel", ["sdpa", "varlen"])
@pytest.mark.parametrize("dialects", [(a, b) for a in DIALECTS[1:] for b in DIALECTS[1:]])
def test_another_number_of_targets_than_sources_is_refused(make_model, words, kernel, dialects):
    """Where they are matched by their order."""
    model = make_model("encoder_decoder", attn_implementation=kernel)
    both = {**said([2, 3], dialects[0]), **said([2, 2, 1], dialects[1], "decoder_")}
    with pytest.raises(ValueError, match=r"there are 2 documents in a row of the source, but 3 in that of the target"):
        model(words(1, 5), decoder_input_ids=words(1, 5), **both)


# --- a device is waited for once at most


WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::unique_consecutive", "aten::_to_copy"}


class Waits(TorchDispatchMode):
    """Counts the operations that make the CPU wait for another device, as if the tensors lay there."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        name = function._schema.name
        to_cpu = name == "aten::_to_copy" and str((kwargs or {}).get("device")) == "cpu"
        if name in WAITS and (to_cpu or name != "aten::_to_copy"):
            self.found.append(name)
        return output


@pytest.fixture
def fetches(monkeypatch):
    """How often the layouts of a forward fetch something from the device."""
    counted, fetch = [], layout.fetch

    def counting(tables):
        if any(table for table in tables):
            counted.append(sum(len(table) for table in tables))
        return fetch(tables)

    monkeypatch.setattr(layout, "fetch", counting)
    return counted


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kernel", ["sdpa", "varlen"])
def test_the_device_is_waited_for_once_at_most(make_model, family, documents, fetches, kernel, dialect):
    model, (_, row) = make_model(family, attn_implementation=kernel), documents(family)
    model(**row, **said_of(family, dialect))
    needs_no_answer = dialect == "boundaries" or (dialect == "document_ids" and kernel == "sdpa")
    assert len(fetches) == (0 if needs_no_answer else 1)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_else_waits_for_the_device(make_model, family, documents, dialect):
    """With masks, all that waits is the one question whether positions hold several documents."""
    model, (_, row) = make_model(family), documents(family)
    row.pop("labels")
    given = said_of(family, dialect)
    if family == "encoder_decoder":
        row["decoder_input_ids"] = torch.full((1, sum(TARGET_LENGTHS)), 7)
    starts = [value for name, value in given.items() if "cu_seq" in name]
    with Waits() as waits:
        model(**row, **given)
    looked_at = 2 * len(starts)  # on a CPU boundaries are checked, which costs nothing there
    answers = {"document_ids": 0, "position_ids": 2 if family == "encoder_decoder" else 1, "boundaries": looked_at}
    assert len(waits.found) <= answers[dialect], waits.found
