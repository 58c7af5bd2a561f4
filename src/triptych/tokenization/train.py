"""Training a tokenizer on texts."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tokenizers import AddedToken, Tokenizer, normalizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from .families import Family, get_family
from .models import MODELS, NORMALIZATIONS, Parts, Training

# The models whose vocabulary does not grow with the number of different characters.
UNLIMITED = ("bpe", "word")

logger = logging.getLogger(__name__)


def train_tokenizer(
    texts: Iterable[str],
    model: str = "bpe",
    vocab_size: int = 8000,
    family: str = "encoder-decoder",
    *,
    normalization: str = "none",
    limit_alphabet: int | None = None,
    extra_special_tokens: Sequence[str] = (),
    model_max_length: int | None = None,
) -> PreTrainedTokenizerFast:
    """Trains a tokenizer; the same texts always give the same tokenizer.

    Args:
        texts: a list, a column of a `datasets` data set, or a generator of texts. They are read twice, so the texts of
            a generator are kept in memory.
        model: `bpe`, `wordpiece`, `unigram`, `unigram-bytes`, `word` or `character`; see the table in
            `triptych.tokenization.models`.
        vocab_size: the greatest number of tokens, special tokens included.
        family: `encoder-decoder` (<pad> <unk> <s> </s> <mask>; text </s>), `encoder` (BERT's [PAD] [UNK] [CLS] [SEP]
            [MASK]; [CLS] text [SEP]) or `decoder` (<pad> <unk> <s> </s>; adds none, pads on the left). The special
            tokens have the ids 0, 1, 2, ... in this order.
        normalization: `none`, `nfc`, `nfkc` or `uncased` (lower case without accents).
        limit_alphabet: the number of the most frequent characters that are kept; all other characters become unknown.
            None keeps all. A space counts where it is a token. The models `bpe` and `word` do not take this option,
            because their vocabulary does not grow with the alphabet.
        extra_special_tokens: further special tokens, e.g. language tags. Their ids follow those of the family.
        model_max_length: the number of tokens at which `truncation=True` cuts; None: no limit.

    Raises:
        ValueError: the word for model, family or normalization is unknown; there is no text; the vocabulary is too
            small for the alphabet and the special tokens; a special token is given twice.
        TypeError: `texts` is one string, or one of the texts is not a string (the message counts from 0).
    """
    conventions = get_family(family)
    parts = _get_parts(model, normalization)
    special_tokens = [*conventions.special_tokens.values(), *extra_special_tokens]
    if repeated := [token for token, count in Counter(special_tokens).items() if count > 1]:
        raise ValueError(f"extra_special_tokens: {', '.join(repeated)} would be special twice; leave it out")
    if limit_alphabet is not None and model in UNLIMITED:
        raise ValueError(f"limit_alphabet={limit_alphabet}: model={model!r} keeps no alphabet of characters")

    if limit_alphabet is not None and limit_alphabet < 1:
        raise ValueError(f"limit_alphabet={limit_alphabet} must be at least 1, or None to keep every character")
    if isinstance(texts, str):
        raise TypeError("texts is one string; give an iterable of strings, e.g. a list of lines")

    corpus = _Texts(
        list(texts) if isinstance(texts, Iterator) else texts, normalizers.Sequence(list(parts.normalizer))
    )
    characters = corpus.count_characters()
    symbols = parts.symbols(characters)[:limit_alphabet]
    if limit_alphabet is not None:
        rare = [c for c in characters if not set(symbols).issuperset(parts.symbols(c))]
        corpus = replace(corpus, blanks=dict.fromkeys(map(ord, rare), " "))
    _check_vocab_size(vocab_size, len(special_tokens), len(parts.alphabet(parts, symbols)), model)

    training = Training(corpus, symbols, special_tokens, conventions.special_tokens["unk_token"], vocab_size)
    backend = Tokenizer(parts.fit(parts, training))
    if backend.get_vocab_size() < vocab_size:
        logger.warning(
            "the texts fill %d of vocab_size=%d tokens (model=%r)", backend.get_vocab_size(), vocab_size, model
        )
    return _wrap(backend, parts, conventions, extra_special_tokens, model_max_length)


def in_slices(texts: Iterable[str], size: int = 1000) -> Iterator[str]:
    """Every text, in order. Reading a column of `datasets` in slices is a hundred times faster than one by one."""
    if isinstance(texts, Sequence):
        for start in range(0, len(texts), size):
            yield from texts[start : start + size]
    else:
        yield from texts


@dataclass(frozen=True)
class _Texts:
    """The normalised texts, in which each character of `blanks` is a space; they can be read repeatedly."""

    texts: Iterable[str]
    normalizer: normalizers.Normalizer
    blanks: Mapping[int, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        for number, text in enumerate(in_slices(self.texts)):
            if not isinstance(text, str):
                raise TypeError(f"text {number} is {text!r}, not a string; drop it or convert it")
            text = self.normalizer.normalize_str(text)
            yield text.translate(self.blanks) if self.blanks else text

    def count_characters(self) -> list[str]:
        """The characters, the most frequent first. Equally frequent characters keep the order of the texts.

        Raises:
            ValueError: there are no texts, or all of them are empty.
        """
        counts: Counter[str] = Counter()
        for text in self:
            counts.update(text)
        if all(character.isspace() for character in counts):
            raise ValueError("there is no text to train a tokenizer on: no texts were given, or all are empty")
        return [character for character, _ in counts.most_common()]


def _get_parts(model: str, normalization: str) -> Parts:
    for name, word, table in (("model", model, MODELS), ("normalization", normalization, NORMALIZATIONS)):
        if word not in table:
            raise ValueError(f"{name}={word!r} is unknown; choose one of {', '.join(table)}")
    parts = MODELS[model]
    return replace(parts, normalizer=(*NORMALIZATIONS[normalization], *parts.normalizer))


def _check_vocab_size(vocab_size: int, special: int, alphabet: int, model: str) -> None:
    needed = special + max(alphabet, 1)
    if vocab_size < needed:
        raise ValueError(
            f"vocab_size={vocab_size} is too small for a {model!r} tokenizer: {special} special tokens and an "
            f"alphabet of {alphabet} need at least {needed}; raise it"
            + (", or drop rare characters with limit_alphabet" if model not in UNLIMITED else "")
        )


def _wrap(
    backend: Tokenizer,
    parts: Parts,
    family: Family,
    extra_special_tokens: Sequence[str],
    model_max_length: int | None,
) -> PreTrainedTokenizerFast:
    """Puts the parts around the trained model, and makes a tokenizer of transformers."""
    parts.surround(backend)
    special = {
        role: AddedToken(token, lstrip=parts.mask_takes_space and role == "mask_token", special=True)
        for role, token in family.special_tokens.items()
    }
    backend.add_special_tokens([*special.values(), *extra_special_tokens])
    processing = [part for part in (parts.post_processor, family.template()) if part is not None]
    if processing:
        backend.post_processor = processors.Sequence(processing)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        padding_side=family.padding_side,
        model_input_names=list(family.model_input_names),
        model_max_length=VERY_LARGE_INTEGER if model_max_length is None else model_max_length,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=list(extra_special_tokens),
        **special,
    )
