"""Classification: what labels mean, how they are numbered, and what a run writes."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, pipeline

import triptych
from tiny import word_tokenizer
from triptych.commands.finetune_classification import main
from triptych.data import PaddingCollator
from triptych.training.labels import Labels, names_in, numbered_names

from .first_update import make_training
from .labelled import (
    ANIMALS,
    FAMILIES,
    LABELS,
    NONE_IS_TRAINED,
    OPTIONS,
    WORDS,
    texts_and_animals,
    write_rows,
    write_texts,
)


def make_run(output_dir, files, **options):
    return make_training("classification", output_dir, **OPTIONS | files | options)


def run_command(output_dir, **options):
    """Runs the command in this process. Returns the scores and the predictions."""
    words = ["--cpu", "--output_dir", str(output_dir)]
    words += [str(word) for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    main(words)
    lines = (output_dir / "test_predictions.jsonl").read_text().splitlines()
    return json.loads((output_dir / "test_metrics.json").read_text()), [json.loads(line) for line in lines]


def inputs_of(path):
    """The rows of a file as a pipeline takes them."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: row[key] for key in ("text", "text_pair") if key in row} for row in rows]


# ---- whole runs ----------------------------------------------------------------------------------------------------

LEARNT = {
    "single": {"accuracy", "f1_macro", "matthews_correlation"},
    "several": {"f1_micro", "f1_macro", "accuracy"},
    "regression": {"pearson", "spearman", "mse"},
}
LEARNING = {"learning_rate": 3e-3, "warmup_steps": 5, "max_tokens": 600, "hidden_size": 32, "attention_dropout": 0.0}
CASES = [("single", family, False) for family in FAMILIES]
CASES += [("several", "encoder", False), ("regression", "encoder", False), ("single", "encoder", True)]


@pytest.mark.slow
@pytest.mark.parametrize(("label", "family", "pairs"), CASES)
def test_labels_are_learnt_and_pipelines_give_the_same_ones(tmp_path, label, family, pairs):
    AcceleratorState._reset_state(True)
    files = write_texts(tmp_path, label, pairs=pairs)
    bounds = dict.fromkeys(("max_steps", "evaluation_steps", "save_steps"), 240 if label == "several" else 80)
    bounds |= {"type_vocab_size": 2 if pairs else None}
    scores, predictions = run_command(tmp_path / "run", **OPTIONS | FAMILIES[family] | LEARNING | bounds | files)
    assert scores.keys() == LEARNT[label]
    assert scores.get("accuracy", scores.get("pearson")) > 0.9
    assert len(predictions) == 20
    for make in (pipeline, triptych.pipeline):
        classify = make("text-classification", str(tmp_path / "run"), device="cpu", top_k=None)
        for row, answers in zip(predictions, classify(inputs_of(files["test_file"])), strict=True):
            found = {answer["label"]: answer["score"] for answer in answers}
            if label == "regression":
                assert [row["label"]] == pytest.approx(list(found.values()), abs=1e-4)
            elif label == "several":
                assert row["scores"] == pytest.approx(found, abs=1e-4)
                assert row["label"] == [name for name in row["scores"] if found[name] >= 0.5]
            else:
                assert row["label"] == max(found, key=found.get)
                assert row["score"] == pytest.approx(found[row["label"]], abs=1e-4)


# ---- what labels mean ----------------------------------------------------------------------------------------------

FIELDS = {
    "single": ("single_label_classification", ["cat", "dog", "owl"], [0, 1, 2]),
    "numbers": ("single_label_classification", ["0", "1", "2"], [0, 1, 2]),
    "several": ("multi_label_classification", ["cat", "dog", "mammal", "other"], [[0, 2], [1, 2], [3]]),
    "regression": ("regression", None, [-1.5, -0.5, 0.5]),
}


@pytest.mark.parametrize("label", FIELDS)
def test_labels_decide_the_problem(tmp_path, label):
    problem, names, targets = FIELDS[label]
    rows = [{"text": f"the {animal}", "label": LABELS[label](animal)} for animal in ANIMALS]
    run = make_run(tmp_path / "run", {"train_file": write_rows(tmp_path / "a.jsonl", rows)})
    assert run.task.config.problem_type == problem
    if names:
        assert run.task.config.id2label == dict(enumerate(names))
        assert run.task.config.label2id == {name: number for number, name in enumerate(names)}
    assert run.task.config.num_labels == len(names or [0])
    assert run.train_batches.dataset["labels"][:] == targets
    assert f"labels      {problem}" in "\n".join(run.summary())


def test_the_problem_can_be_given(tmp_path):
    rows = "text\tlabel\nthe cat\t1\nthe dog\t2\n"
    (tmp_path / "a.tsv").write_text(rows)
    files = {"train_file": tmp_path / "a.tsv"}
    assert make_run(tmp_path / "run", files).task.config.id2label == {0: "1", 1: "2"}
    run = make_run(tmp_path / "run", files, problem_type="regression")
    assert run.train_batches.dataset["labels"][:] == [1.0, 2.0]
    (tmp_path / "a.tsv").write_text(rows.replace("\t2", "\t[2]"))
    with pytest.raises(ValueError, match=r"a\.tsv: line 2: 'label' is 1, not a list of labels"):
        make_run(tmp_path / "run", files, problem_type="multi_label_classification")
    (tmp_path / "b.jsonl").write_text('{"text": "the cat", "label": "x"}')
    with pytest.raises(ValueError, match=r"b\.jsonl: line 1: 'label' is 'x', not a number"):
        make_run(tmp_path / "run", {"train_file": tmp_path / "b.jsonl"}, problem_type="regression")


def test_columns_of_other_names(tmp_path):
    rows = [{"premise": "the cat", "hypothesis": "a cat", "gold": g, "text_pair": "x"} for g in ("yes", "no")]
    files = {"train_file": write_rows(tmp_path / "a.jsonl", rows)}
    named = {"text_column": "premise", "text_pair_column": "hypothesis", "label_column": "gold"}
    run = make_run(tmp_path / "run", files, **named, type_vocab_size=2)
    assert run.task.data["train"][0] == {"text": "the cat", "text_pair": "a cat", "label": "yes"}
    assert "2 train pairs of texts" in "\n".join(run.summary())
    assert run.train_batches.dataset["token_type_ids"][0] == [0, 0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"no column 'other'; it has .*--text_pair_column"):
        make_run(tmp_path / "run", files, **named | {"text_pair_column": "other"})
    with pytest.raises(ValueError, match="text_pair_column and label_column are both 'gold'"):
        make_run(tmp_path / "run", files, **named | {"text_pair_column": "gold"})


def test_a_pair_without_a_mark_between_its_texts_is_told(tmp_path):
    rows = [{"text": "the cat", "text_pair": "a cat", "label": label} for label in ("yes", "no")]
    files = {"train_file": write_rows(tmp_path / "a.jsonl", rows)}
    for family, told in (("decoder", True), ("encoder-decoder", False), ("encoder", False)):
        summary = "\n".join(make_run(tmp_path / "run", files, **FAMILIES[family]).summary())
        assert ("puts nothing between the two texts" in summary) == told


def test_an_unknown_label_is_refused_before_anything_is_trained(tmp_path):
    for label in ("single", "several"):
        files = write_texts(tmp_path, label, sizes=(9, 3, 3))
        with files["test_file"].open("a") as file:
            file.write(json.dumps({"text": "the cow", "label": "cow" if label == "single" else ["cat", "cow"]}))
        with pytest.raises(ValueError, match="test data: row 4: the label 'cow' is not among those of the training"):
            make_run(tmp_path / "run", files)
    assert not (tmp_path / "run").exists()


def test_rows_that_are_held_out_have_labels_that_can_be_learnt(tmp_path):
    rows = [{"text": text, "label": number // 4} for number, (text, _) in enumerate(texts_and_animals()[:40])]
    run = make_run(tmp_path / "run", {"train_file": write_rows(tmp_path / "a.jsonl", rows)}, validation_split=0.2)
    train, validation = (set(run.task.data[split]["label"][:]) for split in ("train", "validation"))
    assert validation
    assert validation <= train == {str(number) for number in range(10)}
    assert run.task.config.num_labels == 10


def test_one_label_is_nothing_to_learn(tmp_path):
    files = {"train_file": write_rows(tmp_path / "a.jsonl", [{"text": "the cat", "label": "cat"}] * 2)}
    with pytest.raises(ValueError, match="the training data have only the label 'cat', and at least 2 are needed"):
        make_run(tmp_path / "run", files)


def test_long_texts_are_cut_and_told(tmp_path):
    rows = [{"text": "the old cat ran " * 5, "label": "yes"}, {"text": "the cat", "label": "no"}]
    run = make_run(tmp_path / "run", {"train_file": write_rows(tmp_path / "a.jsonl", rows)}, max_length=8)
    assert list(map(len, run.train_batches.dataset["input_ids"])) == [8, 4]
    assert run.train_batches.dataset["input_ids"][0][-1] == run.task.tokenizer.sep_token_id
    assert "train: cut to 8 tokens: 1 of 2" in "\n".join(run.summary())
    assert run.task.tokenizer.backend_tokenizer.truncation is None  # else it would be saved with the tokenizer


def test_a_text_without_end_is_refused_where_its_end_is_classified(tmp_path):
    tokenizer = word_tokenizer([*WORDS, *ANIMALS])
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    files = write_texts(tmp_path, sizes=(9, 3, 3))
    with pytest.raises(ValueError, match=r"does not end a text with the end token \(id 3\)"):
        make_run(
            tmp_path / "run", files, **FAMILIES["encoder-decoder"], **NONE_IS_TRAINED, tokenizer=tmp_path / "tokenizer"
        )


def test_a_tokenizer_without_padding_gets_one(tmp_path):
    tokenizer = word_tokenizer([*WORDS, *ANIMALS])
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    files = write_texts(tmp_path, sizes=(9, 3, 3))
    run = make_run(tmp_path / "run", files, **FAMILIES["decoder"], **NONE_IS_TRAINED, tokenizer=tmp_path / "tokenizer")
    assert run.task.tokenizer.pad_token_id == run.task.config.pad_token_id == 3


# ---- how labels are numbered ---------------------------------------------------------------------------------------

NUMBERED = [
    (["cat", "dog"], [], ["cat", "dog"]),
    (["neg", "pos"], ["pos", "neg"], ["pos", "neg"]),  # the checkpoint's numbers
    (["negative", "positive"], ["POSITIVE", "NEUTRAL", "NEGATIVE"], ["positive", "NEUTRAL", "negative"]),
    (["0", "1"], ["negative", "positive"], ["negative", "positive"]),
    (["0", "1"], ["LABEL_0", "LABEL_1"], ["0", "1"]),
    (["1", "2"], ["LABEL_0", "LABEL_1"], ["1", "2"]),
    (["cat", "dog", "owl"], ["cat", "dog"], ["cat", "dog", "owl"]),
    (["a", "A"], ["A", "B"], ["a", "A"]),
    (["00", "01"], ["negative", "positive"], ["00", "01"]),  # names, which are no numbers of the checkpoint
]


@pytest.mark.parametrize(("found", "known", "expected"), NUMBERED)
def test_labels_of_a_checkpoint_keep_their_numbers_where_they_fit(found, known, expected):
    assert numbered_names(found, known) == expected


def test_labels_that_the_data_call_by_numbers():
    labels = Labels(["0", "2"], ["negative", "neutral", "positive"])
    assert labels.names == ["negative", "neutral", "positive"]
    assert labels.name_of("2") == "positive"
    assert labels.numbers == {"0": 0, "1": 1, "2": 2}


def test_whole_numbers_are_in_the_order_of_their_size():
    assert names_in(Dataset.from_dict({"label": ["10", "9", "1"]}), "label") == ["1", "9", "10"]
    assert names_in(Dataset.from_dict({"label": [["10", "b"], [], ["1"]]}), "label") == ["1", "10", "b"]
    # Names of one size have one order, too, in every process.
    names = [f"{'0' * zeros}1" for zeros in range(9)]
    assert names_in(Dataset.from_dict({"label": names}), "label") == sorted(names)


def test_a_checkpoint_with_the_same_labels_keeps_its_head(tmp_path):
    tokenizer = word_tokenizer([*WORDS, *ANIMALS])
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    labels = {"id2label": {0: "owl", 1: "dog", 2: "cat"}, "label2id": {"owl": 0, "dog": 1, "cat": 2}}
    torch.manual_seed(0)
    bert = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **sizes, **labels))
    bert.save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    none = dict.fromkeys(("preset", "hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers"))
    none |= NONE_IS_TRAINED
    files = write_texts(tmp_path, sizes=(9, 3, 3))
    run = make_run(tmp_path / "run", files, **none, model=tmp_path / "bert")
    assert run.task.config.id2label == labels["id2label"]
    assert torch.equal(run.task.model.classifier.weight, bert.classifier.weight)
    several = make_run(
        tmp_path / "run", write_texts(tmp_path, "several", sizes=(9, 3, 3)), **none, model=tmp_path / "bert"
    )
    assert several.task.model.classifier.weight.shape == (4, 16)


# ---- batches -------------------------------------------------------------------------------------------------------


def test_labels_in_a_batch():
    collate = PaddingCollator({"input_ids": 0}, classes={"labels": 4}, floats=("score",), alone={"input_ids": 3})
    batch = collate(
        [{"input_ids": [5, 6], "labels": [3, 0], "score": 1.5}, {"input_ids": [7], "labels": [], "score": 2}]
    )
    assert batch["labels"].tolist() == [[1, 0, 0, 1], [0, 0, 0, 0]]
    assert batch["score"].tolist() == [[1.5], [2.0]]
    assert {name: batch[name].dtype for name in ("labels", "score")} == {
        "labels": torch.float32,
        "score": torch.float32,
    }
    empty = collate([])
    assert empty["input_ids"].tolist() == [[3]]
    assert {name: tuple(tensor.shape) for name, tensor in empty.items()} == {
        "input_ids": (1, 1),
        "labels": (0, 4),
        "score": (0, 1),
    }
