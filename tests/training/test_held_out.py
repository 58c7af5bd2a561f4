"""A validation split that a run makes of its training data: said, seeded, and the same when the run is resumed."""

import pytest
from accelerate.state import AcceleratorState

from triptych.training import LoopArguments
from triptych.training.tasks.masked_lm import MaskedLMArguments, MaskedLMTask
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training


@pytest.fixture
def file(tmp_path):
    """50 sources, each with two translations."""
    path = tmp_path / "pairs.tsv"
    path.write_text("source\ttarget\n" + "".join(f"text {i % 50}\tText {i}\n" for i in range(100)))
    return path


@pytest.fixture
def load(file):
    def data(seed=0, **options):
        return TranslationTask(TranslationArguments(train_file=[str(file)], **options)).load_data(seed)

    return data


def test_it_is_made_and_said(load):
    data, told = load()
    assert {split: len(rows) for split, rows in data.items()} == {"train": 96, "validation": 4}
    assert told[-1] == (
        "4 pairs of the training data are held out for validation (drawn with --seed 0; "
        "--validation_split 0 holds out none)"
    )
    assert not set(data["train"]["source"]) & set(data["validation"]["source"])
    assert load()[0]["validation"][:] == data["validation"][:] != load(seed=1)[0]["validation"][:]


def test_it_is_no_larger_than_is_useful(load, file):
    file.write_text("source\ttarget\n" + "".join(f"text {i}\tText {i}\n" for i in range(30_000)))
    assert len(load()[0]["validation"]) == 1000


def test_copied_targets_stay_in_the_training_data(load):
    data, _ = load(copied_targets=0.5)
    targets = set(data["validation"]["target"])
    assert not targets & (set(data["train"]["source"]) | set(data["train"]["target"]))
    assert all(source != target for source, target in zip(*data["validation"][:].values(), strict=True))
    assert len(data["train"]) == 96 + 48


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"validation_split": 0}, []),
        ({"validation_split": 0.001}, ["no rows are held out for validation: 100 are too few for --validation_split"]),
    ],
)
def test_none_is_made(load, options, told):
    data, remarks = load(**options)
    assert list(data) == ["train"]
    assert [line[: len(start)] for line, start in zip(remarks, told, strict=True)] == told


def test_given_validation_data_are_used(load, file):
    data, told = load(validation_file=[str(file)])
    assert (len(data["train"]), len(data["validation"]), told) == (100, 100, [])


def test_of_a_stream_none_is_made_and_it_is_said(load):
    task = TranslationTask(TranslationArguments(corpus="en-de"))
    stream = {"train": load()[0]["train"].to_iterable_dataset()}
    [line] = task.hold_out(stream, 0)
    assert line.endswith("are a stream, so none are held out for validation: give --validation_file")
    assert list(stream) == ["train"]


@pytest.mark.parametrize("part", [-0.1, 1, 2])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(ValueError, match=rf"validation_split={part} must lie in \[0, 1\)"):
        TranslationArguments(corpus="en-de", validation_split=part)


def test_a_run_is_evaluated_on_it_and_resumed_with_it(file, tmp_path):
    def training(steps, **options):
        AcceleratorState._reset_state(True)
        arguments = TranslationArguments(train_file=[str(file)], preset="tiny", tokenizer_model="word", vocab_size=200)
        options = {"max_steps": steps, "warmup_steps": 2, "report_to": "none", "cpu_threads": 1, "cpu": True} | options
        config = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
        return Training(TranslationTask(arguments, config), LoopArguments(output_dir=str(tmp_path / "run"), **options))

    first = training(1)
    assert "96 train, 4 validation pairs" in "\n".join(first.summary())
    assert {"validation_loss", "bleu"} <= first.run().metrics.keys()
    resumed = training(2, resume=True)
    assert resumed.task.data["validation"][:] == first.task.data["validation"][:]
    assert resumed.run().step == 2


@pytest.mark.parametrize(("documents", "held_out"), [(30, 0), (60, 3)])
def test_pairs_of_sentences_need_several_documents(tmp_path, documents, held_out):
    path = tmp_path / "documents.txt"
    path.write_text("\n\n".join(f"the house {i}\nthe tree {i}" for i in range(documents)))
    options = {"train_file": [str(path)], "documents": "blank_lines", "next_sentence": True}
    data, told = MaskedLMTask(MaskedLMArguments(**options)).load_data(0)
    assert {split: len(rows) for split, rows in data.items()} == (
        {"train": documents - held_out, "validation": held_out} if held_out else {"train": documents}
    )
    assert ("pairs of sentences would need several" in told[-1]) == (not held_out)
