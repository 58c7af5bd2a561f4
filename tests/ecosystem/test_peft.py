"""peft: adapters attach without being told where, train, travel apart from the model, and merge into it."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

import triptych
from triptych import TriptychDecoderForCausalLM

# The attention projections that peft adapts in Llama; the encoder-decoder has them three times per layer pair.
LORA_TARGETS = {"q_proj", "v_proj"}


@pytest.fixture
def peft(library):
    return library("peft")


def adapted(model: torch.nn.Module) -> set[str]:
    """The names of the layers that carry an adapter."""
    return {name.split(".lora_A")[0].rsplit(".", 1)[-1] for name, _ in model.named_parameters() if ".lora_A" in name}


def randomise(model: torch.nn.Module) -> None:
    """A new LoRA adapter changes nothing; this one does."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)


def test_adapters_have_to_be_merged_before_a_conversion(peft):
    model = TriptychDecoderForCausalLM(triptych.TriptychDecoderConfig.from_preset("tiny-decoder"))
    adapted_model = peft.get_peft_model(model, peft.LoraConfig(r=2))
    for given in (adapted_model, model):
        with pytest.raises(ValueError, match=r"has adapters .*merge them first: model = model\.merge_and_unload\(\)"):
            triptych.to_hf(given)
    assert type(triptych.to_hf(adapted_model.merge_and_unload())).__name__ == "GPT2LMHeadModel"
    with pytest.raises(TypeError, match="to_hf takes a Triptych model, not Linear"):
        triptych.to_hf(torch.nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.parametrize("statements", ["import peft, triptych", "import triptych, peft"])
def test_lora_needs_no_targets_in_either_order_of_import(peft, statements: str):
    program = f"""
import sys
{statements}
model = triptych.TriptychDecoderForCausalLM(triptych.TriptychDecoderConfig.from_preset("tiny-decoder"))
print(sorted(peft.get_peft_model(model, peft.LoraConfig()).peft_config["default"].target_modules))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, str(sorted(LORA_TARGETS))), result.stderr


def test_peft_is_neither_imported_nor_needed():
    program = """
import sys
sys.modules["peft"] = None  # what an import finds where peft is not installed
import triptych
model = triptych.TriptychDecoderForCausalLM(triptych.TriptychDecoderConfig.from_preset("tiny-decoder"))
print(model.config.to_dict()["model_type"], [name for name in sys.modules if name.startswith("peft.")])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "triptych_decoder []"), result.stderr


@pytest.mark.parametrize(
    ("method", "targets"),
    [
        ("LoraConfig", LORA_TARGETS),
        ("AdaLoraConfig", LORA_TARGETS),
        ("LoHaConfig", LORA_TARGETS),
        ("VeraConfig", LORA_TARGETS),
        ("OFTConfig", LORA_TARGETS),
        ("IA3Config", {"k_proj", "v_proj", "down_proj"}),
    ],
)
def test_the_defaults_are_llamas_for_every_method(peft, make_model, family, method: str, targets: set[str]):
    options = {"total_step": 10} if method == "AdaLoraConfig" else {}
    model = peft.get_peft_model(make_model(family), getattr(peft, method)(**options))
    assert set(model.peft_config["default"].target_modules) == targets


def test_lora_trains_travels_and_merges(peft, make_model, family, train, logits, tmp_path: Path):
    base = make_model(family)
    before, weights = logits(base, family), copy.deepcopy(base.state_dict())
    model = peft.get_peft_model(base, peft.LoraConfig(r=4))
    assert adapted(model) == LORA_TARGETS
    assert torch.equal(logits(model, family), before)

    losses = train(model, family)
    assert losses[-1] < losses[0]
    after = logits(model, family)
    assert (after - before).abs().max() > 1e-3

    model.save_pretrained(tmp_path)
    base = make_model(family)
    assert all(torch.equal(value, weights[name]) for name, value in base.state_dict().items())
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    assert torch.equal(logits(loaded, family), after)
    with loaded.disable_adapter():
        assert torch.equal(logits(loaded, family), before)

    merged = loaded.merge_and_unload()
    assert type(merged) is type(base)
    assert merged.state_dict().keys() == weights.keys()
    torch.testing.assert_close(logits(merged, family), after, rtol=1e-4, atol=1e-4)


def test_a_merged_model_is_saved_as_any_other(peft, make_model, family, logits, tmp_path: Path):
    model = peft.get_peft_model(make_model(family), peft.LoraConfig(r=4))
    randomise(model)
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path)
    loaded, report = type(merged).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(logits(loaded, family), logits(merged, family))


def test_lora_on_every_linear_map_leaves_out_the_head(peft, make_model, family, logits):
    model = peft.get_peft_model(make_model(family), peft.LoraConfig(r=4, target_modules="all-linear"))
    assert adapted(model) >= {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}
    assert "lm_head" not in adapted(model)
    randomise(model)
    with_adapter = logits(model, family)
    torch.testing.assert_close(logits(model.merge_and_unload(), family), with_adapter, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_trained_embeddings_travel_with_the_adapter(
    peft, make_model, causal_family, tied: bool, train, logits, tmp_path
):
    """`modules_to_save` and tied matrices: what the head maps with stays what the input is embedded with."""
    base = make_model(causal_family, tie_word_embeddings=tied)
    config = peft.LoraConfig(r=4, modules_to_save=["embed_tokens"], ensure_weight_tying=tied)
    model = peft.get_peft_model(base, config)
    train(model, causal_family)
    after = logits(model, causal_family)
    model.save_pretrained(tmp_path)

    loaded = peft.PeftModel.from_pretrained(make_model(causal_family, tie_word_embeddings=tied), tmp_path).eval()
    torch.testing.assert_close(logits(loaded, causal_family), after)
    merged = loaded.merge_and_unload()
    embeddings, head = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
    assert (embeddings is head) is tied
    torch.testing.assert_close(logits(merged, causal_family), after, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_frozen_model_under_an_adapter_has_gradients(
    peft, make_model, make_batch, family, train, checkpointing: bool
):
    """kbit training freezes everything and lets gradients in at the embeddings' output."""
    model = make_model(family)
    model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    model = peft.get_peft_model(model, peft.LoraConfig(r=4))
    model.train()
    model(**make_batch(family, [9, 5])).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    losses = train(model, family, learning_rate=3e-2)
    assert losses[-1] < losses[0]


def test_embeddings_of_a_frozen_model_require_gradients(make_model, family, make_batch):
    model = make_model(family).requires_grad_(False)
    model.enable_input_require_grads()
    batch = make_batch(family, [9, 5])
    assert model(**batch).loss.requires_grad
    model.disable_input_require_grads()
    assert not model(**batch).loss.requires_grad


def test_adapters_of_transformers_itself(peft, make_model, family, train, logits, tmp_path: Path):
    model = make_model(family)
    before = logits(model, family)
    model.add_adapter(peft.LoraConfig(r=4), adapter_name="ours")
    assert adapted(model) == LORA_TARGETS
    assert model.active_adapters() == ["ours"]
    train(model, family)
    after = logits(model, family)
    assert (after - before).abs().max() > 1e-3
    model.disable_adapters()
    assert torch.equal(logits(model, family), before)
    model.enable_adapters()
    model.save_pretrained(tmp_path)

    loaded = make_model(family)
    loaded.load_adapter(str(tmp_path))
    assert torch.equal(logits(loaded, family), after)


def test_an_adapter_folder_loads_through_the_auto_class(peft, make_model, logits, tmp_path: Path):
    """The adapter names its base; AutoModel fetches both."""
    make_model("decoder").save_pretrained(tmp_path / "base")
    model = peft.get_peft_model(TriptychDecoderForCausalLM.from_pretrained(tmp_path / "base"), peft.LoraConfig(r=4))
    randomise(model)
    model.save_pretrained(tmp_path / "adapter")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded.eval(), "decoder"), logits(model.eval(), "decoder"))


def test_generation_goes_through_the_adapter(peft, make_model, causal_family, words):
    ids = words(2, 6)
    plain = make_model(causal_family)
    model = peft.get_peft_model(make_model(causal_family), peft.LoraConfig(r=4))
    randomise(model)
    adapted_tokens = model.generate(input_ids=ids, max_new_tokens=6, do_sample=False)
    assert not torch.equal(adapted_tokens, plain.generate(input_ids=ids, max_new_tokens=6, do_sample=False))
    merged_tokens = model.merge_and_unload().generate(input_ids=ids, max_new_tokens=6, do_sample=False)
    assert torch.equal(adapted_tokens, merged_tokens)


# --- every head, every kind of adapter

PRESETS = {"triptych": "tiny", "triptych_encoder": "tiny-encoder", "triptych_decoder": "tiny-decoder"}
SILENT = {"dropout": 0.0, "attention_dropout": 0.0, "head_bias": False, "num_labels": 3}
INJECTED = ("LoraConfig", "IA3Config")  # into the layers; the others are learnt inputs
PREFIX, PROMPTS = "PrefixTuningConfig", ("PromptTuningConfig", "PromptEncoderConfig")
OPTIONS = {
    "LoraConfig": {},
    "IA3Config": {},
    PREFIX: {"num_virtual_tokens": 3},
    "PromptTuningConfig": {"num_virtual_tokens": 3},
    "PromptEncoderConfig": {"num_virtual_tokens": 3, "encoder_hidden_size": 16},
}
# What peft calls the task of a head: by that it knows which modules to train and to save beside the adapter.
TASKS = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}
# Heads that have no such word: peft has to be told what to train and to save, and gives them no learnt inputs.
NAMED = {
    "ForMaskedLM": ["transform"],
    "ForPreTraining": ["transform", "next_sentence"],
    "ForNextSentencePrediction": ["next_sentence"],
    "ForMultipleChoice": ["classifier"],
}
HEADS = sorted(name for name in triptych.__all__ if "For" in name)


def kind_of(name: str) -> str:
    return name[name.index("For") :] if "For" in name else "ForCausalLM"


def is_refused(name: str, method: str) -> bool:
    """What peft can do with no model: learnt inputs of a text that is read twice, and of one that is tagged."""
    if getattr(triptych, name).config_class.model_type == "triptych":
        return kind_of(name) != "ForConditionalGeneration" and method not in INJECTED
    return kind_of(name) == "ForTokenClassification" and method in PROMPTS


TRAINED = [
    (name, method, activation)
    for name in HEADS
    for method in (INJECTED if kind_of(name) in NAMED else OPTIONS)
    for activation in (("none", "tanh") if kind_of(name) == "ForSequenceClassification" else ("none",))
    if not is_refused(name, method)
]
REFUSED = [
    (name, method) for name in HEADS if kind_of(name) in TASKS for method in OPTIONS if is_refused(name, method)
]


@pytest.fixture
def make_head():
    """A new head over a random body, or over the one that is saved in a directory."""

    def make(name: str, body: Path | None = None, seed: int = 0, **fields):
        torch.manual_seed(seed)
        head = getattr(triptych, name)
        if body is not None:
            return head.from_pretrained(body).eval()
        return head(head.config_class.from_preset(PRESETS[head.config_class.model_type], **SILENT, **fields)).eval()

    return make


@pytest.fixture
def labelled(words):
    """Two rows, one of them padded, each with an end token, and the labels of a head."""

    def make(name: str):
        ids, mask = words(2, 7), torch.ones(2, 7, dtype=torch.long)
        ids[0, 6] = ids[1, 4] = 3
        ids[1, 5:] = mask[1, 5:] = 0
        classes, tokens = torch.tensor([0, 1]), ids.masked_fill(mask == 0, -100)
        labels = {
            "ForTokenClassification": {"labels": (ids % 3).masked_fill(mask == 0, -100)},
            "ForQuestionAnswering": {"start_positions": classes + 1, "end_positions": classes + 2},
            "ForPreTraining": {"labels": tokens, "next_sentence_label": classes},
        }.get(kind_of(name), {"labels": tokens if kind_of(name).endswith(("LM", "Generation")) else classes})
        if kind_of(name) == "ForMultipleChoice":
            ids, mask = torch.stack([ids, ids.flip(0)], dim=1), torch.stack([mask, mask.flip(0)], dim=1)
        return {"input_ids": ids, "attention_mask": mask, **labels}

    return make


def adapter_config(peft, name: str, method: str):
    own = {"modules_to_save": NAMED[kind_of(name)]} if kind_of(name) in NAMED else {}
    return getattr(peft, method)(task_type=TASKS.get(kind_of(name)), **own, **OPTIONS[method])


def randomise_all(model: torch.nn.Module) -> None:
    """Of whatever an adapter trains, so that it does something."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.5)


def answers(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        outputs = model(**batch)
    return {key: value for key, value in outputs.items() if key == "loss" or "logits" in key}


def test_every_head_has_its_task():
    assert {kind_of(name) for name in HEADS} == TASKS.keys() | NAMED.keys()


@pytest.mark.parametrize(("name", "method", "activation"), TRAINED)
def test_every_head_is_trained_and_travels_with_its_adapter(
    peft, name, method, activation, make_head, labelled, tmp_path
):
    """Reloaded over the body alone, whose head is new and random, it computes what it computed when it was saved."""
    base, batch = make_head(name, classifier_activation=activation), labelled(name)
    base.model.save_pretrained(tmp_path / "body")
    head = {key for key, _ in base.named_parameters() if not key.startswith(("model.", "lm_head."))}
    model = peft.get_peft_model(base, adapter_config(peft, name, method)).train()

    trained = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    own = {key.replace("modules_to_save.default.", ""): p for key, p in trained.items() if "modules_to_save" in key}
    assert {key.removeprefix("base_model.").removeprefix("model.") for key in own} == head
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model(**batch).loss
        loss.backward()
        losses.append(loss.item())
        assert all(parameter.grad is not None for parameter in trained.values())
        assert all(parameter.grad.any() for key, parameter in own.items() if key.endswith("weight"))
        optimizer.step()
        optimizer.zero_grad()
    after = answers(model.eval(), batch)
    assert after["loss"] < losses[0]
    model.save_pretrained(tmp_path / "adapter")

    again = peft.PeftModel.from_pretrained(make_head(name, tmp_path / "body", seed=1), tmp_path / "adapter").eval()
    for key, value in answers(again, batch).items():
        torch.testing.assert_close(value, after[key], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "method"), REFUSED)
def test_what_cannot_be_adapted_says_why(peft, name, method, make_head, labelled):
    model = peft.get_peft_model(make_head(name), adapter_config(peft, name, method))
    reason = {PREFIX: "prefix tuning gives; adapt it with LoRA or IA3"}.get(method, "decoder_inputs_embeds|logits for")
    with pytest.raises(ValueError, match=reason):
        model(**labelled(name))


SMALL = {"vocab_size": 97, "pad_token_id": 0, "eos_token_id": 3, "num_labels": 2}
STACK = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 40}
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 2, "num_labels": 3}
# A class of transformers, its sizes, and whether it heeds the mask: GPT-2 looks for the padding among the words.
THEIRS = {
    "BertForSequenceClassification": (STACK, True),
    "BertForTokenClassification": (STACK, True),
    "BertForQuestionAnswering": (STACK, True),
    "RobertaForSequenceClassification": (STACK, True),
    "GPT2ForSequenceClassification": (STACK, False),
    "GPT2LMHeadModel": (STACK, False),
    "BartForConditionalGeneration": (BART, True),
}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        (name, method)
        for name in THEIRS
        for method in (PREFIX, *PROMPTS)
        if not (kind_of(name) == "ForTokenClassification" and method in PROMPTS)
    ],
)
def test_learnt_inputs_of_transformers_own_model_do_the_same_in_ours(peft, name, method, labelled, tmp_path):
    """An adapter of BERT, its head included, is loaded over the converted BERT."""
    their_class, (sizes, heeds_mask) = getattr(transformers, name), THEIRS[name]
    torch.manual_seed(0)
    base = their_class(their_class.config_class(**SMALL | sizes)).eval()
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    ours = triptych.from_hf(base)
    model = peft.get_peft_model(base, getattr(peft, method)(task_type=TASKS[kind_of(name)], **OPTIONS[method])).eval()
    randomise_all(model)
    model.save_pretrained(tmp_path)

    batch = {key: value for key, value in labelled(name).items() if key in ("input_ids", "attention_mask")}
    if not heeds_mask:
        batch = {key: value[:1] for key, value in batch.items()}  # the row without padding
    if kind_of(name) == "ForConditionalGeneration":
        batch["decoder_input_ids"] = batch["input_ids"]
    expected, actual = (answers(m, batch) for m in (model, peft.PeftModel.from_pretrained(ours, tmp_path).eval()))
    assert expected
    for key, value in expected.items():
        seen = slice(None)
        if kind_of(name) in ("ForTokenClassification", "ForQuestionAnswering"):
            tokens = batch["attention_mask"].bool()
            learnt = torch.ones(len(tokens), value.shape[1] - tokens.shape[1], dtype=torch.bool)
            seen = torch.cat([learnt, tokens], dim=1)
        torch.testing.assert_close(actual[key][seen], value[seen], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("fields", [{"max_position_embeddings": 97}, {"intermediate_size": 97}])
@pytest.mark.parametrize("name", ["TriptychEncoderForSequenceClassification", "TriptychDecoderForCausalLM"])
def test_words_are_embedded_with_the_embeddings(peft, name, fields, make_head):
    """peft takes the first parameter that has as many rows as there are tokens; others can have as many."""
    model = peft.get_peft_model(make_head(name, **fields), adapter_config(peft, name, "PromptTuningConfig"))
    assert model.word_embeddings is model.get_base_model().get_input_embeddings()


@pytest.mark.parametrize(
    ("name", "fields", "named"),
    [
        ("TriptychForConditionalGeneration", {"decoder_layers": 3}, "2 layers.*has 3 layers"),
        ("TriptychForConditionalGeneration", {"decoder_overrides": {"num_key_value_heads": 1}}, "4 heads.*of 1 heads"),
        ("TriptychDecoderForCausalLM", {"value_head_dim": 4}, "values of width 8.*values of width 4"),
        ("TriptychEncoderForSequenceClassification", {"value_head_dim": 4}, "values of width 8.*values of width 4"),
    ],
)
def test_a_prefix_that_does_not_fit_is_refused(peft, name, fields, named, make_head, labelled):
    model = peft.get_peft_model(make_head(name, **fields), adapter_config(peft, name, PREFIX))
    with pytest.raises(ValueError, match=f"past_key_values have .*{named}"):
        model(**labelled(name))


def test_a_prefix_for_a_deeper_decoder_fits(peft, make_head, labelled):
    """As the message above says."""
    name = "TriptychForConditionalGeneration"
    config = adapter_config(peft, name, PREFIX)
    config.num_layers = 3
    model = peft.get_peft_model(make_head(name, decoder_layers=3), config)
    model(**labelled(name)).loss.backward()
    assert all(p.grad.any() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", OPTIONS)
def test_what_is_generated_is_the_same_after_reloading(peft, method, causal_family, make_model, words, tmp_path):
    name = {"decoder": "TriptychDecoderForCausalLM"}.get(causal_family, "TriptychForConditionalGeneration")
    model = peft.get_peft_model(make_model(causal_family), adapter_config(peft, name, method)).eval()
    randomise_all(model)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(make_model(causal_family), tmp_path).eval()

    ids = words(2, 6)
    options = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "max_new_tokens": 4, "do_sample": False}
    options |= {"output_logits": True, "return_dict_in_generate": True}
    plain = make_model(causal_family).generate(**options).logits[0]
    for beams in (1, 2):
        expected, actual = (m.generate(**options, num_beams=beams) for m in (model, again))
        assert torch.equal(actual.sequences, expected.sequences)
        torch.testing.assert_close(actual.logits, expected.logits)
        assert (expected.logits[0][::beams] - plain).abs().max() > 1e-2
