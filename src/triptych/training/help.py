"""How `--help` shows options: in groups, each option once, with its choices, its default and its opposite."""

import argparse
from collections.abc import Iterator, Sequence

# Title of a group → the options in it, in the order in which they are shown. What stands in none is the task's own.
GROUPS: dict[str, tuple[str, ...]] = {
    "data": (
        *("train_file", "validation_file", "validation_split", "test_file", "corpus", "dataset_name"),
        *(
            "dataset_config_name",
            "file_format",
            "column_names",
            "delimiter",
            "quoting",
            "surplus",
            "empty",
            "cache_dir",
        ),
    ),
    "model": (
        *("model", "preset", "recipe", "freeze", "lora_rank", "lora_alpha", "lora_dropout"),
        *("tokenizer", "tokenizer_model", "vocab_size"),
    ),
    "length of the training": ("max_steps", "num_train_epochs", "max_minutes", "early_stopping_patience"),
    "update": (
        *("max_tokens", "gradient_accumulation_steps", "find_batch_size", "optimizer", "adam_beta1", "adam_beta2"),
        *("adam_epsilon", "weight_decay", "max_grad_norm", "seed"),
    ),
    "schedule": ("lr_scheduler", "learning_rate", "learning_rate_scale", "warmup_steps", "warmup_ratio"),
    "evaluation": (
        *("evaluation_steps", "evaluation_minutes", "evaluation_batch_size", "best_metric", "greater_is_better"),
    ),
    "output": (
        *("output_dir", "dry_run", "resume", "overwrite", "save_steps", "save_minutes", "keep_checkpoints"),
        *("final_weights", "to_hf", "logging_steps", "report_to", "progress_bar"),
        *("push_to_hub", "hub_private"),
    ),
    "machine": (
        *("mixed_precision", "cpu", "cpu_threads", "gradient_checkpointing", "torch_compile", "dataloader_workers"),
    ),
}
OWN = "this task"
# What stands for a value: by the end of the option's name, else by the type of the value.
BY_ENDING = {"_file": "FILE", "_dir": "DIR", "_column": "COLUMN", "_minutes": "NUMBER", "_lang": "CODE"}
BY_TYPE = {int: "N", float: "NUMBER"}


def name_of(action: argparse.Action) -> str:
    """Returns the long name of an option; the names with dashes, which mean the same, are not shown."""
    return next((o for o in action.option_strings if o.startswith("--")), "/".join(action.option_strings))


def is_flag(action: argparse.Action) -> bool:
    """Says whether an option says yes by its name alone: it stands for True."""
    return bool(action.option_strings) and action.const is True


def grouped(actions: Sequence[argparse.Action]) -> Iterator[tuple[str, list[argparse.Action]]]:
    """Gives the title of each group that has options, and these."""
    by_name = {action.dest: action for action in actions if action.help != argparse.SUPPRESS}
    columns = [name for name in by_name if name.endswith("_column")]
    for title, names in GROUPS.items():
        found = [by_name.pop(n) for n in (*names, *(columns if title == "data" else ())) if n in by_name]
        if found:
            yield title, found
    helper = by_name.pop("help", None)
    if by_name:
        yield OWN, list(by_name.values())
    if helper is not None:
        yield "help", [helper]


class DefaultsBelowText(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Formats help: keeps the lines of the description, and shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or (is_flag(action) and action.default is False):
            return action.help
        if is_flag(action):
            return f"{action.help} (default: yes)"
        return super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        name = name_of(action)
        if action.dest == "help":
            return super()._format_action_invocation(action)
        if is_flag(action):
            return name if action.default is False else f"{name}, --no_{name.removeprefix('--')}"
        return " ".join([name, self._format_args(action, value_of(action))]).rstrip()


def one_of(words: Sequence[object]) -> str:
    """Returns `{a,b,c}`, which stands for one of these words."""
    return "{" + ",".join(map(str, words)) + "}"


def value_of(action: argparse.Action) -> str:
    """Returns what stands for the value of an option: its choices, or a word for the kind of value."""
    if action.metavar is not None:
        return str(action.metavar)
    if action.choices is not None:
        return one_of(tuple(action.choices))
    ending = next((word for end, word in BY_ENDING.items() if action.dest.endswith(end)), None)
    return ending or BY_TYPE.get(action.type, action.dest.upper())  # type: ignore[call-overload]
