"""A head for question answering has two outputs: one for each end of an answer, whatever `num_labels` says."""

import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

import triptych

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def make(**fields):
    torch.manual_seed(0)
    return BertForQuestionAnswering(BertConfig(vocab_size=50, **SIZES, **fields)).eval()


def test_another_number_of_outputs_is_refused():
    with pytest.raises(ValueError, match=r"BertForQuestionAnswering with num_labels=3: an answer has 2 ends"):
        triptych.from_hf(make(num_labels=3))


@torch.no_grad()
def test_a_number_of_labels_left_by_another_task_goes_nowhere():
    theirs = make()
    ours = triptych.from_hf(theirs)
    ours.config.num_labels = 5
    back, words = triptych.to_hf(ours), torch.randint(5, 50, (2, 7))
    assert back.config.num_labels == 2
    assert ours.config.num_labels == 5
    assert torch.equal(back(words).start_logits, theirs(words).start_logits)
