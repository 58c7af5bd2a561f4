"""Tagging: words and sub-words, long sentences, entities; from CoNLL files and from lists."""

import json

import pytest
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast, pipeline

import triptych
from triptych.commands.finetune_tagging import main
from triptych.data.words import WordEncoder
from triptych.training.tag_scores import ENTITIES, SINGLE_TAGS, score_tags, scoring_of
from triptych.training.tasks.tagging import targets

from .first_update import make_training
from .labelled import FAMILIES, OPTIONS, sentences, write_sentences


def make_run(output_dir, files, **options):
    return make_training(
        "tagging", output_dir, **OPTIONS | {"tokenizer_model": "bpe", "vocab_size": 280} | files | options
    )


def tags_of(tagger, words):
    """The answer of a pipeline at the first token of each word; a token of a mere space is no part of a word."""
    text = " ".join(words)
    answers = [answer for answer in tagger(text) if text[answer["start"] : answer["end"]].strip()]
    ends = [len(" ".join(words[: number + 1])) for number in range(len(words))]
    return [
        next(answer["entity"] for answer in answers if end - len(word) < answer["end"] <= end)
        for word, end in zip(words, ends, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_entities_are_learnt_and_pipelines_give_the_same_tags(tmp_path, family):
    AcceleratorState._reset_state(True)
    files = write_sentences(tmp_path)
    bounds = {"max_steps": 60, "evaluation_steps": 60, "save_steps": 60, "tokenizer_model": "bpe", "vocab_size": 280}
    words = ["--cpu", "--output_dir", str(tmp_path / "run")]
    for name, value in (OPTIONS | FAMILIES[family] | bounds | files).items():
        words += [f"--{name}", str(value)]
    main(words)
    scores = json.loads((tmp_path / "run" / "test_metrics.json").read_text())
    predictions = [json.loads(line) for line in (tmp_path / "run" / "test_predictions.jsonl").read_text().splitlines()]
    assert scores.keys() == {"accuracy", "precision", "recall", "f1", "by_type"}
    assert scores["f1"] > 0.9
    assert [row["tokens"] for row in predictions] == sentences(15, seed=2)
    for make in (pipeline, triptych.pipeline):
        tagger = make("token-classification", str(tmp_path / "run"), device="cpu", ignore_labels=[])
        for row in predictions:
            assert tags_of(tagger, row["tokens"]) == row["tags"]


def fast_tokenizer(words=("un", "##believ", "##able", "cat", "##s", "a", "b"), **options):
    """WordPiece over a few pieces, with [CLS] 0, [SEP] 1, [UNK] 2, [PAD] 3 and the pieces from 4 on."""
    backend = Tokenizer(
        models.WordPiece({t: n for n, t in enumerate(["[CLS]", "[SEP]", "[UNK]", "[PAD]", *words])}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", **options)


NUMBERS = {"O": 0, "B-X": 1, "I-X": 2, "S": 3}


def test_tags_are_aligned_to_the_first_token_of_each_word():
    [[window]] = WordEncoder(fast_tokenizer())([["Unbelievable", "\u200b", "cats", "xyz"]])
    assert window.input_ids == [0, 4, 5, 6, 2, 7, 8, 2, 1]  # a word without tokens is unknown
    assert window.words == [-1, 0, 0, 0, 1, 2, 2, 3, -1]
    tags = ["B-X", "O", "S", "O"]
    assert targets(window, tags, NUMBERS, all_tokens=False) == [-100, 1, -100, -100, 0, 3, -100, 0, -100]
    assert targets(window, tags, NUMBERS, all_tokens=True) == [-100, 1, 2, 2, 0, 3, 3, 0, -100]


def test_a_word_may_hold_a_space_or_a_hyphen():
    [[window]] = WordEncoder(fast_tokenizer())([["a b", "a-b", "b"]])
    assert window.words == [-1, 0, 0, 1, 1, 1, 2, -1]


def test_long_sentences_are_divided_between_words():
    windows = WordEncoder(fast_tokenizer(), limit=5)([["a", "cats", "b", "unbelievable", "cats", "cats"], ["a"]])
    assert [[window.input_ids for window in of_sentence] for of_sentence in windows] == [
        [[0, 9, 7, 8, 1], [0, 10, 1], [0, 4, 5, 6, 1], [0, 7, 8, 1], [0, 7, 8, 1]],
        [[0, 9, 1]],
    ]
    assert [window.words for window in windows[0]] == [
        [-1, 0, 1, 1, -1],
        [-1, 2, -1],
        [-1, 3, 3, 3, -1],
        [-1, 4, 4, -1],
        [-1, 5, 5, -1],
    ]
    [[first, second]] = WordEncoder(fast_tokenizer(), limit=4)([["unbelievable", "a"]])  # a word longer than a window
    assert (first.input_ids, second.input_ids) == ([0, 4, 5, 1], [0, 9, 1])
    with pytest.raises(ValueError, match="2 tokens leave no room"):
        WordEncoder(fast_tokenizer(), limit=2)


def test_a_tokenizer_that_does_not_tell_places_is_refused():
    with pytest.raises(ValueError, match="does not tell to which word"):
        WordEncoder(ByT5Tokenizer())


def test_which_tags_mark_entities():
    assert scoring_of(["O", "B-PER", "I-PER"]) is ENTITIES
    assert scoring_of(["S-LOC", "O"]) is ENTITIES
    for tags in (["NOUN", "VERB"], ["O", "X"], ["B-PER", "NOUN"]):
        assert scoring_of(tags) is SINGLE_TAGS
    scores = score_tags([["A", "B"], ["B"]], [["A", "A"], ["B"]])
    assert scores == {
        "accuracy": pytest.approx(2 / 3),
        "f1_macro": pytest.approx(2 / 3),
        "f1_by_tag": {"A": pytest.approx(2 / 3), "B": pytest.approx(2 / 3)},
    }


WRONG = {
    "a tag for each word": ({"tokens": ["a", "b"], "tags": ["O"]}, r"train\.jsonl: line 1: 2 words, but 1 tags"),
    "a blank word": ({"tokens": ["a", " "], "tags": ["O", "X"]}, r"train\.jsonl: line 1: word 2 is blank"),
    "no words": ({"tokens": [], "tags": []}, r"1 row has nothing in one column: line 1 \(no tokens\)"),
    "one tag": ({"tokens": ["a"], "tags": ["O"]}, "the training data have only the label 'O'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rows(tmp_path, case):
    row, message = WRONG[case]
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match=message):
        make_run(tmp_path / "run", {"train_file": tmp_path / "train.jsonl"})
    assert not (tmp_path / "run").exists()


def test_an_unknown_tag_is_refused_before_anything_is_trained(tmp_path):
    files = write_sentences(tmp_path, sizes=(5, 2, 2))
    with files["test_file"].open("a") as file:
        file.write("\nAnn x B-ORG\n")
    with pytest.raises(
        ValueError, match="test data: row 3: the label 'B-ORG' is not among those of the training data: B-PER, O"
    ):
        make_run(tmp_path / "run", files)


def test_columns_of_a_file_are_chosen_by_one_option_under_two_names(tmp_path):
    files = write_sentences(tmp_path, sizes=(5, 2, 2))
    for option in ("tag_column", "tags_column"):
        with pytest.raises(ValueError, match="only the label 'x'"):
            make_run(tmp_path / "run", files, **{option: 2})


def test_a_long_sentence_has_a_tag_for_every_word(tmp_path):
    files = write_sentences(tmp_path, longest=40, sizes=(20, 3, 5))
    run = make_run(tmp_path / "run", files, max_length=12, max_steps=1)
    assert any(remark.startswith("train: 20 sentences are read in ") for remark in run.task.remarks)
    assert max(map(len, run.train_batches.dataset["input_ids"])) <= 12
    test = run.task.data["test"]
    predictions = run.task.predict(run.task.model.eval(), test, run.accelerator, final=True)
    assert [row["tokens"] for row in predictions] == test["tokens"][:]
    assert all(tag in ("B-PER", "O") for row in predictions for tag in row["tags"])
