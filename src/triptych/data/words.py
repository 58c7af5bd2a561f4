"""Tokens of sentences whose words are given: which word each token belongs to, and windows that a model can take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..configuration.special_tokens import tokenizer_name

NO_WORD = -1  # the word of a token that belongs to none
PROBES = ("a", "0", ".")  # texts of which one shows what a tokenizer puts around every text


@dataclass(frozen=True)
class Window:
    """A part of a sentence that a model reads at once.

    Attributes:
        input_ids: its tokens, with special tokens around them.
        words: for each token the number of its word in the sentence; `NO_WORD` for special tokens.
    """

    input_ids: list[int]
    words: list[int]

    def firsts(self) -> dict[int, int]:
        """Word → the position of its first token."""
        found: dict[int, int] = {}
        for position, word in enumerate(self.words):
            if word != NO_WORD:
                found.setdefault(word, position)
        return found


class WordEncoder:
    """Turns sentences into windows of tokens. The tokens are those of the words with a space between two of them.

    So a pipeline that is given the sentence in this form reads the same tokens. A word for which the tokenizer has no
    token, such as a lone control character, becomes the token for unknown words.

    Args:
        tokenizer: a fast one, because only those tell to which part of a text a token belongs.
        limit: the most tokens of a window, special tokens included; None: any number.

    Raises:
        ValueError: the tokenizer is not fast, or the limit leaves no room for words.
    """

    def __init__(self, tokenizer: Any, limit: int | None = None) -> None:
        name = tokenizer_name(tokenizer)
        if not tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer {name} does not tell to which word a token belongs; give a fast one (with a "
                "tokenizer.json)"
            )
        self.tokenizer = tokenizer
        self.before, self.after = around(tokenizer)
        self.room = None if limit is None else limit - len(self.before) - len(self.after)
        if self.room is not None and self.room < 1:
            raise ValueError(f"{limit} tokens leave no room for words beside the special tokens of {name}")
        self.unknown = tokenizer.unk_token_id
        if self.unknown is None:
            self.unknown = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[Window]]:
        """The windows of each sentence. Every word has its first token in exactly one window."""
        texts = [" ".join(words) for words in sentences]
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            truncation=False,
            padding=False,
            verbose=False,
        )
        found = zip(sentences, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [list(self.windows(self.by_word(*parts))) for parts in found]

    def by_word(
        self, words: Sequence[str], ids: Sequence[int], offsets: Sequence[tuple[int, int]]
    ) -> list[tuple[list[int], list[int]]]:
        """For each word, its tokens, and the word of each token. Tokens of a mere space stand before the next word.

        A token belongs to the word of its first character that is in a word.
        """
        word_of: list[int] = []  # the word of each character of the text, in which a space follows each word
        for number, word in enumerate(words):
            word_of += [number] * len(word) + [NO_WORD]
        found: list[tuple[list[int], list[int]]] = [([], []) for _ in words]
        spaces: list[int] = []
        for token, (start, end) in zip(ids, offsets, strict=True):
            number = next((number for number in word_of[start:end] if number != NO_WORD), NO_WORD)
            if number == NO_WORD:
                spaces.append(token)
                continue
            tokens, numbers = found[number]
            tokens += [*spaces, token]
            numbers += [NO_WORD] * len(spaces) + [number]
            spaces = []
        for number, (tokens, numbers) in enumerate(found):
            if not tokens:
                tokens.append(self.unknown)
                numbers.append(number)
        found[-1][0].extend(spaces)
        found[-1][1].extend([NO_WORD] * len(spaces))
        return found

    def windows(self, words: list[tuple[list[int], list[int]]]) -> Iterator[Window]:
        """Cuts a sentence between words, so that each window is as long as it can be.

        A word that alone is longer than a window loses its last tokens.
        """
        ids: list[int] = []
        numbers: list[int] = []
        for tokens, of_tokens in words:
            if self.room is not None and len(tokens) > self.room:
                kept = [position for position, number in enumerate(of_tokens) if number != NO_WORD][: self.room]
                tokens, of_tokens = [tokens[place] for place in kept], [of_tokens[place] for place in kept]
            if ids and self.room is not None and len(ids) + len(tokens) > self.room:
                yield self.window(ids, numbers)
                ids, numbers = [], []
            ids, numbers = ids + tokens, numbers + of_tokens
        yield self.window(ids, numbers)

    def window(self, ids: list[int], numbers: list[int]) -> Window:
        """The window of these tokens, whose words are given, with special tokens around them."""
        around_words = [NO_WORD] * len(self.before), [NO_WORD] * len(self.after)
        return Window([*self.before, *ids, *self.after], [*around_words[0], *numbers, *around_words[1]])


def around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and behind a text.

    Raises:
        ValueError: the tokenizer has no tokens for texts.
    """
    for probe in (*PROBES, str(tokenizer.unk_token)):
        bare, whole = (
            tokenizer(probe, add_special_tokens=special, verbose=False)["input_ids"] for special in (False, True)
        )
        for start in range(len(whole)):
            if bare and whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :]
    raise ValueError(f"the tokenizer {tokenizer_name(tokenizer)} has no tokens for a text; give another one")
