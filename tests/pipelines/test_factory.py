"""What `pipeline()` accepts, finds by itself, hands on, and refuses."""

import shutil
from pathlib import Path

import pytest
import transformers
from packaging.version import Version
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
)

from triptych.pipelines import pipeline

from .conftest import ENGLISH, word_tokenizer

KNOWS_REMOVED_TASKS = Version(transformers.__version__) >= Version("5.19")


def test_path_string_and_object_are_the_same(checkpoint: Path):
    options = {"max_new_tokens": 6, "num_beams": 2}
    expected = pipeline("translation", checkpoint, **options)("a dog")
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    assert pipeline("translation", str(checkpoint), checkpoint, **options)("a dog") == expected
    assert pipeline("translation", model, tokenizer, **options)("a dog") == expected
    assert pipeline("translation", model, str(checkpoint), **options)("a dog") == expected
    assert pipeline("translation", model, **options)("a dog") == expected


def test_dtype_and_device_reach_the_model(checkpoint: Path):
    pipe = pipeline("translation", checkpoint, dtype="bfloat16", device="cpu")
    assert str(pipe.model.dtype) == "torch.bfloat16"


def test_the_options_of_loading_reach_the_model(checkpoint: Path):
    pipe = pipeline("translation", checkpoint, model_kwargs={"dtype": "bfloat16"}, device="cpu")
    assert str(pipe.model.dtype) == "torch.bfloat16"
    config = AutoConfig.from_pretrained(checkpoint)
    config.label_smoothing = 0.25
    assert pipeline("translation", checkpoint, config=config, device="cpu").model.config.label_smoothing == 0.25
    with pytest.raises(ValueError, match="dtype is given twice"):
        pipeline("translation", checkpoint, dtype="bfloat16", model_kwargs={"dtype": "float32"})


def test_the_files_of_the_configuration_stay_as_they_are(checkpoint: Path):
    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)
    before = model.config.to_dict()
    assert "custom_pipelines" not in vars(pipeline("translation", model).model.config)
    assert model.config.to_dict() == before


def test_a_new_task_is_a_row_and_a_class(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoModel

    from triptych.pipelines.base import TaskPipeline
    from triptych.pipelines.tasks import TASKS, Task

    class Widths(TaskPipeline):
        def _sanitize_parameters(self, **kwargs):
            return {}, {}, {}

        def preprocess(self, text):
            return self.tokenizer(text, return_tensors="pt")

        def _forward(self, inputs):
            return self.model.get_encoder()(**{name: inputs[name] for name in ("input_ids", "attention_mask")})

        def postprocess(self, outputs):
            return outputs.last_hidden_state.shape[-1]

    monkeypatch.setitem(TASKS, "widths", Task(Widths, AutoModel))
    pipe = pipeline("widths", checkpoint)
    assert not pipe.model.can_generate()
    assert pipe(["a dog", "the house"]) == [pipe.model.config.hidden_size] * 2
    with pytest.raises(ValueError, match="'widths' has no target_tokenizer; these have: translation, summarization"):
        pipeline("widths", checkpoint, target_tokenizer=checkpoint)


def test_a_class_of_the_user(checkpoint: Path):
    from triptych.pipelines.translation import TranslationPipeline

    class Loud(TranslationPipeline):
        def postprocess(self, *args, **kwargs):
            return [{"loud": output["translation_text"].upper()} for output in super().postprocess(*args, **kwargs)]

    expected = pipeline("translation", checkpoint, max_new_tokens=4)("a dog")[0]["translation_text"]
    pipe = pipeline("translation", checkpoint, pipeline_class=Loud, max_new_tokens=4)
    assert pipe("a dog") == [{"loud": expected.upper()}]


def test_other_tasks_are_transformers_own(tmp_path: Path):
    tokenizer = word_tokenizer([*ENGLISH, "[MASK]"])
    tokenizer.mask_token = "[MASK]"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes))
    assert len(pipeline("fill-mask", model, tokenizer)("the [MASK] is red .", top_k=3)) == 3
    with pytest.raises(ValueError, match=r"'fill-mask' has no target_tokenizer; .*translation"):
        pipeline("fill-mask", model, tokenizer, tokenizer)


class TestRefusals:
    def test_an_unknown_task(self, checkpoint: Path):
        with pytest.raises(
            ValueError, match=r"unknown task 'translate'; known are: .*fill-mask.*summarization.*translation"
        ):
            pipeline("translate", checkpoint)

    def test_a_task_that_is_not_restored_keeps_transformers_words(self, checkpoint: Path):
        told = "visual-question-answering has been removed" if KNOWS_REMOVED_TASKS else "unknown task 'visual-question"
        with pytest.raises((KeyError, ValueError), match=told):
            pipeline("visual-question-answering", checkpoint)

    @pytest.mark.parametrize("task", ["translation_en_de", "translation_to_de", "translation_"])
    def test_a_malformed_language_pair(self, checkpoint: Path, task: str):
        with pytest.raises(ValueError, match=f"'{task}': languages are named as in 'translation_en_to_de'"):
            pipeline(task, checkpoint)

    def test_no_model(self):
        with pytest.raises(ValueError, match="'summarization' needs model="):
            pipeline("summarization")

    def test_a_decoder(self, tmp_path: Path):
        model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2))
        model.save_pretrained(tmp_path)
        for given in (model, tmp_path):
            with pytest.raises(ValueError, match="needs an encoder-decoder model, but model_type 'gpt2' is not one"):
                pipeline("translation", given, word_tokenizer(ENGLISH))

    def test_a_directory_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(OSError, match="nowhere"):
            pipeline("translation", tmp_path / "nowhere")


class TestTargetTokenizer:
    def test_found_beside_the_model_or_the_tokenizer(self, two_vocabulary_checkpoint: Path, german_tokenizer):
        model = AutoModelForSeq2SeqLM.from_pretrained(two_vocabulary_checkpoint)
        tokenizer = AutoTokenizer.from_pretrained(two_vocabulary_checkpoint)
        for given in (
            [str(two_vocabulary_checkpoint)],
            [model],
            [model, tokenizer],
            [two_vocabulary_checkpoint, tokenizer],
        ):
            pipe = pipeline("translation", *given)
            assert pipe.target_tokenizer.get_vocab() == german_tokenizer.get_vocab()
            assert pipe.tokenizer.get_vocab() == tokenizer.get_vocab()

    def test_given(self, two_vocabulary_checkpoint: Path, german_tokenizer):
        folder = shutil.move(
            two_vocabulary_checkpoint / "target_tokenizer", two_vocabulary_checkpoint.parent / "other"
        )
        for given in (german_tokenizer, Path(folder), str(folder)):
            pipe = pipeline("translation", two_vocabulary_checkpoint, target_tokenizer=given)
            assert pipe.target_tokenizer.get_vocab() == german_tokenizer.get_vocab()

    def test_given_when_the_files_are_gone(self, two_vocabulary_checkpoint: Path, german_tokenizer):
        model = AutoModelForSeq2SeqLM.from_pretrained(two_vocabulary_checkpoint)
        tokenizer = AutoTokenizer.from_pretrained(two_vocabulary_checkpoint)
        shutil.rmtree(two_vocabulary_checkpoint)
        # Before 5.18, the beams of transformers took the source's vocabulary for the target's.
        beams = {} if Version(transformers.__version__) >= Version("5.18") else {"num_beams": 1}
        assert pipeline("translation", model, tokenizer, german_tokenizer, max_new_tokens=4, **beams)("a dog")
        with pytest.raises(ValueError, match="pass target_tokenizer="):
            pipeline("translation", model, tokenizer)

    def test_missing(self, two_vocabulary_checkpoint: Path):
        shutil.rmtree(two_vocabulary_checkpoint / "target_tokenizer")
        with pytest.raises(
            ValueError, match=r"separate target vocabulary.*'target_tokenizer'.*pass target_tokenizer="
        ):
            pipeline("translation", two_vocabulary_checkpoint)
