"""`restore()`: transformers' own `pipeline` does the tasks that it removed, only after the call."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from transformers import pipelines

import triptych
from tiny import make_model
from triptych.pipelines import restore, withdraw
from triptych.pipelines.tasks import TASKS

from .conftest import talkative
from .conftest import triptych as encoder_decoder

OPTIONS = {"max_new_tokens": 4, "num_beams": 2}


@pytest.fixture
def restored():
    restore()
    yield
    withdraw()


def state():
    registry = pipelines.PIPELINE_REGISTRY
    return {**getattr(pipelines, "REMOVED_TASKS", {})}, {**registry.supported_tasks}, "check_task" in vars(registry)


def test_a_bare_import_patches_nothing_and_a_call_does(marian_model, tokenizer, tmp_path: Path):
    checkpoint = tmp_path / "marian"
    marian_model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    program = (
        "import sys, transformers; from transformers import pipelines as p\n"
        "removed, tasks = {**getattr(p, 'REMOVED_TASKS', {})}, {**p.PIPELINE_REGISTRY.supported_tasks}\n"
        "import triptych\n"
        f"triptych.pipeline('translation', {str(checkpoint)!r})\n"
        "assert removed == getattr(p, 'REMOVED_TASKS', {}) and tasks == p.PIPELINE_REGISTRY.supported_tasks\n"
        "assert 'check_task' not in vars(p.PIPELINE_REGISTRY)\n"
        "triptych.pipelines.restore()\n"
        f"print(transformers.pipeline('translation', {str(checkpoint)!r})('a dog', max_new_tokens=4, num_beams=2))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = triptych.pipeline("translation", checkpoint, **OPTIONS)("a dog")
    assert done.stdout.strip().endswith(str(expected))


def test_every_task_of_every_model(checkpoint: Path, restored):
    for task in ("translation", "translation_en_to_de", "summarization", "text2text-generation"):
        found = transformers.pipeline(task, model=str(checkpoint), **OPTIONS)
        assert type(found) is TASKS["translation" if task.startswith("translation") else task].pipeline_class
        assert found.task == task
        assert found(["a dog", "the house"]) == triptych.pipeline(task, checkpoint, **OPTIONS)(["a dog", "the house"])


def test_question_answering(tokenizer, restored):
    model = make_model("TriptychEncoderForQuestionAnswering", std=0.5)
    pipe = transformers.pipeline("question-answering", model=model, tokenizer=tokenizer)
    both = {"question": "is the dog red ?", "context": "the dog is big and the house is red ."}
    assert pipe(both) == triptych.pipeline("question-answering", model, tokenizer)(both)


def test_separate_vocabularies(two_vocabulary_checkpoint: Path, restored):
    found = transformers.pipeline("translation", model=str(two_vocabulary_checkpoint), **OPTIONS)
    assert found("a dog") == triptych.pipeline("translation", two_vocabulary_checkpoint, **OPTIONS)("a dog")
    assert found.target_tokenizer.get_vocab() != found.tokenizer.get_vocab()


def test_our_models_need_no_trust_then(tokenizer, tmp_path: Path, restored):
    talkative(encoder_decoder(len(tokenizer))).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert transformers.pipeline("translation", model=str(tmp_path), **OPTIONS)("a dog")


def test_the_default_models_are_those_of_version_4(restored):
    check = pipelines.PIPELINE_REGISTRY.check_task
    found = {task: check(task) for task in (*TASKS, "translation_en_to_de")}
    names = {task: pipelines.base.get_default_model_and_revision(*found[task][1:])[0] for task in found if "_" in task}
    assert names == {"translation_en_to_de": "google-t5/t5-base"}
    assert found["summarization"][1]["default"]["model"][0] == "sshleifer/distilbart-cnn-12-6"
    with pytest.raises(ValueError, match="does not provide any default models for options"):
        pipelines.base.get_default_model_and_revision(*check("translation_de_to_en")[1:])


def test_twice_is_once_and_withdraw_takes_all_back():
    first = state()
    withdraw()
    assert state() == first
    restore()
    second = state()
    restore()
    assert state() == second != first
    assert [*pipelines.get_supported_tasks()].count("translation") == 1
    withdraw()
    assert state() == first
    with pytest.raises(KeyError, match="translation"):
        pipelines.check_task("translation")


def test_malformed_and_unknown_tasks(restored):
    with pytest.raises(ValueError, match="languages are named as in 'translation_en_to_de'"):
        transformers.pipeline("translation_en_de")
    with pytest.raises(KeyError, match="Unknown task translate"):
        transformers.pipeline("translate")
