"""Which place wins, for every pair of places and every pair of names, seen by the output; and version 4's options."""

import functools
from itertools import combinations, product

import pytest
import torch
from transformers import GenerationConfig

from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.pipelines import pipeline
from triptych.tokenization import special_token_config, train_tokenizer

from .conftest import ARCHITECTURES, ENGLISH, GERMAN, talkative, triptych

SOURCE = "a dog"  # three tokens, with the end
# From the strongest to the weakest; the default comes last.
PLACES = ("call", "pipeline", "model", "task")
# How each name says that an output has n tokens, besides the start token.
LONGEST = {
    "max_length": lambda n: n + 1,
    "max_new_tokens": lambda n: n,
    "max_length_beyond_source": lambda n: n - 3,
}
SHORTEST = {"min_length": lambda n: n, "min_new_tokens": lambda n: n - 1}
# The end token is never chosen, or always where it may be: the length is the greatest or the smallest allowed.
NEVER, ALWAYS = {"suppress_tokens": [0, 1, 2, 3]}, {"sequence_bias": [[[3], 1000.0]], "suppress_tokens": [0, 1, 2]}
CASES = [
    *(("triptych", *pair) for pair in combinations(PLACES, 2)),
    *((name, "call", "model") for name in ("marian", "t5")),
    ("bart", "model", "task"),
]


def made(name: str, tokenizer, **options: object):
    torch.manual_seed(0)
    model = ARCHITECTURES[name](len(tokenizer)).eval()
    model.generation_config.update(num_beams=1, **options)
    return model


def output_length(model, tokenizer, options: dict[str, dict[str, object]]) -> int:
    """The length of an output where `options` are given in their places."""
    of_model = options.get("model", {})
    for name, value in of_model.items():
        setattr(model.generation_config, name, value)
    model.config.task_specific_params = {"translation": options.get("task", {})}
    pipe = pipeline("translation", model, tokenizer, return_tensors=True, **options.get("pipeline", {}))
    (output,) = pipe(SOURCE, **options.get("call", {}))
    for name in of_model:
        setattr(model.generation_config, name, None)
    return len(output["translation_token_ids"]) - 1  # without the start token


class TestPlaces:
    @pytest.mark.parametrize(("architecture", "strong", "weak"), CASES)
    @pytest.mark.parametrize(("says", "end"), [(LONGEST, NEVER), (SHORTEST, ALWAYS)], ids=["longest", "shortest"])
    def test_the_stronger_place_decides_whatever_name_it_uses(self, tokenizer, architecture, strong, weak, says, end):
        model = made(architecture, tokenizer, **end)
        names = [name for name in says if architecture == "triptych" or name != "max_length_beyond_source"]
        for first, second in product(names, names):
            n, m = (5, 9) if names.index(first) <= names.index(second) else (9, 5)
            options = {strong: {first: says[first](n)}, weak: {second: says[second](m)}}
            assert output_length(model, tokenizer, options) == n, options
            options = {strong: {first: says[first](m)}, weak: {second: says[second](n)}}
            assert output_length(model, tokenizer, options) == m, options

    @pytest.mark.parametrize("place", ["call", "pipeline"])
    def test_a_generation_config_counts_as_the_options_that_it_sets(self, tokenizer, place):
        model = made("triptych", tokenizer, **NEVER)
        for name, says in LONGEST.items():
            config = GenerationConfig(**{name: says(6)})
            for weak, weak_says in LONGEST.items():
                options = {place: {"generation_config": config}, "model": {weak: weak_says(9)}}
                assert output_length(model, tokenizer, options) == 6, options
        config = GenerationConfig(max_length=9)
        assert output_length(model, tokenizer, {place: {"generation_config": config, "max_new_tokens": 4}}) == 4
        assert output_length(model, tokenizer, {place: {"generation_config": config}, "task": {"max_length": 4}}) == 8
        weaker = {"call": {"generation_config": config}, "pipeline": {"max_new_tokens": 4}}
        assert output_length(model, tokenizer, weaker) == 8

    def test_none_is_not_given(self, tokenizer):
        model = made("triptych", tokenizer, **NEVER, max_length=6)
        assert output_length(model, tokenizer, {"call": {"max_new_tokens": None, "max_length": None}}) == 5

    def test_two_names_in_one_place_mean_what_they_mean_to_generate(self, tokenizer):
        model = made("triptych", tokenizer, **NEVER)
        for place in ("call", "pipeline"):
            assert output_length(model, tokenizer, {place: {"max_length": 9, "max_new_tokens": 4}}) == 4

    def test_penalties_of_length(self, tokenizer):
        torch.manual_seed(0)
        model = talkative(triptych(len(tokenizer)))
        inputs = tokenizer(SOURCE, return_tensors="pt")
        options = {"num_beams": 3, "max_new_tokens": 6, "output_scores": True}

        def score(**penalty: float) -> float:
            outputs = model.generate(**inputs, **options, return_dict_in_generate=True, **penalty)
            return float(outputs.sequences_scores[0])

        plain, papers = score(length_penalty=2.0), score(gnmt_length_penalty=0.6)
        assert plain != papers
        model.generation_config.gnmt_length_penalty = 0.6
        assert score() == papers
        assert score(length_penalty=2.0) == plain  # generate() itself, and so the scripts
        for of_pipeline, of_call in (({}, {"length_penalty": 2.0}), ({"length_penalty": 2.0}, {})):
            pipe = pipeline("translation", model, tokenizer, **options, **of_pipeline)
            assert pipe(SOURCE, **of_call)[0]["score"] == pytest.approx(plain)
            assert pipe(SOURCE, gnmt_length_penalty=0.6)[0]["score"] == pytest.approx(papers)

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_what_public_checkpoints_say_for_a_task(self, tokenizer, architecture, caplog):
        """The entry of T5 and of BART for summaries: it does what the same options of a call do."""
        params = {"early_stopping": True, "length_penalty": 2.0, "max_length": 9, "min_length": 5}
        params |= {"no_repeat_ngram_size": 3, "num_beams": 4}
        model = talkative(made(architecture, tokenizer))
        model.generation_config.num_beams = model.generation_config.min_new_tokens = None
        expected = pipeline("summarization", model, tokenizer, **params)("the big dog")
        model.config.task_specific_params = {"summarization": {**params, "prefix": "the big "}, "other": {"a": 1}}
        assert pipeline("summarization", model, tokenizer)("dog") == expected
        assert pipeline("summarization", model, tokenizer, num_beams=1, max_length=4)("dog") != expected
        assert not [record for record in caplog.records if record.name.startswith("triptych")]


class TestScores:
    def log_probabilities(self, model, inputs, ids: torch.Tensor, never: int | None = None) -> torch.Tensor:
        """Of each token of an output, from the model itself, in one forward pass; `never` is a token not to choose."""
        with torch.no_grad():
            logits = model(**inputs, decoder_input_ids=ids[None, :-1]).logits
        if never is not None:
            logits[..., never] = -torch.inf
        return logits[0].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]

    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 2}])
    def test_are_the_models(self, tokenizer, architecture, options):
        # A random model may choose padding, which then cannot be told from what fills up a batch.
        model = made(architecture, tokenizer, suppress_tokens=[tokenizer.pad_token_id])
        texts = [SOURCE, "the house is red .", "", "cat"]
        never = tokenizer.pad_token_id if options["num_beams"] == 1 else None  # beams are ranked by the model's own
        pipe = pipeline("translation", model, tokenizer, max_new_tokens=8, length_penalty=0.7, **options)
        outputs = pipe(texts, return_tensors=True, return_text=True, output_scores=True, batch_size=3)
        assert outputs != pipe(texts, batch_size=3)
        for text, sequences in zip(texts, outputs, strict=True):
            for output in sequences if isinstance(sequences, list) else [sequences]:
                assert output.keys() == {"translation_text", "translation_token_ids", "score", "token_scores"}
                if not text:
                    assert output["score"] == 0
                    assert output["token_scores"].tolist() == []
                    continue
                inputs = tokenizer(text, return_tensors="pt")
                ids = output["translation_token_ids"][: 1 + len(output["token_scores"])]
                expected = self.log_probabilities(model, inputs, ids, never)
                torch.testing.assert_close(output["token_scores"], expected, rtol=1e-4, atol=1e-4)
                total = float(output["token_scores"].sum())
                ranked = total / len(output["token_scores"]) ** 0.7 if options["num_beams"] > 1 else total
                assert output["score"] == pytest.approx(ranked, rel=1e-4)
                rest = output["translation_token_ids"][len(ids) :]
                assert set(rest.tolist()) <= {tokenizer.pad_token_id, tokenizer.eos_token_id}  # beams use either

    def test_with_two_vocabularies(self, two_vocabulary_checkpoint):
        pipe = pipeline("translation", two_vocabulary_checkpoint, max_new_tokens=6, return_tensors=True)
        beams = {"num_beams": 3, "suppress_tokens": None, "min_length": 0, "output_scores": True}
        for options in (beams, beams | {"num_beams": 1}):
            (output,) = pipe(SOURCE, **options)
            ids = output["translation_token_ids"]
            expected = self.log_probabilities(pipe.model, pipe.tokenizer(SOURCE, return_tensors="pt"), ids)
            torch.testing.assert_close(output["token_scores"], expected, rtol=1e-4, atol=1e-4)

    def test_behind_the_end_there_are_none(self, tokenizer):
        """Outputs of a batch that end by the end token, by the length of their source and by a string."""
        model, texts = (
            talkative(made("triptych", tokenizer)),
            [SOURCE, "the house is red .", "the cat is in the house on"],
        )
        model.generation_config.min_new_tokens = None
        for options in (ALWAYS, NEVER | {"max_length_beyond_source": 1}, {"stop_sequence": ENGLISH}):
            pipe = pipeline("translation", model, tokenizer, num_beams=1, output_scores=True, **options)
            together, alone = pipe(texts, batch_size=3), [pipe(text)[0] for text in texts]
            for one, other in zip(together, alone, strict=True):
                torch.testing.assert_close(one["token_scores"], other["token_scores"], rtol=1e-4, atol=1e-4)
            lengths = {len(output["token_scores"]) for output in together}
            assert lengths == ({4, 7, 9} if "max_length_beyond_source" in options else {1})

    def test_asked_for_by_either_name_and_in_any_place(self, tokenizer):
        model = made("marian", tokenizer)
        for options in ({"output_scores": True}, {"return_dict_in_generate": True}):
            pipe = pipeline("translation", model, tokenizer, max_new_tokens=4, **options)
            assert pipe(SOURCE)[0].keys() == {"translation_text", "score", "token_scores"}
            assert pipe(SOURCE, output_scores=False)[0].keys() == {"translation_text"}
            assert pipe(SOURCE, generation_config=GenerationConfig(num_beams=2))[0]["score"] < 0
        model.generation_config.update(output_scores=True, return_dict_in_generate=True)
        assert "score" in pipeline("translation", model, tokenizer, max_new_tokens=4)(SOURCE)[0]

    @pytest.mark.parametrize("name", ["output_attentions", "output_hidden_states", "output_logits"])
    def test_what_cannot_be_returned_is_refused(self, tokenizer, name):
        model = made("marian", tokenizer)
        with pytest.raises(ValueError, match=f"cannot return {name}"):
            pipeline("translation", model, tokenizer, **{name: True})
        pipe = pipeline("translation", model, tokenizer, max_new_tokens=4)
        for options in ({name: True}, {"generation_config": GenerationConfig(**{name: True})}):
            with pytest.raises(ValueError, match=f"cannot return {name}"):
                pipe(SOURCE, **options)
        assert pipe(SOURCE, **{name: False})


class TestVersion4:
    @pytest.fixture
    def pipe(self, marian_model, tokenizer):
        return pipeline("translation", marian_model, tokenizer, max_new_tokens=12, num_beams=1)

    @pytest.mark.parametrize(
        ("options", "keys"),
        [
            ({}, ["text"]),
            ({"return_text": True}, ["text"]),
            ({"return_text": False}, ["token_ids"]),
            ({"return_tensors": True}, ["token_ids"]),
            ({"return_tensors": False}, ["text"]),
            ({"return_tensors": True, "return_text": True}, ["text", "token_ids"]),
            ({"return_tensors": True, "return_text": False}, ["token_ids"]),
            ({"return_tensors": False, "return_text": True}, ["text"]),
        ],
    )
    def test_return_text_and_return_tensors(self, pipe, marian_model, tokenizer, options, keys):
        expected = [f"translation_{key}" for key in keys]
        assert list(pipe(SOURCE, **options)[0]) == expected
        assert list(pipeline("translation", marian_model, tokenizer, **options)(SOURCE)[0]) == expected

    def test_nothing_to_return(self, pipe):
        with pytest.raises(ValueError, match="return_text=False and return_tensors=False leave nothing"):
            pipe(SOURCE, return_text=False, return_tensors=False)

    def test_stop_sequence(self, pipe, marian_model, tokenizer):
        pipe = functools.partial(pipe, repetition_penalty=3.0)
        words = pipe(SOURCE)[0]["translation_text"].split()
        stop = next(word for word in words[1:] if word != words[0])
        expected = words[: words.index(stop) + 1]
        assert expected != words
        assert pipe(SOURCE, stop_sequence=stop)[0]["translation_text"].split() == expected
        options = {"stop_sequence": stop, "num_beams": 1, "max_new_tokens": 12, "repetition_penalty": 3.0}
        made = pipeline("translation", marian_model, tokenizer, **options)
        assert made(SOURCE)[0]["translation_text"].split() == expected
        assert made(SOURCE, stop_sequence="nowhere")[0]["translation_text"].split() == words
        assert pipe(SOURCE, stop_sequence=["?", stop])[0]["translation_text"].split() == expected

    @pytest.mark.parametrize("num_beams", [1, 3])
    def test_a_stop_sequence_of_several_tokens(self, num_beams):
        tokenizer = train_tokenizer([" ".join(ENGLISH), " ".join(GERMAN)] * 3, "bpe", 300)
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
        config = TriptychConfig(
            **sizes, initializer="normal", initializer_range=1.0, **special_token_config(tokenizer)
        )
        pipe = pipeline(
            "text2text-generation",
            TriptychForConditionalGeneration(config).eval(),
            tokenizer,
            num_beams=num_beams,
            max_new_tokens=16,
            repetition_penalty=2.0,
            suppress_tokens=[i for i in range(len(tokenizer)) if not tokenizer.decode(i).strip().encode().isalpha()],
        )
        text = pipe(SOURCE)[0]["generated_text"]
        stop = text[4:9]
        assert len(tokenizer(stop, add_special_tokens=False).input_ids) > 1
        assert text.index(stop) + len(stop) < len(text)
        stopped = pipe(SOURCE, stop_sequence=stop)[0]["generated_text"]
        assert stop in stopped
        if num_beams == 1:
            assert text.startswith(stopped)
            pipe.model.generation_config.stop_strings = stop  # transformers' own, which needs the tokenizer as well
            assert pipe(SOURCE)[0]["generated_text"] == stopped

    def test_target_tokenizer_reads_the_stop_sequence(self, two_vocabulary_checkpoint):
        pipe = pipeline("translation", two_vocabulary_checkpoint, max_new_tokens=12, num_beams=1)
        words = pipe(SOURCE)[0]["translation_text"].split()
        stop = next(word for word in words if word in GERMAN)
        assert words.index(stop) + 1 < len(words)
        assert pipe(SOURCE, stop_sequence=stop)[0]["translation_text"].split() == words[: words.index(stop) + 1]
