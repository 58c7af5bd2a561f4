"""Writing summaries: whole runs, the pipeline, lengths, prefixes, the length penalty, public checkpoints."""

import json

import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import triptych
from tiny import word_tokenizer
from triptych.training import LoopArguments
from triptych.training.length_penalty import CANDIDATES, choose_length_penalty
from triptych.training.tasks.summarization import SummarizationArguments, SummarizationTask
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training

SMALL = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "intermediate_size": 24,
}
LOOP = {"max_steps": 3, "lr_scheduler": "constant", "learning_rate": 1e-2, "warmup_steps": 0, "optimizer": "adam"}
LOOP |= {"report_to": "none", "cpu_threads": 1, "cpu": True, "save_steps": 1000, "evaluation_steps": 1000}
ANIMALS, COLOURS = ("cat", "dog", "owl", "hen"), ("red", "blue", "white")
ROWS = [
    {"text": f"there was a {colour} {animal} in the old house", "summary": f"{animal} {colour}"}
    for animal in ANIMALS
    for colour in COLOURS
]
VOCABULARY = sorted({word for row in ROWS for word in f"{row['text']} {row['summary']} summarize:".split()})


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(path)]


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "rows.jsonl", ROWS)


def make_training(task_class, arguments, output_dir, config, loop):
    AcceleratorState._reset_state(True)
    loop = LoopArguments(output_dir=str(output_dir), **LOOP | (loop or {}))
    everything = vars(arguments).keys() | vars(loop).keys()  # so that nothing is chosen by the plan
    return Training(task_class(arguments, {"dropout": 0.0} | config), loop, everything)


@pytest.fixture
def training(file):
    def make(output_dir, config=None, loop=None, **options):
        options = {"train_file": file, "max_tokens": 300, **options}
        if "model" not in options:
            options = {"preset": "tiny", "tokenizer_model": "word", "vocab_size": 60} | options
            config = SMALL | (config or {})
        return make_training(SummarizationTask, SummarizationArguments(**options), output_dir, config or {}, loop)

    return make


def lines_of(path):
    return path.read_text().splitlines()


def test_a_run_writes_summaries_and_the_pipeline_writes_the_same(training, file, tmp_path):
    loop = {"max_steps": 50, "evaluation_steps": 60}
    run = training(tmp_path / "run", {"hidden_size": 32}, loop, validation_file=file, test_file=file, num_beams=2)
    assert {"rouge1", "rouge2", "rougeL", "rougeLsum", "validation_loss"} <= run.run().metrics.keys()
    scores = run.test()
    assert json.loads((tmp_path / "run/test_metrics.json").read_text()) == scores
    assert 0.9 < scores["rouge1"] <= 1
    assert (scores["rouge_words"], scores["rouge_stemmer"]) == ("ascii", False)
    pipe = triptych.pipeline("summarization", str(tmp_path / "run"))
    assert [output["summary_text"].strip() for output in pipe([row["text"] for row in ROWS])] == lines_of(
        tmp_path / "run/test_predictions.txt"
    )


def test_long_texts_are_cut_in_training_and_when_summaries_are_written(training, tmp_path, caplog):
    rows = [{"text": row["text"] + " and the end" * 9, "summary": row["summary"] + " house" * 9} for row in ROWS]
    file = write(tmp_path / "long.jsonl", rows)
    lengths = {"max_source_length": 7, "max_target_length": 5}
    run = training(tmp_path / "run", train_file=file, test_file=file, **lengths)
    assert f"truncate: {len(rows)} of {len(rows)} pairs longer than max_source_length=7" in caplog.text
    read = []
    hook = run.task.model.model.encoder.register_forward_hook
    hook(lambda module, inputs, outputs: read.append(outputs.last_hidden_state.shape[1]))
    [batch] = next(run.train_batches.updates())
    assert (batch["input_ids"].shape[1], batch["labels"].shape[1]) == (7, 5)
    run.run()
    run.test()
    assert set(read) == {7}
    assert run.task.model.generation_config.max_new_tokens == 5
    with pytest.raises(ValueError, match=r"row 1 \(the first of 12\) is too long"):
        training(tmp_path / "other", train_file=file, overlong="error", **lengths)


def test_a_prefix_stands_before_each_text_and_is_known_to_the_pipeline(training, file, tmp_path):
    run = training(tmp_path / "run", source_prefix="summarize: ", tokenizer=saved_tokenizer(tmp_path), test_file=file)
    [batch] = next(run.train_batches.updates())
    assert set(batch["input_ids"][:, 0].tolist()) == {run.task.tokenizer.convert_tokens_to_ids("summarize:")}
    run.run()
    run.test()
    pipe = triptych.pipeline("summarization", str(tmp_path / "run"))
    written = lines_of(tmp_path / "run/test_predictions.txt")
    assert [output["summary_text"].strip() for output in pipe([row["text"] for row in ROWS])] == written
    again = training(tmp_path / "more", model=str(tmp_path / "run"))
    assert again.task.prefix == "summarize: "
    assert training(tmp_path / "other", model=str(tmp_path / "run"), source_prefix="").task.prefix == ""


def saved_tokenizer(tmp_path):
    word_tokenizer(VOCABULARY).save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text_column": "x", "summary_column": "x"}, "text_column and summary_column are both 'x'"),
        ({"max_source_length": 0}, "max_source_length=0 must be at least 1"),
        ({"rouge_stemmer": True, "rouge_words": "unicode"}, "rouge_stemmer is for English words"),
        (
            {"max_new_tokens": 64, "config": {"positions": "learned"}},
            "max_new_tokens=64 is too much: the decoder has 64 positions",
        ),
        ({"no_repeat_ngram_size": 0}, "no_repeat_ngram_size=0 must be at least 1"),
    ],
)
def test_mistakes(training, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        training(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


# ---- the length penalty --------------------------------------------------------------------------------


def test_the_best_penalty_is_chosen_and_that_of_the_paper_among_equals():
    best, told = choose_length_penalty(lambda penalty: -abs(penalty - 1.1), "bleu", 7)
    assert best == 1.0
    assert told.startswith("length penalty 1.0, chosen by bleu on 7 validation rows (0.0: -1.1, 0.3: -0.8, ")
    told = "length penalty 0.6, the usual one: bleu on 7 validation rows is the same for all (5)"
    assert choose_length_penalty(lambda penalty: 5.0, "bleu", 7) == (0.6, told)


def test_the_penalty_is_chosen_on_validation_rows_and_kept(training, file, tmp_path, monkeypatch):
    tried = []

    def score(self, predictions, rows):
        chosen = tried[-1] if tried else None
        return dict.fromkeys(self.scores, 0.0) | {"rougeL": 1.0 if chosen == 1.5 else 0.5}

    generate = SummarizationTask.generate
    with monkeypatch.context() as patches:
        patches.setattr(SummarizationTask, "score", score)
        patches.setattr(
            SummarizationTask,
            "generate",
            lambda self, *args, **options: (
                tried.append(options.get("gnmt_length_penalty")) or generate(self, *args, **options)
            ),
        )
        run = training(tmp_path / "run", validation_file=file, evaluation_pairs=4)
        run.run()
    assert sorted(penalty for penalty in tried if penalty is not None) == sorted(CANDIDATES)
    assert run.finished[0].startswith("length penalty 1.5, chosen by rougeL on 4 validation rows (0.0: 0.5, ")
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    assert loaded.generation_config.gnmt_length_penalty == 1.5
    assert loaded.generation_config.num_beams == 4


@pytest.mark.parametrize(
    ("options", "told", "penalty"),
    [
        ({}, ["length penalty 0.6: there are no validation rows to choose one by"], 0.6),
        ({"gnmt_length_penalty": 0.9}, [], 0.9),
        ({"num_beams": 1}, [], 0.6),
    ],
)
def test_where_nothing_is_chosen(training, tmp_path, options, told, penalty):
    run = training(tmp_path / "run", loop={"max_steps": 1}, **options)
    run.run()
    assert list(run.finished) == told
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    assert loaded.generation_config.gnmt_length_penalty == penalty


def test_a_trained_model_learns_on_with_one_option(training, tmp_path):
    options = {"num_beams": 3, "gnmt_length_penalty": 0.9, "no_repeat_ngram_size": 2, "max_new_tokens": 9}
    training(tmp_path / "run", **options).run()
    run = training(tmp_path / "more", model=str(tmp_path / "run"), num_beams=2)
    kept = run.task.model.generation_config
    assert {name: getattr(kept, name) for name in options} == options | {"num_beams": 2}
    run.run()
    assert list(run.finished) == []
    weights = load_file(tmp_path / "run/model.safetensors")
    assert weights.keys() == load_file(tmp_path / "more/model.safetensors").keys()


# ---- public checkpoints, against transformers' own class --------------------------------------------------

SIZES = {"vocab_size": 4 + len(VOCABULARY), "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
LAYERS = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
LAYERS |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 40}
SILENT = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}
PUBLISHED = {
    "marian": transformers.MarianConfig(**SIZES, **LAYERS, **SILENT),
    "bart": transformers.BartConfig(**SIZES | {"decoder_start_token_id": 3}, **LAYERS, **SILENT),
    "t5": transformers.T5Config(
        **SIZES, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_decoder_layers=1, num_heads=2, dropout_rate=0.0,
        task_specific_params={"summarization": {"prefix": "summarize: ", "length_penalty": 2.0, "max_length": 30}},
    ),
}  # fmt: skip


def translation_of(path, output_dir, loop, **options):
    pairs = [{"source": row["text"], "target": row["summary"]} for row in ROWS]
    arguments = TranslationArguments(train_file=write(path / "pairs.jsonl", pairs), max_tokens=300, **options)
    return make_training(TranslationTask, arguments, output_dir, {}, loop)


@pytest.mark.parametrize("task", ["summarization", pytest.param("translation", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", PUBLISHED)
def test_the_losses_are_those_of_transformers_own_class(training, tmp_path, kind, task):
    torch.manual_seed(0)
    published = transformers.AutoModelForSeq2SeqLM.from_config(PUBLISHED[kind])
    published.save_pretrained(tmp_path / "hf")
    word_tokenizer(VOCABULARY).save_pretrained(tmp_path / "hf")
    # With Adam's usual epsilon, rounding errors make steps where a gradient is zero (the bias of keys).
    loop = {"max_steps": 5, "logging_steps": 1, "adam_epsilon": 1e-3}
    options = {"model": str(tmp_path / "hf")}
    if task == "summarization":
        run = training(tmp_path / "run", {"label_smoothing": 0.0}, loop, **options)
    else:
        run = translation_of(tmp_path, tmp_path / "run", loop, **options)
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "hf").train()
    optimizer = torch.optim.Adam(theirs.parameters(), lr=LOOP["learning_rate"], betas=(0.9, 0.98), eps=1e-3)
    losses = []
    run.train_batches.set_epoch(0)
    while len(losses) < 5:
        for [piece] in run.train_batches.updates():
            optimizer.zero_grad()
            loss = theirs(**piece).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        run.train_batches.set_epoch(len(losses) // len(run.train_batches))
    if (kind, task) == ("t5", "summarization"):
        assert run.task.prefix == "summarize: "  # as the checkpoint says
        options = run.task.model.generation_config
        assert (options.length_penalty, options.max_length) == (2.0, 30)
        assert getattr(options, "gnmt_length_penalty", None) is None
    run.run()
    records = [json.loads(line) for line in lines_of(tmp_path / "run/metrics.jsonl")]
    assert [record["loss"] for record in records if "loss" in record] == pytest.approx(losses[:5], abs=2e-5)


# ---- however an update is cut, and after a resume --------------------------------------------------


@pytest.mark.slow
def test_accumulation_and_a_resumed_run_give_the_same_weights(training, tmp_path):
    loop = {"save_steps": 2, "max_steps": 4, "adam_epsilon": 1e-3}
    training(tmp_path / "whole", loop=loop).run()
    training(tmp_path / "pieces", loop=loop | {"gradient_accumulation_steps": 3}).run()
    training(tmp_path / "parts", loop=loop | {"max_steps": 2}).run()
    training(tmp_path / "parts", loop=loop | {"resume": True}).run()
    whole, pieces, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "pieces", "parts"))
    for name, tensor in whole.items():
        torch.testing.assert_close(pieces[name], tensor, atol=1e-5, rtol=1e-4)
        assert torch.equal(parts[name], tensor), name
