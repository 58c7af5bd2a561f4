"""The console command `triptych`: lists the commands, and hands the rest of the line to the one that is named.

It lies beside the package and not in it, because an import from the package imports torch first, which takes seconds.
For the same reason, the help of a command is a file that `scripts/write_help.py` writes.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap

COMMANDS = {
    "train-translation": "Train a translation model on pairs of sentences.",
    "train-summarization": "Train a model that writes summaries of texts.",
    "pretrain-causal-lm": "Train a language model that continues texts.",
    "pretrain-masked-lm": "Train an encoder to fill in masked words.",
    "finetune-classification": "Train a model that classifies texts or pairs of texts.",
    "finetune-tagging": "Train a model that tags the words of sentences.",
    "finetune-question-answering": "Train a model that finds answers in texts, as in SQuAD.",
    "translate": "Translate sentences, or standard input line by line.",
    "evaluate-translation": "Score a translation model by BLEU and chrF.",
    "train-tokenizer": "Train a tokenizer, or one for each side of pairs.",
    "convert": "Convert a public checkpoint, or convert it back.",
    "export": "Write a model for CTranslate2, ONNX Runtime, llama.cpp or transformers.",
    "zoo": "Print the published sizes with their parameters.",
}
"""Name → one sentence. The command `a-b` is the function `main` of `triptych/commands/a_b.py`."""

USAGE = "usage: triptych COMMAND [options]"
WIDTH = 80


def main(args: list[str] | None = None) -> None:
    """Runs the command that the first word names, with the words behind it.

    Args:
        args: the command line without the name of the program; None: that of the process.

    Raises:
        SystemExit: with status 2, if no command has this name, or the command refuses its options.
    """
    name, *options = (sys.argv[1:] if args is None else args) or [""]
    if name in ("-h", "--help"):
        print(overview())
    elif name == "--version":
        from importlib.metadata import version

        print(f"triptych {version('triptych')}")
    elif name not in COMMANDS:
        sys.exit(refuse(name))
    elif options in (["-h"], ["--help"]) and (page := help_file(name)).is_file():
        sys.stdout.write(page.read_text(encoding="utf-8"))
    else:
        sys.argv = [f"triptych {name}", *options]  # as in a process of its own, for usage, errors and records
        import_module("triptych.training.command_line").run_script(import_module(module_of(name)).main)


def module_of(name: str) -> str:
    """Returns the name of the module of a command."""
    return f"triptych.commands.{name.replace('-', '_')}"


def help_file(name: str) -> Path:
    """Returns the path of the help page of a command; it looks for the package, but does not import it."""
    spec = find_spec("triptych")
    folders = spec.submodule_search_locations if spec is not None else None
    return Path(*(folders or ())[:1], "commands", "help", f"{name}.txt")


def overview() -> str:
    """Returns the help of `triptych` itself: every command with its sentence, in lines of up to `WIDTH` characters."""
    column = max(map(len, COMMANDS)) + 4
    lines = [USAGE, "", "The Transformer and its halves, BERT and GPT: train, use and convert them.", "", "commands:"]
    for name, sentence in COMMANDS.items():
        first, *others = wrap(sentence, WIDTH - column)
        lines += [f"  {name:<{column - 2}}{first}", *(" " * column + line for line in others)]
    lines += ["", "`triptych COMMAND --help` shows the options of a command and examples.", ""]
    lines += wrap("Several processes: `accelerate launch --num_processes 2 -m triptych COMMAND`.", WIDTH)
    return "\n".join(lines)


def refuse(name: str) -> int:
    """Says on standard error that there is no such command, and which one is nearest; returns the exit status."""
    from difflib import get_close_matches

    if os.environ.get("RANK", "0") != "0":
        return 2  # the first of several processes says it
    if name:
        plain = name.lower().replace("_", "-")
        near = get_close_matches(plain, COMMANDS, n=1) or [known for known in COMMANDS if plain in known]
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(COMMANDS)}"
        print(f"error: there is no command {name}; {hint}", file=sys.stderr)
    else:
        print(overview(), file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
