"""The options of the scripts do what the arguments of `load_pairs` of the same names do."""

import inspect
from typing import get_args, get_type_hints

import pytest

from triptych.data import load_pairs
from triptych.data.readers import CHOICES, FORMATS
from triptych.training.script import parse_options
from triptych.training.tasks.causal_lm import CausalLMTask
from triptych.training.tasks.translation import TranslationTask

EXPECTED = {"source": ["Go."], "target": ["Geh."]}
# Options on the command line, the file's name and what it holds.
READ = {
    "source_column": ("--source_column en", "a.tsv", "en\ttarget\nGo.\tGeh.\n"),
    "target_column": ("--target_column de", "a.tsv", "source\tde\nGo.\tGeh.\n"),
    "file_format": ("--file_format csv", "a.txt", "source,target\nGo.,Geh.\n"),
    "column_names": ("--column_names source x target", "a.tsv", "Go.\t1\tGeh.\n"),
    "delimiter": ("--delimiter ;", "a.csv", "source;target\nGo.;Geh.\n"),
    "delimiter, a tab": ("--delimiter \\t", "a.csv", "source\ttarget\nGo.\tGeh.\n"),
    "quoting": ("--quoting none", "a.tsv", 'source\ttarget\tx\nGo.\tGeh.\t"\n'),
    "surplus": ("--surplus ignore", "a.tsv", "source\ttarget\nGo.\tGeh.\tx\n"),
    "empty": ("--empty drop", "a.tsv", "source\ttarget\nGo.\tGeh.\n\tx\n"),
}


def read(words, path):
    options = ["--train_file", str(path), "--output_dir", "new", *words.split()]
    return TranslationTask(parse_options(TranslationTask, args=options)[0]).load_data(seed=0)[0]["train"][:]


@pytest.mark.parametrize("case", READ)
def test_each_option_reads_what_is_refused_without_it(case, tmp_path):
    words, name, text = READ[case]
    (tmp_path / name).write_text(text)
    assert read(words, tmp_path / name) == EXPECTED
    with pytest.raises(ValueError, match=r"a\.\w+"):
        read("", tmp_path / name)


def test_the_words_are_those_of_the_readers():
    hints = get_type_hints(TranslationTask.arguments_class)
    assert get_args(get_args(hints["file_format"])[0]) == tuple(FORMATS)
    hints |= {"documents": get_type_hints(CausalLMTask.arguments_class)["documents"]}
    assert {name: get_args(hints[name]) for name in CHOICES} == CHOICES
    assert inspect.signature(load_pairs).parameters.keys() <= hints.keys()
    assert READ.keys() >= inspect.signature(load_pairs).parameters.keys() - {
        *("train_file", "validation_file", "test_file", "dataset_name", "dataset_config_name"),
    }
