"""Multiple choice: which of several texts belongs to another. transformers has the models, but no pipeline."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.pipelines.base import ChunkPipeline

from .pairs import encode_pair
from .ranked import RankedPipeline, best


class MultipleChoicePipeline(RankedPipeline, ChunkPipeline):
    """The task `multiple-choice`: which of the choices belongs to the prompt.

        pipe(prompt="The kettle boils.", choices=["She pours the tea.", "He plants a tree."])
        pipe([{"prompt": "The kettle boils.", "choices": ["She pours the tea.", "He plants a tree."]}])

    The output for each prompt is a dict: `choice`, its text; `index`, its place in the list; `score`, its probability
    among the choices. With `top_k`, it is a list of so many dicts, the best first.

    Each choice is read in one row with the prompt, as in the paper (BERT, section 4.4) and in transformers' example
    for this task. `batch_size` counts such rows.

    Options, in `pipeline()` or in a call:

    - `top_k`: the number of choices that are returned; None: the best one, not in a list.
    - `truncation`: cut the prompt where it is too long with a choice, instead of an error.
    """

    fields = {"prompt": "text", "choices": "texts"}
    heads = ("MultipleChoice",)

    def preprocess(self, inputs: dict[str, Any], truncation: bool = False) -> Iterator[dict[str, Any]]:
        """The rows of one prompt: one for each choice, as the arguments of the model."""
        for number, choice in enumerate(inputs["choices"], 1):
            is_last = number == len(inputs["choices"])
            encoded = encode_pair(self.tokenizer, self.model.config, inputs["prompt"], choice, truncation)
            # The list comes first, because transformers counts the rows of a batch in the first value.
            yield {"choice": [choice], "is_last": is_last, **encoded}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        """The logit of each row; the model sees each row as the only choice of its prompt."""
        others = {name: model_inputs.pop(name) for name in ("choice", "is_last")}
        rows = {name: value[:, None] for name, value in model_inputs.items() if isinstance(value, Tensor)}
        return {**others, "logit": self.model(**rows).logits[:, 0]}

    def postprocess(self, model_outputs: list[dict[str, Any]], top_k: int | None = None) -> Any:
        """The choices of one prompt, by their probability."""
        scores = torch.cat([output["logit"] for output in model_outputs]).float().softmax(-1)
        found = [
            {"score": score, "index": index, "choice": output["choice"][0]}
            for index, (score, output) in enumerate(zip(scores.tolist(), model_outputs, strict=True))
        ]
        return best(found, top_k)
