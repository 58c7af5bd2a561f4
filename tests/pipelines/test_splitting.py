"""Texts that are longer than the model: where they are split, what becomes of the pieces, and how to opt out."""

import logging
import re

import numpy as np
import pytest
import torch

from triptych.pipelines import pipeline
from triptych.pipelines.splitting import Piece, join_texts, split_text

from .conftest import t5, talkative

SENTENCES = ["the house is red .", "a dog was big .", "is the cat small ?", "the dog and the cat is in the house ."]
LONG = " ".join(SENTENCES)  # 25 words; the models have 16 positions


def fitting(limit):
    return lambda text: len(text) <= limit


def texts(text, limit):
    return [piece.text for piece in split_text(text, fitting(limit))]


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "limit", "pieces"),
        [
            ("One. Two three. Four five six.", 16, ["One. Two three.", "Four five six."]),
            ('He said "no." Then he left.', 14, ['He said "no."', "Then he left."]),
            ('"Who?" he asked. "Me."', 18, ['"Who?" he asked.', '"Me."']),
            ("Dr. Smith met J. Doe. He left.", 22, ["Dr. Smith met J. Doe.", "He left."]),
            ("Am 3. Mai war Hr. Ott z.B. da. Nun.", 32, ["Am 3. Mai war Hr. Ott z.B. da.", "Nun."]),
            ("It cost 3.50 euros. Yes.", 20, ["It cost 3.50 euros.", "Yes."]),
            (
                "\u4e00\u4e8c\u4e09\u3002\u56db\u4e94\u516d\u3002\u4e03",
                4,
                ["\u4e00\u4e8c\u4e09\u3002", "\u56db\u4e94\u516d\u3002", "\u4e03"],
            ),
            ("\u300c\u306f\u3044\u3002\u300d\u6b21\uff01", 5, ["\u300c\u306f\u3044\u3002\u300d", "\u6b21\uff01"]),
            (
                "\u092e\u0948\u0902 \u0939\u0942\u0901\u0964 \u0935\u0939\u0964",
                8,
                ["\u092e\u0948\u0902 \u0939\u0942\u0901\u0964", "\u0935\u0939\u0964"],
            ),
            ("one two, three four five", 10, ["one two,", "three four", "five"]),
            ("abcdefgh", 3, ["abc", "def", "gh"]),
            ("3.14159 is pi", 8, ["3.14159", "is pi"]),
            ("e\u0301e\u0301e\u0301", 3, ["e\u0301", "e\u0301", "e\u0301"]),
            ("One.\n\nTwo. Three.", 12, ["One.", "Two. Three."]),
            ("  a  ", 1, ["a"]),
            ("ab", 0, ["a", "b"]),
        ],
    )
    def test_the_best_place_is_chosen(self, text, limit, pieces):
        assert texts(text, limit) == pieces

    def test_nothing_is_lost(self):
        generator = np.random.default_rng(0)
        for limit in (1, 2, 7, 30):
            for _ in range(50):
                text = "".join(generator.choice(list('ab ,.!\u3002"\n'), size=generator.integers(0, 90)))
                pieces = split_text(text, fitting(limit))
                assert all(len(piece.text) <= limit for piece in pieces)
                together = "".join(piece.gap + piece.text for piece in pieces)
                assert re.sub(r"\s", "", together) == re.sub(r"\s", "", text)
                assert len(pieces) == 1 or not any("\n\n" in piece.text for piece in pieces)


class TestJoining:
    @pytest.mark.parametrize(
        ("text", "limit"),
        [
            ("One. Two three. Four five six.", 16),
            ("One.\n\nTwo three.\n \n\nFour.", 12),
            ("\u4e00\u4e8c\u4e09\u3002\u56db\u4e94\u516d\u3002\n\n\u4e03", 4),
            ("abcdefgh ij", 3),
        ],
    )
    def test_pieces_make_the_text_again(self, text, limit):
        pieces = split_text(text, fitting(limit))
        assert len(pieces) > 1
        assert join_texts([piece.text for piece in pieces], [piece.gap for piece in pieces]) == text

    @pytest.mark.parametrize(
        ("outputs", "gaps", "text"),
        [
            (["One.", "Two."], ["", " "], "One. Two."),  # from Chinese, where no space stood
            (["\u4e00\u3002", "\u4e8c\u3002"], ["", " "], "\u4e00\u3002\u4e8c\u3002"),
            (["One.", "Two."], ["", "\n"], "One. Two."),
            (["One.", "", "Three."], ["", "\n\n", " "], "One.\n\nThree."),
            (["", "Two."], ["", "\n\n"], "Two."),
            (["", ""], ["", " "], ""),
        ],
    )
    def test_the_script_of_the_outputs_decides(self, outputs, gaps, text):
        assert join_texts(outputs, gaps) == text


@pytest.fixture
def pipe(marian_model, tokenizer):
    return pipeline("translation", marian_model, tokenizer, max_new_tokens=6, num_beams=1)


class TestCalls:
    def test_a_long_text_is_what_its_pieces_are(self, pipe):
        pieces = pipe.pieces(LONG)
        assert [piece.text for piece in pieces] == [" ".join(SENTENCES[:3]), SENTENCES[3]]
        parts = [pipe(piece.text)[0]["translation_text"] for piece in pieces]
        assert all(parts)
        assert pipe(LONG) == [{"translation_text": " ".join(parts)}]
        paragraphs = "\n\n".join([LONG, SENTENCES[0]])
        last = pipe(SENTENCES[0])[0]["translation_text"]
        assert pipe(paragraphs) == [{"translation_text": f"{' '.join(parts)}\n\n{last}"}]

    @pytest.mark.parametrize("batch_size", [1, 2, 5])
    def test_batches_and_streams_keep_texts_apart(self, pipe, batch_size):
        inputs = ["a dog", LONG, "", LONG + " " + LONG, "the house"]
        expected = [pipe(text)[0] for text in inputs]
        assert pipe(inputs, batch_size=batch_size) == expected
        assert [output for [output] in pipe(iter(inputs), batch_size=batch_size)] == expected

    def test_opting_out(self, pipe, tokenizer, caplog):
        with pytest.raises(ValueError, match=r"26 tokens.* 16 positions: pass split=True"):
            pipe(LONG, split=False)
        cut = pipe(LONG, truncation=True)
        assert cut == pipe(" ".join(LONG.split()[:15])) != pipe(LONG)
        assert pipe(LONG, truncation=True, split=False) == cut
        assert pipe(LONG, truncation="do_not_truncate", split=True) == pipe(LONG)
        with pytest.raises(ValueError, match="split=True and truncation=True contradict each other"):
            pipe(LONG, split=True, truncation=True)
        assert not caplog.records

    def test_the_tokenizers_limit_counts_too(self, tokenizer):
        torch.manual_seed(0)
        model = talkative(t5(len(tokenizer)))
        pipe = pipeline("translation", model, tokenizer, max_new_tokens=4, num_beams=1)
        whole = pipe(LONG)
        tokenizer.model_max_length = 20
        assert [piece.text for piece in pipe.pieces(LONG)] == [" ".join(SENTENCES[:3]), SENTENCES[3]]
        assert pipe(LONG) != whole == pipe(LONG, split=False)  # the model itself can take any number

    def test_several_sequences_ids_and_scores(self, pipe, tokenizer):
        options = {"num_beams": 3, "num_return_sequences": 2}
        options |= {"return_text": True, "return_tensors": True, "output_scores": True}
        parts = [pipe(piece.text, **options) for piece in pipe.pieces(LONG)]
        for batch_size in (1, 2):
            [found] = pipe([LONG], batch_size=batch_size, **options)
            for number, output in enumerate(found):
                of_parts = [part[number] for part in parts]
                assert output["translation_text"] == " ".join(part["translation_text"] for part in of_parts)
                assert output["score"] == pytest.approx(sum(part["score"] for part in of_parts), abs=1e-4)
                ids = torch.cat([part["translation_token_ids"] for part in of_parts])
                kept = output["translation_token_ids"]
                assert ids[ids != tokenizer.pad_token_id].tolist() == kept[kept != tokenizer.pad_token_id].tolist()
                scores = torch.cat([part["token_scores"] for part in of_parts])
                assert torch.allclose(output["token_scores"], scores, atol=1e-4)

    def test_a_streamer_is_refused(self, pipe, tokenizer):
        class Streamer:
            def put(self, value): ...

            def end(self): ...

        assert pipe("a dog", streamer=Streamer())
        with pytest.raises(ValueError, match="one for each of its 2 pieces"):
            pipe(LONG, streamer=Streamer())

    def test_other_tasks(self, marian_model, tokenizer, caplog):
        options = {"max_new_tokens": 4, "num_beams": 1}
        generate = pipeline("text2text-generation", marian_model, tokenizer, **options)
        with pytest.raises(ValueError, match="pass split=True"):
            generate(LONG)
        parts = [generate(piece.text)[0]["generated_text"] for piece in generate.pieces(LONG)]
        assert generate(LONG, split=True) == [{"generated_text": " ".join(parts)}]
        assert not caplog.records
        with caplog.at_level(logging.WARNING):
            summary = pipeline("summarization", marian_model, tokenizer, **options)(LONG)
        assert summary == [{"summary_text": " ".join(parts)}]
        assert "the summaries of 2 pieces" in caplog.text

    def test_a_prefix_stands_before_each_piece(self, pipe):
        with_prefix = pipeline("translation", pipe.model, pipe.tokenizer, prefix="the big small red ", num_beams=1)
        pieces = with_prefix.pieces("dog " * 40)
        assert max(len(piece.text.split()) for piece in pieces) == 11  # of 15
        parts = [pipe("the big small red " + piece.text, max_new_tokens=3)[0]["translation_text"] for piece in pieces]
        assert with_prefix("dog " * 40, max_new_tokens=3) == [{"translation_text": " ".join(filter(None, parts))}]
        with pytest.raises(ValueError, match=r"16 tokens .* leave no place for words: give a shorter prefix"):
            with_prefix("dog", prefix="the big " * 10)

    def test_pieces_that_fit_stay_as_they_are(self, pipe, tokenizer):
        assert pipe.pieces(" a  dog ") == [Piece(" a  dog ")]
        assert pipe.pieces("") == [Piece("")]
        with_options = pipeline("translation", pipe.model, tokenizer, split=False, max_new_tokens=6, num_beams=1)
        assert with_options.pieces(LONG) == pipe.pieces(LONG)
        assert with_options(LONG, split=True) == pipe(LONG)
        long = pipe.pieces(LONG * 20)
        assert max(len(tokenizer(piece.text).input_ids) for piece in long) <= pipe.positions
