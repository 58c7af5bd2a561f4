"""What a pipeline takes: columns of every library, streams, blank texts."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers.pipelines.pt_utils import KeyDataset

from triptych.pipelines import pipeline

from .conftest import ARCHITECTURES, talkative

TEXTS = ["the house is red .", "a dog", "is the big cat in the small house ?"]
COLUMNS = {
    "tuple": tuple,
    "numpy": np.array,
    "numpy-objects": lambda texts: np.array(texts, dtype=object),
    "pandas": lambda texts: pd.Series(texts, index=[7, 3, 5]),
    "pandas-strings": lambda texts: pd.Series(texts, dtype="string"),
    "pandas-categories": lambda texts: pd.Series(texts, dtype="category"),
    "pandas-array": lambda texts: pd.array(texts, dtype="string"),
    "pandas-index": pd.Index,
    "pyarrow": pa.array,
    "pyarrow-chunks": lambda texts: pa.chunked_array([texts[:2], texts[2:]]),
    "datasets": lambda texts: Dataset.from_dict({"text": texts})["text"],
    "datasets-numpy": lambda texts: Dataset.from_dict({"text": texts}).with_format("numpy")["text"],
    "keys": lambda texts: dict.fromkeys(texts).keys(),
    "values": lambda texts: dict(enumerate(texts)).values(),
}
STREAMS = {
    "iterator": iter,
    "map": lambda texts: map(str, texts),
    "generator": lambda texts: (text for text in texts),
    "key-data-set": lambda texts: KeyDataset(Dataset.from_dict({"text": texts}), "text"),
    "iterable-column": lambda texts: IterableDataset.from_generator(lambda: ({"text": t} for t in texts))["text"],
}


@pytest.fixture
def pipe(marian_model, tokenizer):
    return pipeline("translation", marian_model, tokenizer, max_new_tokens=6, num_beams=1)


@pytest.mark.parametrize("column", COLUMNS)
def test_columns_are_lists(pipe, column):
    assert pipe(COLUMNS[column](TEXTS), batch_size=2) == pipe(TEXTS)
    assert isinstance(pipe(COLUMNS[column](TEXTS)), list)


@pytest.mark.parametrize("stream", STREAMS)
def test_streams_are_iterators(pipe, stream):
    expected = pipe(TEXTS)
    outputs = pipe(STREAMS[stream](TEXTS), batch_size=2)
    assert next(outputs) == [expected[0]]
    assert list(outputs) == [[output] for output in expected[1:]]
    assert list(pipe(STREAMS[stream](TEXTS))) == [[output] for output in expected]
    with pytest.raises(StopIteration):
        next(pipe(iter([])))


def test_a_data_set_has_a_length(pipe):
    assert len(pipe(STREAMS["key-data-set"](TEXTS))) == 3


def test_single_strings_of_numpy(pipe):
    for text in (np.str_(TEXTS[0]), np.array(TEXTS)[0], np.array(TEXTS[0])):
        assert pipe(text) == pipe(TEXTS[0])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, "takes strings, lists or iterators of them, not None"),
        (3, "not 3"),
        (b"a dog", "not b'a dog'"),
        ({"text": "a dog"}, "not {'text': 'a dog'}"),
        ({"a dog"}, "not {'a dog'}"),
        (["a dog", None], "not None, which is item 1 of the list"),
        (["a dog", ["a cat"]], r"not \['a cat'\], which is item 1"),
        (np.array([["a dog"], ["a cat"]]), r"not \['a dog'\], which is item 0"),
        (np.array([1.5]), "not 1.5, which is item 0"),
        (torch.tensor([1]), "not 1, which is item 0"),
        (pd.Series(["a dog", None]), "not (None|nan), which is item 1"),
        (pd.Series(["a dog", float("nan")]), "not nan, which is item 1"),
        (pd.DataFrame({"text": ["a dog"]}), "not a whole DataFrame: pass one column of it"),
        (pa.table({"text": ["a dog"]}), "not a whole Table: pass one column of it"),
        (Dataset.from_dict({"text": ["a dog"]}), "not a whole Dataset: pass one column of it"),
    ],
)
def test_anything_else_is_refused(pipe, inputs, message):
    with pytest.raises(TypeError, match=message):
        pipe(inputs)


def test_one_argument_only(pipe):
    with pytest.raises(TypeError, match="positional argument"):
        pipe("a dog", "a cat")


class TestBlankTexts:
    BLANK = ("", " ", "\n\t ", "\u3000\xa0")

    @pytest.fixture
    def asked(self, marian_model, monkeypatch):
        """How many rows each call of generate() got."""
        rows, generate = [], marian_model.generate

        def counted(**kwargs):
            rows.append(len(kwargs["input_ids"]))
            return generate(**kwargs)

        monkeypatch.setattr(marian_model, "generate", counted)
        return rows

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 20])
    def test_stay_blank_at_their_place_and_cost_nothing(self, pipe, asked, batch_size):
        texts = ["", *TEXTS[:1], *self.BLANK, *TEXTS[1:], " "]
        outputs = [output["translation_text"] for output in pipe(texts, batch_size=batch_size)]
        assert sum(asked) == len(TEXTS)
        expected = {text: pipe(text)[0]["translation_text"] for text in TEXTS}
        assert all(expected.values())
        assert outputs == [expected.get(text, "") for text in texts]
        assert [output["translation_text"] for [output] in pipe(iter(texts), batch_size=batch_size)] == outputs

    @pytest.mark.parametrize("text", BLANK)
    def test_alone(self, pipe, asked, text):
        assert pipe(text) == [{"translation_text": ""}]
        assert pipe([text, text], batch_size=2) == [{"translation_text": ""}] * 2
        assert asked == []

    def test_with_options(self, pipe, tokenizer):
        options = {"num_beams": 3, "num_return_sequences": 2, "output_scores": True, "return_tensors": True}
        for outputs in (pipe("", **options), pipe(["", "a dog"], batch_size=2, **options)[0]):
            assert len(outputs) == 2
            assert [output["score"] for output in outputs] == [0, 0]
            assert [len(output["translation_token_ids"]) for output in outputs] == [0, 0]
        pipe.model.generation_config.update(num_return_sequences=3, num_beams=3)
        assert pipeline("translation", pipe.model, tokenizer)("") == [{"translation_text": ""}] * 3

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_in_every_task_and_under_a_prefix(self, tokenizer, architecture):
        torch.manual_seed(0)
        model = talkative(ARCHITECTURES[architecture](len(tokenizer)))
        for task, key in (("summarization", "summary_text"), ("text2text-generation", "generated_text")):
            pipe = pipeline(task, model, tokenizer, prefix="the big ", max_new_tokens=4)
            assert pipe(["", "dog"], batch_size=2) == [{key: ""}, pipe("dog")[0]]

    def test_a_tokenizer_that_gives_them_no_tokens(self, pipe):
        pipe.tokenizer.backend_tokenizer.post_processor = None
        assert pipe(["", "a dog", " "], batch_size=3) == [*pipe([""]), *pipe(["a dog"]), *pipe([""])]
