"""Pipelines travel with a model: `transformers.pipeline` does the removed tasks where the package is not installed."""

import json
import shutil
from pathlib import Path

import pytest
import transformers

import triptych
from tiny import make_model, word_tokenizer
from triptych.configuration.travel import TRAVELLING_TASKS
from triptych.hub import code_files
from triptych.pipelines.tasks import TASKS

from .test_travelling_code import run_without_package

WORDS = ["the", "a", "house", "dog", "is", "was", "red", "big", "and", "."]
TEXTS = ["the house is red .", "", "the dog was big . the house is red . a dog is red and a house is big . the dog ."]
QUESTION = {"question": "is the dog red", "context": "the dog is big . the house is red and a dog was in the house ."}
READERS = [name for name in triptych.__all__ if name.endswith("QuestionAnswering")]
POSITIONS = 16


def translator(**fields):
    return make_model(
        "encoder_decoder", vocab_size=len(word_tokenizer(WORDS)), positions="learned",
        max_position_embeddings=POSITIONS, **fields,
    )  # fmt: skip


def saved(model, directory: Path, target_words: list[str] | None = None) -> Path:
    model.save_pretrained(directory)
    word_tokenizer(WORDS).save_pretrained(directory)
    if target_words is not None:
        word_tokenizer(target_words).save_pretrained(directory / "target_tokenizer")
    return directory


def check(cases: list[tuple[str, Path]], directory: Path) -> None:
    """The outputs of each task and model without the package are those with it."""
    entries = []
    for task, place in cases:
        is_reader = task == "question-answering"
        options = {"max_answer_len": 5} if is_reader else {"max_new_tokens": 4, "num_beams": 2, "split": True}
        inputs = [QUESTION, QUESTION | {"question": "the house"}] if is_reader else TEXTS
        entries.append({"task": task, "directory": str(place), "inputs": inputs, "options": options})
    run_without_package({"pipelines": entries}, directory)
    for entry in entries:
        expected = triptych.pipeline(entry["task"], entry["directory"])(
            entry["inputs"], batch_size=2, **entry["options"]
        )
        for output in ("outputs", "outputs_again"):
            found = json.loads(Path(entry["directory"], f"{output}-{entry['task']}.json").read_text())
            assert [{k: v for k, v in f.items() if k != "score"} for f in found] == [
                {k: v for k, v in e.items() if k != "score"} for e in expected
            ]
            assert [f.get("score") for f in found] == pytest.approx([e.get("score") for e in expected])


@pytest.mark.slow
def test_every_task_without_the_package(tmp_path):
    target = [*WORDS[::-1], "other", "words"]
    fields = {"decoder_vocab_size": len(word_tokenizer(target)), "share_encoder_decoder_embeddings": False}
    cases = [("translation", saved(translator(**fields), tmp_path / "two", target))]
    one = saved(translator(), tmp_path / "one")
    cases += [(task, one) for task in TRAVELLING_TASKS if task != "question-answering"]
    for name in READERS:
        reader = make_model(name, vocab_size=len(word_tokenizer(WORDS)), std=0.5)
        cases.append(("question-answering", saved(reader, tmp_path / name)))
    check(cases, tmp_path)


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Where transformers copies code to that it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


def test_where_the_package_is_imported_its_own_pipelines_are_used(tmp_path, modules):
    place = saved(translator(), tmp_path / "model")
    for name in code_files():
        (place / name).write_text("raise SystemExit('this code was run')")
    options = {"max_new_tokens": 4, "num_beams": 2}
    pipe = transformers.pipeline("translation", model=str(place), trust_remote_code=True)
    assert type(pipe) is TASKS["translation"].pipeline_class
    assert pipe("the dog", **options) == triptych.pipeline("translation", place)("the dog", **options)
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        transformers.pipeline("translation", model=str(place))
    pipe.save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["custom_pipelines"]["translation"]["impl"] == "pipelines_triptych.TranslationPipeline"
    json.loads(pipe.model.config.to_json_string())


def test_each_class_has_its_tasks(tmp_path):
    found = {}
    for name in [*READERS, "TriptychForConditionalGeneration", "TriptychModel", "TriptychEncoderForMaskedLM"]:
        make_model(name).save_pretrained(tmp_path / name)
        entries = json.loads((tmp_path / name / "config.json").read_text()).get("custom_pipelines", {})
        found[name] = {*entries}
        for task, entry in entries.items():
            assert entry["pt"] == [TASKS[task].auto_class.__name__]
    written = {"translation", "summarization", "text2text-generation"}
    expected = {"TriptychForConditionalGeneration": written} | {name: {"question-answering"} for name in READERS}
    assert {name: tasks for name, tasks in found.items() if tasks} == expected


def test_without_code_there_are_no_pipelines(tmp_path):
    model = translator()
    model.save_pretrained(tmp_path, code=False)
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    triptych.TriptychForConditionalGeneration.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert "custom_pipelines" in json.loads((tmp_path / "config.json").read_text())


def test_the_pipelines_of_somebody_else_keep_their_place(tmp_path):
    model = translator()
    theirs = {"impl": "mine.Pipe", "pt": ["AutoModelForSeq2SeqLM"], "type": "text"}
    model.config.custom_pipelines = {"mine": theirs, "translation": {**theirs, "impl": "a/b--mine.Translation"}}
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]
    assert written["mine"] == theirs
    assert written["translation"]["impl"] == "a/b--mine.Translation"
    assert written["summarization"]["impl"] == "pipelines_triptych.SummarizationPipeline"
    again = triptych.TriptychConfig.from_pretrained(tmp_path)
    assert again.custom_pipelines["mine"] == theirs
    shutil.rmtree(tmp_path)
    again.save_pretrained(tmp_path, code=False)
    assert {*json.loads((tmp_path / "config.json").read_text())["custom_pipelines"]} == {"mine", "translation"}


@pytest.mark.parametrize("value", [7, ["translation"], {"translation": 7}, {"translation": None}])
def test_a_file_with_something_else_is_refused(tmp_path, value):
    make_model("encoder").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"custom_pipelines": value}))
    with pytest.raises(ValueError, match=r"custom_pipelines=.* must be an object with an object for each task"):
        triptych.TriptychEncoderConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("architectures", [None, [], ["Other"]])
def test_what_a_file_says_of_classes_gives_no_wrong_tasks(architectures):
    config = triptych.TriptychConfig.from_preset("tiny")
    config.architectures = architectures
    assert config.custom_pipelines == {}
