"""Tagging: words and sub-words, long sentences, entities; from CoNLL files and from lists."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast, pipeline

import triptych
from triptych.commands.finetune_tagging import main
from triptych.data.words import WordEncoder
from triptych.training.script import parse_options
from triptych.training.tag_scores import ENTITIES, SINGLE_TAGS, score_tags, scoring_of
from triptych.training.tasks.tagging import TaggingTask, targets
from triptych.training.training import Training

NAMES, OTHERS = ("Ann", "Bob", "Cem"), ("sees", "hears", "the", "old", "dog")
OPTIONS = {
    "preset": "tiny-encoder",
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "vocab_size": 280,
    "max_tokens": 400,
    "lr_scheduler": "constant",
    "learning_rate": 1e-2,
    "warmup_steps": 5,
    "max_steps": 30,
    "evaluation_steps": 30,
    "save_steps": 30,
    "report_to": "none",
    "cpu_threads": 1,
    "dropout": 0.0,
}


def sentences(number, seed=0, longest=8):
    """Sentences of words in a random order."""
    generator = torch.Generator().manual_seed(seed)
    words = [*NAMES, *OTHERS]
    drawn = [
        torch.randint(len(words), (int(torch.randint(2, longest, (), generator=generator)),), generator=generator)
        for _ in range(number)
    ]
    return [[words[word] for word in row] for row in drawn]


def entity_tags(words):
    return ["B-PER" if word in NAMES else "O" for word in words]


def write(folder, suffix="conll", tags=entity_tags, sizes=(200, 10, 15), longest=8):
    """The files of the three splits; returns the options that name them."""
    files = {}
    for seed, (split, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True)):
        rows = [(words, tags(words)) for words in sentences(size, seed, longest)]
        path = files[f"{split}_file"] = folder / f"{split}.{suffix}"
        if suffix == "conll":
            blocks = ["".join(f"{word} x {tag}\n" for word, tag in zip(*row, strict=True)) for row in rows]
            path.write_text("\n".join(blocks))
        else:
            path.write_text("\n".join(json.dumps({"tokens": words, "tags": tags}) for words, tags in rows))
    return files


def run(output_dir, **options):
    """Runs the command in this process. Returns the scores and the predictions."""
    AcceleratorState._reset_state(True)
    words = [
        str(word) for name, value in (OPTIONS | options).items() for word in (f"--{name}", value) if value is not None
    ]
    main(["--cpu", "--output_dir", str(output_dir), *words])
    predictions = (output_dir / "test_predictions.jsonl").read_text().splitlines()
    return json.loads((output_dir / "test_metrics.json").read_text()), [json.loads(line) for line in predictions]


def tags_of(tagger, words):
    """The answer of a pipeline at the first token of each word; a token of a mere space is no part of a word."""
    text = " ".join(words)
    answers = [answer for answer in tagger(text) if text[answer["start"] : answer["end"]].strip()]
    ends = [len(" ".join(words[: number + 1])) for number in range(len(words))]
    return [
        next(answer["entity"] for answer in answers if end - len(word) < answer["end"] <= end)
        for word, end in zip(words, ends, strict=True)
    ]


def test_entities_are_learnt_and_the_pipeline_gives_the_same_tags(tmp_path):
    files = write(tmp_path)
    scores, predictions = run(tmp_path / "run", **files)
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


def training(output_dir, files, **options):
    """A run that is not started."""
    AcceleratorState._reset_state(True)
    words = ["--cpu", "--output_dir", str(output_dir)]
    words += [
        str(word)
        for name, value in (OPTIONS | files | options).items()
        if value is not None
        for word in (f"--{name}", value)
    ]
    arguments, loop, fields = parse_options(TaggingTask, args=words)
    return Training(TaggingTask(arguments, fields), loop)


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
        training(tmp_path / "run", {"train_file": tmp_path / "train.jsonl"})
    assert not (tmp_path / "run").exists()


def test_an_unknown_tag_is_refused_before_anything_is_trained(tmp_path):
    files = write(tmp_path, sizes=(5, 2, 2))
    with files["test_file"].open("a") as file:
        file.write("\nAnn x B-ORG\n")
    with pytest.raises(
        ValueError, match="test data: row 3: the label 'B-ORG' is not among those of the training data: B-PER, O"
    ):
        training(tmp_path / "run", files)


def test_columns_of_a_file_are_chosen_by_one_option_under_two_names(tmp_path):
    files = write(tmp_path, sizes=(5, 2, 2))
    for option in ("tag_column", "tags_column"):
        with pytest.raises(ValueError, match="only the label 'x'"):
            training(tmp_path / "run", files, **{option: 2})


def test_a_long_sentence_has_a_tag_for_every_word(tmp_path):
    files = write(tmp_path, longest=40, sizes=(20, 3, 5))
    run = training(tmp_path / "run", files, max_length=12, max_steps=1)
    assert any(remark.startswith("train: 20 sentences are read in ") for remark in run.task.remarks)
    assert max(map(len, run.train_batches.dataset["input_ids"])) <= 12
    test = run.task.data["test"]
    predictions = run.task.predict(run.task.model.eval(), test, run.accelerator, final=True)
    assert [row["tokens"] for row in predictions] == test["tokens"][:]
    assert all(tag in ("B-PER", "O") for row in predictions for tag in row["tags"])
