"""
Translates sentences with a trained model, through `triptych.pipeline`.

    triptych translate runs/demo "The window is open." "Turn on the light."
    triptych translate runs/demo < sentences.txt > translations.txt
    echo "Good morning." | triptych translate runs/demo

Without sentences on the command line, the command reads standard input: UTF-8 with one text per line. Only a line feed
(or carriage return and line feed) ends a line. Line n of the output is the translation of line n of the input. A blank
line stays empty. A line that is longer than the inputs of the model is translated in pieces, with a warning on
standard error. The translations of `--batch_size` lines appear together; with `--batch_size 1`, each translation
appears as soon as its line has been read.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import transformers

from ..files import check_tokenizer_files, naming_damage
from ..pipelines import pipeline
from ..pipelines.splitting import join_texts
from ..training.command_line import OptionParser, positive
from ..training.translate import one_line


def read_lines(stream: Iterable[bytes]) -> Iterator[str]:
    """Gives the lines of a stream of UTF-8, without their ends.

    Raises:
        ValueError: a line is not UTF-8.
    """
    for number, line in enumerate(stream, 1):
        encoding = "utf-8-sig" if number == 1 else "utf-8"
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode(encoding)
        except UnicodeDecodeError as error:
            place = f"standard input, line {number}, byte {error.start + 1}"
            raise ValueError(
                f"{place}: {error.object[error.start]:#04x} is not UTF-8; convert the text to UTF-8"
            ) from None


def translations(translate: Any, texts: Iterable[str], origin: str) -> Iterator[str]:
    """Gives the translation of each text, as one line, when its batch is done.

    Args:
        origin: the name of a text in the warning about pieces; the number of the text follows it.

    Raises:
        ValueError: a text could not be read. The translations of all texts before it are given first.
    """
    gaps: deque[list[str]] = deque()  # those between the pieces of each text that has been read but not translated
    failures: list[ValueError] = []

    def pieces() -> Iterator[str]:
        try:
            for number, text in enumerate(texts, 1):
                parts = translate.pieces(text)
                if len(parts) > 1:
                    warning = f"{origin} {number} is longer than the model's inputs: translated in {len(parts)} pieces"
                    print(f"warning: {warning}", file=sys.stderr, flush=True)
                gaps.append([part.gap for part in parts])
                yield from (part.text for part in parts)
        except ValueError as error:
            failures.append(error)

    done: list[str] = []
    for [output] in translate(pieces()):
        done.append(one_line(output["translation_text"]))
        if len(done) == len(gaps[0]):
            yield join_texts(done, gaps.popleft())
            done.clear()
    if failures:
        raise failures[0]


def labelled(translate: Any, sentences: list[str]) -> Iterator[str]:
    """Gives each sentence of the command line with its translation."""
    for sentence, translation in zip(sentences, translations(translate, sentences, "sentence"), strict=True):
        yield f"{sentence} -> {translation}"


def main(args: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.add_argument("directory", help="Directory (or name on the Hub) of the model.")
    parser.add_argument("sentences", nargs="*", help="The sentences to translate (default: standard input).")
    parser.add_argument("--batch_size", type=positive, default=16, help="Sentences that are translated at a time.")
    parser.add_argument("--num_beams", type=positive, help="Number of beams (default: that of generation_config).")
    arguments = parser.parse_args(args)
    transformers.utils.logging.disable_progress_bar()

    options: dict[str, Any] = {} if arguments.num_beams is None else {"num_beams": arguments.num_beams}
    # One translation of each text, even where the model's generation_config asks for several.
    options |= {"num_return_sequences": 1, "batch_size": arguments.batch_size}
    check_tokenizer_files(arguments.directory)
    with naming_damage(arguments.directory):
        translate = pipeline("translation", model=arguments.directory, **options)
    lines = (
        labelled(translate, arguments.sentences)
        if arguments.sentences
        else translations(translate, read_lines(sys.stdin.buffer), "standard input, line")
    )
    for line in lines:
        sys.stdout.buffer.write(f"{line}\n".encode())
        sys.stdout.buffer.flush()
