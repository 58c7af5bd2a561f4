"""The pipeline question-answering: inputs, options, windows, and models of transformers."""

import pytest
import torch
import transformers
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace

import triptych
from tiny import make_model, word_tokenizer
from triptych.tokenization import train_tokenizer

QUESTION = "where is Kim"
CONTEXT = "Kim is in Oslo and Max is in the old town of Bergen"
LONG = " . ".join([CONTEXT] * 4)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([QUESTION, CONTEXT, "."] * 3, "word", 60, "encoder")


@pytest.fixture
def model():
    return make_model("TriptychEncoderForQuestionAnswering", std=0.5)


@pytest.fixture
def pipe(model, tokenizer):
    return triptych.pipeline("question-answering", model, tokenizer, max_seq_len=16, doc_stride=4)


def test_inputs_in_all_forms_give_the_same(pipe):
    one = pipe(question=QUESTION, context=CONTEXT)
    assert one.keys() == {"score", "start", "end", "answer"}
    assert CONTEXT[one["start"] : one["end"]] == one["answer"] != ""
    assert 0 < one["score"] < 1
    both = {"question": QUESTION, "context": CONTEXT}
    assert pipe(both) == one
    assert pipe([both, both]) == [one, one]
    assert pipe(question=[QUESTION] * 2, context=CONTEXT) == [one, one]
    assert list(pipe(both for _ in range(2))) == [one, one]
    assert pipe(QUESTION, CONTEXT) == one
    assert pipe(both, both) == pipe((both, both)) == [one, one]
    rows = pipe(Dataset.from_list([both, both]), batch_size=2)
    assert len(rows) == 2
    assert [row["answer"] for row in rows] == [one["answer"]] * 2
    assert pipe([]) == []


def test_batches_of_windows_change_nothing(pipe):
    inputs = [
        {"question": QUESTION, "context": context} for context in (CONTEXT, LONG, "Oslo", CONTEXT + " in the end")
    ]
    single = pipe(inputs)
    for batch_size in (2, 7):
        for found, expected in zip(pipe(inputs, batch_size=batch_size), single, strict=True):
            assert found == pytest.approx(expected, abs=1e-5)


def test_all_windows_are_searched(pipe, model, tokenizer):
    """By brute force over the logits of the whole context, where all of it fits into one window of a lenient model."""
    wide = triptych.pipeline("question-answering", model, tokenizer, max_seq_len=64)
    [best, *others] = wide(question=QUESTION, context=CONTEXT, top_k=5, max_answer_len=3)
    assert len(others) == 4
    assert sorted((a["score"] for a in [best, *others]), reverse=True) == [a["score"] for a in [best, *others]]
    inputs = tokenizer(QUESTION, CONTEXT, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    positions = [number for number, of in enumerate(inputs.sequence_ids(0)) if of == 1]
    sums = {
        (first, last): (outputs.start_logits[0, first] + outputs.end_logits[0, last]).item()
        for place, first in enumerate(positions)
        for last in positions[place : place + 3]
    }
    first, last = max(sums, key=sums.get)
    begin, end = inputs.token_to_chars(first).start, inputs.token_to_chars(last).end
    assert best["answer"] == CONTEXT[begin:end].strip()
    assert begin <= best["start"] < best["end"] <= end


def test_no_answer_is_one_of_the_answers_where_it_may_be(pipe, model):
    both = {"question": QUESTION, "context": CONTEXT}
    assert all(answer["answer"] for answer in pipe(both, top_k=50))
    with_none = pipe(both, top_k=200, handle_impossible_answer=True)
    assert sum(not answer["answer"] for answer in with_none) == 1
    assert pipe(both, handle_impossible_answer=True, null_score_threshold=-1e9)["answer"] == ""
    assert pipe(both, handle_impossible_answer=True, null_score_threshold=1e9)["answer"] != ""
    model.config.task_specific_params = {"question-answering": {"null_score_threshold": -1e9}}
    assert pipe(both) == {"answer": "", "start": 0, "end": 0, "score": pytest.approx(pipe(both)["score"])}
    assert pipe(both, handle_impossible_answer=False)["answer"] != ""


class TestWholeWords:
    """With tokens of one character, an answer of the model alone begins and ends inside a word."""

    @pytest.fixture
    def letters(self, tokenizer):
        characters = sorted({*QUESTION, *CONTEXT} - {" "})
        vocabulary = ["<pad>", "<unk>", "<s>", "</s>", *characters, *(f"##{each}" for each in characters)]
        backend = Tokenizer(WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="<unk>"))
        backend.pre_tokenizer, backend.post_processor = Whitespace(), tokenizer.backend_tokenizer.post_processor
        roles = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
        return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **roles)

    def test_are_the_default_as_in_version_4(self, letters):
        model = make_model("TriptychEncoderForQuestionAnswering", std=0.5, max_position_embeddings=256)
        pipe = triptych.pipeline("question-answering", model, letters, max_answer_len=6)
        both = {"question": QUESTION, "context": CONTEXT}
        loose = pipe(both, top_k=2, align_to_words=False)
        for answer in pipe(both, top_k=5):
            assert {*answer["answer"].split()} <= {*CONTEXT.split()}
            assert CONTEXT[answer["start"] : answer["end"]] == answer["answer"]
        assert any(not {*answer["answer"].split()} <= {*CONTEXT.split()} for answer in loose)
        inside = [a for a in pipe(both, top_k=5) if a["start"] <= loose[0]["start"] and loose[0]["end"] <= a["end"]]
        assert max(answer["score"] for answer in inside) >= loose[0]["score"]
        scores = [answer["score"] for answer in pipe(both, top_k=5)]
        assert scores == sorted(scores, reverse=True)
        with_none = pipe(both, top_k=5, handle_impossible_answer=True, null_score_threshold=-1e9)
        assert with_none[0]["answer"] == ""
        model.config.task_specific_params = {"question-answering": {"max_answer_len": 6}}
        assert pipe(both, top_k=2) == loose  # as it was evaluated


def test_what_a_checkpoint_does_not_say_is_as_in_version_4(model, tokenizer):
    pipe = triptych.pipeline("question-answering", model, tokenizer)
    assert (pipe.windows().max_length, pipe.windows().stride) == (64, 32)
    assert pipe.windows(max_seq_len=50).stride == 25
    assert pipe.said("max_answer_len") == 15


def test_what_a_checkpoint_says_is_used_if_it_is_a_number(model, tokenizer):
    pipe = triptych.pipeline("question-answering", model, tokenizer)
    model.config.task_specific_params = {"question-answering": {"max_seq_len": 16, "doc_stride": 4, "top_k": 7}}
    windows = pipe.windows()
    assert (windows.max_length, windows.stride) == (16, 4)
    model.config.task_specific_params = {"question-answering": {"max_seq_len": "16", "doc_stride": [1]}}
    assert pipe.windows().max_length == 64  # the positions of the model


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (transformers.BertConfig, "BertForQuestionAnswering"),
        (transformers.RobertaConfig, "RobertaForQuestionAnswering"),
    ],
)
def test_a_model_of_transformers_and_its_conversion_answer_alike(config, name, tokenizer, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    theirs = getattr(transformers, name)(config(**sizes, vocab_size=60, pad_token_id=0, max_position_embeddings=40))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    theirs.save_pretrained(tmp_path / "theirs")
    triptych.from_hf(theirs).save_pretrained(tmp_path / "ours")
    found = []
    for folder in ("theirs", "ours"):
        tokenizer.save_pretrained(tmp_path / folder)
        pipe = triptych.pipeline("question-answering", str(tmp_path / folder), doc_stride=4, max_seq_len=20)
        found.append(pipe([{"question": QUESTION, "context": context} for context in (CONTEXT, LONG)]))
    assert [answer["answer"] for answer in found[0]] == [answer["answer"] for answer in found[1]]
    for first, second in zip(*found, strict=True):
        assert first == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ((), {"question": QUESTION}, TypeError, "question= and context= together"),
        ((QUESTION,), {}, TypeError, "takes dicts with `question` and `context`, not 'where is Kim'"),
        (([{"question": QUESTION}],), {}, TypeError, "needed is a dict with the texts"),
        (({"question": " ", "context": CONTEXT},), {}, ValueError, "the question is blank"),
        (({"question": QUESTION, "context": ""},), {}, ValueError, "the context is blank"),
        (
            (),
            {"question": [QUESTION], "context": [CONTEXT] * 2},
            ValueError,
            "as many questions as contexts, not 1 question and 2 contexts",
        ),
        (({"question": QUESTION * 9, "context": CONTEXT},), {}, ValueError, "leaves .* for the context"),
        (
            ({"question": QUESTION, "context": CONTEXT},),
            {"max_seq_len": 65},
            ValueError,
            "greater than the 64 positions",
        ),
        (({"question": QUESTION, "context": CONTEXT},), {"top_k": 0}, ValueError, "top_k=0 must be at least 1"),
        (
            ({"question": QUESTION, "context": CONTEXT},),
            {"padding": True},
            ValueError,
            "has no option padding; it has",
        ),
    ],
)
def test_mistakes(pipe, inputs, options, error, message):
    with pytest.raises(error, match=message):
        pipe(*inputs, **options)


def test_models_and_tokenizers_that_cannot(tmp_path, model):
    make_model("encoder").save_pretrained(tmp_path / "words")
    with pytest.raises(ValueError, match="was trained to find answers, but this is a TriptychEncoderForMaskedLM"):
        triptych.pipeline("question-answering", str(tmp_path / "words"), word_tokenizer(["a"]))
    slow = transformers.ByT5Tokenizer()
    with pytest.raises(ValueError, match="does not tell where its tokens lie in the text"):
        triptych.pipeline("question-answering", model, slow)(question="a", context="b")
