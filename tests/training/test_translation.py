import copy

import pytest
import torch
from accelerate.state import AcceleratorState

from triptych.tokenization import load_tokenizers, save_tokenizers, train_tokenizer
from triptych.training import LoopArguments
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training

CONFIG = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
LOOP = {"max_steps": 3, "warmup_steps": 2, "report_to": "none", "cpu_threads": 1, "cpu": True}


def training(train_file, output_dir, config=None, loop=None, **options):
    AcceleratorState._reset_state(True)
    options = {"tokenizer_model": "word", "vocab_size": 50, "max_tokens": 40, "preset": "tiny"} | options
    task = TranslationTask(TranslationArguments(train_file=train_file, **options), CONFIG | (config or {}))
    return Training(task, LoopArguments(output_dir=str(output_dir), **(LOOP | (loop or {}))))


def test_joint_vocabulary(train_file, tmp_path):
    run = training(train_file, tmp_path / "run")
    assert run.task.target_tokenizer is None
    assert run.task.model.lm_head.weight is run.task.model.model.embed_tokens.weight
    assert run.task.config.vocab_size == len(run.task.tokenizer)


@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_evaluations_translate_in_every_precision(train_file, tmp_path, mixed_precision):
    loop = {"mixed_precision": mixed_precision, "evaluation_steps": 2}
    result = training(train_file, tmp_path / "run", loop=loop, validation_file=str(train_file)).run()
    assert {"bleu", "chrf", "validation_loss"} <= result.metrics.keys()


def test_two_plain_files_and_the_numbers_of_their_rows(tmp_path):
    (tmp_path / "a.en").write_text("one red\n\ntwo blue\none red\n")
    (tmp_path / "a.de").write_text("ONE RED\nX\nTWO BLUE\nONE RED\n")
    files = [str(tmp_path / "a.en"), str(tmp_path / "a.de")]
    options = {"train_file": files, "validation_file": files}
    with pytest.raises(ValueError, match=r"line 2 \(no source\).*--empty drop"):
        training(**options, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run = training(**options, output_dir=tmp_path / "run", empty="drop")
    assert run.task.data["train"][:] == {
        "source": ["one red", "two blue", "one red"],
        "target": ["ONE RED", "TWO BLUE", "ONE RED"],
    }
    summary = "\n".join(run.summary())
    for split in ("train", "validation"):
        assert f"            {split}: empty rows left out: 1 of 4\n" in summary
        assert f"            {split}: repeated rows, kept: 1\n" in summary
    run.run()
    other = training(**options, output_dir=tmp_path / "run", loop={"resume": True}, empty="drop")
    assert other.identity()["data.train"] == run.identity()["data.train"]


@pytest.mark.parametrize("option", [{"source_column": "x", "target_column": "x"}, {"quoting": "double"}])
def test_data_options_are_checked_before_anything_is_written(train_file, tmp_path, option):
    with pytest.raises(ValueError, match=r"both 'x'|quoting='double' is unknown"):
        training(train_file, tmp_path / "run", **option)
    assert not (tmp_path / "run").exists()


def test_a_corpus_can_be_turned_round():
    options = {"corpus": "en-de", "source_column": "target", "target_column": "source"}
    (turned, _), (corpus, _) = (
        TranslationTask(TranslationArguments(**given)).load_data(seed=0) for given in (options, {"corpus": "en-de"})
    )
    assert turned["test"][:] == {"source": corpus["test"]["target"][:], "target": corpus["test"]["source"][:]}
    for wrong, message in (
        ({"source_column": "en"}, "en-de.train. has no column 'en'"),
        ({"quoting": "none"}, "quoting: only for tsv"),
    ):
        with pytest.raises(ValueError, match=message):
            TranslationTask(TranslationArguments(corpus="en-de", **wrong)).load_data(seed=0)


def test_copied_targets_are_learnt_beside_the_pairs(train_file, tmp_path):
    pairs = training(train_file, tmp_path / "a").task.data["train"]
    data = training(train_file, tmp_path / "b", copied_targets=0.5).task.data["train"]
    assert data[: len(pairs)] == pairs[:]
    copies = data[len(pairs) :]
    assert copies["source"] == copies["target"]
    assert len(copies["source"]) == len(pairs) // 2
    with pytest.raises(ValueError, match=r"copied_targets=2 must be in \[0, 1\]"):
        training(train_file, tmp_path / "c", copied_targets=2)


def test_separate_vocabularies_are_trained_saved_and_loaded(train_file, tmp_path):
    run = training(train_file, tmp_path / "run", separate_vocabularies=True)
    assert run.task.config.vocab_size == len(run.task.tokenizer)
    assert run.task.config.decoder_vocab_size == len(run.task.target_tokenizer)
    assert any("RED" in word for word in run.task.target_tokenizer.get_vocab())
    assert not any("RED" in word for word in run.task.tokenizer.get_vocab())
    run.run()
    for directory in (tmp_path / "run", tmp_path / "run/checkpoint-3"):
        tokenizer, target_tokenizer = load_tokenizers(directory)
        assert tokenizer.get_vocab() == run.task.tokenizer.get_vocab()
        assert target_tokenizer.get_vocab() == run.task.target_tokenizer.get_vocab()


def test_a_given_tokenizer_is_used_and_another_is_refused_on_resume(train_file, tmp_path):
    tokenizers = {size: train_tokenizer([train_file.read_text()], "bpe", size) for size in (270, 275)}
    for size, tokenizer in tokenizers.items():
        save_tokenizers(tmp_path / str(size), tokenizer)
    run = training(train_file, tmp_path / "run", tokenizer=str(tmp_path / "270"))
    assert run.task.tokenizer.get_vocab() == tokenizers[270].get_vocab()
    run.run()
    other = training(train_file, tmp_path / "run", loop={"resume": True}, tokenizer=str(tmp_path / "275"))
    with pytest.raises(ValueError, match=r"tokenizer was '\w+', now '\w+'"):
        other.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"hidden_size": 32}}, r"model\.hidden_size was 16, now 32"),
        ({"max_tokens": 50}, r"data\.max_tokens was 40, now 50"),
        ({"vocab_size": 60}, r"tokenizer\.vocab_size was 50, now 60"),
        ({"loop": {"seed": 5}}, r"arguments\.seed was 0, now 5"),
        ({"rows": "six red\tRED SIX\n"}, r"data\.train was '\w+', now '\w+'"),
    ],
)
def test_resume_names_what_has_changed(train_file, tmp_path, change, message):
    training(train_file, tmp_path / "run").run()
    with open(train_file, "a") as file:
        file.write(change.pop("rows", ""))
    loop = change.pop("loop", {}) | {"resume": True}
    with pytest.raises(ValueError, match=message):
        training(train_file, tmp_path / "run", loop=loop, **change).run()


def test_resume_may_change_how_long_and_with_what(train_file, tmp_path):
    training(train_file, tmp_path / "run").run()
    more = {"resume": True, "max_steps": 5, "gradient_accumulation_steps": 2, "logging_steps": 1}
    assert training(train_file, tmp_path / "run", loop=more).run().step == 5


def test_the_arguments_of_the_caller_are_not_edited(train_file, tmp_path):
    task = TranslationTask(TranslationArguments(train_file=train_file, preset="tiny", vocab_size=270), CONFIG)
    arguments = LoopArguments(output_dir=str(tmp_path / "run"), **LOOP)  # best_metric is one of the validation data
    before = copy.deepcopy((task.arguments, task.config_fields, arguments))
    AcceleratorState._reset_state(True)
    Training(task, arguments).run()
    assert (task.arguments, task.config_fields, arguments) == before


def test_the_seed_decides_the_weights(train_file, tmp_path):
    first, same, other = (
        training(train_file, tmp_path / str(i), loop={"seed": s}).task.model.state_dict()
        for i, s in enumerate((0, 0, 1))
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_pair_longer_than_the_model(train_file, tmp_path):
    with open(train_file, "a") as file:
        file.write("one " * 30 + "\tONE\n")
    for limit in (
        {"config": {"max_position_embeddings": 16, "positions": "learned"}},
        {"config": {"decoder_overrides": {"positions": "learned"}}, "max_sentence_length": 16},
        {"max_sentence_length": 16},
    ):
        with pytest.raises(ValueError, match=r"train data: row 9 .*too long"):
            training(train_file, tmp_path / "run", **limit, max_tokens=100)
        run = training(train_file, tmp_path / "run", **limit, max_tokens=100, overlong="drop")
        assert sum(len(piece["labels"]) for [piece] in run.train_batches.updates()) == 8
    run = training(train_file, tmp_path / "run", {"max_position_embeddings": 16}, max_tokens=100)  # of sinusoids
    assert sum(len(piece["labels"]) for [piece] in run.train_batches.updates()) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_file": None}, "there are no data"),
        ({"train_file": None, "test_file": "x.tsv"}, "--train_file is missing"),
        ({"train_file": "x.tsv", "dataset_name": "wmt14"}, "one source of data, not dataset_name and files"),
        ({"train_file": "x.tsv", "max_tokens": 0}, "max_tokens=0"),
        ({"train_file": "x.tsv", "evaluation_pairs": -3}, "evaluation_pairs=-3 must be at least 0"),
        ({"train_file": "x.tsv", "max_length_beyond_source": -5}, "max_length_beyond_source=-5 must be at least 0"),
        ({"train_file": "x.tsv", "gnmt_length_penalty": float("nan")}, "gnmt_length_penalty=nan must be finite"),
        ({"train_file": "x.tsv", "max_sentence_length": 0}, "max_sentence_length=0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        TranslationArguments(**options)


@pytest.mark.parametrize(
    ("loop", "options", "message"),
    [
        ({"best_metric": "blue"}, {}, r"best_metric='blue' is not among .* \(did you mean bleu\?\): validation_loss"),
        ({"best_metric": "bleu"}, {"evaluation_pairs": 0}, "best_metric='bleu' is not among the metrics"),
        ({"final_weights": "best"}, {"validation_file": None}, "final_weights=best needs validation data"),
    ],
)
def test_a_metric_that_will_not_be_there_is_refused_at_once(train_file, tmp_path, loop, options, message):
    options = {"validation_file": [str(train_file)]} | options
    with pytest.raises(ValueError, match=message):
        training(train_file, tmp_path / "run", loop=loop, **options)
    assert not (tmp_path / "run").exists()
