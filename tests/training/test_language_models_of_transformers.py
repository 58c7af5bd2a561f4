"""Checkpoints of transformers that are trained further, against transformers' own classes in a plain loop."""

import json

import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from transformers import AutoTokenizer

from triptych.tokenization import train_tokenizer
from triptych.training.script import parse_options
from triptych.training.tasks.causal_lm import CausalLMTask
from triptych.training.tasks.masked_lm import MaskedLMTask
from triptych.training.training import Training

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
DISTILBERT = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "dropout": 0.0, "attention_dropout": 0.0}
CASES = {  # the class and the fields of its configuration, and what is trained how
    "gpt2": ("GPT2LMHeadModel", GPT2, CausalLMTask, {"one_document_per_row": True}),
    "llama": ("LlamaForCausalLM", SIZES | {"num_key_value_heads": 1}, CausalLMTask, {"one_document_per_row": True}),
    "llama, packed": ("LlamaForCausalLM", SIZES, CausalLMTask, {}),
    "bert": ("BertForMaskedLM", SIZES | NO_DROPOUT, MaskedLMTask, {}),
    "bert, pairs": ("BertForPreTraining", SIZES | NO_DROPOUT, MaskedLMTask, {"next_sentence": True}),
    "roberta": ("RobertaForMaskedLM", SIZES | NO_DROPOUT, MaskedLMTask, {"masking": "word"}),
    "distilbert": ("DistilBertForMaskedLM", DISTILBERT, MaskedLMTask, {"masking": "span"}),
}
TEXT = "\n\n".join("\n".join(f"the old {a} saw a {b}" for a in ("cat", "dog", "owl")[: 1 + n % 3]) for n, b in
                   enumerate(("tree", "river", "stone", "bird", "house") * 5))  # fmt: skip
LOOP = {"lr_scheduler": "constant", "warmup_steps": 0, "learning_rate": 1e-2, "optimizer": "adam", "max_steps": 6}
LOOP |= {"logging_steps": 1, "cpu": True, "cpu_threads": 1, "report_to": "none", "max_tokens": 150, "block_size": 32}


def checkpoint(directory, name, fields, task_class):
    """A tiny random checkpoint with a tokenizer; the decoders' has, as GPT-2's, one special token and no padding."""
    if task_class is CausalLMTask:
        tokenizer = train_tokenizer(TEXT.split("\n"), "bpe", 280, "decoder")
        tokenizer.pad_token = tokenizer.unk_token = None
        tokenizer.bos_token = tokenizer.eos_token
    else:
        tokenizer = train_tokenizer(TEXT.split("\n"), "wordpiece", 80, "encoder")
    tokenizer.save_pretrained(directory)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    model_class = getattr(transformers, name)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(vocab_size=len(tokenizer), **fields, **ids))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(directory)
    return model_class


def with_documents_apart(piece):
    """What keeps the documents of a row apart in transformers: positions, and a mask (rows, 1, queries, keys)."""
    ids, tokens = piece.pop("document_ids"), piece.pop("attention_mask").bool()
    length = ids.shape[1]
    places = torch.arange(length).expand_as(ids)
    begins = torch.cat([torch.ones_like(ids[:, :1]), ids.diff()], dim=1) != 0
    position_ids = places - torch.where(begins, places, 0).cummax(-1)[0]
    sees = (ids[:, :, None] == ids[:, None]) & tokens[:, None] & torch.ones(length, length, dtype=torch.bool).tril()
    sees |= torch.eye(length, dtype=torch.bool)
    labels = piece["labels"].masked_fill(begins, -100)
    mask = torch.where(sees, 0.0, torch.finfo(torch.float32).min)[:, None]
    return piece | {"position_ids": position_ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in ("gpt2", "bert, pairs") else pytest.mark.slow) for case in CASES]
)
def test_every_update_has_the_loss_of_transformers_own_class(case, tmp_path, monkeypatch):
    name, fields, task_class, options = CASES[case]
    theirs = checkpoint(tmp_path / "hf", name, fields, task_class).from_pretrained(tmp_path / "hf").train()
    (tmp_path / "train.txt").write_text(TEXT)
    options = LOOP | options | {"train_file": tmp_path / "train.txt", "documents": "blank_lines"}
    options |= {"model": tmp_path / "hf", "output_dir": tmp_path / "run"}
    words = [word for n, v in options.items() for word in ([f"--{n}"] if v is True else [f"--{n}", str(v)])]
    AcceleratorState._reset_state(True)
    arguments, loop_arguments, config_fields = parse_options(task_class, None, words)
    run = Training(task_class(arguments, config_fields), loop_arguments)
    assert not run.task.new_tensors
    pieces, loss_of = [], run.task.loss

    def recorded(model, piece, items):
        if model.training:
            pieces.append({name: tensor.clone() for name, tensor in piece.items()})
        return loss_of(model, piece, items)

    monkeypatch.setattr(run.task, "loss", recorded)
    run.run()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]

    given = run.arguments
    betas = given.adam_beta1, given.adam_beta2
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2, betas=betas, eps=given.adam_epsilon)
    losses = []
    for piece in pieces:
        piece = with_documents_apart(piece) if "document_ids" in piece else piece
        loss = theirs(**piece).loss
        adam.zero_grad()
        loss.backward()
        if given.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), given.max_grad_norm)
        adam.step()
        losses.append(loss.item())
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(losses, rel=2e-4)
    assert losses[-1] < losses[0]
    assert len(AutoTokenizer.from_pretrained(tmp_path / "run")) == run.task.config.vocab_size
