"""Classifiers and taggers: exact for any division of an update, when resumed, and beside transformers' own classes."""

import json
from itertools import islice

import pytest
import torch
import transformers
from safetensors.torch import load_file

from tiny import word_tokenizer
from triptych import to_hf

from . import first_update as program
from .first_update import first_update, make_training
from .labelled import ANIMALS, FAMILIES, NAMES, NONE_IS_TRAINED, OPTIONS, WORDS, write_sentences, write_texts
from .labelled import SIZES as OF_PRESET
from .programs import run_jobs_in_two_processes

SMALL = OPTIONS | {"max_tokens": 80}
JOBS = {
    "single": ("classification", {}),
    "several": ("classification", {}),
    "regression": ("classification", FAMILIES["encoder-decoder"]),
    "tagging": ("tagging", FAMILIES["decoder"]),
}


def options_of(case, folder, **others):
    """The task of a case, and its options for a run without validation."""
    task, family = JOBS[case]
    folder.mkdir(exist_ok=True)
    files = write_sentences(folder) if task == "tagging" else write_texts(folder, case)
    return task, SMALL | family | {"train_file": str(files["train_file"])} | others


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("case", JOBS)
def test_an_update_in_many_pieces_is_the_same(case, tmp_path):
    """Of texts, some pieces are empty: the update has 13 rows."""
    task, options = options_of(case, tmp_path / "data")
    whole = first_update(task, tmp_path / "whole", **options)
    pieces = first_update(task, tmp_path / "pieces", **options, gradient_accumulation_steps=16)
    assert whole["loss"] > 0
    assert_close(whole, pieces)


@pytest.mark.slow
def test_two_processes_make_the_same_update(tmp_path):
    jobs, whole = [], {}
    for case in JOBS:
        task, options = options_of(case, tmp_path / "data")
        whole[case] = first_update(task, tmp_path / f"{case}-whole", **options)
        # Files of one case overwrite those of another, so each job has its own.
        task, options = options_of(case, tmp_path / f"{case}-data", gradient_accumulation_steps=12)
        jobs.append((task, options, str(tmp_path / case), None))
    run_jobs_in_two_processes(program.__file__, tmp_path, jobs)
    for case in JOBS:
        parts = [load_file(f"{tmp_path / case}-{process}") for process in (0, 1)]
        loss = parts[0].pop("loss") + parts[1].pop("loss")
        assert_close(parts[0] | {"loss": loss}, whole[case])
        assert_close(parts[0], parts[1])


@pytest.mark.parametrize("case", ["several", "tagging"])
def test_resumed_equals_unbroken_bit_for_bit(case, tmp_path):
    task, options = options_of(case, tmp_path / "data", dropout=0.2, save_steps=3)
    make_training(task, tmp_path / "unbroken", **options, max_steps=6).run()
    make_training(task, tmp_path / "killed", **options, max_steps=3).run()
    make_training(task, tmp_path / "killed", **options, max_steps=6, resume=True).run()
    unbroken, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "killed"))
    assert all(torch.equal(tensor, killed[name]) for name, tensor in unbroken.items())


# ---- beside transformers' own classes ------------------------------------------------------------------------------

VOCABULARY = [*WORDS, *ANIMALS, *NAMES, "sees", "hears"]
SIZES = {"vocab_size": 4 + len(VOCABULARY), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24} | SIZES
BART = {f"{side}_{name}": 2 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
BART |= {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "decoder_start_token_id": 3} | SIZES
CONFIGS = {
    "BertForMaskedLM": lambda: transformers.BertConfig(**BERT),
    "RobertaForMaskedLM": lambda: transformers.RobertaConfig(**BERT),
    "DistilBertForMaskedLM": lambda: transformers.DistilBertConfig(
        **SIZES, dim=16, n_layers=2, n_heads=2, hidden_dim=24
    ),
    "GPT2LMHeadModel": lambda: transformers.GPT2Config(**SIZES, n_embd=16, n_layer=2, n_head=2, n_positions=32),
    "LlamaForCausalLM": lambda: transformers.LlamaConfig(**BERT),
    "BartForConditionalGeneration": lambda: transformers.BartConfig(**BART, max_position_embeddings=32),
}
BESIDE = [("BertForMaskedLM", "single"), ("BartForConditionalGeneration", "several"), ("GPT2LMHeadModel", "tagging")]
MORE = [
    ("RobertaForMaskedLM", "regression"),
    ("DistilBertForMaskedLM", "several"),
    ("GPT2LMHeadModel", "single"),
    ("LlamaForCausalLM", "regression"),
    ("BertForMaskedLM", "tagging"),
    ("RobertaForMaskedLM", "tagging"),
    ("DistilBertForMaskedLM", "tagging"),
]
BESIDE += [pytest.param(*case, marks=pytest.mark.slow) for case in MORE]


PLAIN = {"optimizer": "adamw", "learning_rate": 1e-3, "adam_beta1": 0.9, "adam_beta2": 0.98, "adam_epsilon": 1e-9}
PLAIN |= {"weight_decay": 0.0, "max_grad_norm": 0.0}


def plain_loop(model, updates):
    """The losses of a class of transformers that is trained as its documentation shows it."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0)
    losses = []
    for [batch] in updates:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("published", "case"), BESIDE)
def test_every_step_has_the_loss_of_transformers_own_class(published, case, tmp_path):
    torch.manual_seed(0)
    getattr(transformers, published)(CONFIGS[published]()).save_pretrained(tmp_path / "hf")
    word_tokenizer(VOCABULARY).save_pretrained(tmp_path / "hf")
    task, options = options_of(case, tmp_path / "data")
    none = dict.fromkeys((*FAMILIES["encoder-decoder"], *OF_PRESET))
    options |= none | NONE_IS_TRAINED | PLAIN | {"model": str(tmp_path / "hf")}
    run = make_training(task, tmp_path / "run", **options, max_steps=5, logging_steps=1)
    theirs = to_hf(run.task.model)  # without dropout
    head = "ForTokenClassification" if case == "tagging" else "ForSequenceClassification"
    assert type(theirs).__name__.endswith(head)
    run.train_batches.set_epoch(0)
    expected = plain_loop(theirs, islice(run.train_batches.updates(), 5))
    run.run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(set(losses)) == 5
    assert losses == pytest.approx(expected, rel=1e-4)
