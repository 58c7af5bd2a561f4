"""Attention kernels: the same numbers from each, switched at run time, or a clear refusal.

Flash attention needs a GPU, so its kernel is one by hand here; all of transformers' code around it is the real one.
"""

import inspect
import re
from pathlib import Path

import pytest
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, modeling_flash_attention_utils
from transformers.integrations.flash_attention import flash_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask, sdpa_mask
from transformers.modeling_utils import AttentionInterface

import triptych
from triptych.modeling.kernels import KERNELS, kernel_of

FLASH = "flash_by_hand"


def attend_by_hand(query, key, value, scale, causal, window):
    """One sequence: (T, H, d), (S, G, d), (S, G, d) → (T, H, d); the last query stands at the last key."""
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    scores = torch.einsum("thd,shd->hts", query, key) * scale
    past = key.shape[0] - query.shape[0]
    distance = torch.arange(key.shape[0])[None] - torch.arange(query.shape[0])[:, None] - past
    hidden = distance > 0 if causal else torch.zeros_like(distance, dtype=torch.bool)
    before, after = window
    if before >= 0:
        hidden = hidden | (distance < -before)
    if after >= 0:
        hidden = hidden | (distance > after)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return torch.einsum("hts,shd->thd", weights, value)


@pytest.fixture
def flash(monkeypatch):
    """The name of an implementation that is flash attention, but for its kernel; the calls of that are recorded."""
    calls = []

    def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1)):
        calls.append({"causal": causal, "window_size": window_size})
        rows = zip(q, k, v, strict=True)
        return torch.stack([attend_by_hand(*row, softmax_scale, causal, window_size) for row in rows])

    def flash_attn_varlen_func(
        q,
        k,
        v,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        dropout_p=0.0,
        softmax_scale=None,
        causal=False,
        window_size=(-1, -1),
    ):
        starts = cu_seqlens_q, cu_seqlens_k
        assert all(each.dtype == torch.int32 for each in starts)
        calls.append({"causal": causal, "window_size": window_size, "starts": [each.tolist() for each in starts]})
        lengths = [each.diff().tolist() for each in starts]
        assert [int(max_seqlen_q), int(max_seqlen_k)] == [max(each) for each in lengths]
        pieces = zip(q.split(lengths[0]), k.split(lengths[1]), v.split(lengths[1]), strict=True)
        return torch.cat([attend_by_hand(*piece, softmax_scale, causal, window_size) for piece in pieces])

    utils = modeling_flash_attention_utils
    kernels = (flash_attn_func, flash_attn_varlen_func, None, utils._pad_input, utils._unpad_input)
    monkeypatch.setattr(utils, "_lazy_imports", lambda *args, **kwargs: kernels)
    monkeypatch.setattr(utils, "_loaded_implementation", None)
    monkeypatch.setitem(AttentionInterface._global_mapping, FLASH, flash_attention_forward)
    monkeypatch.setitem(AttentionMaskInterface._global_mapping, FLASH, flash_attention_mask)
    return calls


# --- flash attention


def test_flash_equals_sdpa(flash, make_model, family, make_batch, gradients, assert_close_trees, close):
    """Sources and targets of other lengths than each other, padded: outputs and gradients."""
    model = make_model(family, positions="rotary", num_key_value_heads=2)
    for lengths in ([4, 9, 6], [6, 6], [10, 3]):
        batch = make_batch(family, lengths)
        counted = batch["labels"] != -100 if family == "encoder_decoder" else batch["attention_mask"].bool()
        found = {}
        for name in ("sdpa", FLASH):
            model.set_attn_implementation(name)
            output = model(**batch)
            found[name] = output.logits.detach()[counted], gradients(model, output.loss)
        close(found[FLASH][0], found["sdpa"][0])
        assert_close_trees(found[FLASH][1], found["sdpa"][1])
    assert any("starts" in call for call in flash)  # padding was cut out, not attended to


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_flash_is_exact_with_padding_in_every_scheme(
    flash, make_model, family, scheme, make_ragged, logits_of, close, side
):
    if scheme["positions"] in ("relative", "alibi"):
        with pytest.raises(ValueError, match=r"cannot add the bias of positions='(relative|alibi)'"):
            make_model(family, **scheme, attn_implementation=FLASH)
        return
    model = make_model(family, **scheme, attn_implementation=FLASH)
    assert model.config._attn_implementation == FLASH
    source, target = make_ragged(9, 3, 6), make_ragged(2, 5, 7, seed=50)
    batched = logits_of(model, *source.padded(side), *target.padded(side))
    mask = (target if family == "encoder_decoder" else source).padded(side)[1].bool()
    model.set_attn_implementation("eager")
    for i, (source_row, target_row) in enumerate(zip(source.rows, target.rows, strict=True)):
        close(batched[i, mask[i]], logits_of(model, source_row[None], None, target_row[None])[0])


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}])
@torch.no_grad()
def test_flash_generates_the_same(flash, make_model, causal_family, make_ragged, options):
    model = make_model(causal_family, positions="rotary")
    ids, mask = make_ragged(7, 3, 5).padded("left")
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, **options}
    expected = model.generate(ids, **options)
    model.set_attn_implementation(FLASH)
    assert torch.equal(model.generate(ids, **options), expected)
    assert flash


@torch.no_grad()
def test_flash_with_a_band(flash, make_model, family, make_ragged, logits_of, close):
    """The band reaches a kernel that takes no mask as its window."""
    model = make_model(family, attention_pattern=[3, "full"])
    source, target = make_ragged(9, 8).padded("right"), make_ragged(8, 9, seed=50).padded("right")
    counted = (target if family == "encoder_decoder" else source)[1].bool()
    expected = logits_of(model, *source, *target)[counted]
    model.set_attn_implementation(FLASH)
    close(logits_of(model, *source, *target)[counted], expected)
    windows = {call["window_size"] for call in flash}  # 3 tokens with itself; or 3 on each side, and itself
    assert windows == {"decoder": {(2, 2)}, "encoder": {(3, 3)}}.get(family, {(2, 2), (3, 3)}) | {(-1, -1)}


@torch.no_grad()
def test_flash_with_values_narrower_than_keys(flash, make_model, family, make_batch, close):
    model = make_model(family, head_dim=10, value_head_dim=6)
    batch = make_batch(family, [6, 6])
    expected = model(**batch).logits
    model.set_attn_implementation(FLASH)
    close(model(**batch).logits, expected)


def test_flash_with_values_wider_than_keys_is_refused(flash, make_model):
    model = make_model("decoder", head_dim=6, value_head_dim=10)
    with pytest.raises(ValueError, match="value_head_dim=10 and head_dim=6; use sdpa"):
        model.set_attn_implementation(FLASH)


@torch.no_grad()
def test_documents_that_the_caller_counted_reach_flash(flash, make_model, make_ragged, close):
    """A collator that flattens a batch gives the kernel's own arguments."""
    rows = make_ragged(4, 3, 5).rows
    model = make_model("decoder", positions="rotary", attn_implementation=FLASH)
    starts = torch.tensor([0, 4, 7, 12], dtype=torch.int32)
    counted = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": 5, "max_length_k": 5}
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    packed = model(torch.cat(rows)[None], position_ids=positions, use_cache=False, **counted).logits[0]
    assert [call["starts"] for call in flash] == [[[0, 4, 7, 12]] * 2] * 2
    close(packed, torch.cat([model(row[None]).logits[0] for row in rows]))


@torch.no_grad()
def test_documents_of_both_sides_reach_flash(flash, make_model, make_ragged, close):
    sources, targets = make_ragged(4, 3, 5).rows, make_ragged(2, 6, 3, seed=9).rows
    model = make_model("encoder_decoder", attn_implementation=FLASH)
    counted = {}
    for prefix, rows in (("", sources), ("decoder_", targets)):
        starts = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0).int()
        counted |= {f"{prefix}cu_seq_lens_q": starts, f"{prefix}max_length_q": max(len(row) for row in rows)}
    packed = model(torch.cat(sources)[None], decoder_input_ids=torch.cat(targets)[None], **counted).logits[0]
    assert {tuple(map(tuple, call["starts"])) for call in flash} == {
        ((0, 4, 7, 12), (0, 4, 7, 12)),
        ((0, 2, 8, 11), (0, 2, 8, 11)),
        ((0, 2, 8, 11), (0, 4, 7, 12)),
    }
    apart = [model(s[None], decoder_input_ids=t[None]).logits[0] for s, t in zip(sources, targets, strict=True)]
    close(packed, torch.cat(apart))


# --- the table


def test_the_table_of_kernels():
    """Each entry is one of transformers or of this package; what is not in it is classified as transformers does."""
    known = {*AttentionInterface._global_mapping, "eager"}
    assert set(KERNELS) <= known
    assert {name for name in known if not name.startswith("paged|")} - set(KERNELS) <= {"flash_by_hand"}
    for name, kernel in KERNELS.items():
        if name != "eager":
            arguments = inspect.signature(AttentionInterface._global_mapping[name]).parameters
            assert kernel.bias == ("position_bias" in arguments), name
    assert kernel_of("kernels-community/flash-attn2") == KERNELS["flash_attention_2"]
    assert kernel_of("paged|flash_attention_2") == kernel_of("paged|sdpa")
    assert not kernel_of("paged|sdpa").bias
    assert kernel_of("of-an-engine").knows_requests


def test_no_other_module_looks_at_the_name_of_a_kernel():
    """What a kernel can do is asked of the table."""
    wanted = re.compile(r"""["'](flash|paged\|)|is_flash_attention_requested""")
    files = (Path(triptych.__file__).parent / "modeling").glob("*.py")
    assert [path.name for path in files if wanted.search(path.read_text(encoding="utf-8"))] == ["kernels.py"]


# --- kernels that cannot add a bias


WITHOUT_BIAS = [
    "flash_attention_2",
    "flash_attention_3",
    "flash_attention_4",
    "kernels-community/flash-attn2",
    "paged|eager",
    "paged|sdpa",
    "paged|flash_attention_2",
    "kernel_of_a_user",
]


@pytest.fixture
def kernel_of_a_user(monkeypatch):
    """An implementation as a user registers one; it knows of no bias. What it was called with is recorded."""
    calls = []

    def attend(module, query, key, value, attention_mask, scaling=None, **kwargs):
        calls.append({"scaling": scaling, **kwargs})
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling)

    monkeypatch.setitem(AttentionInterface._global_mapping, "kernel_of_a_user", attend)
    monkeypatch.setitem(AttentionMaskInterface._global_mapping, "kernel_of_a_user", sdpa_mask)
    return calls


@pytest.mark.parametrize("name", WITHOUT_BIAS)
def test_relative_positions_are_refused_without_a_bias(kernel_of_a_user, make_model, family, words, tmp_path, name):
    model = make_model(family, positions="relative")
    model.save_pretrained(tmp_path)
    refusals = [
        lambda: make_model(family, positions="relative", attn_implementation=name),
        lambda: model.set_attn_implementation(name),
        lambda: type(model).from_pretrained(tmp_path, attn_implementation=name),
    ]
    for refused in refusals:
        with pytest.raises(ValueError, match=r"positions='relative'.*use sdpa, eager or flex_attention") as refusal:
            refused()
        assert f"attn_implementation={name!r}" in str(refusal.value)
    assert model.config._attn_implementation == "sdpa"  # and works on
    assert model(words(1, 3), labels=words(1, 3)).loss.isfinite()


# --- a kernel of one's own, and switching


@torch.no_grad()
def test_a_registered_kernel_gets_all_arguments(kernel_of_a_user, make_model, family, words, close):
    model, ids = make_model(family, attention_scale=0.3, positions="rotary"), words(2, 5)
    decoder = {"decoder_input_ids": words(2, 4)} if family == "encoder_decoder" else {}
    expected = model(ids, **decoder).logits
    model.set_attn_implementation("kernel_of_a_user")
    close(model(ids, **decoder, option_of_the_kernel=7).logits, expected)
    assert len(kernel_of_a_user) == (6 if family == "encoder_decoder" else 2)
    for call in kernel_of_a_user:
        assert (call["scaling"], call["dropout"], call["option_of_the_kernel"]) == (0.3, 0.0, 7)
    own = [call["position_ids"].tolist() for call in kernel_of_a_user if call.get("position_ids") is not None]
    assert own == [[list(range(len(p[0])))] for p in own]
    assert len(own) == (4 if family == "encoder_decoder" else 2)  # in self-attention


@torch.no_grad()
def test_the_kernel_can_be_switched_at_run_time(flash, kernel_of_a_user, make_model, family, make_batch, close):
    model, batch = make_model(family), make_batch(family, [4, 7])
    counted = batch["labels"] != -100 if family == "encoder_decoder" else batch["attention_mask"].bool()
    expected = model(**batch).logits[counted]
    for name, calls in (("eager", None), (FLASH, flash), ("kernel_of_a_user", kernel_of_a_user), ("sdpa", None)):
        model.set_attn_implementation(name)
        close(model(**batch).logits[counted], expected)
        assert calls is None or calls
    recorded = len(flash), len(kernel_of_a_user)
    model(**batch)
    assert recorded == (len(flash), len(kernel_of_a_user))  # and back
    with pytest.raises(ValueError, match="nonsense"):
        model.set_attn_implementation("nonsense")


@pytest.mark.slow  # the backend compiles its kernels
@torch.no_grad()
def test_flex_generates_the_same(make_model, causal_family, make_ragged):
    """A kernel for each length: those for any length that torch 2.13 writes for a CPU do not compile."""
    torch._dynamo.reset()
    layers = {"encoder_layers": 1, "decoder_layers": 1} if causal_family == "encoder_decoder" else {}
    model = make_model(causal_family, positions="relative", **layers)
    ids, mask = make_ragged(9, 3).padded("left")
    options = {"attention_mask": mask, "max_new_tokens": 2, "do_sample": False}
    expected = model.generate(ids, **options)
    model.set_attn_implementation("flex_attention")
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        assert torch.equal(model.generate(ids, **options), expected)


# --- continuous batching


# transformers 5.17 called a page a block.
PAGE_SIZE = "page_size" if hasattr(ContinuousBatchingConfig(), "page_size") else "block_size"
SMALL = {"num_blocks": 64, PAGE_SIZE: 4, "max_batch_tokens": 64, "max_memory_percent": 0.2}


def batched(model, prompts, settings=SMALL, **options):
    """The outputs of `generate_batch`, prompt included."""
    generation = GenerationConfig(max_new_tokens=8, do_sample=False, eos_token_id=3, pad_token_id=0, **options)
    found = model.generate_batch(
        prompts, generation_config=generation, continuous_batching_config=ContinuousBatchingConfig(**settings)
    )
    assert [answer.error for answer in found.values()] == [None] * len(found)
    return [answer.prompt_ids + answer.generated_tokens for answer in found.values()]


def alone(model, prompts):
    options = {"max_new_tokens": 8, "do_sample": False}
    return [model.generate(torch.tensor([prompt]), **options)[0].tolist() for prompt in prompts]


def test_continuous_batching_generates_the_same(make_model, scheme, make_ragged):
    prompts = [row.tolist() for row in make_ragged(7, 3, 5).rows]
    model = make_model("decoder", **scheme)
    if scheme["positions"] in ("relative", "alibi"):
        with pytest.raises(ValueError, match=r"continuous batching .* positions='(relative|alibi)'"):
            batched(model, prompts)
        return
    assert batched(model, prompts) == alone(model, prompts)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("attn_implementation", "pattern"),
    [
        ("sdpa", [3, "full"]),
        *([(FLASH, [3, "full"])] if PAGE_SIZE == "page_size" else []),  # 5.17 takes no kernel by hand there
        *[
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("eager", [3, "full"]), ("sdpa", [3]), ("sdpa", None))
        ],
    ],
)
def test_continuous_batching_with_few_pages_and_a_band(
    flash, make_model, make_ragged, words, attn_implementation, pattern
):
    """Prompts longer than a batch may be, more than fit at once, some with a common beginning."""
    shared = words(1, 8)[0].tolist()
    prompts = [shared + row.tolist() for row in make_ragged(1, 4, 3).rows]
    prompts += [row.tolist() for row in make_ragged(2, 17, 6, seed=9).rows]
    sizes = {"positions": "rotary", "num_key_value_heads": 2, "attention_pattern": pattern}
    model = make_model("decoder", **sizes)
    expected = alone(model, prompts)
    model.set_attn_implementation(attn_implementation)
    assert batched(model, prompts, {**SMALL, "num_blocks": 20, "max_batch_tokens": 11}) == expected
    assert model.config._attn_implementation == attn_implementation
    assert bool(flash) == (attn_implementation == FLASH)
    model.set_attn_implementation("sdpa")
    assert alone(model, prompts) == expected


def test_paged_cache_of_generate(make_model, words):
    model, prompts = make_model("decoder", positions="rotary"), words(2, 5)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": -1}
    settings = ContinuousBatchingConfig(**SMALL)
    found = model.generate(prompts, cache_implementation="paged", continuous_batching_config=settings, **options)
    assert torch.equal(found[0], model.generate(prompts, **options))


REFUSED = {
    "is for decoders, but this model also reads a source": ("encoder_decoder", {}),
    "positions='relative'": ("decoder", {"positions": "relative"}),
    "value_head_dim=6 and head_dim=8": ("decoder", {"value_head_dim": 6}),
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize("attn_implementation", ["sdpa", "eager"])
def test_continuous_batching_is_refused_where_it_would_go_wrong(make_model, words, reason, attn_implementation):
    family, fields = REFUSED[reason]
    model = make_model(family, **fields, attn_implementation=attn_implementation)
    ways = [
        lambda: model.generate_batch(words(2, 4).tolist()),
        lambda: model.generate(words(2, 4), cache_implementation="paged"),
        lambda: model.init_continuous_batching(),
        lambda: model.continuous_batching_context_manager().__enter__(),
    ]
    for way in ways:
        with pytest.raises(ValueError, match=r"continuous batching \(generate_batch, cache_impl.*; use") as refusal:
            way()
        assert reason in str(refusal.value)
    assert model.config._attn_implementation == attn_implementation
