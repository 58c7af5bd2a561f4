"""Pipelines from text to text with an encoder-decoder.

The interface and the outputs are those of the pipelines that transformers had up to version 4.
"""

import os
from collections.abc import Iterator, Sequence, Sized
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)
from transformers.pipelines.base import ChunkPipeline

from ..conversion.limits import UNLIMITED, position_limit
from ..data.quantities import counted
from ..files import check_tokenizer
from ..tokenization.saving import save_tokenizers
from .base import TaskPipeline
from .inputs import as_texts
from .options import checkpoint_options, generate_options, given_options, logger, named_options, options_of
from .outputs import Outputs
from .scores import token_scores
from .splitting import Piece, join_texts, split_text
from .stopping import StopSequences
from .target_tokenizer import find_target_tokenizer, has_target_vocabulary

# What generate() can return, but a pipeline does not. (It does return the scores.)
NOT_RETURNED = ("output_attentions", "output_hidden_states", "output_logits")


class TextToTextPipeline(TaskPipeline, ChunkPipeline):
    """What all tasks from text to text share: tokenize the input, call `model.generate()`, decode the output.

    A call with a string returns a list of `num_return_sequences` dicts. A call with a list of strings returns one dict
    for each string, or a list of dicts for each if there are several sequences. A call with a generator or a data set
    returns an iterator over lists of dicts. A tuple, an array of numpy and a column of pandas, pyarrow, polars or
    `datasets` count as lists. `batch_size` is the number of inputs in one forward pass. For an input without text
    (empty, or only white space) the output is an empty text, and the model is not used.

    A text that has more tokens than the model's `max_position_embeddings`, or than the tokenizer's `model_max_length`,
    is split into pieces. `splitting.split_text` says where: at the ends of paragraphs and sentences, as far as these
    fit. The model gets one piece after another, each with the prefix and the languages, and the options of length hold
    for each. The outputs are joined (`splitting.join_texts`), blank lines between paragraphs stay. Of several
    sequences, the n-th is made of the n-th of each piece; `score` is the sum over the pieces, and token ids and their
    scores stand one after the other. The task `text2text-generation` does this only with `split=True`, because an
    instruction for the whole text would be in its first piece alone.

    These places set the options of generation, the strongest first: the call; `pipeline()`; the model's
    `generation_config`; `task_specific_params` in the model's config; `default_generation`. A `generation_config=` in
    a call or in `pipeline()` stands for the options that it sets; options that are given beside it are stronger.
    `max_length`, `max_new_tokens` and `max_length_beyond_source` are three names for one decision, and the strongest
    place that uses one of the names decides. The same holds for `min_length` and `min_new_tokens`, and for
    `length_penalty` and `gnmt_length_penalty`. Two of the names in one place have their meaning in `generate()`.
    A checkpoint can set a prefix and plain options of generation, but nothing that loads or runs code: a warning names
    the other names in `task_specific_params`, and they are ignored.

    Args:
        target_tokenizer: the tokenizer that decodes the output, or its name; None: the one beside the model or the
            tokenizer if the model has separate vocabularies, or else the tokenizer of the input.
        kwargs: the arguments of `transformers.Pipeline`.

    Options, in `pipeline()` or in a call:

    - `split`: whether to split texts that are too long. False: they are an error.
    - `truncation`: use the beginning of texts that are too long. They are not split then.
    - `prefix`: a text that is put before each input, as T5 needs it.
    - `return_tensors`: return the key `…_token_ids` (a tensor) instead of `…_text`; with `return_text=True`, both.
    - `return_text`: False returns `…_token_ids` instead of `…_text`.
    - `stop_sequence`: a string, or several. An output ends with the token that completes one of them in its text.
    - `clean_up_tokenization_spaces`: as in `decode()`.
    - `output_scores` (or `return_dict_in_generate`): return two more keys. `token_scores` is a tensor with the
      log-probability of each generated token in the distribution from which it was chosen; the end token is included,
      the start token is not. `score` is the value by which beams are ranked, with the length penalty; without beams it
      is the sum of `token_scores`.
    - every other option of `model.generate()`, except `output_attentions`, `output_hidden_states` and `output_logits`,
      which have no place in the result.
    """

    output_name = "generated"
    default_generation = {"max_new_tokens": 256, "num_beams": 4}

    # Whether texts that are too long are split where `split` is not given.
    splits: ClassVar[bool] = True

    takes_target_tokenizer = True

    @classmethod
    def check_config(cls, task: str, config: PreTrainedConfig, names: Sequence[str]) -> None:
        """Extends `TaskPipeline.check_config`: raises ValueError unless the model is an encoder-decoder."""
        if not config.is_encoder_decoder:
            raise ValueError(
                f"task {task!r} needs an encoder-decoder model, but model_type {config.model_type!r} is not one; "
                "use 'text-generation' for a decoder"
            )

    def __init__(
        self, *args: Any, target_tokenizer: str | PreTrainedTokenizerBase | None = None, **kwargs: Any
    ) -> None:
        self.target_tokenizer: PreTrainedTokenizerBase | None = None  # options are read before it is known
        super().__init__(*args, **kwargs)
        if not (self.model.config.is_encoder_decoder and self.model.can_generate()):
            raise ValueError(
                f"task {self.task!r} needs an encoder-decoder model with generate(), "
                f"{type(self.model).__name__} is not one"
            )
        if isinstance(target_tokenizer, str):
            check_tokenizer(target_tokenizer)
            target_tokenizer = AutoTokenizer.from_pretrained(target_tokenizer, trust_remote_code=False)
        elif target_tokenizer is None and has_target_vocabulary(self.model.config):
            revision = getattr(self.model.config, "_commit_hash", None)
            is_same = self.tokenizer.name_or_path == self.model.name_or_path
            options = {"trust_remote_code": False} | ({"revision": revision} if revision and is_same else {})
            target_tokenizer = find_target_tokenizer(self.tokenizer, self.model, options=options)
        self.target_tokenizer = target_tokenizer
        self._checkpoint_options = checkpoint_options(self.model, self.task)

    @property
    def positions(self) -> int | None:
        """The greatest number of tokens of the source; None: any number."""
        return position_limit(self.model.config, "encoder")

    @property
    def target_positions(self) -> int | None:
        """The greatest number of tokens of the output, with the start token; None: any number."""
        return position_limit(self.model.config, "decoder")

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Extends transformers' method: saves the target tokenizer, too.

        `pipeline(task, model=save_directory)` brings the model and the tokenizers back.
        """
        super().save_pretrained(save_directory, **kwargs)
        save_tokenizers(save_directory, self.tokenizer, self.target_tokenizer)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Extends transformers' method: takes further kinds of inputs, see the class.

        Raises:
            TypeError: an input is not a string, or a whole table was given.
            ValueError: an input has no tokens, is too long and is neither split nor cut, or has tokens that are not in
                the model's vocabulary; or an option asks for something that a pipeline does not return.
        """
        texts = as_texts(inputs, self.task)
        if isinstance(texts, list) and not texts:
            return []
        outputs = super().__call__(texts, **kwargs)
        if isinstance(texts, str):
            return outputs
        if not isinstance(texts, list):
            return Outputs(outputs, len(texts) if isinstance(texts, Sized) else None)
        return [sequences[0] for sequences in outputs] if all(len(some) == 1 for some in outputs) else outputs

    def pieces(self, text: str) -> list[Piece]:
        """The pieces in which a call reads `text`; a text that is not too long is one piece."""
        options = {name: value for name, value in self._preprocess_params.items() if name != "split"}
        return self._split(text, **(options | {"truncation": False}))

    @property
    def longest_piece(self) -> int:
        """The greatest number of tokens of a piece: `longest`, but not more than `max_position_embeddings`.

        A model of sinusoids can take more, but it has not learnt to: it would translate the beginning only.
        """
        return min(self.longest, getattr(self.model.config, "max_position_embeddings", None) or UNLIMITED)

    @property
    def longest(self) -> int:
        """The greatest number of tokens that the model and the tokenizer can take; `UNLIMITED` for any number."""
        return min(self.positions or UNLIMITED, self.tokenizer.model_max_length, UNLIMITED)

    def _split(self, text: str, **options: Any) -> list[Piece]:
        limit = self.longest_piece

        def length(part: str) -> int:
            return int(self._encode(part, **options)["input_ids"].shape[-1])

        if limit >= UNLIMITED or length(text) <= limit:
            return [Piece(text)]
        if length("") >= limit:
            raise ValueError(
                f"a text can have {counted(limit, 'tokens')} with this model and tokenizer, and the prefix and the "
                "special tokens leave no place for words: give a shorter prefix"
            )
        return split_text(text, lambda part: length(part) <= limit)

    def _sanitize_parameters(
        self,
        *,
        truncation: bool | str | None = None,
        split: bool | None = None,
        prefix: str | None = None,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        stop_sequence: str | list[str] | None = None,
        generation_config: GenerationConfig | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if split and _cuts(truncation):
            raise ValueError(
                f"split=True and truncation={truncation!r} contradict each other: choose whether a text that is too "
                "long is split, or only its beginning used"
            )
        preprocess = {"truncation": truncation, "split": split, "prefix": prefix}
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
        if refused := [name for name in NOT_RETURNED if generate_kwargs.get(name)]:
            raise ValueError(
                f"the {self.task} pipeline cannot return {', '.join(refused)}; call model.generate() for that, "
                "or ask for output_scores"
            )
        if generate_kwargs.get("output_scores", generate_kwargs.get("return_dict_in_generate")):
            generate_kwargs |= {"output_scores": True, "return_dict_in_generate": True}
        # Only named options are returned, so that the options of pipeline() hold where a call names none.
        return given_options(preprocess), named_options(generate_kwargs), given_options(postprocess)

    def preprocess(self, text: str, split: bool | None = None, **options: Any) -> Iterator[dict[str, Any]]:
        """The pieces of `text`, each as the model's inputs: tensors of shape (1, tokens), and what is said of it."""
        if not isinstance(text, str):
            raise TypeError(f"the {self.task} pipeline takes strings, lists or iterators of them, not {text!r}")
        if not _is_unicode(text):
            raise ValueError(f"the input {_excerpt(text)} has a lone surrogate, which no tokenizer reads; remove it")
        is_blank = not text.strip()  # the model does not get it; it must only fit into a batch
        is_whole = is_blank or _cuts(options.get("truncation")) or not (self.splits if split is None else split)
        pieces = [Piece(text)] if is_whole else self._split(text, **options)
        if len(pieces) > 1:
            self.tell_of_pieces(text, len(pieces))
        for number, piece in enumerate(pieces, 1):
            encoded = self._encode(piece.text, **options)
            if is_blank:
                tensors = {name for name, value in encoded.items() if isinstance(value, Tensor)}
                encoded |= dict.fromkeys(tensors, torch.zeros((1, 1), dtype=torch.long))
            else:
                self._check_input_ids(encoded["input_ids"], piece.text)
            about = {"is_blank": is_blank, "gap": piece.gap, "pieces": len(pieces), "is_last": number == len(pieces)}
            yield {**encoded, **about}

    def tell_of_pieces(self, text: str, number: int) -> None:
        """Is called before a text is read in pieces."""

    def _encode(
        self, text: str, truncation: bool | str = False, prefix: str | None = None, **tokenize_kwargs: Any
    ) -> dict[str, Any]:
        if prefix is None:
            prefix = self._checkpoint_options.get("prefix", "")
        longest = {"max_length": self.longest} if _cuts(truncation) and self.longest < UNLIMITED else {}
        encoded = self._tokenize(
            prefix + text, return_tensors="pt", truncation=truncation, verbose=False, **longest, **tokenize_kwargs
        )
        return {name: value for name, value in encoded.items() if name != "token_type_ids"}

    def _tokenize(self, text: str, **kwargs: Any) -> Any:
        return self.tokenizer(text, **kwargs)

    def _check_input_ids(self, input_ids: torch.Tensor, text: str) -> None:
        excerpt = _excerpt(text)
        length, limit = input_ids.shape[-1], self.positions
        if length == 0:
            raise ValueError(f"the input {excerpt} has no tokens")
        if limit is not None and length > limit:
            raise ValueError(
                f"the input {excerpt} has {counted(length, 'tokens')}, the model has {counted(limit, 'positions')}: "
                "pass split=True to read it in pieces, or truncation=True to use its beginning only"
            )
        largest, size = int(input_ids.max()), self.model.config.vocab_size
        if largest >= size:
            raise ValueError(
                f"the tokenizer gives the id {largest} for {excerpt}, the model's vocabulary has {size} tokens: "
                "they do not belong together"
            )

    def _forward(self, model_inputs: dict[str, Any], **given: Any) -> dict[str, Any]:
        """For each piece of the batch: ids of shape (num_return_sequences, longest output), and scores if wanted."""
        about = {name: model_inputs.pop(name) for name in ("is_blank", "gap", "pieces", "is_last")}
        blanks, counts = (
            about[name] if isinstance(about[name], list) else [about[name]] for name in ("is_blank", "pieces")
        )
        if given.get("streamer") is not None and max(counts) > 1:
            raise ValueError(
                "streamer= ends with the first output of the model, and a text that is too long has one for each of "
                f"its {max(counts)} pieces: split it yourself, or pass truncation=True"
            )
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

        count = 1 if effective.get("num_return_sequences") is None else effective["num_return_sequences"]
        if count < 1:
            raise ValueError(f"num_return_sequences={count} must be at least 1")
        nothing = {"output_ids": torch.zeros((count, 0), dtype=torch.long)}
        if effective.get("output_scores") and effective.get("return_dict_in_generate"):
            nothing |= {"score": torch.zeros(count), "token_scores": torch.zeros((count, 0))}
        rows = [row for row, is_blank in enumerate(blanks) if not is_blank]
        if not rows:
            return {**{name: [value] * len(blanks) for name, value in nothing.items()}, **about}
        outputs = self.model.generate(**{name: value[rows] for name, value in model_inputs.items()}, **options)
        made = {"output_ids": outputs if isinstance(outputs, Tensor) else outputs.sequences}
        if "score" in nothing:
            made["token_scores"] = token_scores(outputs, effective.get("eos_token_id"), effective.get("pad_token_id"))
            ranked = getattr(outputs, "sequences_scores", None)
            made["score"] = made["token_scores"].nansum(-1) if ranked is None else ranked
        columns = {
            name: [nothing[name] if is_blank else next(of_inputs) for is_blank in blanks]
            for name in nothing
            for of_inputs in [iter(made[name].unflatten(0, (len(rows), -1)))]
        }
        return {**columns, **about}

    def _weakest_options(self) -> list[dict[str, Any]]:
        """The options that hold where neither the user nor the model's `generation_config` sets them."""
        default: dict[str, Any] = {**self.default_generation}
        limit = self.target_positions
        if limit is not None and "max_new_tokens" in default:
            default["max_new_tokens"] = min(default["max_new_tokens"], limit - 1)  # one is for the start token
        return [default, {name: value for name, value in self._checkpoint_options.items() if name != "prefix"}]

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        """One dict for each output sequence of one input, made of the outputs for all its pieces."""
        tokenizer = self.target_tokenizer or self.tokenizer
        of_pieces = [output["output_ids"][0] for output in model_outputs]
        columns: dict[str, Any] = {}
        with_text, with_ids = _is_returned(return_tensors, return_text)
        if with_text:
            gaps = [output["gap"] for output in model_outputs]
            texts = [
                tokenizer.batch_decode(
                    ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
                )
                for ids in of_pieces
            ]
            columns[f"{self.output_name}_text"] = (
                texts[0] if len(texts) == 1 else [join_texts(parts, gaps) for parts in zip(*texts, strict=True)]
            )
        if with_ids:
            columns[f"{self.output_name}_token_ids"] = (
                of_pieces[0]
                if len(of_pieces) == 1
                else [
                    torch.cat([self._without_padding(ids) for ids in parts]) for parts in zip(*of_pieces, strict=True)
                ]
            )
        if "score" in model_outputs[0]:
            columns["score"] = sum(output["score"][0] for output in model_outputs).tolist()
            columns["token_scores"] = [
                torch.cat([scores[~scores.isnan()] for scores in parts])
                for parts in zip(*(output["token_scores"][0] for output in model_outputs), strict=True)
            ]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _without_padding(self, ids: Tensor) -> Tensor:
        """The token ids (tokens,) of one output, up to the padding that a batch put behind it."""
        pad = self.model.generation_config.pad_token_id
        is_token = (ids != (self.tokenizer.pad_token_id if pad is None else pad)).nonzero()
        return ids[: int(is_token[-1]) + 1] if len(is_token) else ids[:0]


class Text2TextGenerationPipeline(TextToTextPipeline):
    """The task `text2text-generation`; returns `generated_text`."""

    splits = False


class SummarizationPipeline(TextToTextPipeline):
    """The task `summarization`; returns `summary_text`.

    The summary of a text that is too long is made of the summaries of its pieces, one after the other; a warning says
    so.
    """

    output_name = "summary"
    has_told_of_pieces = False

    def tell_of_pieces(self, text: str, number: int) -> None:
        """Extends `TextToTextPipeline.tell_of_pieces`: a long text gets a long summary, which nobody may expect.

        One warning is enough for all texts of a pipeline.
        """
        if self.has_told_of_pieces:
            return
        self.has_told_of_pieces = True
        logger.warning(
            "the text %s is longer than the inputs of the model: its summary is made of the summaries of %d pieces; "
            "pass truncation=True to summarize its beginning only, or split=False for an error",
            _excerpt(text),
            number,
        )


def _is_returned(return_tensors: bool | None, return_text: bool | None) -> tuple[bool, bool]:
    """Whether texts are returned, and whether token ids are returned.

    Raises:
        ValueError: neither is returned.
    """
    if return_tensors is False and return_text is False:
        raise ValueError("return_text=False and return_tensors=False leave nothing to return; drop one of them")
    with_ids = return_text is False if return_tensors is None else return_tensors
    return (not with_ids if return_text is None else return_text), with_ids


def _cuts(truncation: bool | str | None) -> bool:
    """Whether a value of `truncation` asks to cut."""
    return truncation not in (None, False, "do_not_truncate")


def _is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
