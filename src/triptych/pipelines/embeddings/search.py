"""Search by meaning: the texts whose vectors are nearest to the vector of a question."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..inputs import as_texts
from .embedder import Embedder, texts_of
from .pooling import SIMILARITIES, check_word

Nearest = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""The vectors of M questions (M, d) and a number k → the scores and the rows of the k nearest texts, (M, k) each."""

BLOCK = 2**24  # the most scores that are computed at once: 64 MB


def by_matrix(vectors: Tensor, similarity: str) -> Nearest:
    """Compares a question with all texts, by a product of matrices; exact, and needs no other library."""
    compare = SIMILARITIES[similarity]
    if similarity == "cosine":  # once here, instead of in each call
        vectors, compare = normalize(vectors, dim=-1), SIMILARITIES["dot"]

    def nearest(questions: Tensor, number: int) -> tuple[Tensor, Tensor]:
        if similarity == "cosine":
            questions = normalize(questions, dim=-1)
        parts = questions.split(max(1, BLOCK // len(vectors)))
        found = [compare(part, vectors).topk(number, dim=-1) for part in parts]
        return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])

    return nearest


def by_faiss(vectors: Tensor, similarity: str) -> Nearest:
    """Searches with FAISS, through the index of a `datasets` data set. It needs `pip install faiss-cpu datasets`.

    Raises:
        ValueError: FAISS does not have the measure of the model.
        ImportError: a library is missing.
    """
    if similarity not in ("cosine", "dot"):
        raise ValueError(f"engine='faiss' does not compare by {similarity!r}, the measure of the model; use 'matrix'")
    try:
        import faiss
        from datasets import Dataset
    except ImportError as error:
        raise ImportError(f"engine='faiss' needs {error.name}: pip install faiss-cpu datasets") from error

    def comparable(given: Tensor) -> Any:
        return (normalize(given, dim=-1) if similarity == "cosine" else given).numpy()

    rows = Dataset.from_dict({"row": range(len(vectors))})
    rows.add_faiss_index_from_external_arrays(
        comparable(vectors), index_name="vectors", metric_type=faiss.METRIC_INNER_PRODUCT
    )

    def nearest(questions: Tensor, number: int) -> tuple[Tensor, Tensor]:
        found = rows.search_batch("vectors", comparable(questions), k=number)
        return torch.as_tensor(found.total_scores), torch.as_tensor(found.total_indices)

    return nearest


ENGINES: dict[str, Callable[[Tensor, str], Nearest]] = {"matrix": by_matrix, "faiss": by_faiss}


class SearchIndex:
    """The vectors of many texts, in which those that are nearest to a question are found.

        index = SearchIndex(embedder, ["Berlin is the capital of Germany.", "Bread needs flour and water."])
        index.query("What do I need for baking?")

    A model that has prompts for questions and for documents gets them.

    Args:
        embedder: what turns texts into vectors.
        texts: the texts: a list, an iterator, or a column of a data set.
        engine: `matrix` (a product of matrices, exact) or `faiss` (an index of FAISS through `datasets`).
        options: the options of `Embedder.embed`: `batch_size`, `truncation`, `prompt`, `prompt_name`.

    Attributes:
        texts: the texts, in their order.
        vectors: their vectors, (N, d).

    Raises:
        ValueError: there is no text; the engine is unknown, or cannot compare as the model asks for.
        ImportError: the library of the engine is missing.
    """

    def __init__(self, embedder: Embedder, texts: Any, *, engine: str = "matrix", **options: Any) -> None:
        check_word(engine, ENGINES, "engine")
        self.embedder, self.texts = embedder, texts_of(texts)
        if not self.texts:
            raise ValueError("there is no text to search in")
        self.vectors = embedder.embed(self.texts, **self._with_prompt("document", options))
        self._nearest = ENGINES[engine](self.vectors, embedder.recipe.similarity)

    def __len__(self) -> int:
        return len(self.texts)

    def query(
        self, questions: Any, top_k: int = 5, **options: Any
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """The nearest texts of a question, the best first; a list of them for each of several questions.

        Args:
            questions: a text, or several.
            top_k: how many texts each question gets, at most.
            options: the options of `Embedder.embed`.

        Returns:
            A dict for each text: `text`, `row` (its number in the index) and `score`, by the measure of the model.

        Raises:
            ValueError: `top_k` is less than 1.
        """
        if top_k < 1:
            raise ValueError(f"top_k={top_k} must be at least 1")
        given = as_texts(questions, "search")
        asked = [given] if isinstance(given, str) else list(given)
        if not asked:
            return []
        vectors = self.embedder.embed(asked, **self._with_prompt("query", options))
        scores, rows = self._nearest(vectors, min(top_k, len(self)))
        found = [
            [{"text": self.texts[row], "row": row, "score": score} for score, row in zip(*of_one, strict=True)]
            for of_one in zip(scores.tolist(), rows.tolist(), strict=True)
        ]
        return found[0] if isinstance(given, str) else found

    def _with_prompt(self, role: str, options: dict[str, Any]) -> dict[str, Any]:
        """The options, with the model's prompt for a role where they say nothing of a prompt."""
        named = any(options.get(name) is not None for name in ("prompt", "prompt_name"))
        return options if named else {**options, "prompt_name": self.embedder.prompt_name(role)}
