"""Next sentence prediction: whether a text continues another. transformers has the models, but no pipeline."""

from typing import Any

from .pairs import encode_pair
from .ranked import RankedPipeline, best

LABELS = ("IsNext", "NotNext")  # of the two outputs, by the names in the paper (BERT, section 3.1)


class NextSentencePipeline(RankedPipeline):
    """The task `next-sentence-prediction`: whether the second text comes after the first.

        pipe(text="The kettle boils.", text_pair="She pours the tea.")
        pipe([{"text": "The kettle boils.", "text_pair": "She pours the tea."}])

    The output for each pair is a dict: `label`, which is `IsNext` or `NotNext`, and `score`, its probability. With
    `top_k`, it is a list of so many dicts, the more probable label first.

    Options, in `pipeline()` or in a call:

    - `top_k`: the number of labels that are returned; None: the more probable one, not in a list.
    - `truncation`: cut the first text where the pair is too long, instead of an error.
    """

    fields = {"text": "text", "text_pair": "text"}
    heads = ("NextSentencePrediction", "ForPreTraining")

    def preprocess(self, inputs: dict[str, str], truncation: bool = False) -> dict[str, Any]:
        """The arguments of the model for one pair."""
        return encode_pair(self.tokenizer, self.model.config, inputs["text"], inputs["text_pair"], truncation)

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        """The two logits of each pair; a model with the heads of pre-training names them so."""
        outputs = self.model(**model_inputs)
        return {"logits": outputs["seq_relationship_logits" if "seq_relationship_logits" in outputs else "logits"]}

    def postprocess(self, model_outputs: dict[str, Any], top_k: int | None = None) -> Any:
        """The labels of one pair, by their probability."""
        scores = model_outputs["logits"][0].float().softmax(-1).tolist()
        found = [{"label": label, "score": score} for label, score in zip(LABELS, scores, strict=True)]
        return best(found, top_k)
