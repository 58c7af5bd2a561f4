import torch

from triptych.data import PaddingCollator, TranslationCollator


def test_pads_each_side_to_its_longest():
    batch = TranslationCollator(pad_token_id=9)(
        [{"input_ids": [4, 5, 3], "labels": [7, 3]}, {"input_ids": [4, 3], "labels": [6, 7, 8, 3]}]
    )
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[4, 5, 3], [4, 3, 9]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "labels": [[7, 3, -100, -100], [6, 7, 8, 3]],
    }
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_pad_id_within_a_text_stays_visible():
    batch = TranslationCollator(pad_token_id=0)([{"input_ids": [0, 3], "labels": [0, 3]}])
    assert batch["attention_mask"].tolist() == [[1, 1]]
    assert batch["labels"].tolist() == [[0, 3]]


def test_an_empty_piece_is_one_row_without_labels():
    batch = TranslationCollator(pad_token_id=0)([])
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[0]],
        "attention_mask": [[1]],
        "labels": [[-100]],
    }


def test_sequences_and_numbers_of_any_names():
    collate = PaddingCollator({"input_ids": 0, "tags": -100}, {"input_ids": "attention_mask"}, {"labels": -100})
    rows = [{"input_ids": [4, 5], "tags": [1, 2], "labels": 1}, {"input_ids": [6], "tags": [3], "labels": 0}]
    assert {name: tensor.tolist() for name, tensor in collate(rows).items()} == {
        "input_ids": [[4, 5], [6, 0]],
        "attention_mask": [[1, 1], [1, 0]],
        "tags": [[1, 2], [3, -100]],
        "labels": [1, 0],
    }
    assert collate([])["labels"].tolist() == [-100]
