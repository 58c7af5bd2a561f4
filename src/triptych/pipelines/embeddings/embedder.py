"""Texts to vectors."""

import inspect
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize as normalized
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from ...conversion.limits import UNLIMITED, position_limit
from ...data.quantities import counted
from ..inputs import as_texts
from ..loading import Loader
from .pooling import SIMILARITIES, pool
from .recipe import Recipe, pooling_words, read_recipe

logger = logging.getLogger(__name__)

# The names of the prompts for a question, and for the texts that are searched; the first one that a model has is used.
ROLES: dict[str, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


class Embedder:
    """Turns texts into vectors, as `SentenceTransformer.encode` does: the same model gives the same vectors.

        embedder = Embedder.from_pretrained("all-MiniLM-L6-v2")
        vectors = embedder.embed(["The weather is lovely.", "It is sunny."])

    It works with every model of text in transformers and in this package: with an encoder, with a decoder, and with
    the encoder of an encoder-decoder. Of a model with a head, the body is used.

    Args:
        model: the model, which is set to evaluation.
        tokenizer: its tokenizer.
        recipe: how vectors are made; None: what the files say in the directory of the model. Where they say nothing,
            or the model was not loaded from a directory, a warning names what is done: the mean of the tokens.
        pooling: a word of `pooling.POOLINGS`, or several, in place of that of the recipe.
        normalize: whether vectors get the length 1, in place of what the recipe says.

    Attributes:
        recipe: how vectors are made.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        recipe: Recipe | None = None,
        *,
        pooling: str | Sequence[str] | None = None,
        normalize: bool | None = None,
    ) -> None:
        words = None if pooling is None else pooling_words(pooling)
        recipe = recipe or recipe_beside(model)
        if recipe is None:
            recipe = Recipe()
            if words is None:
                logger.warning(
                    "no %s lies beside the model %r, so nothing says how it makes a vector of a text: it is the mean "
                    "of the vectors of the tokens; pass pooling= to say so or to choose another",
                    "modules.json",
                    model.name_or_path or type(model).__name__,
                )
        self.recipe = replace(
            recipe,
            pooling=words or recipe.pooling,
            normalize=recipe.normalize if normalize is None else normalize,
        )
        self.model, self.tokenizer = model.eval(), tokenizer

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        pooling: str | Sequence[str] | None = None,
        normalize: bool | None = None,
        trust_remote_code: bool = False,
        **kwargs: Any,
    ) -> "Embedder":
        """Loads a model, its tokenizer and its recipe from a directory or from the Hub.

        Args:
            pooling, normalize: see the class.
            trust_remote_code: whether code in the checkpoint may run.
            kwargs: `revision`, `token`, `dtype`, `device_map`, `model_kwargs`, ..., as for `triptych.pipeline`.

        Raises:
            ValueError: a file is damaged or asks for something that is not known; an option is unknown.
            OSError: there is no such directory or repository.
        """
        name, options = os.fspath(name), {**kwargs, "trust_remote_code": bool(trust_remote_code)}
        loader = Loader.take_options(options)
        if options:
            raise ValueError(f"unknown options: {', '.join(sorted(options))}")
        config = loader.load_config(name)
        recipe = read_recipe(name, **loader.files)
        model = loader.load_model(AutoModel, name, config)
        return cls(model, loader.load_tokenizer(name), recipe, pooling=pooling, normalize=normalize)

    def embed(
        self,
        texts: Any,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int = 32,
        truncation: bool = False,
    ) -> Tensor:
        """The vector of one text, (d,), or of several, (N, d), in float32, in the memory of the CPU.

        Texts of about the same length are computed together; the vectors come in the order of the texts.

        Args:
            texts: a text, or a list, an iterator or a column of texts.
            prompt: a text that is put before each text.
            prompt_name: the name of a prompt of the model, in place of `prompt`.
            batch_size: how many texts are computed together.
            truncation: cut texts that are too long, instead of an error.

        Raises:
            TypeError: a text is not a string.
            ValueError: a text has no tokens, or too many; a prompt is unknown; an option has an impossible value.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        before = self.prompt(prompt, prompt_name)
        given = as_texts(texts, "embedding")
        rows = self._tokenize([given] if isinstance(given, str) else list(given), before, truncation)
        left_out = 0 if self.recipe.include_prompt else self._tokens_of(before)
        order = sorted(range(len(rows)), key=lambda number: -len(rows[number]["input_ids"]))
        vectors: list[Tensor] = [torch.empty(0)] * len(rows)
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            for number, vector in zip(numbers, self._vectors([rows[n] for n in numbers], left_out), strict=True):
                vectors[number] = vector
        if isinstance(given, str):
            return vectors[0]
        return torch.stack(vectors) if vectors else torch.empty(0, self.width)

    @property
    def width(self) -> int:
        """d, the number of channels of a vector."""
        return int(self.model.config.hidden_size) * len(self.recipe.pooling)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a text, with its prompt; None: any number."""
        limits = [self.recipe.max_tokens, position_limit(self.model.config, "encoder")]
        if self.recipe.max_tokens is None and self.tokenizer.model_max_length < UNLIMITED:
            limits.append(int(self.tokenizer.model_max_length))
        return min((limit for limit in limits if limit is not None), default=None)

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """How alike vectors are: (M, d), (N, d) → (M, N), the greater the more, by the measure of the recipe."""
        return SIMILARITIES[self.recipe.similarity](first, second)

    def prompt(self, prompt: str | None = None, prompt_name: str | None = None) -> str:
        """The text that is put before each text: the one that is given, named, or that the model has by default.

        Raises:
            ValueError: both are given, or the model has no prompt of this name.
        """
        if prompt is not None and prompt_name is not None:
            raise ValueError(f"give prompt={prompt!r} or prompt_name={prompt_name!r}, not both")
        name = self.recipe.default_prompt if prompt_name is None else prompt_name
        if prompt is not None or name is None:
            return prompt or ""
        if name not in self.recipe.prompts:
            known = ", ".join(self.recipe.prompts) or "none"
            raise ValueError(f"the model has no prompt {name!r}; its prompts are: {known}")
        return self.recipe.prompts[name]

    def prompt_name(self, role: str) -> str | None:
        """The name of the model's prompt for a role, `query` or `document`; None: it has no such prompt."""
        return next((name for name in ROLES[role] if name in self.recipe.prompts), None)

    def _tokenize(self, texts: list[Any], before: str, truncation: bool) -> list[dict[str, list[int]]]:
        """The token ids of each text, and what else the tokenizer says of them."""
        wrong = next((row for row, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            raise TypeError(f"texts are strings, but item {wrong} is {texts[wrong]!r:.60}")
        if not texts:
            return []
        limit = self.max_tokens
        cut = {"truncation": True, "max_length": limit} if truncation and limit is not None else {}
        encoded = self.tokenizer([self._cased(before + text) for text in texts], verbose=False, **cut)
        columns = {name: encoded[name] for name in self.tokenizer.model_input_names if name in encoded}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
            length = len(row["input_ids"])
            if length == 0:
                raise ValueError(f"text {number} has no tokens: {text!r:.60}")
            if limit is not None and length > limit:
                raise ValueError(
                    f"text {number} has {counted(length, 'tokens')}, the model takes {limit:,}: {text!r:.60}; "
                    "split it, or pass truncation=True to use its beginning only"
                )
        return rows

    def _cased(self, text: str) -> str:
        return text.lower() if self.recipe.lower_case else text

    def _tokens_of(self, prompt: str) -> int:
        """The tokens of a prompt at the beginning of a text: without the special token that ends a text."""
        if not prompt:
            return 0
        ids = self.tokenizer(self._cased(prompt))["input_ids"]
        return len(ids) - (bool(ids) and ids[-1] in self.tokenizer.all_special_ids)

    @torch.no_grad()
    def _vectors(self, rows: list[dict[str, list[int]]], left_out: int) -> Tensor:
        """The vectors of a batch: (B, d), float32, in the memory of the CPU."""
        body = self.model.base_model
        if self.model.config.is_encoder_decoder:
            body = body.get_encoder()
        # A tokenizer without a padding token has no id to fill with. Then 0 is as good as any: the mask hides it.
        fill = {"input_ids": self.tokenizer.pad_token_id or 0, "token_type_ids": self.tokenizer.pad_token_type_id}
        device = self.model.get_input_embeddings().weight.device
        columns = {
            name: pad_sequence(
                [torch.tensor(row[name]) for row in rows], batch_first=True, padding_value=fill.get(name, 0)
            ).to(device)
            for name in rows[0]
        }
        mask = pad_sequence([torch.ones(len(row["input_ids"]), dtype=torch.long) for row in rows], batch_first=True)
        columns["attention_mask"] = mask = mask.to(device)
        takes = inspect.signature(body.forward).parameters
        hidden = body(**{name: value for name, value in columns.items() if name in takes}).last_hidden_state
        vectors = pool(hidden, mask, self.recipe.pooling, left_out)
        return (normalized(vectors, dim=-1) if self.recipe.normalize else vectors).cpu()


def recipe_beside(model: PreTrainedModel) -> Recipe | None:
    """What the files say in the directory of which a model was loaded; None: they say nothing, or it has none."""
    name = model.name_or_path  # a model from the Hub does not know its revision, so nothing is read there
    return read_recipe(name) if name and Path(name).is_dir() else None


def texts_of(texts: Iterable[Any]) -> list[str]:
    """A list of the texts of a list, an iterator or a column.

    Raises:
        TypeError: it is one text, or one of the items is not a text.
    """
    given = as_texts(texts, "search")
    if isinstance(given, str):
        raise TypeError(f"needed are several texts, not one: {given!r:.60}")
    return list(given)
