import argparse
import dataclasses
import logging
import re
import subprocess
import sys

import pytest

from triptych import TriptychConfig
from triptych.tokenization import FAMILIES
from triptych.training import LoopArguments
from triptych.training.command_line import OptionParser, add_config_options, positive, run_script
from triptych.training.help import GROUPS, OWN
from triptych.training.plan.table import rows_from_nothing
from triptych.training.script import parse_options
from triptych.training.task_arguments import TaskArguments
from triptych.training.tasks.translation import TranslationTask


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.names = add_config_options(parser, TriptychConfig, FAMILIES["encoder-decoder"].config_fields)
    return parser


def test_every_field_is_an_option_but_those_of_the_tokenizer(parser):
    assert {"hidden_size", "encoder_layers", "residual", "rope_parameters", "tie_word_embeddings"} <= set(parser.names)
    assert not {"vocab_size", "pad_token_id", "is_encoder_decoder", "return_dict"} & set(parser.names)
    assert vars(parser.parse_args([])) == {}


def test_values_have_the_types_of_the_fields(parser):
    line = "--hidden_size 64 --dropout 0.3 --positions none --head_dim none --attention_bias True --embedding_scale 2"
    values = vars(parser.parse_args([*line.split(), "--rope_parameters", '{"rope_type": "default"}']))
    assert values == {
        "hidden_size": 64,
        "dropout": 0.3,
        "positions": "none",
        "head_dim": None,
        "attention_bias": True,
        "embedding_scale": 2,
        "rope_parameters": {"rope_type": "default"},
    }
    TriptychConfig(**values)


SUGGESTIONS = {
    "--num_epochs": "did you mean --num_train_epochs?",
    "--hidden_sise": "did you mean --hidden_size?",
    "--hidden-size": "did you mean --hidden_size?",
    "--Max_Steps": "did you mean --max_steps?",
    "--epochs": "did you mean --num_train_epochs?",
    "--learning_rat=3": "did you mean --learning_rate?",
    "--max_step": "did you mean --max_steps?",  # no abbreviations
    "--xyzzy": "see --help",
    "-num_epochs": "did you mean --num_train_epochs?",
}


@pytest.mark.parametrize("option", SUGGESTIONS)
def test_an_option_that_there_is_not_is_refused_with_the_close_one(option, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_options(TranslationTask, args=["--corpus", "en-de", "--output_dir", "new", option, "3"])
    assert stop.value.code == 2
    name = option.partition("=")[0]
    assert capsys.readouterr().err == f"error: there is no option {name}; {SUGGESTIONS[option]}\n"


def test_what_deepspeed_logs_is_no_result(capsys):
    """It logs to standard output, as soon as a library imports it."""
    logger = logging.getLogger("DeepSpeed")
    handler = logging.StreamHandler(sys.stdout)

    def main():
        logger.addHandler(handler)
        logger.warning("no accelerator")
        print("a translation")

    try:
        run_script(main)
    finally:
        logger.removeHandler(handler)
    written = capsys.readouterr()
    assert (written.out, written.err) == ("a translation\n", "no accelerator\n")


@pytest.mark.slow
@pytest.mark.integrations("deepspeed")
def test_deepspeed_leaves_standard_output_alone():
    code = "from triptych.training.command_line import run_script\n"
    code += "def main():\n    import deepspeed\n    deepspeed.utils.logger.warning('told')\n    print('a result')\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}run_script(main)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "a result\n"
    assert "told" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_steps", "3", "4"], "unexpected 4"),
        (["--quoting", "double"], "argument --quoting: invalid choice: 'double'; choose one of standard, none"),
        (
            ["--optimizer", "Adamv"],
            "argument --optimizer: invalid choice: 'Adamv' (did you mean adam?); choose one of",
        ),
        (["--max_steps", "many"], "argument --max_steps/--max-steps: invalid int value: 'many'"),
        (["--max_steps"], "argument --max_steps/--max-steps: expected one argument"),
    ],
)
def test_a_wrong_value_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_options(TranslationTask, args=["--corpus", "en-de", "--output_dir", "new", *words])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_a_misspelt_option_is_named_before_the_one_that_is_missing(capsys):
    with pytest.raises(SystemExit):
        parse_options(TranslationTask, args=["--corpus", "en-de", "--ouput_dir=new"])
    assert "--ouput_dir; did you mean --output_dir?" in capsys.readouterr().err


def test_dashes_in_what_is_no_option():
    parser = OptionParser()
    parser.add_argument("--number", type=int)
    parser.add_argument("words", nargs="*")
    assert parser.parse_args(["--number", "-3", "--- a dash", "--", "--word"]).words == ["--- a dash", "--word"]


def test_files_may_be_given_together_or_one_by_one():
    for words in (["--train_file", "a", "b"], ["--train_file", "a", "--train_file", "b"]):
        assert parse_options(TranslationTask, args=["--output_dir", "new", *words])[0].train_file == ["a", "b"]


def test_help_shows_the_defaults(capsys):
    parser = OptionParser(description="one\n    two")
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "one\n    two\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parse_options(TranslationTask, "one\n    two", ["--help"])
    output = capsys.readouterr().out
    assert "one\n    two\n" in output
    assert "(default: standard)" in output


def test_an_expected_error_is_one_line(capsys):
    def main():
        TriptychConfig(hidden_size=-1)

    with pytest.raises(SystemExit) as stop:
        run_script(main)
    assert stop.value.code == 2
    output = capsys.readouterr().err
    assert output.startswith("error: ")
    assert "hidden_size" in output
    assert output.count("\n") == 1


def test_a_mistake_of_ours_is_not_hidden():
    def main():
        raise KeyError("surprise")

    with pytest.raises(KeyError):
        run_script(main)


@pytest.mark.parametrize(
    "words",
    [["a", "--size", "3", "b", "c"], ["--size", "3", "a", "b", "c"], ["a", "b", "c", "--size", "3"]],
    ids=" ".join,
)
def test_options_may_stand_between_the_other_arguments(words):
    parser = OptionParser()
    parser.add_argument("first")
    parser.add_argument("others", nargs="*")
    parser.add_argument("--size", type=positive)
    assert vars(parser.parse_args(words)) == {"first": "a", "others": ["b", "c"], "size": 3}


@pytest.mark.parametrize("size", ["0", "-1", "2.5", "many", "²"])
def test_a_size_is_a_whole_number_of_at_least_one(size, capsys):
    parser = OptionParser()
    parser.add_argument("--size", type=positive)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--size={size}"])
    assert f"argument --size: must be a whole number of at least 1, got '{size}'" in capsys.readouterr().err


@pytest.fixture
def help_text(capsys, monkeypatch):
    """What --help shows, on a terminal that is wide enough for every line."""
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        parse_options(TranslationTask, args=["--help"])
    return capsys.readouterr().out


def test_help_says_what_an_option_does(help_text):
    shown = {
        "--progress_bar, --no_progress_bar": "Show a progress bar where stderr is a terminal. (default: yes)",
        "--greater_is_better, --no_greater_is_better": "Whether a greater best_metric is better (default: yes, unless",
        "--cpu": "Train on the CPU even where there is a GPU.\n",
        "--max_steps N": "Stop after this many updates.\n",
        "--train_file FILE [FILE ...]": "Pairs to learn from",
        "--positions {none,learned,sinusoidal,rotary,relative,alibi}": "How the model learns the order of the",
        "--hidden_size N": "Width of the model, d_model: the numbers that stand for a token between",
        "--norm_bias {true,false}": "Whether layer norms have a bias. (default: true)",
        "--head_dim N": "Width of a query and a key in one attention head, d_k; None: d_model / h. (default: n",
        "--rope_parameters JSON": "Rotary positions",
        "--attention_dropout NUMBER": "Dropout on attention weights. (default: 0.0)",
    }
    for option, text in shown.items():
        assert re.search(rf"^  {re.escape(option)}\s+{re.escape(text)}", help_text, re.MULTILINE), option
    assert "VALUE" not in help_text
    assert "-steps" not in help_text  # names with dashes mean the same, and are shown nowhere
    assert "(default: once per epoch). (default" not in help_text
    assert help_text.startswith("usage: ")
    assert help_text.splitlines()[0].endswith(" --output_dir DIR [options]")


def test_help_has_groups_in_which_every_option_stands_once(help_text):
    titles = re.findall(r"^(\w.*):$", help_text, re.MULTILINE)
    assert titles[:-1] == [*GROUPS, OWN, "help"]
    assert titles[-1].startswith("fields of TriptychConfig")
    general = {field.name for part in (LoopArguments, TaskArguments) for field in dataclasses.fields(part)}
    assert general == {name for names in GROUPS.values() for name in names} - {"corpus", "recipe"}
    for name in general:
        assert len(re.findall(rf"^  --{name}\b", help_text, re.MULTILINE)) == 1, name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cpu", "true"], "--cpu takes no value, got 'true': give --cpu, or leave it out"),
        (["--cpu=no"], "--cpu takes no value, got 'no': give --cpu, or leave it out"),
        (
            ["--progress_bar", "no"],
            "--progress_bar takes no value, got 'no': give --progress_bar or --no_progress_bar",
        ),
        (
            ["--no_progress_bar=1"],
            "--no_progress_bar takes no value, got '1': give --progress_bar or --no_progress_bar",
        ),
        (
            ["--greater_is_better", "False"],
            "--greater_is_better takes no value, got 'False': give --greater_is_better or --no_greater_is_better",
        ),
    ],
)
def test_a_value_for_an_option_that_takes_none_is_refused(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_options(TranslationTask, args=["--corpus", "en-de", "--output_dir", "new", *words])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("dashes", ["_", "-"])
def test_options_that_say_yes_or_no(dashes):
    def read(*words):
        words = [word.replace("_", dashes) for word in words]
        return parse_options(TranslationTask, args=["--corpus", "en-de", "--output_dir", "new", *words])[1]

    assert (read().cpu, read().progress_bar, read().greater_is_better) == (False, True, False)
    assert read("--cpu").cpu
    assert not read("--no_progress_bar").progress_bar
    assert read("--greater_is_better", "--seed", "3").greater_is_better
    assert not read("--best_metric", "bleu", "--no_greater_is_better").greater_is_better
    assert read("--best_metric", "bleu").greater_is_better


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--preset tiny --learning_rate 0.1",
            "--learning_rate has no effect with lr_scheduler=noam .*--learning_rate_scale",
        ),
        (
            "--lr_scheduler linear --warmup_ratio 0.1 --warmup_steps 3",
            "--warmup_steps has no effect with --warmup_rat",
        ),
        ("--tokenizer t --vocab_size 9", "--vocab_size has no effect with --tokenizer"),
        ("--tokenizer t --tokenizer_model word", "--tokenizer_model has no effect with --tokenizer"),
        ("--tokenizer t --separate-vocabularies", "--separate_vocabularies has no effect with --tokenizer"),
        ("--best_metric none --greater_is_better", "--greater_is_better has no effect without --best_metric"),
    ],
)
def test_an_option_without_effect_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        parse_options(TranslationTask, args=["--corpus", "en-de", "--output_dir", "new", *words.split()])


def test_a_learning_rate_for_a_schedule_that_is_not_yet_chosen():
    """Without a preset, the plan of the run chooses the schedule, and none of its schedules is noam."""
    words = ["--corpus", "en-de", "--output_dir", "new", "--learning_rate", "0.1"]
    assert parse_options(TranslationTask, args=words)[1].learning_rate == 0.1
    assert not {"noam"} & {row.options["lr_scheduler"] for family in FAMILIES for row in rows_from_nothing(family)}


def test_the_values_of_a_recipe_are_not_said_to_be_without_effect():
    words = "--corpus en-de --output_dir new --recipe transformer-base --tokenizer t --warmup_steps 3"
    assert parse_options(TranslationTask, args=words.split())[1].warmup_steps == 3
