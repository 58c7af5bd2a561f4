"""TRL fine-tunes the decoder, with rows padded and with several texts packed into a row."""

from typing import Any

import pytest
import torch
from datasets import Dataset

TEXTS = [
    " ".join(str(5 + (start + step * i) % 92) for i in range(8 + start % 5)) for start in range(8) for step in (1, 3)
]


@pytest.fixture
def sft_trainer(library, make_model, word_tokenizer, tmp_path):
    trl = library("trl")

    def make(texts: list[str], **options: Any) -> Any:
        arguments: dict[str, Any] = {
            "output_dir": str(tmp_path),
            "max_length": 64,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "report_to": [],
            "save_strategy": "no",
            "use_cpu": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "dataloader_pin_memory": False,
        }
        return trl.SFTTrainer(
            model=make_model("decoder"),
            args=trl.SFTConfig(**{**arguments, **options}),
            train_dataset=Dataset.from_dict({"text": texts}),
            processing_class=word_tokenizer,
        )

    return make


def losses_of(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("packing", [False, True])
def test_fine_tuning_lowers_the_loss(sft_trainer, packing: bool):
    trainer = sft_trainer(TEXTS, packing=packing, max_steps=8, per_device_train_batch_size=2)
    trainer.train()
    losses = losses_of(trainer)
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


def test_packed_texts_do_not_see_each_other(sft_trainer):
    """One batch with all texts: as many labels, and the same loss and gradients, whether padded or packed."""
    found = {}
    for packing in (False, True):
        trainer = sft_trainer(TEXTS, packing=packing, per_device_train_batch_size=len(TEXTS))
        (batch,) = trainer.get_train_dataloader()
        assert ("attention_mask" in batch) is not packing
        trainer.model.train()  # the tiny models have no dropout
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
        shifted = batch["labels"][:, 1:]
        found[packing] = (int((shifted != -100).sum()), loss.detach(), gradient)
    (padded_labels, padded_loss, padded_gradient), (packed_labels, packed_loss, packed_gradient) = found.values()
    assert padded_labels == packed_labels > 0
    torch.testing.assert_close(packed_loss, padded_loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(packed_gradient, padded_gradient, rtol=1e-3, atol=1e-5)


def test_lora_under_trl_names_no_targets(library, sft_trainer, make_model, word_tokenizer, tmp_path):
    trl, peft = library("trl"), library("peft")
    options = {"report_to": [], "use_cpu": True, "bf16": False, "save_strategy": "no", "gradient_checkpointing": False}
    trainer = trl.SFTTrainer(
        model=make_model("decoder"),
        args=trl.SFTConfig(output_dir=str(tmp_path), max_steps=8, learning_rate=3e-2, logging_steps=1, **options),
        train_dataset=Dataset.from_dict({"text": TEXTS}),
        processing_class=word_tokenizer,
        peft_config=peft.LoraConfig(r=4),
    )
    trainer.train()
    trained = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert losses_of(trainer)[-1] < losses_of(trainer)[0]
