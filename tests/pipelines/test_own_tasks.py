"""The tasks for which transformers has models and no pipeline: multiple choice, next sentences, similar sentences."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

import triptych
from triptych.pipelines.next_sentence import LABELS

from .test_transformers_tasks import LINES, SIZES, make_tokenizer, same

PROMPT, CHOICES = "the light is on in Oslo", ["the window is open", "a big dog", "Kim was in the house with the cat"]
PAIR = {"text": "the light is on", "text_pair": "where is the dog"}
CLASSES = {
    "multiple-choice": ["BertForMultipleChoice", "RobertaForMultipleChoice", "DistilBertForMultipleChoice"],
    "next-sentence-prediction": ["BertForNextSentencePrediction", "BertForPreTraining"],
    "sentence-similarity": ["BertModel", "RobertaModel"],
}
KEPT = {"BertForPreTraining", "BertModel", "RobertaModel"}  # with no conversion on the fly to the class that is needed
PAIRS = [(task, name) for task, names in CLASSES.items() for name in names]


@pytest.fixture(scope="module")
def tokenizer() -> transformers.PreTrainedTokenizerFast:
    made = make_tokenizer("encoder")
    made.model_input_names = ["input_ids", "attention_mask"]  # RoBERTa and DistilBERT have no segments
    made.model_max_length = 30
    return made


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Callable[[str], tuple[Path, Path]]:
    """The directories of a model of transformers with random weights, and of its conversion."""

    def save(name: str) -> tuple[Path, Path]:
        torch.manual_seed(0)
        family = name.partition("For")[0].removesuffix("Model")
        sizes = {**SIZES["Bert"], "max_position_embeddings": 40}
        if family == "DistilBert":
            sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 40}
        config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), pad_token_id=0, **sizes)
        theirs = getattr(transformers, name)(config)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        folder = tmp_path_factory.mktemp(name)
        for side, model in {"theirs": theirs, "ours": triptych.from_hf(theirs)}.items():
            model.save_pretrained(folder / side)
            tokenizer.save_pretrained(folder / side)
        return folder / "theirs", folder / "ours"

    return save


def loaded(name: str, folder: Path) -> transformers.PreTrainedModel:
    model = getattr(transformers, name).from_pretrained(folder)
    assert isinstance(model, transformers.PreTrainedModel)
    return model.eval()


def choice_scores(model, tokenizer) -> Tensor:
    """As transformers' documentation of the task computes them."""
    inputs = tokenizer([[PROMPT, choice] for choice in CHOICES], return_tensors="pt", padding=True)
    with torch.no_grad():
        return model(**{name: value[None] for name, value in inputs.items()}).logits[0].softmax(-1)


def next_scores(model, tokenizer) -> Tensor:
    """As transformers' documentation of the class computes them."""
    with torch.no_grad():
        outputs = model(**tokenizer(*PAIR.values(), return_tensors="pt"))
    return getattr(outputs, "seq_relationship_logits", outputs.get("logits"))[0].softmax(-1)


def similarities(model, tokenizer) -> Tensor:
    """The cosines of the means of the tokens."""
    vectors = []
    for text in [PROMPT, *CHOICES]:
        with torch.no_grad():
            vectors.append(model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0))
    return torch.stack([torch.cosine_similarity(vectors[0], other, dim=0) for other in vectors[1:]])


@pytest.mark.parametrize(("task", "name"), PAIRS, ids=[name for _, name in PAIRS])
def test_the_answers_are_those_of_transformers_class(task: str, name: str, saved, tokenizer):
    theirs, ours = saved(name)
    model = loaded(name, theirs)
    converts = name not in KEPT
    for folder, convert in ((theirs, False), (theirs, True), (ours, True)):
        pipe = triptych.pipeline(task, str(folder), convert=convert)
        is_ours = folder == ours or (convert and converts)
        assert type(pipe.model).__module__.startswith("triptych." if is_ours else "transformers.")
        if task == "multiple-choice":
            scores = choice_scores(model, tokenizer).tolist()
            expected = sorted(
                ({"score": s, "index": n, "choice": CHOICES[n]} for n, s in enumerate(scores)),
                key=lambda found: -found["score"],
            )
            inputs = {"prompt": PROMPT, "choices": CHOICES}
        elif task == "next-sentence-prediction":
            scores = next_scores(model, tokenizer).tolist()
            expected = sorted(
                ({"label": LABELS[n], "score": s} for n, s in enumerate(scores)), key=lambda found: -found["score"]
            )
            inputs = PAIR
        else:
            inputs = {"source_sentence": PROMPT, "sentences": CHOICES}
            same(pipe(inputs), similarities(model, tokenizer).tolist())
            continue
        same(pipe(inputs), expected[0])
        same(pipe(inputs, top_k=2), expected[:2])


def test_a_model_with_both_heads_of_pre_training_will_do(saved, tokenizer):
    """Given as an object; by its name, the class with the one head that is needed is loaded."""
    theirs, ours = saved("BertForPreTraining")
    expected = next_scores(loaded("BertForPreTraining", theirs), tokenizer)
    model = triptych.TriptychEncoderForPreTraining.from_pretrained(ours)
    found = triptych.pipeline("next-sentence-prediction", model, tokenizer)(PAIR)
    same(found, {"label": LABELS[int(expected.argmax())], "score": expected.max().item()})


@pytest.fixture(scope="module")
def pipes(saved) -> dict[str, Callable]:
    return {task: triptych.pipeline(task, str(saved(names[0])[1])) for task, names in CLASSES.items()}


INPUTS = {
    "multiple-choice": [{"prompt": PROMPT, "choices": CHOICES}, {"prompt": LINES[1], "choices": CHOICES[:2]}],
    "next-sentence-prediction": [PAIR, {"text": LINES[2], "text_pair": "Oslo"}],
    "sentence-similarity": [
        {"source_sentence": PROMPT, "sentences": CHOICES},
        {"source_sentence": LINES[1], "sentences": CHOICES[:1]},
    ],
}


@pytest.mark.parametrize("task", CLASSES)
def test_inputs_in_all_forms_and_batches_give_the_same(task: str, pipes):
    pipe, inputs = pipes[task], INPUTS[task]
    single = [pipe(each) for each in inputs]
    assert single[0] != single[1]
    same([pipe(**each) for each in inputs], single)
    same(pipe(inputs), single)
    same(list(pipe(each for each in inputs)), single)
    for batch_size in (2, 5):
        same(pipe(inputs, batch_size=batch_size), single)
    assert pipe([]) == []


@pytest.mark.parametrize(
    ("task", "inputs", "options", "error", "message"),
    [
        ("multiple-choice", ({"prompt": PROMPT},), {}, TypeError, "a dict with `prompt` .text. and `choices` .texts."),
        ("multiple-choice", ({"prompt": PROMPT, "choices": "Oslo"},), {}, TypeError, "`choices` is a list of texts"),
        ("multiple-choice", ({"prompt": PROMPT, "choices": []},), {}, ValueError, "`choices` is blank"),
        ("multiple-choice", (), {"prompt": PROMPT, "choices": ["a", " "]}, ValueError, "`choices` is blank"),
        ("multiple-choice", (), {"prompt": PROMPT * 5, "choices": CHOICES}, ValueError, "the model takes 30"),
        ("multiple-choice", (INPUTS["multiple-choice"][0],), {"top_k": 0}, ValueError, "top_k=0 must be at least 1"),
        ("next-sentence-prediction", (PROMPT,), {}, TypeError, "takes dicts with `text` .text. and `text_pair`"),
        (
            "next-sentence-prediction",
            (PAIR, PAIR),
            {},
            TypeError,
            "give one argument, or the fields text=, text_pair=",
        ),
        ("next-sentence-prediction", (), {"text": " ", "text_pair": "a"}, ValueError, "`text` is blank"),
        (
            "sentence-similarity",
            (),
            {"source_sentence": 5, "sentences": ["a"]},
            TypeError,
            "`source_sentence` is a tex",
        ),
        (
            "sentence-similarity",
            (),
            {"source_sentence": "a", "sentences": [PROMPT * 9]},
            ValueError,
            "text 1 has .* tok",
        ),
        (
            "sentence-similarity",
            (),
            {"source_sentence": "a", "sentences": ["b"], "prompt_name": "query"},
            ValueError,
            "no prompt 'query'; its prompts are: none",
        ),
    ],
)
def test_mistakes(pipes, task, inputs, options, error, message):
    with pytest.raises(error, match=message):
        pipes[task](*inputs, **options)


@pytest.mark.parametrize("task", ["multiple-choice", "next-sentence-prediction"])
def test_what_is_too_long_is_cut_if_that_is_asked_for(task: str, pipes):
    inputs = {"multiple-choice": {"prompt": PROMPT * 9, "choices": CHOICES}}.get(task, {**PAIR, "text": PROMPT * 9})
    assert 0 < pipes[task](inputs, truncation=True)["score"] <= 1


@pytest.mark.parametrize(
    ("task", "head"), [("multiple-choice", "MultipleChoice"), ("next-sentence-prediction", "Next")]
)
def test_a_model_with_another_head_is_refused(task: str, head: str, saved):
    with pytest.raises(
        ValueError, match=f"task '{task}' needs a model with a head for it .{head}.*is a TriptychEncoderM"
    ):
        triptych.pipeline(task, str(saved("BertModel")[1]))
