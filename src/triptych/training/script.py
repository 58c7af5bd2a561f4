"""What every training script does: it reads the command line, trains, tests, and tells about it."""

import argparse
import os
import re
import sys
from functools import partial
from typing import Any

import datasets
import transformers
from transformers import PreTrainedConfig

from ..data.quantities import counted
from ..tokenization import FAMILIES
from .arguments import LoopArguments
from .card.markdown import command
from .command_line import OptionParser, add_config_options
from .model_source import choose_family, configuration_of
from .recipe import add_recipe_option
from .task import Task
from .training import Training

SECRET = re.compile(r"\bhf_\w{20,}|(?<=://)[^/@\s]+(?=@)")  # a token of the Hub; the name and password of an address


def train(task_class: type[Task], description: str | None = None, args: list[str] | None = None) -> None:
    """Does what every training script does: reads the command line, trains, tests, and tells about it.

    Args:
        description: what `--help` says; a script gives its docstring.
        args: the command line; None: that of the process.
    """
    arguments, loop_arguments, config_fields, given, checkpoint = read_options(task_class, description, args)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    training = Training(task_class(arguments, config_fields, checkpoint), loop_arguments, given)
    tell = training.accelerator.print  # the results, on standard output; all else goes to standard error
    say = partial(training.accelerator.print, file=sys.stderr)
    say("\n".join(training.summary()), flush=True)
    expectations = training.expectations()
    if arguments.dry_run:
        return tell("\n".join(expectations))
    for line in expectations:
        say(line)
    result = training.run()
    updates, minutes = counted(result.step, "updates"), counted(result.minutes, "minutes", ".1f")
    tell(f"{updates} in {minutes}; the model is in {result.output_dir}")
    for line in training.finished:
        say(line)
    if native := training.write_hf():
        tell(f"the native class of transformers is in {native}")
    scores = training.test()
    if scores is not None:
        tell("\n".join(training.task.report(scores)))
    for remark in training.write_card(result, scores, command_of(args)):
        say(remark)
    if address := training.push():
        tell(f"the model is at {address}")


def command_of(args: list[str] | None = None) -> str:
    """Returns the command of this process as one types it to repeat the run, in lines that fit a page.

    Words that look like a secret are hidden. A script is named without the folders above it, where these are a part of
    an absolute path.

    Args:
        args: the options; None: those of the process.
    """
    program = sys.argv[0] if not os.path.isabs(sys.argv[0]) else os.path.basename(sys.argv[0])
    start = ["python", program] if program.endswith(".py") else program.split()
    words = [word for word in (sys.argv[1:] if args is None else args) if word not in ("--resume", "--overwrite")]
    return command([*start, *(SECRET.sub("***", word) for word in words)])


def parse_options(
    task_class: type[Task], description: str | None = None, args: list[str] | None = None
) -> tuple[Any, LoopArguments, dict[str, Any]]:
    """Returns the first three parts of what `read_options` returns."""
    return read_options(task_class, description, args)[:3]


def read_options(
    task_class: type[Task], description: str | None = None, args: list[str] | None = None
) -> tuple[Any, LoopArguments, dict[str, Any], set[str], PreTrainedConfig | None]:
    """Reads a command line.

    Args:
        args: the command line; None: that of the process.

    Returns:
        The options of the task, those of the loop, the fields of the configuration that are given, the names of all
        options and fields that the command line or its recipe gives, and the configuration of `--model`.

    Raises:
        ValueError: a value is wrong. (An unknown option ends the process, as with argparse.)
    """
    parser = OptionParser([task_class.arguments_class, LoopArguments], description=description)
    family, checkpoint = family_that_is_named(task_class, args)
    config_class = task_class.model_classes[family].config_class
    names = add_config_options(parser, config_class, FAMILIES[family].config_fields)
    followed = add_recipe_option(parser, task_class.objective, task_class.default_preset, args)
    arguments, loop_arguments, *others = parser.parse_args_into_dataclasses(args)  # no others where no field is given
    config_fields = {name: value for options in others for name, value in vars(options).items() if name in names}
    return arguments, loop_arguments, config_fields, {*parser.given, *followed}, checkpoint


def family_that_is_named(task_class: type[Task], args: list[str] | None) -> tuple[str, PreTrainedConfig | None]:
    """Returns the family of `--model` or `--preset`, which says which further options there are; and the configuration
    of `--model`.

    Raises:
        ValueError, FileNotFoundError: see `choose_family`.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model", nargs="?")
    parser.add_argument("--preset", nargs="?")
    named, _ = parser.parse_known_args(args)
    checkpoint, preset = configuration_of(named.model), None if named.model else named.preset
    return choose_family(named.model or None, preset, task_class.model_classes, checkpoint), checkpoint
