"""
Translates sentences with a trained model, through `triptych.pipeline`.

    python scripts/translate.py runs/demo "The window is open." "Turn on the light."
    python scripts/translate.py runs/demo < sentences.txt > translations.txt

Without sentences on the command line it reads standard input, a sentence per line; empty lines stay empty.
"""

import argparse
import sys
from collections.abc import Iterator

import transformers

import triptych
from triptych.files import check_tokenizer_files, naming_damage
from triptych.training.command_line import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="Directory (or name on the Hub) of the model.")
    parser.add_argument("sentences", nargs="*", help="What to translate.")
    parser.add_argument("--batch_size", type=int, default=16, help="Sentences that are translated at a time.")
    parser.add_argument("--num_beams", type=int, help="Beams (default: what the model's generation_config says).")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()

    options = {} if arguments.num_beams is None else {"num_beams": arguments.num_beams}
    check_tokenizer_files(arguments.directory)
    with naming_damage(arguments.directory):
        translate = triptych.pipeline(
            "translation", model=arguments.directory, batch_size=arguments.batch_size, **options
        )
    if arguments.sentences:
        for source, output in zip(arguments.sentences, translate(arguments.sentences), strict=True):
            print(f"{source} -> {output['translation_text']}")
        return

    lines = [line.strip() for line in sys.stdin]

    def sentences() -> Iterator[str]:
        yield from (line for line in lines if line)

    outputs = translate(sentences())
    for line in lines:
        print(next(outputs)[0]["translation_text"] if line else "", flush=True)


if __name__ == "__main__":
    run_script(main)
