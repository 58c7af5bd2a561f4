"""Windows over a question and its context, the target of each window, and the best answers over all windows."""

from itertools import pairwise

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from triptych.data.answers import find_answers
from triptych.data.questions import told_of_misplaced, window_rows
from triptych.data.windows import Window, WindowEncoder
from triptych.tokenization import train_tokenizer

CONTEXT = "Kim lives in Oslo, and Max lives in the old town of Bergen."
QUESTION = "Where does Max live?"
ANSWER = "the old town of Bergen"


LENGTHS = {
    "wordpiece": 19,
    "bpe": 19,
    "unigram": 63,
    "character": 55,
}  # in which the context does not fit, but the answer
STRIDE = 4


@pytest.fixture(scope="module", params=LENGTHS)
def encoder(request):
    family = "encoder" if request.param in ("wordpiece", "character") else "encoder-decoder"
    tokenizer = train_tokenizer([CONTEXT, QUESTION] * 3, request.param, 300, family)
    return WindowEncoder(tokenizer, LENGTHS[request.param], STRIDE)


def answers(text=ANSWER, context=CONTEXT):
    return {"text": [text], "answer_start": [context.index(text)]}


def texts(window, context=CONTEXT):
    return [context[start:end] for start, end in zip(window.starts, window.ends, strict=True)]


def test_windows_cover_the_context_and_share_tokens(encoder):
    [whole] = WindowEncoder(encoder.tokenizer, 400, STRIDE)([QUESTION], [CONTEXT])[0]
    windows = encoder([QUESTION], [CONTEXT])[0]
    assert len(windows) > 1
    assert [window.is_first for window in windows] == [True] + [False] * (len(windows) - 1)
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]
    for window in windows:
        assert len(window.inputs["input_ids"]) <= encoder.max_length
        assert {len(values) for values in window.inputs.values()} == {len(window.inputs["input_ids"])}
        question = encoder.tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
        begins = window.positions[0] - len(question) - 2, window.positions[0] - len(question)
        assert any(window.inputs["input_ids"][b : b + len(question)] == question for b in range(*begins))
    tokens = [tokens_of(window) for window in windows]
    assert sum((of_window[STRIDE:] for of_window in tokens[1:]), tokens[0]) == tokens_of(whole)
    assert all(before[-STRIDE:] == behind[:STRIDE] for before, behind in pairwise(tokens))


def tokens_of(window):
    """The ids of the context in a window, each with the end of its text."""
    ids = (window.inputs["input_ids"][position] for position in window.positions)
    return list(zip(ids, window.ends.tolist(), strict=True))


def test_segments_and_the_place_of_no_answer(encoder):
    window = encoder([QUESTION], [CONTEXT])[0][0]
    ids, tokenizer = window.inputs["input_ids"], encoder.tokenizer
    assert encoder.has_segments == ("token_type_ids" in tokenizer.model_input_names)
    if encoder.has_segments:
        assert {window.inputs["token_type_ids"][position] for position in window.positions} == {1}
        assert ids[window.no_answer] == tokenizer.cls_token_id
    assert window.no_answer == 0
    assert "token_type_ids" not in WindowEncoder(tokenizer, 60, 8, segments=1)([QUESTION], [CONTEXT])[0][0].inputs


def test_the_target_of_a_window_is_the_answer_or_nothing(encoder):
    start = CONTEXT.index(ANSWER)
    spans = [(w, w.span(start, start + len(ANSWER))) for w in encoder([QUESTION], [CONTEXT])[0]]
    found = [
        CONTEXT[w.starts[list(w.positions).index(first)] : w.ends[list(w.positions).index(last)]].strip()
        for w, (first, last) in spans
        if (first, last) != (w.no_answer, w.no_answer)
    ]
    assert set(found) == {ANSWER}
    # Exactly the windows that have all of it: for the others, their text ends or begins within the answer.
    for window, span in spans:
        has_it = window.starts[0] <= start and window.ends[-1] >= start + len(ANSWER)
        assert (span != (window.no_answer, window.no_answer)) == has_it


def test_an_answer_at_each_end_of_the_context(encoder):
    long = WindowEncoder(encoder.tokenizer, 400, STRIDE)
    [window] = long([QUESTION], [CONTEXT])[0]
    for text in ("Kim", "Bergen.", CONTEXT):
        first, last = window.span(CONTEXT.index(text), CONTEXT.index(text) + len(text))
        places = list(window.positions)
        assert CONTEXT[window.starts[places.index(first)] : window.ends[places.index(last)]].strip() == text


def test_rows_to_learn_from(encoder):
    rows = Dataset.from_dict(
        {
            "question": [QUESTION, QUESTION],
            "context": [CONTEXT, "Nobody is here."],
            "answers": [answers(), {"text": [], "answer_start": []}],
        }
    )
    learnt = window_rows(rows, encoder)
    windows = [window for of_row in encoder(rows["question"], rows["context"]) for window in of_row]
    assert learnt["input_ids"][:] == [window.inputs["input_ids"] for window in windows]
    assert (learnt[len(windows) - 1]["start_positions"], learnt[len(windows) - 1]["end_positions"]) == (0, 0)
    assert any(start > 0 for start in learnt["start_positions"])


def test_a_question_that_leaves_no_place_is_named(encoder):
    with pytest.raises(ValueError, match=r"row 8: the question has \d+ tokens.*max_length=\d+.*doc_stride=4"):
        encoder([QUESTION, QUESTION * 20], [CONTEXT, CONTEXT], first_row=7)


def test_the_tokenizer_is_left_as_it_is(encoder):
    tokenizer = train_tokenizer([CONTEXT], "bpe", 300, "decoder")
    before = tokenizer.backend_tokenizer.to_str(), tokenizer.padding_side
    WindowEncoder(tokenizer, 20, 2)([QUESTION[:5]], [CONTEXT])
    assert (tokenizer.backend_tokenizer.to_str(), tokenizer.padding_side) == before


@pytest.mark.parametrize(("length", "stride"), [(20, 20), (20, -1)])
def test_numbers_out_of_range(encoder, length, stride):
    with pytest.raises(ValueError, match=f"doc_stride={stride} must be at least 0, and smaller than max_length=20"):
        WindowEncoder(encoder.tokenizer, length, stride)


def test_the_place_of_no_answer_is_that_of_the_token_that_begins_a_text():
    ids = {token: number for number, token in enumerate(["<unk>", "<s>", "a", "b"])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(pair="$A <s> $B", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", cls_token="<s>")
    [window] = WindowEncoder(tokenizer, 9, 1)(["a b"], ["b a"])[0]
    assert (window.inputs["input_ids"], window.no_answer) == ([2, 3, 1, 3, 2], 2)


@pytest.mark.parametrize(
    ("text", "start", "told"),
    [
        ("Oslo", 13, None),
        (
            "Oslo",
            12,
            r"'Oslo' does not stand in the context at answer_start=12, where the text is ' Osl'.*--misplaced",
        ),
        ("Bergen", 400, "where the text is ''"),
        (" ", 3, "an answer is blank"),
    ],
)
def test_misplaced_answers(text, start, told):
    import re

    found = told_of_misplaced(CONTEXT, {"text": ["Kim", text], "answer_start": [0, start]})
    assert found is None if told is None else re.search(told, found)


# ---- from scores to answers --------------------------------------------------------------------------------


def window_of(words, first_word=0, no_answer=0):
    """A window with one special token and then these words of "w0 w1 w2 …"."""
    starts = np.arange(first_word, first_word + len(words)) * 3
    positions = np.arange(1, 1 + len(words))
    return Window({"input_ids": [0] * (1 + len(words))}, positions, starts, starts + 2, True, True, no_answer)


def test_the_best_pair_over_all_windows():
    context = "w0 w1 w2 w3 w4"
    windows = [window_of("abc"), window_of("abc", first_word=2)]
    starts = [np.array([9.0, 1, 5, 0]), np.array([-4.0, 0, 3, 7])]
    ends = [np.array([9.0, 6, 0, 2]), np.array([-4.0, 1, 4, 5])]
    found = find_answers(context, windows, starts, ends, max_answer_length=3)
    # By hand: in the first window w0 (1 + 6) and w1 w2 (5 + 2); in the second w3 w4 (3 + 5), and w4 (7 + 5) is best.
    assert [(answer.text, answer.score) for answer in found.best[:4]] == [
        ("w4", 12.0),
        ("w3 w4", 8.0),
        ("w0", 7.0),
        ("w1 w2", 7.0),
    ]
    assert all(context[answer.start : answer.end] == answer.text for answer in found.best)
    assert found.no_answer_score == -8.0  # one window with an answer is enough
    assert found.chosen().text == found.chosen(0.0).text == "w4"
    assert found.chosen(-21.0).text == ""  # -8 - 12 > -21
    assert found.chosen(-20.0).text == "w4"
    pairs = [np.exp(s + e) for side in (0, 1) for s in starts[side] for e in ends[side]]
    firsts, lasts = (sum(np.exp(side).sum() for side in sides) for sides in (starts, ends))
    assert sum(pairs) < firsts * lasts
    assert found.probability(found.best[0]) == pytest.approx(np.exp(12.0) / (firsts * lasts))


def test_an_answer_neither_runs_backwards_nor_is_too_long():
    starts, ends = [np.array([0.0, 0, 0, 9, 0])], [np.array([0.0, 9, 0, 0, 8])]
    texts = {}
    for longest in (1, 2, 4):
        found = find_answers("w0 w1 w2 w3", [window_of("abcd")], starts, ends, longest, number=50)
        assert all(0 < len(answer.text.split()) <= longest for answer in found.best)
        texts[longest] = found.best[0].text
        assert len(found.best) == sum(min(longest, 4 - first) for first in range(4))
    assert texts == {1: "w0", 2: "w2 w3", 4: "w2 w3"}


def test_the_search_leaves_nothing_out():
    random = np.random.default_rng(0)
    starts, ends = random.normal(size=(2, 1, 41))
    context = " ".join(f"{number:02}" for number in range(40))
    [best] = find_answers(context, [window_of(range(40))], starts, ends, 7, number=1).best
    every = {(s, e): starts[0][s + 1] + ends[0][e + 1] for s in range(40) for e in range(s, min(s + 7, 40))}
    assert (best.start // 3, best.end // 3) == max(every, key=every.get)


def test_a_context_without_tokens_has_no_answer():
    found = find_answers("\u200b", [window_of("")], [np.zeros(1)], [np.zeros(1)], 5)
    assert found.best == []
    assert found.chosen().text == ""
