"""Text in, text out, with an encoder-decoder: translation, summarization, text2text-generation.

The interface and the outputs are those of the pipelines that transformers had up to version 4.
"""

import os
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase, StoppingCriteriaList

from ..conversion.limits import position_limit
from ..tokenization import save_tokenizers
from .base import TaskPipeline
from .inputs import as_texts
from .options import checkpoint_options, generate_options, given_options, named_options, options_of
from .outputs import Outputs
from .scores import token_scores
from .splitting import split_text
from .stopping import StopSequences

_UNLIMITED = 10**9  # tokenizers say 1e30 when they know no limit
# What generate() can return and a text cannot carry. The scores can be carried.
_NOT_RETURNED = ("output_attentions", "output_hidden_states", "output_logits")


class TextToTextPipeline(TaskPipeline):
    """What the three tasks share: tokenize, `model.generate()`, decode.

    Called with a string, it returns a list of `num_return_sequences` dicts; with a list of strings, one dict per
    string (a list of dicts when several sequences are asked for); with a generator or a data set, an iterator over
    lists of dicts. A tuple, an array of numpy and a column of pandas, pyarrow, polars or `datasets` count as lists.
    `batch_size` says how many inputs share a forward pass. An input without text (empty, or white space only) gives
    an empty text, at its place, without the model.

    What generation does is decided, from the strongest to the weakest, by: the options of the call, those given
    to `pipeline()`, the model's `generation_config`, the config's `task_specific_params`, and
    `default_generation`. A `generation_config=` counts as the options that it sets, where it is given; options beside
    it win. `max_length`, `max_new_tokens` and `max_length_beyond_source` are three names for one decision: the
    strongest place that uses one of them decides. The same holds for `min_length` and `min_new_tokens`, and for
    `length_penalty` and `gnmt_length_penalty`. Two of them in one place mean what they mean to `generate()`.
    A checkpoint can give a prefix and plain options of generation, and nothing that loads or runs code: other names
    in `task_specific_params` are ignored, with a warning.

    Args:
        target_tokenizer: decodes the output; None: the tokenizer of the input does.
        kwargs: as `transformers.Pipeline`.

    Options, in `pipeline()` or in a call:

    - `truncation`: cut inputs that are too long, instead of raising.
    - `prefix`: put before each input, as T5 wants it.
    - `return_tensors`: the key `…_token_ids` (a tensor) instead of `…_text`; together with `return_text=True`, both.
    - `return_text`: False means `…_token_ids` instead of `…_text`.
    - `stop_sequence`: a string, or several. An output ends with the token that completes one of them in its text.
    - `clean_up_tokenization_spaces`: as in `decode()`.
    - `output_scores` (or `return_dict_in_generate`): two more keys. `token_scores` is a tensor with the
      log-probability of each generated token, the end token included and the start token not, in the distribution
      that it was chosen from. `score` is what beams are ranked by, with the length penalty; without beams it is the
      sum of `token_scores`.
    - everything else that `model.generate()` takes, except `output_attentions`, `output_hidden_states` and
      `output_logits`, which have no place in the result.
    """

    output_name = "generated"
    default_generation = {"max_new_tokens": 256, "num_beams": 4}

    takes_target_tokenizer = True

    @classmethod
    def check_config(cls, task: str, config: PreTrainedConfig) -> None:
        """Extends `TaskPipeline.check_config`: raises ValueError unless the model is an encoder-decoder."""
        if not config.is_encoder_decoder:
            raise ValueError(
                f"task {task!r} needs an encoder-decoder model, but model_type {config.model_type!r} is not one; "
                "use 'text-generation' for a decoder"
            )

    def __init__(self, *args: Any, target_tokenizer: PreTrainedTokenizerBase | None = None, **kwargs: Any) -> None:
        self.target_tokenizer = target_tokenizer
        super().__init__(*args, **kwargs)
        if not (self.model.config.is_encoder_decoder and self.model.can_generate()):
            raise ValueError(
                f"task {self.task!r} needs an encoder-decoder model with generate(), "
                f"{type(self.model).__name__} is not one"
            )
        self._checkpoint_options = checkpoint_options(self.model, self.task)

    @property
    def positions(self) -> int | None:
        """How many tokens the source may have; None: any number."""
        return position_limit(self.model.config, "encoder")

    @property
    def target_positions(self) -> int | None:
        """How many tokens the output may have, with the start token; None: any number."""
        return position_limit(self.model.config, "decoder")

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Extends transformers' method: saves the target tokenizer, too.

        `pipeline(task, model=save_directory)` brings the model and the tokenizers back.
        """
        super().save_pretrained(save_directory, **kwargs)
        save_tokenizers(save_directory, self.tokenizer, self.target_tokenizer)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """See the class.

        Raises:
            TypeError: an input is not a string, or a whole table was given.
            ValueError: an input has no tokens, more tokens than the model has positions, or tokens that are not
                in the model's vocabulary; an option asks for something that a pipeline does not return.
        """
        texts = as_texts(inputs, self.task)
        if isinstance(texts, list) and not texts:
            return []
        outputs = super().__call__(texts, **kwargs)
        if isinstance(texts, str):
            return outputs
        if not isinstance(texts, list):
            return Outputs(outputs)
        return [sequences[0] for sequences in outputs] if all(len(some) == 1 for some in outputs) else outputs

    def pieces(self, text: str) -> list[str]:
        """`text` in pieces that are not longer than the model's inputs should be; one piece where it is not too long.

        The limit is the smallest of the model's positions, its `max_position_embeddings` and the tokenizer's
        `model_max_length`. A text is cut behind sentences where these fit, else between words, else anywhere.
        """
        limits = [self.positions, getattr(self.model.config, "max_position_embeddings", None)]
        limit = min([self.tokenizer.model_max_length, *(limit for limit in limits if limit is not None)])
        if limit >= _UNLIMITED:
            return [text]
        options = self._preprocess_params | {"truncation": False}
        return split_text(text, lambda part: self._encode(part, **options)["input_ids"].shape[-1] <= limit)

    def _sanitize_parameters(
        self,
        *,
        truncation: bool | str | None = None,
        prefix: str | None = None,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        stop_sequence: str | list[str] | None = None,
        generation_config: GenerationConfig | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {"truncation": truncation, "prefix": prefix}
        _is_returned(return_tensors, return_text)
        postprocess = {
            "return_tensors": return_tensors,
            "return_text": return_text,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
        }
        if generation_config is not None:
            generate_kwargs = options_of(generation_config, generate_kwargs)
        if stop_sequence is not None:
            generate_kwargs["stop_sequence"] = [stop_sequence] if isinstance(stop_sequence, str) else stop_sequence
        if refused := [name for name in _NOT_RETURNED if generate_kwargs.get(name)]:
            raise ValueError(
                f"the {self.task} pipeline cannot return {', '.join(refused)}; call model.generate() for that, "
                "or ask for output_scores"
            )
        if generate_kwargs.get("output_scores", generate_kwargs.get("return_dict_in_generate")):
            generate_kwargs |= {"output_scores": True, "return_dict_in_generate": True}
        # What the call does not name is left to what pipeline() was given, so only the named ones are passed on.
        return given_options(preprocess), named_options(generate_kwargs), given_options(postprocess)

    def preprocess(self, text: str, **options: Any) -> dict[str, Any]:
        """`text` as the model's inputs: tensors of shape (1, tokens), and `is_blank`, whether there is no text."""
        if not isinstance(text, str):
            raise TypeError(f"the {self.task} pipeline takes strings, lists or iterators of them, not {text!r}")
        encoded = self._encode(text, **options)
        is_blank = not text.strip()
        if is_blank:  # the model does not see it; it only has to fit into a batch
            tensors = {name for name, value in encoded.items() if isinstance(value, Tensor)}
            encoded |= dict.fromkeys(tensors, torch.zeros((1, 1), dtype=torch.long))
        else:
            self._check_input_ids(encoded["input_ids"], text)
        return {**encoded, "is_blank": is_blank}

    def _encode(
        self, text: str, truncation: bool | str = False, prefix: str | None = None, **tokenize_kwargs: Any
    ) -> dict[str, Any]:
        if prefix is None:
            prefix = self._checkpoint_options.get("prefix", "")
        limits = [self.positions or _UNLIMITED, self.tokenizer.model_max_length]
        longest = {"max_length": min(limits)} if truncation and min(limits) < _UNLIMITED else {}
        encoded = self._tokenize(
            prefix + text, return_tensors="pt", truncation=truncation, verbose=False, **longest, **tokenize_kwargs
        )
        return {name: value for name, value in encoded.items() if name != "token_type_ids"}

    def _tokenize(self, text: str, **kwargs: Any) -> Any:
        return self.tokenizer(text, **kwargs)

    def _check_input_ids(self, input_ids: torch.Tensor, text: str) -> None:
        excerpt = repr(text if len(text) <= 60 else text[:57] + "...")
        length, limit = input_ids.shape[-1], self.positions
        if length == 0:
            raise ValueError(f"the input {excerpt} has no tokens")
        if limit is not None and length > limit:
            raise ValueError(
                f"the input {excerpt} has {length} tokens, the model has {limit} positions: "
                "split it, or pass truncation=True to use its beginning only"
            )
        largest, size = int(input_ids.max()), self.model.config.vocab_size
        if largest >= size:
            raise ValueError(
                f"the tokenizer gives the id {largest} for {excerpt}, the model's vocabulary has {size} tokens: "
                "they do not belong together"
            )

    def _forward(self, model_inputs: dict[str, Any], **given: Any) -> dict[str, Any]:
        """For each input of the batch: ids, (num_return_sequences, longest output), and scores if asked for."""
        blank = model_inputs.pop("is_blank")
        blanks = blank if isinstance(blank, list) else [blank]
        of_model = options_of(self.model.generation_config)
        tokenizer = self.target_tokenizer or self.tokenizer
        stops = given.pop("stop_sequence", None)
        options = generate_options(self._weakest_options(), of_model, given)
        if stops:
            criteria = [*(options.get("stopping_criteria") or []), StopSequences(tokenizer, stops)]
            options["stopping_criteria"] = StoppingCriteriaList(criteria)
        effective = of_model | options
        if effective.get("stop_strings"):
            options.setdefault("tokenizer", tokenizer)

        count = effective.get("num_return_sequences") or 1
        nothing = {"output_ids": torch.zeros((count, 0), dtype=torch.long)}
        if effective.get("output_scores") and effective.get("return_dict_in_generate"):
            nothing |= {"score": torch.zeros(count), "token_scores": torch.zeros((count, 0))}
        rows = [row for row, is_blank in enumerate(blanks) if not is_blank]
        if not rows:
            return {name: [value] * len(blanks) for name, value in nothing.items()}
        outputs = self.model.generate(**{name: value[rows] for name, value in model_inputs.items()}, **options)
        made = {"output_ids": outputs if isinstance(outputs, Tensor) else outputs.sequences}
        if "score" in nothing:
            made["token_scores"] = token_scores(outputs, effective.get("eos_token_id"), effective.get("pad_token_id"))
            ranked = getattr(outputs, "sequences_scores", None)
            made["score"] = made["token_scores"].nansum(-1) if ranked is None else ranked
        return {
            name: [nothing[name] if is_blank else next(of_inputs) for is_blank in blanks]
            for name in nothing
            for of_inputs in [iter(made[name].unflatten(0, (len(rows), -1)))]
        }

    def _weakest_options(self) -> list[dict[str, Any]]:
        """The options that hold where neither the user nor the model's `generation_config` says anything."""
        default: dict[str, Any] = {**self.default_generation}
        limit = self.target_positions
        if limit is not None and "max_new_tokens" in default:
            default["max_new_tokens"] = min(default["max_new_tokens"], limit - 1)  # one is the start token's
        return [default, {name: value for name, value in self._checkpoint_options.items() if name != "prefix"}]

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        """One dict for each of the sequences of one input."""
        (sequences,) = model_outputs["output_ids"]
        columns: dict[str, Any] = {}
        with_text, with_ids = _is_returned(return_tensors, return_text)
        if with_text:
            columns[f"{self.output_name}_text"] = (self.target_tokenizer or self.tokenizer).batch_decode(
                sequences, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
            )
        if with_ids:
            columns[f"{self.output_name}_token_ids"] = sequences
        if "score" in model_outputs:
            columns["score"] = model_outputs["score"][0].tolist()
            columns["token_scores"] = [scores[~scores.isnan()] for scores in model_outputs["token_scores"][0]]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


class Text2TextGenerationPipeline(TextToTextPipeline):
    """Task `text2text-generation`; returns `generated_text`."""


class SummarizationPipeline(TextToTextPipeline):
    """Task `summarization`; returns `summary_text`."""

    output_name = "summary"


def _is_returned(return_tensors: bool | None, return_text: bool | None) -> tuple[bool, bool]:
    """Whether texts are returned, and whether token ids are.

    Raises:
        ValueError: neither.
    """
    if return_tensors is False and return_text is False:
        raise ValueError("return_text=False and return_tensors=False leave nothing to return; drop one of them")
    with_ids = return_text is False if return_tensors is None else return_tensors
    return (not with_ids if return_text is None else return_text), with_ids
