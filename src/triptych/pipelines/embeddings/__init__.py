"""Vectors of texts, and search by meaning.

`Embedder` turns texts into vectors, with the pooling and the prompts that a directory of sentence-transformers names.
`SearchIndex` finds the texts that are nearest to a question.
"""

from .embedder import Embedder
from .recipe import Recipe, read_recipe
from .search import SearchIndex

__all__ = ["Embedder", "Recipe", "SearchIndex", "read_recipe"]
