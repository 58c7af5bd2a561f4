"""Finding answers in texts: whole runs, checkpoints of transformers, windows, refused data, and the pipeline."""

import inspect
import json
from pathlib import Path

import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import triptych
from triptych.tokenization import train_tokenizer
from triptych.training import LoopArguments
from triptych.training.tasks.question_answering import QuestionAnsweringArguments, QuestionAnsweringTask
from triptych.training.training import Training

CITIES, WORDS = ("Oslo", "Rome", "New York", "Lima"), ("we", "saw", "the", "red", "ship", "of", "old", "Kim", "near")
LOOP = {"max_steps": 60, "lr_scheduler": "constant", "learning_rate": 1e-2, "warmup_steps": 0, "optimizer": "adam"}
LOOP |= {"report_to": "none", "cpu_threads": 1, "cpu": True, "save_steps": 1000, "evaluation_steps": 1000}
SMALL = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 24}
SILENT = {"dropout": 0.0, "attention_dropout": 0.0}
QUESTION = "Which city did we see?"


def make_row(number, random):
    """The answer is the only city among other words; every fourth context has none."""

    def draw(values):
        return values[int(torch.randint(len(values), (), generator=random))]

    words = [draw(WORDS) for _ in range(4 + number % 20)]
    city = None if number % 4 == 3 else draw(CITIES)
    place = int(torch.randint(len(words), (), generator=random))
    context = " ".join(words if city is None else [*words[:place], city, *words[place:]])
    answers = {"text": [city] if city else [], "answer_start": [context.index(city)] if city else []}
    return {"id": f"q{number}", "question": QUESTION, "context": context, "answers": answers}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(path)]


@pytest.fixture
def data(tmp_path):
    random = torch.Generator().manual_seed(0)
    rows = [make_row(number, random) for number in range(240)]
    parts = {"train": rows[:200], "validation": rows[200:212], "test": rows[212:]}
    return {f"{split}_file": write(tmp_path / f"{split}.jsonl", of_split) for split, of_split in parts.items()}


@pytest.fixture
def training(data):
    def make(output_dir, config=SMALL, loop=None, **options):
        AcceleratorState._reset_state(True)
        options = {"max_tokens": 500, "max_length": 24, "doc_stride": 6, **data, **options}
        if "model" not in options:
            options = {"preset": "tiny-encoder", "tokenizer_model": "wordpiece", "vocab_size": 110} | options
        arguments = QuestionAnsweringArguments(**options)
        loop = LoopArguments(output_dir=str(output_dir), **LOOP | (loop or {}))
        everything = vars(arguments).keys() | vars(loop).keys()  # so that nothing is chosen by the plan
        return Training(QuestionAnsweringTask(arguments, SILENT | (config or {})), loop, everything)

    return make


def rows_of(files):
    return [json.loads(line) for line in Path(files[0]).read_text().splitlines()]


def predictions_of(directory):
    return rows_of([directory / "test_predictions.jsonl"])


def test_a_run_finds_the_answers_and_the_pipeline_finds_the_same(training, data, tmp_path):
    run = training(tmp_path / "run")
    run.run()
    assert run.loop.state.metrics.keys() == {"validation_loss", "exact_match", "f1"}
    scores = run.test()
    assert json.loads((tmp_path / "run/test_metrics.json").read_text()) == scores
    assert scores["f1"] > 85
    assert scores["NoAns_total"] == 7
    assert scores["HasAns_total"] == 21
    rows = rows_of(data["test_file"])
    predictions = predictions_of(tmp_path / "run")
    assert [prediction["id"] for prediction in predictions] == [row["id"] for row in rows]
    right = 0
    for row, prediction in zip(rows, predictions, strict=True):
        start, text = prediction["answer_start"], prediction["prediction_text"]
        assert row["context"][start : start + len(text)] == text  # word for word
        right += text in (row["answers"]["text"] or [""])
    assert scores["exact_match"] == pytest.approx(100 * right / len(rows))

    pipe = triptych.pipeline("question-answering", str(tmp_path / "run"))
    given = [{"question": row["question"], "context": row["context"]} for row in rows]
    for batch_size in (1, 5):
        found = pipe(given, batch_size=batch_size)
        assert [(answer["answer"], answer["start"]) for answer in found] == [
            (prediction["prediction_text"], prediction["answer_start"]) for prediction in predictions
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "config"),
    [("tiny-decoder", SMALL), ("tiny", {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1})],
)
def test_the_other_families(training, tmp_path, preset, config):
    run = training(tmp_path / "run", config, preset=preset, tokenizer_model="word", vocab_size=60)
    first = run.loop.evaluation()["validation_loss"]
    assert run.run().metrics["validation_loss"] < first - 0.5
    run.test()
    [row] = [make_row(4, torch.Generator().manual_seed(5))]
    pipe = triptych.pipeline("question-answering", str(tmp_path / "run"))
    both = pipe([{"question": QUESTION, "context": row["context"]}] * 2, batch_size=2)
    assert both[0] == pytest.approx(pipe(question=QUESTION, context=row["context"]))


def test_a_public_dataset_file_is_read_as_it_is(training, data, tmp_path):
    rows = rows_of(data["train_file"])
    paragraphs = []
    for row in rows:
        answers = [
            {"text": t, "answer_start": s}
            for t, s in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        ]
        qa = {"id": row["id"], "question": row["question"], "answers": answers, "is_impossible": not answers}
        paragraphs.append({"context": row["context"], "qas": [qa]})
    path = tmp_path / "train-v2.0.json"
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "Cities", "paragraphs": paragraphs}]}))
    task = training(tmp_path / "run", train_file=[str(path)]).task
    assert task.data["train"][:] == training(tmp_path / "run").task.data["train"][:]


# ---- the loss, against transformers and however an update is cut ----------------------------------------

SIZES = {"vocab_size": 110, "pad_token_id": 0}
BERT = {**SMALL, **SIZES, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PUBLISHED = {
    "bert": transformers.BertConfig(**BERT),
    "roberta": transformers.RobertaConfig(**BERT, max_position_embeddings=40),
    "distilbert": transformers.DistilBertConfig(
        **SIZES, dim=16, n_layers=1, n_heads=2, hidden_dim=24, dropout=0.0, attention_dropout=0.0, qa_dropout=0.0
    ),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "bert" else [pytest.mark.slow]) for kind in PUBLISHED]
)
def test_the_losses_are_those_of_transformers_own_class(training, data, tmp_path, kind):
    """transformers includes padding in the softmax, so its class is given one length at a time."""
    torch.manual_seed(0)
    transformers.AutoModelForQuestionAnswering.from_config(PUBLISHED[kind]).save_pretrained(tmp_path / "hf")
    texts = [QUESTION] * 200 + [*(row["context"] for row in rows_of(data["train_file"]))]
    train_tokenizer(texts, "wordpiece", 110, "encoder").save_pretrained(tmp_path / "hf")
    run = training(tmp_path / "run", {}, loop={"max_steps": 5, "logging_steps": 1}, model=str(tmp_path / "hf"))
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "hf").train()
    optimizer = torch.optim.Adam(theirs.parameters(), lr=LOOP["learning_rate"], betas=(0.9, 0.98), eps=1e-9)
    accepted = inspect.signature(theirs.forward).parameters
    losses, run_batches = [], run.train_batches
    run_batches.set_epoch(0)
    for _, [piece] in zip(range(5), run_batches.updates(), strict=False):
        optimizer.zero_grad()
        total = 0.0
        for row in range(len(piece["input_ids"])):
            length = int(piece["attention_mask"][row].sum())
            inputs = {name: t[row : row + 1, :length] for name, t in piece.items() if t.ndim == 2 and name in accepted}
            ends = {name: piece[name][row : row + 1] for name in ("start_positions", "end_positions")}
            loss = theirs(**inputs, **ends).loss / len(piece["input_ids"])
            loss.backward()
            total += loss.item()
        optimizer.step()
        losses.append(total)
    run.run()
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [record["loss"] for record in records if "loss" in record] == pytest.approx(losses, abs=2e-5)


def first_gradients(run):
    """The gradients of the first update, and its loss."""
    found = {}

    def keep(*_):
        found.update({name: p.grad.clone() for name, p in run.task.model.named_parameters()})
        raise InterruptedError

    run.loop.optimizer.optimizer.register_step_pre_hook(keep)
    with pytest.raises(InterruptedError):
        run.run()
    return found, run.loop.measurements


def test_accumulation_gives_the_gradients_of_one_batch(training, tmp_path):
    whole, _ = first_gradients(training(tmp_path / "one"))
    pieces, _ = first_gradients(training(tmp_path / "three", loop={"gradient_accumulation_steps": 3}))
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, atol=1e-6, rtol=0)


def test_a_resumed_run_equals_an_unbroken_one(training, tmp_path):
    loop, config = {"save_steps": 4, "max_steps": 8}, {**SMALL, "dropout": 0.1}
    training(tmp_path / "unbroken", config, loop).run()
    training(tmp_path / "parts", config, loop | {"max_steps": 4}).run()
    training(tmp_path / "parts", config, loop | {"resume": True}).run()
    unbroken, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "parts"))
    assert all(torch.equal(parts[name], tensor) for name, tensor in unbroken.items())
    with pytest.raises(ValueError, match=r"data\.doc_stride was 6, now 5"):
        training(tmp_path / "parts", config, loop | {"resume": True}, doc_stride=5).run()


# ---- options and refusals --------------------------------------------------------------------------------


def test_questions_that_all_have_answers_are_all_answered(training, data, tmp_path):
    answered = [row for row in rows_of(data["train_file"]) if row["answers"]["text"]]
    for row in answered:
        del row["id"]
    files = {f"{split}_file": write(tmp_path / f"answered-{split}.jsonl", answered[:9]) for split in ("train", "test")}
    run = training(tmp_path / "run", loop={"max_steps": 1}, validation_file=None, **files)
    run.run()
    assert run.test().keys() == {"exact_match", "f1"}
    predictions = predictions_of(tmp_path / "run")
    assert all(prediction["prediction_text"] for prediction in predictions)
    assert [prediction["id"] for prediction in predictions] == [str(number) for number in range(1, 10)]
    never = training(tmp_path / "never", loop={"max_steps": 1}, null_score_threshold=-1e9, validation_file=None)
    never.run()
    assert never.test()["NoAns_exact"] == 100
    assert not any(prediction["prediction_text"] for prediction in predictions_of(tmp_path / "never"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer_start": [3]}, r"line 2: the answer 'Oslo' does not stand in the context at answer_start=3"),
        ({"answer_start": []}, r"line 2: 'answers' has 1 text, but 0 numbers answer_start"),
        ({"text": [7]}, r"line 2: 'answers' is 7, not text"),
    ],
)
def test_wrong_answers_are_refused_with_their_line(training, tmp_path, change, message):
    row = {"question": QUESTION, "context": "we saw Oslo", "answers": {"text": ["Oslo"], "answer_start": [7]}}
    wrong = row | {"answers": row["answers"] | change}
    with pytest.raises(ValueError, match=message):
        training(tmp_path / "run", train_file=write(tmp_path / "wrong.jsonl", [row, wrong]))
    assert not (tmp_path / "run").exists()


def test_misplaced_answers_can_be_left_out(training, tmp_path):
    row = {"question": QUESTION, "context": "we saw Oslo", "answers": {"text": ["Oslo"], "answer_start": [7]}}
    wrong = row | {"answers": {"text": ["Oslo"], "answer_start": [1]}}
    files = {"validation_file": None, "test_file": None, "misplaced": "drop"}
    run = training(tmp_path / "run", train_file=write(tmp_path / "wrong.jsonl", [wrong, row, row]), **files)
    assert "train: misplaced answers left out: 1 of 3" in "\n".join(run.summary())
    assert len(run.task.data["train"]) == 2
    with pytest.raises(ValueError, match="train: no answer stands in its context"):
        training(tmp_path / "run", train_file=write(tmp_path / "wrong.jsonl", [wrong]), **files)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 65}, "max_length=65 is greater than the 64 positions of the model"),
        ({"max_length": 8, "doc_stride": 2}, r"train data: row 1: the question has \d+ tokens"),
        ({"doc_stride": -1}, "doc_stride=-1 must be at least 0"),
        ({"null_score_threshold": float("nan")}, "null_score_threshold=nan must be finite"),
        ({"max_answer_length": 0}, "max_answer_length=0 must be at least 1"),
    ],
)
def test_options_out_of_range(training, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        training(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
