"""What each option of a translation run does, by its effect."""

import dataclasses

import pytest
import torch
from accelerate.state import AcceleratorState

from triptych.training import LoopArguments
from triptych.training.data_options import PairOptions
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training

CONFIG = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
LOOP = {"max_steps": 2, "warmup_steps": 2, "report_to": "none", "cpu_threads": 1, "cpu": True}
COLOURS = ("red", "blue", "green")
NUMBERS = ("one", "two", "three", "four")

# Options whose effect other tests see, and where.
ELSEWHERE = {
    **{option.name: "test_data_options" for option in dataclasses.fields(PairOptions)},
    **dict.fromkeys(("train_file", "validation_file", "test_file", "corpus"), "test_data_options"),
    **dict.fromkeys(("tokenizer", "source_lang", "target_lang"), "test_public_tokenizers"),
    **dict.fromkeys(("model", "freeze", "lora_rank", "lora_alpha", "lora_dropout", "to_hf"), "test_model_source"),
    **dict.fromkeys(("source_prefix", "no_repeat_ngram_size"), "test_summarization"),
    "dry_run": "test_dry_run",
    "validation_split": "test_held_out",
    **dict.fromkeys(("copied_targets", "separate_vocabularies", "overlong"), "test_translation"),
}
HERE = {
    *("preset", "tokenizer_model", "vocab_size", "max_sentence_length", "max_tokens"),
    *("evaluation_pairs", "evaluation_batch_size"),
    *("num_beams", "gnmt_length_penalty", "max_length_beyond_source"),
}


def test_every_option_has_a_test():
    assert {option.name for option in dataclasses.fields(TranslationArguments)} == HERE | ELSEWHERE.keys()


@pytest.fixture
def file(tmp_path):
    rows = [f"{a} {b}\t{b.upper()} {a.upper()}" for a in NUMBERS for b in COLOURS]
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def make(file, tmp_path):
    def training(config=None, loop=None, **options):
        AcceleratorState._reset_state(True)
        options = {"tokenizer_model": "word", "vocab_size": 50, "max_tokens": 40, "preset": "tiny"} | options
        task = TranslationTask(TranslationArguments(train_file=[file], **options), CONFIG | (config or {}))
        return Training(task, LoopArguments(output_dir=str(tmp_path / "run"), **(LOOP | (loop or {}))))

    return training


def generated(run):
    """The number of sources in each call of generate during an evaluation, and its options."""
    calls = []
    generate = run.task.model.generate

    def spy(*args, **kwargs):
        calls.append((len(kwargs["input_ids"]), kwargs))
        return generate(*args, **kwargs)

    run.task.model.generate = spy
    return calls


@pytest.mark.parametrize("max_tokens", [12, 40])
def test_an_update_has_at_most_so_many_tokens(make, max_tokens):
    pieces = [piece for pieces in make(max_tokens=max_tokens).train_batches.updates() for piece in pieces]
    sizes = [piece["input_ids"].numel() + piece["labels"].numel() for piece in pieces]
    assert max(sizes) <= max_tokens
    assert max(sizes) > max_tokens - 8  # one more pair would be too much
    assert sum(len(piece["labels"]) for piece in pieces) == len(COLOURS) * len(NUMBERS)


@pytest.mark.parametrize(("pairs", "expected"), [(5, 4), (500, 12)])
def test_so_many_pairs_are_translated_greedily_at_an_evaluation(make, file, pairs, expected):
    run = make(validation_file=[file], evaluation_pairs=pairs, gnmt_length_penalty=0.6)
    calls = generated(run)
    result = run.run()
    assert sum(number for number, _ in calls) == expected  # spread evenly over the file
    assert {options["num_beams"] for _, options in calls} == {1}
    assert "bleu" in result.metrics


def test_no_pair_is_translated_where_none_is_wanted(make, file):
    run = make(validation_file=[file], evaluation_pairs=0)
    calls = generated(run)
    result = run.run()
    assert calls == []
    assert set(result.metrics) == {"validation_loss", "validation_smoothed_loss", "validation_perplexity"}


def test_the_batch_of_an_evaluation(make, file):
    run = make(validation_file=[file], evaluation_batch_size=5, gnmt_length_penalty=0.6)
    calls = generated(run)
    run.run()
    assert [number for number, _ in calls] == [5, 5, 2]


def test_what_the_finished_translator_does(make, file):
    run = make(test_file=[file], num_beams=3, gnmt_length_penalty=1.5, max_length_beyond_source=2)
    run.run()
    saved = type(run.task.model).from_pretrained(run.loop.output_dir).generation_config
    assert (saved.num_beams, saved.gnmt_length_penalty, saved.max_length_beyond_source) == (3, 1.5, 2)
    with torch.no_grad():  # so that no translation ends by itself
        run.task.model.generation_config.eos_token_id = None
        source = torch.tensor([run.task.tokenizer("one red")["input_ids"]])
        assert run.task.model.generate(source).shape[1] == 1 + source.shape[1] + 2


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("word", ["▁two", "▁blue"]), ("character", [*"two blue"]), ("wordpiece", ["two", "blue"])],
)
def test_the_model_of_the_tokenizer(make, model, tokens):
    assert make(tokenizer_model=model, vocab_size=200).task.tokenizer.tokenize("two blue") == tokens


def test_the_size_of_the_vocabulary(make):
    small, large = (len(make(tokenizer_model="bpe", vocab_size=size).task.tokenizer) for size in (265, 270))
    assert (small, large) == (265, 270)


def test_the_preset(make):
    assert make(preset="tiny", config={"num_attention_heads": 2}).task.config.intermediate_size == 64
    assert make(preset="transformer-base").task.config.intermediate_size == 2048


def test_the_longest_sentence(make):
    with pytest.raises(ValueError, match="too long"):
        make(max_sentence_length=2)
    assert make(max_sentence_length=3)  # two words and the end


def test_the_tokens_are_those_of_the_tokenizer(make):
    """What the configuration says of tokens follows from the tokenizer, whatever the preset says."""
    run = make()
    tokenizer, config = run.task.tokenizer, run.task.config
    assert config.vocab_size == len(tokenizer)
    assert (config.pad_token_id, config.eos_token_id) == (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert config.decoder_start_token_id == tokenizer.bos_token_id
    assert make(config={"eos_token_id": tokenizer.eos_token_id}).task.config.eos_token_id == tokenizer.eos_token_id
    with pytest.raises(ValueError, match="eos_token_id=7: the tokenizer gives 3; leave eos_token_id out"):
        make(config={"eos_token_id": 7})
