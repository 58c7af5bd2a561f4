"""The sections of a card."""

from collections.abc import Iterator, Sized
from dataclasses import MISSING, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ...data.quantities import counted
from ..model_sizes import layers, parameters, vocabulary
from .markdown import block, code, plain, table
from .run import Run, without_folders
from .uses import use, use_alone

LIBRARIES = ("triptych", "torch", "transformers", "tokenizers", "accelerate", "datasets")
# Options that other sections tell of, and those that change nothing in the model.
ELSEWHERE = {
    "output_dir",
    "resume",
    "overwrite",
    "progress_bar",
    "report_to",
    "greater_is_better",
    "train_file",
    "validation_file",
    "test_file",
    "dataset_name",
    "dataset_config_name",
    "model",
    "preset",
    "to_hf",
}
ALWAYS = ("optimizer", "lr_scheduler", "max_tokens", "seed")  # options that are told although they are the defaults
NAMES = {"tokenizer", "cache_dir"}  # options whose value can be a path of this machine


def body(run: Run, curve: str | None) -> str:
    """Returns the card below its YAML block.

    Args:
        curve: the name of the file with the curve; None where there is none.
    """
    task = run.task
    title = plain(task.title or task.objective)
    sections = {
        f"# {plain(run.name)}": f"A model for {title}, trained with Triptych: "
        f"{code(task.model_class.__name__)}, {parameters(task.model)}.",
        "## How to use it": "\n\n".join(uses(run)),
        "## Results": "\n\n".join(results(run, curve)),
        "## Data": "\n\n".join(data(run)),
        "## Model": table(("", ""), model_rows(run)),
        "## Training": "\n\n".join(training(run)),
        "## Versions": table(("library", "version"), versions()),
    }
    return "\n\n".join(f"{heading}\n\n{text}" for heading, text in sections.items() if text) + "\n"


def uses(run: Run) -> Iterator[str]:
    """Gives the code that uses the model, with this package and without it."""
    task, model_class = run.task, run.task.model_class
    yield block(use(task.use or task.pipeline_tag, run.name, model_class.__name__), "python")
    if type(task.model.config).saves_code and "`" not in run.name:
        yield use_alone(run.name, model_class.auto_classes[0])


def results(run: Run, curve: str | None) -> Iterator[str]:
    """Gives the table of the results, what the scores say beside their numbers, and the curve."""
    measured = run.results()
    if measured:
        names = list(dict.fromkeys(name for values in measured.values() for name in values))
        rows = [
            [code(name), *(f"{values[name]:.4g}" if name in values else "" for values in measured.values())]
            for name in names
        ]
        yield table(("metric", *measured), rows)
    texts = {name: value for name, value in (run.scores or {}).items() if isinstance(value, str)}
    if texts:
        yield "\n".join(f"- {code(name)}: {code(value)}" for name, value in texts.items())
    best = run.result.best
    if best is not None:
        yield f"The best {code(best['metric'])} was {best['value']:.4g}, at update {best['step']:,}."
    if curve is not None:
        yield f"![Losses and metrics over the updates]({curve})"


def data(run: Run) -> Iterator[str]:
    """Gives the table of the splits, the columns, and what was said about the rows."""
    rows = [
        [code(split), f"{len(rows):,}" if isinstance(rows, Sized) else "a stream", code(run.source(split))]
        for split, rows in run.task.data.items()
    ]
    yield table(("split", plain(run.task.unit), "source"), rows)
    options = run.task.arguments
    if options.dataset_config_name:
        yield f"Configuration of the data set: {code(options.dataset_config_name)}."
    if run.task.remarks:
        yield "\n".join(f"- {plain(remark)}" for remark in run.task.remarks)


def model_rows(run: Run) -> Iterator[tuple[str, str]]:
    """Gives the sizes of the model, and what it started from."""
    options, model = run.task.arguments, run.task.model
    config: Any = model.config
    if options.model:
        yield "started from", code(without_folders(options.model))
    elif options.preset:
        yield "preset, with new weights", code(options.preset)
    else:
        yield "size, with new weights", "planned, by the data, the device and the time"
    yield "class", code(run.task.model_class.__name__)
    yield "parameters", parameters(model).replace(" parameters", "")
    yield "layers", layers(config)
    yield "d_model", f"{config.hidden_size:,}"
    yield "heads", f"{config.num_attention_heads}"
    yield "vocabulary", vocabulary(config)
    if run.task.config_fields:
        chosen = "fields that were given" if options.preset else "fields that were given or planned"
        yield chosen, ", ".join(code(f"{k}={v}") for k, v in run.task.config_fields.items())


def training(run: Run) -> Iterator[str]:
    """Gives the command, how long it took on which devices, and the options that differ from their defaults."""
    yield block(run.command, "bash")
    updates, minutes = counted(run.result.step, "updates"), counted(run.result.minutes, "minutes", ".1f")
    yield f"{updates} in {minutes} on {plain(run.device)}."
    told = {**changed_options(run.task.arguments), **changed_options(run.arguments)}
    yield table(("option", "value"), [(code(name), code(value)) for name, value in told.items()])


def changed_options(options: Any) -> dict[str, Any]:
    """Returns the options that are not what they are by default, and those of `ALWAYS`."""
    found = {}
    for field in fields(options):
        value = getattr(options, field.name)
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in ELSEWHERE and (field.name in ALWAYS or value != default):
            values = value if isinstance(value, list) else [value]
            found[field.name] = " ".join(
                without_folders(str(one)) if field.name in NAMES else str(one) for one in values
            )
    return found


def versions() -> Iterator[tuple[str, str]]:
    """Gives the versions of the libraries that have made the model."""
    for name in LIBRARIES:
        try:
            yield name, version(name)
        except PackageNotFoundError:  # the package runs from a checkout
            yield name, "not installed"
