"""The models that a tokenizer can have: each with the parts around it, and with its training.

| word            | model                                                 | what decoding does not give back          |
|-----------------|-------------------------------------------------------|-------------------------------------------|
| `bpe`           | byte-level byte-pair encoding (Sennrich 2016; GPT-2)  |                                           |
| `wordpiece`     | BERT's WordPiece (Schuster 2012; Devlin 2018)         | unknown words, control characters,        |
|                 |                                                       | and where there was white space           |
| `unigram`       | unigram language model (Kudo 2018), a space is `▁`    | unknown characters, some white space      |
| `unigram-bytes` | the same, unknown characters spelt in bytes (Llama 2) | some white space                          |
| `word`          | words and punctuation marks, a space is `▁`           | unknown words, some white space           |
| `character`     | one token per character                               | unknown characters                        |

Everything else comes back exactly as it was after the chosen normalization ("none": as it was written). `unigram`,
`unigram-bytes` and `word` treat white space as SentencePiece does: a run of white space becomes one space, white space
at the two ends of the text is lost, and the character `▁` itself counts as white space. With every model, the name of
a special token in a text is that token, and `skip_special_tokens=True` leaves it out.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPACE = "▁"
CONTINUATION = "##"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))

# A model learns nothing from a token that occurs once, so subwords are merged only if they occur again.
_MIN_FREQUENCY = 2

NORMALIZATIONS: dict[str, tuple[normalizers.Normalizer, ...]] = {
    "none": (),
    "nfc": (normalizers.NFC(),),
    "nfkc": (normalizers.NFKC(),),
    # As the uncased BERT models: lower case without accents.
    "uncased": (normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.NFC()),
}


@dataclass(frozen=True)
class Training:
    """What a model is trained on.

    Attributes:
        texts: the texts, which can be read repeatedly.
        symbols: the single characters that pass the pre-tokenizer and reach the model, the most frequent first.
        special_tokens: the special tokens, which get the first ids, in this order.
        unk_token: the special token that stands for what the model does not know.
        vocab_size: the greatest number of tokens, special tokens included.
    """

    texts: Iterable[str]
    symbols: Sequence[str]
    special_tokens: Sequence[str]
    unk_token: str
    vocab_size: int

    @property
    def unk_id(self) -> int:
        return self.special_tokens.index(self.unk_token)

    def run(self, model: models.Model, parts: "Parts", trainer: trainers.Trainer) -> Tokenizer:
        tokenizer = Tokenizer(model)
        parts.surround(tokenizer)
        tokenizer.train_from_iterator(self.texts, trainer)
        return tokenizer


@dataclass(frozen=True)
class Parts:
    """The parts around a model.

    Attributes:
        fit: trains the model.
        pre_tokenizer: cuts the text into pieces; no token extends over two pieces.
        alphabet: makes, from the symbols, the tokens that the model always needs.
        normalizer: the changes of the text that follow the normalization which the caller chose.
        decoder: turns tokens back into text.
        post_processor: trims offsets; None: there is nothing to trim.
        mask_takes_space: whether the mask token includes the space before it, as the token that it hides does.
    """

    fit: Callable[["Parts", Training], models.Model]
    pre_tokenizer: pre_tokenizers.PreTokenizer
    decoder: decoders.Decoder
    alphabet: Callable[["Parts", Sequence[str]], Sequence[str]]
    normalizer: tuple[normalizers.Normalizer, ...] = ()
    post_processor: processors.PostProcessor | None = None
    mask_takes_space: bool = False

    def surround(self, tokenizer: Tokenizer) -> None:
        if self.normalizer:
            tokenizer.normalizer = normalizers.Sequence(list(self.normalizer))
        tokenizer.pre_tokenizer = self.pre_tokenizer
        tokenizer.decoder = self.decoder

    def symbols(self, characters: Iterable[str]) -> list[str]:
        """The characters that reach the model, in the given order."""
        cut = (piece for character in characters for piece, _ in self.pre_tokenizer.pre_tokenize_str(character))
        return list(dict.fromkeys("".join(cut)))


# --- byte-level BPE


def _byte_alphabet(parts: Parts, symbols: Sequence[str]) -> Sequence[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _fit_bpe(parts: Parts, training: Training) -> models.Model:
    trainer = trainers.BpeTrainer(
        vocab_size=training.vocab_size,
        min_frequency=_MIN_FREQUENCY,
        initial_alphabet=_byte_alphabet(parts, training.symbols),
        special_tokens=list(training.special_tokens),
        show_progress=False,
    )
    return training.run(models.BPE(), parts, trainer).model


# --- WordPiece


def _wordpiece_alphabet(parts: Parts, symbols: Sequence[str]) -> Sequence[str]:
    """Every symbol, and a second time with ## if it can continue a word, so that all words of symbols are known."""
    continuing = [s for s in symbols if len(parts.pre_tokenizer.pre_tokenize_str(f"a{s}")) == 1]
    return sorted(symbols) + [CONTINUATION + symbol for symbol in sorted(continuing)]


def _fit_wordpiece(parts: Parts, training: Training) -> models.Model:
    # The trainer numbers ## symbols in the order of a randomly seeded hash map, and breaks ties between merges by
    # these numbers. As special tokens, the symbols get their numbers before the training, which is then repeatable.
    alphabet = _wordpiece_alphabet(parts, training.symbols)
    trainer = trainers.WordPieceTrainer(
        vocab_size=training.vocab_size,
        min_frequency=_MIN_FREQUENCY,
        special_tokens=[*training.special_tokens, *alphabet],
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    trained = training.run(models.WordPiece(unk_token=training.unk_token), parts, trainer)
    vocabulary = trained.get_vocab(with_added_tokens=False)
    return models.WordPiece(vocabulary, unk_token=training.unk_token, continuing_subword_prefix=CONTINUATION)


# --- Unigram


def _symbol_alphabet(parts: Parts, symbols: Sequence[str]) -> Sequence[str]:
    return sorted(symbols)


def _symbol_and_byte_alphabet(parts: Parts, symbols: Sequence[str]) -> Sequence[str]:
    return [*sorted(symbols), *BYTES]


def _unigram_pieces(parts: Parts, training: Training, vocab_size: int) -> list[tuple[str, float]]:
    """The pieces in the order of their ids, with their log-probabilities.

    The trainer adds numbers in the order of a randomly seeded hash map. This changes the last digits of the scores,
    the order of equal scores, and the scores of the symbols that it dropped and brings back at arbitrary steps of 1e-4
    from the lowest score. This function makes all three the same in every run, so that training is repeatable.
    """
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        unk_token=training.unk_token,
        special_tokens=list(training.special_tokens),
        show_progress=False,
    )
    trained = training.run(models.Unigram(), parts, trainer)
    pieces = json.loads(trained.to_str())["model"]["vocab"][len(training.special_tokens) :]
    special = [(token, 0.0) for token in training.special_tokens]
    lowest = min(score for _, score in pieces)
    brought_back = lowest + 1e-4 * len(training.symbols)
    settled = sorted(
        ((piece, round(lowest if len(piece) == 1 and score <= brought_back else score, 6)) for piece, score in pieces),
        key=lambda piece: (-piece[1], piece[0]),
    )
    # When the symbols alone reach the size, the trainer does not stop there; the symbols must stay.
    room = vocab_size - len(special) - len(training.symbols)
    excess = set([piece for piece in settled if len(piece[0]) > 1][room:])
    return special + [piece for piece in settled if piece not in excess]


def _fit_unigram(parts: Parts, training: Training) -> models.Model:
    pieces = _unigram_pieces(parts, training, training.vocab_size)
    return models.Unigram(pieces, unk_id=training.unk_id)


def _fit_unigram_with_bytes(parts: Parts, training: Training) -> models.Model:
    pieces = _unigram_pieces(parts, training, training.vocab_size - len(BYTES))
    # The bytes are so unlikely that the text "<0x41>" is read as six characters, and not as a byte.
    unlikely = min(score for _, score in pieces) - 100.0
    pieces += [(byte, unlikely) for byte in BYTES]
    return models.Unigram(pieces, unk_id=training.unk_id, byte_fallback=True)


# --- words and characters


def _no_alphabet(parts: Parts, symbols: Sequence[str]) -> Sequence[str]:
    return ()


def _fit_word_level(parts: Parts, training: Training) -> models.Model:
    trainer = trainers.WordLevelTrainer(
        vocab_size=training.vocab_size, special_tokens=list(training.special_tokens), show_progress=False
    )
    return training.run(models.WordLevel(unk_token=training.unk_token), parts, trainer).model


def _marked_spaces(piece: str) -> pre_tokenizers.PreTokenizer:
    """Cuts a text into pieces of the regular expression, each with the space before it, which is written ▁.

    A ▁ is put before the text, so that its first word has the same form as the other words. It is not put (`first`)
    after a special token inside the text.
    """
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first", split=False),
            pre_tokenizers.Split(Regex(f"{SPACE}?(?:{piece})"), behavior="isolated"),
        ]
    )


_WORD = r"\w+(?:['’]\w+)*"
_PUNCTUATION = rf"[^\w{SPACE}]"
# White space at the left of a text stays, because after a special token it belongs to the next word. A ▁ in the text
# counts as a space, because a space is written ▁.
_ONE_SPACE = (normalizers.Replace(Regex(rf"[\s{SPACE}]+"), " "), normalizers.Strip(left=False, right=True))

_UNIGRAM = Parts(
    fit=_fit_unigram,
    alphabet=_symbol_alphabet,
    normalizer=_ONE_SPACE,
    pre_tokenizer=_marked_spaces(rf"\w+|{_PUNCTUATION}+"),
    decoder=decoders.Metaspace(replacement=SPACE, prepend_scheme="first"),
    mask_takes_space=True,
)

MODELS: dict[str, Parts] = {
    "bpe": Parts(
        fit=_fit_bpe,
        alphabet=_byte_alphabet,
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoder=decoders.ByteLevel(),
        post_processor=processors.ByteLevel(trim_offsets=True),
        mask_takes_space=True,
    ),
    "wordpiece": Parts(
        fit=_fit_wordpiece,
        alphabet=_wordpiece_alphabet,
        normalizer=(normalizers.BertNormalizer(lowercase=False, strip_accents=False),),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(prefix=CONTINUATION, cleanup=True),
    ),
    "unigram": _UNIGRAM,
    "unigram-bytes": replace(
        _UNIGRAM,
        fit=_fit_unigram_with_bytes,
        alphabet=_symbol_and_byte_alphabet,
        decoder=decoders.Sequence([decoders.ByteFallback(), _UNIGRAM.decoder]),
    ),
    "word": Parts(
        fit=_fit_word_level,
        alphabet=_no_alphabet,
        normalizer=_ONE_SPACE,
        pre_tokenizer=_marked_spaces(f"{_WORD}|{_PUNCTUATION}"),
        decoder=decoders.Metaspace(replacement=SPACE, prepend_scheme="first"),
        mask_takes_space=True,
    ),
    "character": Parts(
        fit=_fit_word_level,
        alphabet=_symbol_alphabet,
        pre_tokenizer=pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated"),
        decoder=decoders.Fuse(),
    ),
}
