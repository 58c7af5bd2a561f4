"""What a text-to-text pipeline returns, for inputs of every kind and for options from every place."""

import types
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tokenizers.normalizers import Replace
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.pipelines.pt_utils import KeyDataset

from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.pipelines import pipeline

from .conftest import t5, talkative, triptych

TEXTS = ["the house is red .", "a dog", "is the big cat in the small house or on the house ?"]


def generated(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, text: str, **options: object) -> list[str]:
    """What the pipeline must return, from the model itself."""
    options = {"max_new_tokens": 8, "num_beams": 1, **options}
    output_ids = model.generate(**tokenizer(text, return_tensors="pt"), **options)
    return tokenizer.batch_decode(output_ids, skip_special_tokens=True)


def test_a_string_gives_a_list_of_one(model, tokenizer):
    pipe = pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8, num_beams=1)
    (expected,) = generated(model, tokenizer, TEXTS[0])
    assert pipe(TEXTS[0]) == [{"translation_text": expected}]
    assert expected  # a model that says nothing would prove nothing


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_batch_says_what_its_members_say_alone(model, tokenizer, batch_size, num_beams):
    pipe = pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8, num_beams=num_beams)
    expected = [generated(model, tokenizer, text, num_beams=num_beams)[0] for text in TEXTS]
    assert [output["translation_text"] for output in pipe(TEXTS, batch_size=batch_size)] == expected
    assert len(set(expected)) > 1


def test_iterators_and_data_sets_stream(marian_model, tokenizer):
    pipe = pipeline("translation", model=marian_model, tokenizer=tokenizer, max_new_tokens=8, batch_size=2)
    expected = pipe(TEXTS)
    dataset = Dataset.from_dict({"source": TEXTS})
    asked = []

    def questions():
        for text in TEXTS * 10:
            asked.append(text)
            yield text

    assert next(iter(pipe(questions()))) == [expected[0]]
    assert len(asked) < 10
    for inputs in (
        types.MappingProxyType(dict.fromkeys(TEXTS)).__iter__(),
        map(str, TEXTS),
        KeyDataset(dataset, "source"),
    ):
        assert list(pipe(inputs)) == [[output] for output in expected]
    assert pipe(dataset["source"]) == pipe(tuple(TEXTS)) == expected
    assert pipe([]) == []


def test_num_return_sequences(model, tokenizer):
    pipe = pipeline("translation", model=model, tokenizer=tokenizer, max_new_tokens=8)
    options = {"num_beams": 4, "num_return_sequences": 3}
    expected = [generated(model, tokenizer, text, **options) for text in TEXTS]
    outputs = pipe(TEXTS, batch_size=2, **options)
    assert [[sequence["translation_text"] for sequence in output] for output in outputs] == expected
    assert [sequence["translation_text"] for sequence in pipe(TEXTS[0], **options)] == expected[0]


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("translation", "translation_text"),
        ("translation_en_to_de", "translation_text"),
        ("summarization", "summary_text"),
        ("text2text-generation", "generated_text"),
    ],
)
def test_the_keys_of_version_4(marian_model, tokenizer, task, key):
    pipe = pipeline(task, model=marian_model, tokenizer=tokenizer, max_new_tokens=4)
    assert pipe.task == task
    assert [list(output) for output in pipe(TEXTS)] == [[key]] * 3
    (ids,) = pipe(TEXTS[0], return_tensors=True)
    assert isinstance(ids[key.replace("_text", "_token_ids")], torch.Tensor)


class TestOptions:
    """The stronger place wins: call, pipeline(), generation_config, task_specific_params, defaults."""

    def length(self, pipe, **options):
        # min_new_tokens holds the end back, so that the length is what the options say.
        ids = pipe(TEXTS[0], return_tensors=True, **options)[0]["translation_token_ids"]
        return len(ids) - 1  # without the start token

    def test_call_over_init_over_generation_config(self, marian_model, tokenizer):
        marian_model.generation_config.update(max_new_tokens=3, min_new_tokens=3)
        pipe = pipeline("translation", model=marian_model, tokenizer=tokenizer)
        assert self.length(pipe) == 3
        pipe = pipeline("translation", model=marian_model, tokenizer=tokenizer, max_new_tokens=5, min_new_tokens=5)
        assert self.length(pipe) == 5
        assert self.length(pipe, max_new_tokens=7, min_new_tokens=7) == 7
        assert self.length(pipe) == 5

    def test_generation_config_object(self, marian_model, tokenizer):
        pipe = pipeline("translation", model=marian_model, tokenizer=tokenizer)
        config = GenerationConfig(max_new_tokens=6, min_new_tokens=6, eos_token_id=3, decoder_start_token_id=2)
        assert self.length(pipe, generation_config=config) == 6

    def test_the_default_length_stays_within_the_positions(self, marian_model, tokenizer):
        pipe = pipeline("translation", model=marian_model, tokenizer=tokenizer)
        assert self.length(pipe, min_new_tokens=15) == 15  # 256 would need more positions than the 16 there are

    def test_task_specific_params(self, marian_model, tokenizer):
        """As T5's checkpoints have them: a prefix and options for one task, weaker than everything else."""
        marian_model.config.task_specific_params = {
            "translation_en_to_de": {"prefix": "the big ", "num_beams": 1, "max_length": 5}
        }
        pipe = pipeline("translation_en_to_de", model=marian_model, tokenizer=tokenizer)
        assert self.length(pipe, min_length=5) == 4
        plain = pipeline("translation", model=marian_model, tokenizer=tokenizer, max_length=5, num_beams=1)
        assert pipe("house")[0] == plain("the big house")[0]
        assert pipe("house", prefix="")[0] == plain("house")[0]
        assert marian_model.config.task_specific_params["translation_en_to_de"]["prefix"] == "the big "

    def test_the_model_is_left_as_it_was(self, marian_model, tokenizer):
        before = marian_model.config.to_dict(), marian_model.generation_config.to_dict()
        pipeline("translation", model=marian_model, tokenizer=tokenizer, num_beams=2, max_new_tokens=4)(TEXTS)
        assert (marian_model.config.to_dict(), marian_model.generation_config.to_dict()) == before


class TestThePapersOptions:
    """Section 6.1: a length penalty, and outputs of at most the source's length and some more."""

    @pytest.fixture
    def pipe(self, tokenizer):
        torch.manual_seed(0)
        return pipeline("translation", model=talkative(triptych(len(tokenizer))), tokenizer=tokenizer)

    def test_in_a_call_and_in_the_generation_config(self, pipe, tokenizer):
        options = {"num_beams": 4, "gnmt_length_penalty": 0.6, "max_length_beyond_source": 3}
        expected = [generated(pipe.model, tokenizer, text, max_new_tokens=None, **options)[0] for text in TEXTS]
        assert [output["translation_text"] for output in pipe(TEXTS, batch_size=3, **options)] == expected
        for name, value in options.items():
            setattr(pipe.model.generation_config, name, value)
        assert [output["translation_text"] for output in pipe(TEXTS, batch_size=3)] == expected

    def test_the_length_of_each_output_follows_its_own_source(self, pipe, tokenizer):
        options = {"num_beams": 1, "max_length_beyond_source": 2, "suppress_tokens": [0, 1, 2, tokenizer.eos_token_id]}
        outputs = pipe(TEXTS, batch_size=3, return_tensors=True, **options)
        lengths = [int((output["translation_token_ids"] != tokenizer.pad_token_id).sum()) - 1 for output in outputs]
        assert lengths == [len(tokenizer(text).input_ids) + 2 for text in TEXTS]


class TestBadInput:
    @pytest.fixture
    def pipe(self, marian_model, tokenizer):
        return pipeline("translation", model=marian_model, tokenizer=tokenizer, max_new_tokens=4)

    def test_an_input_longer_than_the_model(self, pipe):
        long = "the house " * 10
        with pytest.raises(ValueError, match=r"21 tokens.* 16 positions.*split=True.*truncation=True"):
            pipe(long, split=False)
        with pytest.raises(ValueError, match="21 tokens"):
            pipe(["a dog", long], batch_size=2, split=False)
        # 15 words and the end fill the 16 positions
        assert pipe(long, truncation=True) == pipe("the house " * 7 + "the")

    def test_no_positions_no_limit(self, tokenizer):
        pipe = pipeline("translation", model=t5(len(tokenizer)).eval(), tokenizer=tokenizer, max_new_tokens=4)
        assert pipe("the house " * 100)

    @pytest.mark.parametrize("positions", ["none", "sinusoidal", "rotary", "relative"])
    def test_learned_positions_alone_are_a_limit(self, tokenizer, positions):
        def translator(**fields):
            sizes = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
            config = TriptychConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=8, **fields)
            return pipeline("translation", model=TriptychForConditionalGeneration(config), tokenizer=tokenizer)

        long, options = "the house " * 30, {"num_beams": 1, "suppress_tokens": [tokenizer.eos_token_id]}
        pipe = translator(positions=positions)
        (ids,) = pipe(long, split=False, return_tensors=True, max_new_tokens=20, **options)
        assert len(ids["translation_token_ids"]) == 21
        assert len(pipe.pieces(long)) == 9  # of seven words and the end
        with pytest.raises(ValueError, match=r"61 tokens.* 8 positions"):
            translator(positions="learned")(long, split=False)
        overrides = {"positions": "learned", "max_position_embeddings": 6}
        (ids,) = translator(positions=positions, decoder_overrides=overrides)(
            long, split=False, return_tensors=True, **options
        )
        assert len(ids["translation_token_ids"]) == 6

    def test_a_lone_surrogate_and_no_sequences(self, pipe):
        with pytest.raises(ValueError, match=r"the input 'a \\ud800' has a lone surrogate"):
            pipe(["a dog", "a \ud800"])
        with pytest.raises(ValueError, match="num_return_sequences=0 must be at least 1"):
            pipe("a dog", num_return_sequences=0)

    def test_not_a_string(self, pipe):
        with pytest.raises(TypeError, match=r"takes strings.*not 3"):
            pipe(["a dog", 3])

    def test_no_tokens(self, pipe):
        pipe.tokenizer.backend_tokenizer.post_processor = None
        pipe.tokenizer.backend_tokenizer.normalizer = Replace("dog", "")
        with pytest.raises(ValueError, match="'dog' has no tokens"):
            pipe("dog")

    def test_a_tokenizer_of_another_model(self, marian_model, german_tokenizer):
        german_tokenizer.add_tokens([f"w{i}" for i in range(20)])
        pipe = pipeline("translation", model=marian_model, tokenizer=german_tokenizer)
        with pytest.raises(ValueError, match=r"id 38 .*vocabulary has 20 tokens"):
            pipe("das w19")

    def test_an_unknown_generation_option(self, pipe):
        with pytest.raises(ValueError, match="num_beems"):
            pipe("a dog", num_beems=3)

    def test_languages_for_a_tokenizer_without(self, pipe):
        with pytest.raises(ValueError, match="src_lang and tgt_lang need a tokenizer with language codes"):
            pipe("a dog", src_lang="en", tgt_lang="de")


class TestSaving:
    def test_model_and_pipeline_save_afterwards(self, checkpoint: Path, tmp_path: Path):
        pipe = pipeline("translation", model=checkpoint, max_new_tokens=8, convert=False)
        expected = pipe(TEXTS)
        pipe.save_pretrained(tmp_path / "pipe")
        pipe.model.save_pretrained(tmp_path / "model")
        config = (checkpoint / "config.json").read_text()
        for directory in ("pipe", "model"):
            assert (tmp_path / directory / "config.json").read_text() == config
        assert pipeline("translation", model=str(tmp_path / "pipe"), max_new_tokens=8)(TEXTS) == expected

    def test_a_model_object_saves_afterwards(self, checkpoint: Path, tmp_path: Path):
        model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint)
        pipeline("translation", model=model, max_new_tokens=8)("a dog")  # the tokenizer is found beside the model
        model.save_pretrained(tmp_path / "again")
        assert (tmp_path / "again" / "config.json").read_text() == (checkpoint / "config.json").read_text()

    def test_separate_vocabularies(self, two_vocabulary_checkpoint: Path, german_tokenizer, tmp_path: Path):
        pipe = pipeline("translation", model=two_vocabulary_checkpoint, max_new_tokens=8, num_beams=1)
        ids = pipe(TEXTS, return_tensors=True)
        expected = [german_tokenizer.decode(i["translation_token_ids"], skip_special_tokens=True) for i in ids]
        assert [output["translation_text"] for output in pipe(TEXTS)] == expected
        assert any(expected)
        pipe.save_pretrained(tmp_path / "again")
        assert pipeline("translation", model=tmp_path / "again", max_new_tokens=8, num_beams=1)(TEXTS) == pipe(TEXTS)
