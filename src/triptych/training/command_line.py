"""What the command lines of all scripts have in common: a parser that helps, and errors in one line."""

import argparse
import dataclasses
import difflib
import json
import os
import sys
from collections.abc import Callable, Collection, Sequence
from itertools import takewhile
from typing import Any, NoReturn, get_args

from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser, PreTrainedConfig


class DefaultsBelowText(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Formats help: keeps the lines of the description, and shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def positive(text: str) -> int:
    """Reads a whole number of at least 1; the `type` of an argument."""
    if not text.strip().isascii() or not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


class OptionParser(HfArgumentParser):
    """
    The parser of the scripts. Extends transformers' `HfArgumentParser`, which reads dataclasses and single arguments.

    An unknown option is refused, with the known name that is closest to it; it never counts as an abbreviation. Every
    error is one line on stderr, with the exit status 2.
    """

    def __init__(self, dataclass_types: Any = (), **options: Any) -> None:
        formatter = DefaultsBelowText if dataclass_types else argparse.RawDescriptionHelpFormatter
        super().__init__(dataclass_types, **options, formatter_class=formatter, allow_abbrev=False)
        self.is_parsing = False
        for action in self._actions:  # transformers gives both the same help
            for name in action.option_strings:
                if name.startswith("--no_"):
                    action.help = f"Switches --{name.removeprefix('--no_')} off."

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
        for word in takewhile(lambda word: word != "--", words):
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in word and name not in self._option_string_actions:
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

    def suggestion(self, name: str) -> str:
        """Returns what is wrong with an option, and which option was probably meant."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        plain = name.lower().replace("-", "_").strip("_")
        close = difflib.get_close_matches(f"--{plain}", known, n=1)
        close = close or [option for option in known if len(plain) > 3 and plain in option]
        return f"there is no option {name}; {f'did you mean {close[0]}?' if close else 'see --help'}"

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
    group = parser.add_argument_group(f"fields of {config_class.__name__}, instead of the preset's")
    for field in documented:
        group.add_argument(
            f"--{field.name}",
            type=config_value(field.type),
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=field.metadata["help"].replace("%", "%%"),
        )
    return [field.name for field in documented]


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


def run_script(main: Callable[[], None]) -> None:
    """
    Runs a script. An expected error becomes one line on stderr and the exit status 2.

    With TRIPTYCH_TRACEBACK=1 in the environment, the error is raised with its traceback. Where the reader of the
    output stops reading (`| head -1`), the script ends silently, with the exit status 141 that a shell gives to such
    programs.
    """
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
    except KeyboardInterrupt:
        sys.exit("interrupted")
