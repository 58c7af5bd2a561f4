"""The options of the scripts do what the arguments of `load_pairs` of the same names do."""

import inspect
from typing import get_args, get_type_hints

import pytest

from triptych.data import load_pairs
from triptych.data.readers import CHOICES, FORMATS
from triptych.training.script import parse_options
from triptych.training.tasks.causal_lm import CausalLMTask
from triptych.training.tasks.classification import ClassificationTask
from triptych.training.tasks.question_answering import QuestionAnsweringTask
from triptych.training.tasks.summarization import SummarizationTask
from triptych.training.tasks.tagging import TaggingTask
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


TASKS = {
    TranslationTask: ("--source_column x --target_column x", "source_column and target_column are both 'x'"),
    SummarizationTask: ("--text_column x --summary_column x", "text_column and summary_column are both 'x'"),
    TaggingTask: ("--tokens_column x --tags_column x", "tokens_column and tags_column are both 'x'"),
    ClassificationTask: ("--text_column x --label_column x", "text_column and label_column are both 'x'"),
    QuestionAnsweringTask: ("--question_column x --context_column x", "question_column and context_column are both"),
}


@pytest.mark.parametrize("task", TASKS)
def test_two_options_never_name_one_column(task, tmp_path):
    words, message = TASKS[task]
    (tmp_path / "a.jsonl").write_text('{"x": "a"}\n')
    options = ["--train_file", str(tmp_path / "a.jsonl"), "--output_dir", "new", *words.split()]
    with pytest.raises(ValueError, match=f"{message}.*; each needs a column of its own"):
        parse_options(task, args=options)[0].read_data()


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
