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
_LOADING = """\
from transformers import AutoTokenizer

import triptych

tokenizer = AutoTokenizer.from_pretrained(NAME)
model = triptych.CLASS.from_pretrained(NAME)
print(model(**tokenizer("The window is open.", return_tensors="pt")).keys())
"""


def _pipeline(task: str, text: str = "The window is open.") -> str:
    return _PIPELINE.replace("{task}", json.dumps(task)).replace("{text}", json.dumps(text))


USES = {
    "translation": _pipeline("translation"),
    "summarization": _pipeline("summarization", "The window is open. It is cold outside. Please close the window."),
    "text-classification": _pipeline("text-classification"),
    "token-classification": _pipeline("token-classification"),
    "text-generation": _pipeline("text-generation", "The window"),
    "fill-mask": _FILL_MASK,
    "question-answering": _QUESTION_ANSWERING,
}
"""Task of a pipeline, as the Hub names it → code."""


def use(pipeline_tag: str | None, name: str, model_class: str) -> str:
    """Returns code that loads a model and uses it.

    Args:
        pipeline_tag: a key of `USES`; for any other, the code loads the model and calls it.
        name: directory or repository of the model.
        model_class: the public name of its class.
    """
    text = USES.get(pipeline_tag or "", _LOADING)
    return text.replace("CLASS", model_class).replace("NAME", json.dumps(name, ensure_ascii=False))
