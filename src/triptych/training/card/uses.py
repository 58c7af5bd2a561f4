"""The code of a card that uses the model: a block for each task of a pipeline."""

import json

# NAME stands for the directory or repository of the model, as a string of Python.
_PIPELINE = """\
import triptych

pipe = triptych.pipeline({task}, model=NAME)  # the directory of this card, or its name on the Hub
print(pipe({text}))
"""
_FILL_MASK = """\
import triptych

pipe = triptych.pipeline("fill-mask", model=NAME)  # the directory of this card, or its name on the Hub
print(pipe(f"The window is {pipe.tokenizer.mask_token}."))
"""
_QUESTION_ANSWERING = """\
import triptych

pipe = triptych.pipeline("question-answering", model=NAME)  # the directory of this card, or its name on the Hub
print(pipe(question="Where is the key?", context="The key is under the mat."))
"""
_TAGGING = """\
import triptych

# Each word gets the tag of its first token; neighbours with the same tag are told together.
pipe = triptych.pipeline("token-classification", model=NAME, aggregation_strategy="first")
for found in pipe("Ann lives in Oslo."):
    print(found["word"], found["entity_group"])
"""
_CLASSIFICATION = """\
import triptych

pipe = triptych.pipeline("text-classification", model=NAME)  # the directory of this card, or its name on the Hub
[answer] = pipe([{text}])
print({answer})
"""
_SEVERAL_LABELS = """\
import triptych

pipe = triptych.pipeline("text-classification", model=NAME)  # the directory of this card, or its name on the Hub
[answers] = pipe([{text}], top_k=None)
print([answer["label"] for answer in answers if answer["score"] >= 0.5])
"""
_LOADING = """\
from transformers import AutoTokenizer

import triptych

tokenizer = AutoTokenizer.from_pretrained(NAME)
model = triptych.CLASS.from_pretrained(NAME)
print(model(**tokenizer("The window is open.", return_tensors="pt")).keys())
"""


def _pipeline(task: str, text: str = "The window is open.") -> str:
    return _PIPELINE.replace("{task}", json.dumps(task)).replace("{text}", json.dumps(text))


def _classification(code: str) -> dict[str, str]:
    """Code with one text, and with a pair of texts."""
    texts = {"": "The window is open.", " of pairs": {"text": "The window is open.", "text_pair": "It is cold."}}
    return {ending: code.replace("{text}", json.dumps(text)) for ending, text in texts.items()}


_OF_LABELS = {
    "text-classification": _CLASSIFICATION.replace("{answer}", 'answer["label"], answer["score"]'),
    "several labels": _SEVERAL_LABELS,
    "regression": _CLASSIFICATION.replace("{answer}", 'answer["score"]'),
}

USES = {
    "translation": _pipeline("translation"),
    "summarization": _pipeline("summarization", "The window is open. It is cold outside. Please close the window."),
    **{name + ending: code for name, own in _OF_LABELS.items() for ending, code in _classification(own).items()},
    "token-classification": _TAGGING,
    "text-generation": _pipeline("text-generation", "The window"),
    "fill-mask": _FILL_MASK,
    "question-answering": _QUESTION_ANSWERING,
}
"""Task of a pipeline, as the Hub names it, or a kind of such a task → code."""


_ALONE = (
    "Where Triptych is not installed, `transformers.AUTO_CLASS.from_pretrained(NAME, trust_remote_code=True)` loads "
    "the model by the code that lies beside it."
)


def use_alone(name: str, auto_class: str) -> str:
    """Returns a sentence with the code that loads a model without this package.

    Args:
        name: directory or repository of the model.
        auto_class: the Auto class of transformers that finds its class.
    """
    return _ALONE.replace("AUTO_CLASS", auto_class).replace("NAME", json.dumps(name, ensure_ascii=False))


def use(kind: str | None, name: str, model_class: str) -> str:
    """Returns code that loads a model and uses it.

    Args:
        kind: a key of `USES`; for any other, the code loads the model and calls it.
        name: directory or repository of the model.
        model_class: the public name of its class.
    """
    text = USES.get(kind or "", _LOADING)
    return text.replace("CLASS", model_class).replace("NAME", json.dumps(name, ensure_ascii=False))
