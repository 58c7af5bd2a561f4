"""
Scores a translation model: sacreBLEU and chrF with their signatures.

    triptych evaluate-translation translator --test_file test.tsv --output_file translations.txt

The directory can hold any model that `AutoModelForSeq2SeqLM` loads. Options of generation that are not given come from
the model's generation_config. Several processes divide the sentences between them;
see `triptych train-translation --help`.
"""

import copy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import transformers
from transformers import AutoModelForSeq2SeqLM

from ..conversion.loading import check_sizes, read_config
from ..data.sieve import told
from ..files import check_output_file, is_checkpoint_entry, naming_damage, write_text
from ..tokenization import load_tokenizers, set_languages
from ..training import create_accelerator
from ..training.arguments import option
from ..training.command_line import OptionParser
from ..training.data_options import PairOptions, several
from ..training.run_directory.record import is_run_entry
from ..training.translate import behind_prefix, one_line, score_translations, source_prefix, translate

GENERATION = ("num_beams", "length_penalty", "gnmt_length_penalty", "max_length_beyond_source", "max_new_tokens")


@dataclass(kw_only=True)
class EvaluationArguments(PairOptions):
    """The pairs to translate and the options of generation."""

    test_file: list[str] | None = field(
        default=None,
        metadata=several("Pairs: tsv, csv, jsonl, json or parquet files, or two plain text files, source and target."),
    )
    corpus: str | None = option(
        None, "Instead of a file: the test part of a corpus that ships with the package, en-de."
    )
    source_lang: str | None = option(
        None, "Language of the sources, if the tokenizer has language codes (default: the tokenizer's setting)."
    )
    target_lang: str | None = option(
        None, "Language of the targets, if the tokenizer has language codes (default: the tokenizer's setting)."
    )
    output_file: str | None = option(None, "Where to write the translations, one per line.")
    batch_size: int = option(64, "Sentences that are translated at a time.")
    num_beams: int | None = option(None, "Number of beams.")
    length_penalty: float | None = option(None, "Exponent of the length by which a beam's score is divided.")
    gnmt_length_penalty: float | None = option(None, "The paper's length penalty, alpha (Triptych models).")
    max_length_beyond_source: int | None = option(
        None, "Number of tokens that a translation may have more than its source (Triptych models)."
    )
    max_new_tokens: int | None = option(None, "Greatest number of tokens in a translation.")
    cpu: bool = option(False, "Use the CPU even where there is a GPU.")

    def __post_init__(self) -> None:
        for name in ("batch_size", "num_beams", "max_new_tokens"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.max_length_beyond_source is not None and self.max_length_beyond_source < 0:
            raise ValueError(f"max_length_beyond_source={self.max_length_beyond_source} must be at least 0")
        if self.length_penalty is not None and self.gnmt_length_penalty is not None:
            raise ValueError("give length_penalty or gnmt_length_penalty, not both")

    def pairs(self) -> tuple[datasets.Dataset, list[str]]:
        """Returns the pairs, and remarks about them for the user."""
        given = [name for name in ("test_file", "dataset_name", "corpus") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("give one of --test_file, --dataset_name and --corpus")
        if self.corpus:
            return self.read_corpus(self.corpus)["test"], []
        splits, counts = self.read({"test": self.test_file})
        if "test" not in splits:
            raise ValueError(f"{self.dataset_name} has no split test; it has {', '.join(splits)}")
        return splits["test"], told({"test": counts["test"]})

    def inputs(self) -> list[Path]:
        """Returns the local files that the pairs can come from: the named files, or all in a data set's directory."""
        directory = Path(self.dataset_name) if self.dataset_name else None
        return [*map(Path, self.test_file or ()), *(directory.rglob("*") if directory and directory.is_dir() else ())]

    def generate_options(self) -> dict[str, Any]:
        """Returns the options of generation that the user has given."""
        return {name: value for name in GENERATION if (value := getattr(self, name)) is not None}


def is_of_the_model(path: str) -> bool:
    """Whether a path in the model's directory belongs to the model or to the run that trained it."""
    return is_checkpoint_entry(path) or is_run_entry(path) or path.endswith((".safetensors", ".bin"))


def main(args: list[str] | None = None) -> None:
    parser = OptionParser(EvaluationArguments, description=__doc__)
    parser.add_argument("directory", help="Directory (or name on the Hub) of the model.")
    arguments, positional = parser.parse_args_into_dataclasses(args)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()

    if arguments.output_file:
        check_output_file(Path(arguments.output_file), arguments.inputs(), positional.directory, is_of_the_model)
    pairs, remarks = arguments.pairs()
    accelerator = create_accelerator(cpu=arguments.cpu)
    for remark in remarks:
        accelerator.print(remark, file=sys.stderr)
    tokenizer, target_tokenizer = load_tokenizers(positional.directory)
    if arguments.source_lang or arguments.target_lang:
        set_languages(tokenizer, target_tokenizer, arguments.source_lang, arguments.target_lang)
    with naming_damage(positional.directory):
        config = read_config(positional.directory)
        check_sizes(positional.directory, config, lambda: AutoModelForSeq2SeqLM.from_config(copy.deepcopy(config)))
        model = AutoModelForSeq2SeqLM.from_pretrained(
            positional.directory, config=config, trust_remote_code=False, use_safetensors=True
        )
    model.to(accelerator.device)
    translations = translate(
        model,
        tokenizer,
        behind_prefix(source_prefix(config, "translation"), pairs["source"]),
        target_tokenizer,
        batch_size=arguments.batch_size,
        accelerator=accelerator,
        **arguments.generate_options(),
    )
    if arguments.output_file and accelerator.is_main_process:
        write_text(Path(arguments.output_file), "".join(f"{one_line(text)}\n" for text in translations))
    scores = score_translations(translations, pairs["target"])
    accelerator.print(f"BLEU {scores['bleu']:.2f} ({scores['bleu_signature']})")
    accelerator.print(f"chrF {scores['chrf']:.2f} ({scores['chrf_signature']})")
