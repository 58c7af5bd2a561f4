"""Sentence similarity: how alike a text is to other texts. transformers has no pipeline for it, the Hub has one."""

from collections.abc import Mapping
from typing import Any

from .embeddings import Embedder, read_recipe
from .fields import FieldsPipeline, check_count
from .options import given_options


class SentenceSimilarityPipeline(FieldsPipeline):
    """The task `sentence-similarity`, with the inputs and the outputs that it has on the Hub.

        pipe(source_sentence="It is sunny.", sentences=["The weather is lovely.", "He drove to the stadium."])
        pipe([{"source_sentence": "It is sunny.", "sentences": ["The weather is lovely."]}])

    The output for each source is a list of numbers, one for each of its sentences: the cosine of the angle between
    the two vectors, or another measure that the model names. `embeddings.Embedder` makes the vectors, in the way that
    the files beside the model say; `pipe.embedder.embed(texts)` gives the vectors themselves.

    Options of `pipeline()`:

    - `pooling`, `normalize`: in place of what the files beside the model say, see `Embedder`.

    Options, in `pipeline()` or in a call:

    - `prompt`, `prompt_name`: a text that is put before each text, or the name of one that the model has.
    - `batch_size`: how many texts are computed together (32).
    - `truncation`: cut texts that are too long, instead of an error.
    """

    fields = {"source_sentence": "text", "sentences": "texts"}
    reads_files = True

    def __init__(
        self,
        *args: Any,
        pooling: Any = None,
        normalize: bool | None = None,
        files: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._batch_of_texts = kwargs.pop("batch_size", None)
        check_count("batch_size", self._batch_of_texts)
        super().__init__(*args, **kwargs)
        recipe = None if files is None else read_recipe(self.model.name_or_path, **files)
        self.embedder = Embedder(self.model, self.tokenizer, recipe, pooling=pooling, normalize=normalize)

    def __call__(self, *args: Any, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Extends `FieldsPipeline.__call__`: a batch is one of texts, not of inputs."""
        size = batch_size or self._batch_of_texts
        return super().__call__(*args, batch_size=1, **given_options({"texts_together": size}), **kwargs)

    def _sanitize_parameters(
        self,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncation: bool | None = None,
        texts_together: int | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        options = {
            "prompt": prompt,
            "prompt_name": prompt_name,
            "truncation": truncation,
            "batch_size": texts_together,
        }
        return {}, given_options(options), {}

    def preprocess(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The texts of one input, the source first; the embedder tokenizes them."""
        return {"texts": [inputs["source_sentence"], *inputs["sentences"]]}

    def _forward(self, model_inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
        """The vectors of the texts: (1 + sentences, d)."""
        return {"vectors": self.embedder.embed(model_inputs["texts"], **options)}

    def postprocess(self, model_outputs: dict[str, Any]) -> list[float]:
        """How alike the source is to each sentence."""
        vectors = model_outputs["vectors"]
        found: list[float] = self.embedder.similarity(vectors[:1], vectors[1:])[0].tolist()
        return found
