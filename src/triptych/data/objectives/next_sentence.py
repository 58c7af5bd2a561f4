"""Pairs of segments for next-sentence prediction, as BERT built them (Devlin et al. 2018, sections 3.1 and A.2)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrow import CHUNK, write_batches
from .draws import row_generator
from .masked import NEVER

if TYPE_CHECKING:
    from datasets import Dataset

SHORT = 0.1  # the part of the documents that are cut into short pairs of random lengths
RANDOM = 0.5  # the part of the pairs whose second segment comes from another document
NEXT, NOT_NEXT = 0, 1  # the values of `next_sentence_label`


@dataclass(frozen=True)
class Sentences:
    """The tokens of documents of sentences, in memory one behind the other.

    Attributes:
        tokens: (N,) token ids, without special tokens.
        word_starts: (N,) 1 at the first token of a word and 0 at its other tokens.
        sentences: (S + 1,) where each sentence begins in `tokens`, and the end. No sentence is empty.
        documents: (D + 1,) where each document begins in `sentences`, and the end. No document is empty.
    """

    tokens: np.ndarray
    word_starts: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @classmethod
    def of(cls, rows: "Dataset") -> "Sentences":
        """Those of a data set whose columns `tokens` and `word_starts` hold, for each document, a list of sentences.

        Raises:
            ValueError: there is only one document, or no document has several sentences.
        """
        import pyarrow.compute as pc

        tokens, starts, lengths, counts = [], [], [], []
        for table in rows.with_format("arrow").iter(batch_size=10_000):
            of_documents = table["tokens"].combine_chunks()
            counts.append(pc.list_value_length(of_documents).to_numpy())
            lengths.append(pc.list_value_length(of_documents.flatten()).to_numpy())
            tokens.append(of_documents.flatten().flatten().to_numpy().astype(np.int32))
            of_words = table["word_starts"].combine_chunks().flatten().flatten()
            starts.append(of_words.to_numpy().astype(np.int8))
        number_of_sentences = np.concatenate(counts)
        if len(number_of_sentences) < 2 or number_of_sentences.max() < 2:
            raise ValueError(
                f"next_sentence needs several documents, and documents of several sentences, each on a line of its "
                f"own; there are {len(number_of_sentences)} documents, and the longest has "
                f"{number_of_sentences.max()} sentences. In plain text a blank line ends a document where "
                "--documents blank_lines is given"
            )
        edges = [np.concatenate([[0], np.cumsum(np.concatenate(sizes))]) for sizes in (lengths, counts)]
        return cls(np.concatenate(tokens), np.concatenate(starts), *edges)


@dataclass(frozen=True)
class Pair:
    """Two segments, as places in `Sentences.tokens`; `label` is `NEXT` or `NOT_NEXT`."""

    first: slice
    second: slice
    label: int


def pairs_of(sentences: Sentences, longest: int, seed: int) -> Iterator[Pair]:
    """Builds the pairs of all documents, in their order. What is drawn depends on (seed, document) alone.

    A document is cut into runs of sentences that hold `longest` tokens together, or in 10 % of the documents a random
    number of at least 2. Each run is cut at a random end of a sentence. In half of the pairs the second segment is the
    rest of the run. In the others it begins at a random sentence of another document, and the rest of the run is used
    for the next pair. A run of one sentence always gets a random second segment. From a pair that is too long, tokens
    are removed one by one, from the longer segment, at its front or its back.

    Args:
        longest: the most tokens of both segments together.
    """
    at, documents = sentences.sentences, sentences.documents
    for document, (begin, end) in enumerate(pairwise(documents)):
        random = row_generator((seed, 0), document)
        target = int(random.integers(2, longest, endpoint=True)) if random.random() < SHORT else longest
        while begin < end:
            stop = filled(at, begin, end, target)
            cut = begin + (1 if stop == begin + 1 else int(random.integers(1, stop - begin)))
            is_random = stop == begin + 1 or random.random() < RANDOM
            second = cut, stop
            if is_random:
                other = int(random.integers(len(documents) - 2))
                other += other >= document
                start = int(random.integers(documents[other], documents[other + 1]))
                second = start, filled(at, start, documents[other + 1], target - int(at[cut] - at[begin]))
            segments = (int(at[begin]), int(at[cut])), (int(at[second[0]]), int(at[second[1]]))
            yield Pair(*truncated(*segments, longest, random), NOT_NEXT if is_random else NEXT)
            begin = cut if is_random else stop


def filled(at: np.ndarray, begin: int, end: int, target: int) -> int:
    """The end of the shortest run of sentences from `begin` on that has `target` tokens; at most `end`."""
    return min(max(int(np.searchsorted(at, at[begin] + target)), begin + 1), end)


def truncated(
    first: tuple[int, int], second: tuple[int, int], longest: int, random: np.random.Generator
) -> tuple[slice, slice]:
    """Removes tokens from the longer of two segments, one by one, until both together have `longest` tokens."""
    sizes = first[1] - first[0], second[1] - second[0]
    surplus = max(sum(sizes) - longest, 0)
    of_longer = [min(surplus, max(sizes[which] - sizes[1 - which], 0)) for which in (0, 1)]
    rest = surplus - sum(of_longer)  # from here on the segments are equally long, and the second one is next
    removed = of_longer[0] + rest // 2, of_longer[1] + rest - rest // 2
    cut = []
    for (begin, end), number in zip((first, second), removed, strict=True):
        at_front = int(random.binomial(number, 0.5))
        cut.append(slice(begin + at_front, end - (number - at_front)))
    return cut[0], cut[1]


@dataclass(frozen=True)
class PairFrame:
    """The special tokens around two segments, as in `[CLS] A [SEP] B [SEP]`, and the types of all tokens.

    Attributes:
        before, between, after: token ids.
        types: the type ids of before, the first segment, between, the second segment, and after.
    """

    before: list[int]
    between: list[int]
    after: list[int]
    types: list[int]

    @classmethod
    def of(cls, tokenizer: Any) -> "PairFrame":
        """That of a fast tokenizer, as a pair of texts shows it."""
        encoding = tokenizer("a", "a", return_token_type_ids=True).encodings[0]
        sides, ids, types = (np.array(of) for of in (encoding.sequence_ids, encoding.ids, encoding.type_ids))
        first, second = (np.flatnonzero(sides == side) for side in (0, 1))
        edges = [0, first[0], first[-1] + 1, second[0], second[-1] + 1, len(ids)]
        parts = [slice(*edge) for edge in pairwise(edges)]
        kinds = [int(types[part][0]) if len(types[part]) else 0 for part in parts]
        return cls(ids[parts[0]].tolist(), ids[parts[2]].tolist(), ids[parts[4]].tolist(), kinds)

    @property
    def size(self) -> int:
        """The number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def row(self, sentences: Sentences, pair: Pair) -> dict[str, Any]:
        """The columns of a pair: `input_ids`, `word_starts`, `token_type_ids` and `next_sentence_label`."""
        segments = sentences.tokens[pair.first], sentences.tokens[pair.second]
        around = [np.asarray(ids, dtype=np.int32) for ids in (self.before, self.between, self.after)]
        parts = [around[0], segments[0], around[1], segments[1], around[2]]
        starts = [sentences.word_starts[pair.first], sentences.word_starts[pair.second]]
        never = [np.full(len(ids), NEVER, dtype=np.int8) for ids in around]
        return {
            "input_ids": np.concatenate(parts),
            "word_starts": np.concatenate([never[0], starts[0], never[1], starts[1], never[2]]),
            "token_type_ids": np.repeat(np.array(self.types, dtype=np.int8), [len(part) for part in parts]),
            "next_sentence_label": pair.label,
        }


def next_sentence_rows(rows: "Dataset", tokenizer: Any, block_size: int, types: int, seed: int) -> "Dataset":
    """Makes the rows of `MaskedLMCollator` with `token_type_ids` and `next_sentence_label`.

    The tokens of all documents are in memory meanwhile, 5 bytes each; the rows are written to the disk.

    Args:
        rows: documents of sentences, see `Sentences.of`.
        tokenizer: a fast one; it says which special tokens surround two segments.
        block_size: the most tokens of a row, special tokens included.
        types: the number of token types that the model has.
        seed: decides the pairs.

    Raises:
        ValueError: see `Sentences.of`; or `block_size` leaves no room for two tokens; or there are too few types.
    """
    import pyarrow as pa

    sentences, frame = Sentences.of(rows), PairFrame.of(tokenizer)
    if block_size < frame.size + 2:
        raise ValueError(f"block_size={block_size} must be at least {frame.size + 2}, to hold two segments")
    if max(frame.types) >= types:
        raise ValueError(
            f"type_vocab_size={types}: the tokenizer tells two segments apart by the types 0 to {max(frame.types)}; "
            "choose a model with token types, or give --type_vocab_size"
        )
    numbers, flags = pa.list_(pa.int32()), pa.list_(pa.int8())
    kinds = {"input_ids": numbers, "word_starts": flags, "token_type_ids": flags, "next_sentence_label": pa.int64()}
    schema = pa.schema({**kinds, "example": pa.int64()})

    def batches() -> Iterator[Any]:
        pairs = enumerate(pairs_of(sentences, block_size - frame.size, seed))
        while chunk := list(islice(pairs, CHUNK)):
            made = [frame.row(sentences, pair) | {"example": number} for number, pair in chunk]
            yield pa.record_batch(
                [pa.array([row[name] for row in made], schema.field(name).type) for name in schema.names], schema
            )

    return write_batches(batches(), schema)
