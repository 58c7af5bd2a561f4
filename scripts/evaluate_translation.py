"""
Scores a translator: sacreBLEU with its signature, and chrF.

    python scripts/evaluate_translation.py translator --test_file test.tsv --output_file translations.txt

DIR is anything that `AutoModelForSeq2SeqLM` loads. The options of generation come from its generation_config unless
they are given here. With several processes (see train_translation.py) these share the sentences.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import transformers
from transformers import AutoModelForSeq2SeqLM, HfArgumentParser

import triptych  # noqa: F401 (its models become known to AutoModelForSeq2SeqLM)
from triptych.data import load_corpus, load_pairs
from triptych.files import check_output_file, naming_damage, write_text
from triptych.tokenization import load_tokenizers
from triptych.training import create_accelerator
from triptych.training.arguments import option
from triptych.training.command_line import run_script
from triptych.training.translate import score_translations, translate

GENERATION = ("num_beams", "length_penalty", "gnmt_length_penalty", "max_length_beyond_source", "max_new_tokens")


@dataclass
class EvaluationArguments:
    """What to translate, and how."""

    test_file: str | None = option(None, "Pairs: tsv, csv, jsonl, json or parquet.")
    dataset_name: str | None = option(None, "Instead of a file: a data set; its test split is used.")
    dataset_config_name: str | None = option(None, "Configuration of the data set.")
    corpus: str | None = option(
        None, "Instead of a file: the test part of a corpus that ships with the package, en-de."
    )
    source_column: str = option("source", "Column of the sentences to translate.")
    target_column: str = option("target", "Column of their translations.")
    output_file: str | None = option(None, "Where to write the translations, one per line.")
    batch_size: int = option(64, "Sentences that are translated at a time.")
    num_beams: int | None = option(None, "Beams.")
    length_penalty: float | None = option(None, "Exponent of the length by which a beam's score is divided.")
    gnmt_length_penalty: float | None = option(None, "The paper's length penalty, alpha (Triptych models).")
    max_length_beyond_source: int | None = option(None, "Longest translation, beyond the source (Triptych models).")
    max_new_tokens: int | None = option(None, "Longest translation.")
    cpu: bool = option(False, "Use the CPU even where there is a GPU.")

    def pairs(self) -> datasets.Dataset:
        given = [name for name in ("test_file", "dataset_name", "corpus") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("give one of --test_file, --dataset_name and --corpus")
        if self.corpus:
            return load_corpus(self.corpus)["test"]
        splits = load_pairs(
            test_file=self.test_file,
            dataset_name=self.dataset_name,
            dataset_config_name=self.dataset_config_name,
            source_column=self.source_column,
            target_column=self.target_column,
        )
        if "test" not in splits:
            raise ValueError(f"{self.dataset_name} has no split test; it has {', '.join(splits)}")
        return splits["test"]

    def generate_options(self) -> dict[str, Any]:
        return {name: value for name in GENERATION if (value := getattr(self, name)) is not None}


def main() -> None:
    parser = HfArgumentParser(EvaluationArguments, description=__doc__, allow_abbrev=False)
    parser.add_argument("directory", help="Directory (or name on the Hub) of the model.")
    arguments, positional = parser.parse_args_into_dataclasses()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()

    if arguments.output_file:
        check_output_file(Path(arguments.output_file))
    pairs = arguments.pairs()
    accelerator = create_accelerator(cpu=arguments.cpu)
    tokenizer, target_tokenizer = load_tokenizers(positional.directory)
    with naming_damage(positional.directory):
        model = AutoModelForSeq2SeqLM.from_pretrained(positional.directory).to(accelerator.device)
    translations = translate(
        model,
        tokenizer,
        pairs["source"],
        target_tokenizer,
        batch_size=arguments.batch_size,
        accelerator=accelerator,
        **arguments.generate_options(),
    )
    if arguments.output_file and accelerator.is_main_process:
        write_text(Path(arguments.output_file), "".join(f"{' '.join(text.split())}\n" for text in translations))
    scores = score_translations(translations, pairs["target"])
    accelerator.print(f"BLEU {scores['bleu']:.2f} ({scores['bleu_signature']})")
    accelerator.print(f"chrF {scores['chrf']:.2f} ({scores['chrf_signature']})")


if __name__ == "__main__":
    run_script(main)
