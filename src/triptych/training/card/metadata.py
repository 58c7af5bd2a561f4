"""The YAML block of a card: what the Hub needs to list a model, with its results as a model index."""

import math

from huggingface_hub import EvalResult, ModelCardData

from .run import Run, is_local


def card_data(run: Run) -> ModelCardData:
    """Returns the metadata of the card of a run.

    Data sets and base models are named where they are on the Hub, because the Hub makes links of these names.
    """
    options, task = run.task.arguments, run.task
    results = eval_results(run)
    metrics = list(dict.fromkeys(result.metric_type for result in results))
    languages = list(task.language_codes())
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=task.pipeline_tag,
        language=languages or None,
        base_model=options.model if options.model and not is_local(options.model) else None,
        datasets=[options.dataset_name] if options.dataset_name and not is_local(options.dataset_name) else None,
        metrics=metrics or None,
        tags=["triptych", task.objective],
        model_name=run.name,
        eval_results=results or None,
    )


def eval_results(run: Run) -> list[EvalResult]:
    """Returns the results in the form of the Hub; a number that is not finite is left out."""
    on_the_hub = run.task.arguments.dataset_name
    return [
        EvalResult(
            task_type=run.task.pipeline_tag or run.task.objective,
            dataset_type=on_the_hub if on_the_hub and not is_local(on_the_hub) else "local",
            dataset_name=run.source(split),
            dataset_split=split,
            metric_type=name,
            metric_value=value,
        )
        for split, values in run.results().items()
        for name, value in values.items()
        if math.isfinite(value)
    ]
