"""What the scripts have in common: options that come from a configuration class, and errors in one line."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from typing import Any, get_args

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from ..tokenization import FAMILIES

# Decided by the tokenizer.
DERIVED = FAMILIES["encoder-decoder"].config_fields


def add_config_options(parser: argparse.ArgumentParser, config_class: type[PreTrainedConfig]) -> list[str]:
    """Adds an option for every field that the configuration class documents; returns their names."""
    documented = [f for f in dataclasses.fields(config_class) if "help" in f.metadata and f.name not in DERIVED]
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
    """How a field of the given type is read from the command line; the configuration then checks the value."""

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
    Runs a script; an expected error becomes one line on stderr and the exit status 2.

    With TRIPTYCH_TRACEBACK=1 in the environment the error is raised as it is. Where the reader of the output goes away
    (`| head -1`), the script ends silently, with the exit status 141 that a shell gives to such programs.
    """
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes as it ends
        sys.exit(141)
    except (ValueError, OSError, FloatingPointError, StrictDataclassError) as error:
        if os.environ.get("TRIPTYCH_TRACEBACK") == "1":
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("interrupted")
