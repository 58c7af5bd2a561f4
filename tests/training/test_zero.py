"""DeepSpeed's ZeRO: two processes make the updates of one, and write checkpoints that any number of them continues."""

import types
from pathlib import Path

import pytest
import torch
from accelerate import DeepSpeedPlugin
from safetensors.torch import load_file

from triptych.training import LoopArguments
from triptych.training.zero import ZeroModel, configure

from . import first_update as program
from .first_update import TASKS, first_update, make_training
from .labelled import write_rows, write_sentences, write_texts
from .programs import run_jobs_in_two_processes

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
ENCODER = SIZES | {"preset": "tiny-encoder", "num_hidden_layers": 1}
DECODER = SIZES | {"preset": "tiny-decoder", "num_hidden_layers": 1}
BOTH = SIZES | {"preset": "tiny", "encoder_layers": 1, "decoder_layers": 1}
COMMON = {"tokenizer_model": "word", "vocab_size": 60, "max_tokens": 120, "cache_dir": "none"}
# Adam with a small epsilon makes large steps of rounding errors where a gradient is zero.
COMMON |= {"lr_scheduler": "constant", "learning_rate": 1e-2, "warmup_steps": 0, "adam_epsilon": 1e-2}
FAMILIES = {
    "translation": BOTH,
    "summarization": BOTH,
    "causal_lm": DECODER,
    "masked_lm": ENCODER,
    "classification": ENCODER,
    "tagging": ENCODER,
    "question_answering": ENCODER | {"max_length": 20},
}
CITIES = ("Oslo", "Rome", "Lima")
TEXTS = [f"Kim {'was and ' * (row % 5)}is in {CITIES[row % 3]}" for row in range(40)]
ROWS = {
    "translation": [{"source": text, "target": " ".join(text.split()[::-1])} for text in TEXTS],
    "summarization": [{"text": text, "summary": text.split()[-1]} for text in TEXTS],
    "causal_lm": [{"text": text} for text in TEXTS],
    "masked_lm": [{"text": text} for text in TEXTS],
    "question_answering": [
        {
            "question": "where is Kim",
            "context": text,
            "answers": {"text": [text.split()[-1]], "answer_start": [len(text) - 4]},
        }
        for text in TEXTS
    ],
}
# At stage 3 parameters as small as these would otherwise stay whole.
SETTINGS = {stage: {"zero_optimization": {"stage": stage}} for stage in (1, 2)}
SETTINGS[3] = {"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}}


def options_of(task: str, folder: Path) -> dict:
    """The options of a run of a task on a file in a folder."""
    folder.mkdir(exist_ok=True)
    if task in ROWS:
        file = write_rows(folder / f"{task}.jsonl", ROWS[task])
    else:
        file = (write_sentences if task == "tagging" else write_texts)(folder)["train_file"]
    return COMMON | FAMILIES[task] | {"train_file": str(file)}


def in_two_processes(folder: Path, jobs: list) -> None:
    done = run_jobs_in_two_processes(program.__file__, folder, jobs)
    assert not done.stdout, "standard output is for results"


@pytest.mark.slow
def test_every_task_computes_the_gradients_of_one_process(needs, tmp_path):
    """All tasks at stage 3, which divides most, and one at the others."""
    needs("deepspeed")
    cases = [(task, 3) for task in TASKS] + [("translation", 1), ("translation", 2)]
    options = {task: options_of(task, tmp_path / "data") for task in TASKS}
    whole = {task: first_update(task, tmp_path / f"{task}-whole", **options[task]) for task in TASKS}
    in_two_processes(
        tmp_path,
        [
            (task, options[task] | {"gradient_accumulation_steps": 3}, f"{tmp_path / task}-{stage}", SETTINGS[stage])
            for task, stage in cases
        ],
    )
    for task, stage in cases:
        parts = [load_file(f"{tmp_path / task}-{stage}-{process}") for process in (0, 1)]
        expected, name = dict(whole[task]), f"{task}, stage {stage}"
        loss = parts[0].pop("loss") + parts[1].pop("loss")
        torch.testing.assert_close(loss, expected.pop("loss"), atol=1e-6, rtol=1e-6, msg=name)
        for part in parts:
            assert part.keys() == expected.keys()
            for key, gradient in expected.items():
                torch.testing.assert_close(part[key], gradient, atol=1e-6, rtol=1e-5, msg=f"{name}: {key}")


def weights_of(directory: Path) -> dict:
    return load_file(directory / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_a_run_is_resumed_bit_for_bit_and_by_any_number_of_processes(stage, needs, tmp_path):
    needs("deepspeed")
    options = options_of("translation", tmp_path / "data") | {"save_steps": 2, "max_grad_norm": 0.1}
    noisy = options | {"dropout": 0.2, "freeze": "*encoder.layers*", "gradient_checkpointing": True}

    def job(name: str, given: dict, steps: int, **others) -> tuple:
        given = given | {"output_dir": str(tmp_path / name), "max_steps": steps, **others}
        return "translation", given, None, SETTINGS[stage]

    make_training("translation", tmp_path / "one", **options, max_steps=4).run()
    make_training("translation", tmp_path / "begun", **options, max_steps=2).run()
    jobs = [
        job("unbroken", noisy, 4, validation_file=options["train_file"]),
        job("killed", noisy, 2, validation_file=options["train_file"]),
        job("killed", noisy, 4, validation_file=options["train_file"], resume=True),
        job("two", options, 4),
        job("begun", options, 4, resume=True),
        job("handed over", options, 2),
    ]
    in_two_processes(tmp_path, jobs)
    make_training("translation", tmp_path / "handed over", **options, max_steps=4, resume=True).run()
    unbroken, killed = weights_of(tmp_path / "unbroken"), weights_of(tmp_path / "killed")
    assert all(torch.equal(tensor, killed[name]) for name, tensor in unbroken.items())
    state = "checkpoint-4/training_state/optimizer.safetensors"
    moments, of_killed = load_file(tmp_path / "unbroken" / state), load_file(tmp_path / "killed" / state)
    assert moments.keys() == of_killed.keys()
    assert all(torch.equal(tensor, of_killed[name]) for name, tensor in moments.items())
    one = weights_of(tmp_path / "one")
    of_one = load_file(tmp_path / "one" / state)
    for name in ("two", "begun", "handed over"):
        for tensor, found in zip(one.values(), weights_of(tmp_path / name).values(), strict=True):
            torch.testing.assert_close(found, tensor, atol=1e-6, rtol=1e-5, msg=name)
        found = load_file(tmp_path / name / state)
        assert {key: tensor.shape for key, tensor in found.items()} == {k: t.shape for k, t in of_one.items()}
        for key, tensor in of_one.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=1e-4, msg=f"{name} {key}")


# ---- what is refused -----------------------------------------------------------------------------------------------


def accelerator_with(**settings):
    """What the loop sees of an accelerator that is to use DeepSpeed with these settings."""
    plugin = DeepSpeedPlugin(hf_ds_config={"zero_optimization": {"stage": 2}} | settings)
    return types.SimpleNamespace(deepspeed_plugin=plugin, mixed_precision="no", native_amp=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"zero_optimization": {"stage": 0}}, "zero_optimization.stage=0 .* leave out --use_deepspeed"),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}}, "offload to the cpu only"),
        ({"optimizer": {"type": "AdamW"}}, "setting optimizer=.* choose it with --optimizer"),
        ({"scheduler": {"type": "WarmupLR"}}, "choose it with --lr_scheduler"),
        ({"fp16": {"enabled": True}}, "fp16.enabled=True .* bf16 computes in bfloat16"),
        ({"train_batch_size": 16}, "say with --max_tokens how large an update is"),
    ],
)
def test_settings_of_deepspeed_that_the_loop_cannot_follow_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        configure(accelerator_with(**settings))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "muon"}, "give --optimizer adam or adamw, or train without DeepSpeed"),
        ({"torch_compile": True}, "torch_compile is not possible with DeepSpeed"),
        ({"find_batch_size": True}, "find_batch_size is not possible with DeepSpeed"),
        ({"max_grad_norm": 0.5}, "gradient_clipping=1.0 and --max_grad_norm 0.5 differ: give --max_grad_norm 1.0"),
    ],
)
def test_options_that_deepspeed_cannot_do_are_refused(options, message, tmp_path):
    arguments = LoopArguments(output_dir=str(tmp_path / "run"), **options)
    with pytest.raises(ValueError, match=message):
        ZeroModel.check(accelerator_with(gradient_clipping=1.0), arguments)
