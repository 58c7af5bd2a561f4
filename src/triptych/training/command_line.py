"""What the command lines of all scripts have in common: a parser that helps, and errors in one line."""

import argparse
import dataclasses
import difflib
import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Sequence
from itertools import takewhile, zip_longest
from typing import Any, NoReturn, get_args

from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser, PreTrainedConfig
from transformers.hf_argparser import string_to_bool

from ..configuration.fields import meant
from .effects import check_effects
from .help import DefaultsBelowText, grouped, is_flag, name_of, one_of, value_of
from .interruption import Interrupted, continuing_command

# Type of a field of a configuration → what stands for its value.
KINDS = {bool: "{true,false}", dict: "JSON", list: "JSON", float: "NUMBER", int: "N", str: "TEXT"}


def positive(text: str) -> int:
    """Reads a whole number of at least 1; the `type` of an argument."""
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


class OptionParser(HfArgumentParser):
    """
    The parser of the scripts. Extends transformers' `HfArgumentParser`, which reads dataclasses and single arguments.

    An unknown option is refused, with the known name that is closest to it; it never counts as an abbreviation. So is
    a value behind an option that takes none. Every error is one line on stderr, with the exit status 2.

    An option that is True or False is given by its name alone: `--cpu`; `--no_progress_bar` is the opposite of an
    option that is True by default, or that is not decided by default.

    Attributes:
        given: the names of the options that the command line has, after it was read.
    """

    def __init__(self, dataclass_types: Any = (), **options: Any) -> None:
        formatter = DefaultsBelowText if dataclass_types else argparse.RawDescriptionHelpFormatter
        super().__init__(dataclass_types, **options, formatter_class=formatter, allow_abbrev=False)
        self.is_parsing, self.given = False, set[str]()
        for action in list(self._actions):
            if any(name.startswith("--no_") for name in action.option_strings):
                action.help = argparse.SUPPRESS  # shown beside the option that it switches off
            elif action.type is string_to_bool and not is_flag(action):  # true, false, or not decided
                action.nargs, action.const = "?", True
                name = name_of(action).removeprefix("--")
                no = f"--no_{name}", f"--no-{name.replace('_', '-')}"
                self.add_argument(*no, dest=name, action="store_false", default=None, help=argparse.SUPPRESS)

    def format_help(self) -> str:
        """Extends argparse's method: shows the options of dataclasses in the groups of `triptych.training.help`."""
        if not self.dataclass_types:
            return super().format_help()
        formatter = self._get_formatter()
        needed = [f"{name_of(action)} {value_of(action)}" for action in self._actions if action.required]
        formatter.add_usage(" ".join(["%(prog)s", *needed, "[options]"]), [], [])
        formatter.add_text(self.description)
        fields = [group for group in self._action_groups if group not in (self._positionals, self._optionals)]
        of_fields = {id(action) for group in fields for action in group._group_actions}
        for title, actions in grouped([action for action in self._actions if id(action) not in of_fields]):
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        for group in fields:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        return formatter.format_help()

    def parse_args_into_dataclasses(self, *args: Any, **options: Any) -> tuple[Any, ...]:
        """Extends transformers' method: an option that would have no effect is refused.

        Raises:
            ValueError: see `check_effects`; and the errors of the dataclasses.
        """
        parsed = super().parse_args_into_dataclasses(*args, **options)
        check_effects(self.given, {name: value for part in parsed for name, value in vars(part).items()})
        return parsed

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Extends argparse's method, which `parse_args` and `parse_args_into_dataclasses` call: nothing is left over.

        Options may stand before, between and after the other arguments.
        """
        if self.is_parsing:  # argparse itself asks, for the options and for the others
            return super().parse_known_args(args, namespace)
        words = sys.argv[1:] if args is None else list(args)
        # argparse would complain about a required option first, also where it is the one that is misspelt.
        self.given.clear()
        before_dashes = list(takewhile(lambda word: word != "--", words))
        for word, following in zip_longest(before_dashes, before_dashes[1:]):
            name, equals, value = word.partition("=")
            action = self._option_string_actions.get(name)
            if action is not None:
                self.given.add(action.dest)
                # A parser of dataclasses has no arguments without a name, so a word behind an option is its value.
                is_value = self.dataclass_types and following and not following.startswith("-")
                self.check_flag(action, name, value if equals else following if is_value else None)
            elif name.startswith("--") and " " not in word:
                self.error(self.suggestion(name))
        self.is_parsing = True
        try:
            found, unknown = self.parse_known_intermixed_args(words, namespace)
        finally:
            self.is_parsing = False
        if unknown:
            self.error(
                self.suggestion(unknown[0]) if unknown[0].startswith("-") else f"unexpected {' '.join(unknown)}"
            )
        return found, []

    def check_flag(self, action: argparse.Action, name: str, value: str | None) -> None:
        """Refuses a value behind an option that is given by its name alone."""
        switches_off = isinstance(action, argparse._StoreFalseAction)
        if value is None or not (is_flag(action) or switches_off):
            return
        plain = name.removeprefix("--no_" if switches_off else "--").removeprefix("no-")
        opposite = f"--no_{plain}" in self._option_string_actions
        ways = f"--{plain} or --no_{plain}" if opposite else f"--{plain}, or leave it out"
        self.error(f"{name} takes no value, got {value!r}: give {ways}")

    def suggestion(self, name: str) -> str:
        """Returns what is wrong with an option, and which option was probably meant."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        plain = name.lower().replace("-", "_").strip("_")
        close = difflib.get_close_matches(f"--{plain}", known, n=1)
        close = close or [option for option in known if len(plain) > 3 and plain in option]
        return f"there is no option {name}; {f'did you mean {close[0]}?' if close else 'see --help'}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Extends argparse's method: a wrong word is answered with the nearest right one."""
        if action.choices is not None and value not in action.choices:
            words = [str(word) for word in action.choices]
            message = f"invalid choice: {value!r}{meant(value, words)}; choose one of {', '.join(words)}"
            raise argparse.ArgumentError(action, message)

    def error(self, message: str) -> NoReturn:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {message}", file=sys.stderr, flush=True)
        sys.exit(2)


def add_config_options(
    parser: argparse.ArgumentParser, config_class: type[PreTrainedConfig], decided: Collection[str] = ()
) -> list[str]:
    """Adds an option for every field that the configuration class documents; returns their names.

    Args:
        decided: fields that get no option, because the tokenizer decides them.
    """
    documented = [f for f in dataclasses.fields(config_class) if "help" in f.metadata and f.name not in decided]
    group = parser.add_argument_group(
        f"fields of {config_class.__name__}, instead of those of the preset or the checkpoint",
        "The defaults are those of the class; a preset or a checkpoint has its own.",
    )
    for field in documented:
        text, shown = field.metadata["help"], None if field.default is dataclasses.MISSING else field.default
        default = str(shown).lower() if isinstance(shown, bool) else shown
        value = kind_of_value(field)
        if value.startswith("{"):
            text = text.partition(" One of: ")[0]
        group.add_argument(
            f"--{field.name}",
            type=config_value(field.type),
            default=argparse.SUPPRESS,
            metavar=value,
            help=f"{text} (default: {str(default).lower() if default is None else default})".replace("%", "%%"),
        )
    return [field.name for field in documented]


def kind_of_value(field: dataclasses.Field) -> str:
    """Returns what `--help` shows for the value of a field: its choices, or a word for their kind."""
    choices = tuple(field.metadata.get("choices", ()))
    if choices:
        return one_of(choices) if len(choices) < 9 else "WORD"
    kinds = (field.type, *get_args(field.type), type(field.default))
    return next((word for kind, word in KINDS.items() if kind in kinds), "N")


def config_value(hint: Any) -> Callable[[str], Any]:
    """Returns a function that reads a field of the given type; the configuration then checks the value."""

    def read(text: str) -> Any:
        if hint is str or str in get_args(hint):
            return text
        if text.lower() in ("true", "false", "none", "null"):
            return {"true": True, "false": False}.get(text.lower())
        try:
            return json.loads(text)
        except ValueError:
            return text

    return read


def to_standard_error(record: logging.LogRecord) -> bool:
    """A filter of a logger: writes a record to standard error, and lets no handler of the logger have it."""
    print(record.getMessage(), file=sys.stderr, flush=True)
    return False


def run_script(main: Callable[[], None]) -> None:
    """
    Runs a script. An expected error becomes one line on stderr and the exit status 2. After Ctrl-C the status is 130,
    after SIGTERM in a training 143; the last lines of a training that was stopped say how it is continued.

    With TRIPTYCH_TRACEBACK=1 in the environment, the error is raised with its traceback. Where the reader of the
    output stops reading (`| head -1`), the script ends silently, with the exit status 141 that a shell gives to such
    programs. DeepSpeed, which other libraries import where it is installed, logs to standard output; here it does not,
    because that holds results.
    """
    logging.getLogger("DeepSpeed").addFilter(to_standard_error)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes as it ends
        sys.exit(141)
    except (ValueError, OSError, ImportError, FloatingPointError, StrictDataclassError) as error:
        if os.environ.get("TRIPTYCH_TRACEBACK") == "1":
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        sys.exit(2)
    except Interrupted as interrupted:
        if os.environ.get("RANK", "0") == "0":
            print(f"{interrupted}; this continues it:\n    {continuing_command()}", file=sys.stderr, flush=True)
        sys.exit(interrupted.status)
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)
