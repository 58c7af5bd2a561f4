import pytest
import torch
from safetensors.torch import load_file, save_file

from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.training import average_checkpoints

SIZES = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2, "encoder_layers": 1, "decoder_layers": 1}


def checkpoint(directory, **tensors):
    directory.mkdir()
    save_file(tensors, directory / "model.safetensors")
    return directory


def test_mean(tmp_path):
    directories = [
        checkpoint(tmp_path / str(i), weight=torch.tensor([1.0, 2.0]) * i, count=torch.tensor(i)) for i in (1, 2, 6)
    ]
    mean = average_checkpoints(directories)
    torch.testing.assert_close(mean["weight"], torch.tensor([3.0, 6.0]))
    assert mean["count"].item() == 6


def test_bfloat16_is_summed_without_loss(tmp_path):
    # 256 + 1 is 256 in bfloat16: summed there, the mean of 256 and eight times 1 would be off.
    values = [256.0] + [1.0] * 8
    directories = [
        checkpoint(tmp_path / str(i), weight=torch.tensor([value], dtype=torch.bfloat16))
        for i, value in enumerate(values)
    ]
    mean = average_checkpoints(directories)["weight"]
    assert mean.dtype == torch.bfloat16
    assert mean.item() == torch.tensor(264 / 9, dtype=torch.bfloat16).item()


def test_tied_weights_stay_tied_and_shards_are_read(tmp_path):
    config = TriptychConfig(**SIZES)
    models = [TriptychForConditionalGeneration(config) for _ in range(2)]
    models[0].save_pretrained(tmp_path / "0")
    models[1].save_pretrained(tmp_path / "1", max_shard_size="10KB")
    assert len(list((tmp_path / "1").glob("*.safetensors"))) > 1
    mean = average_checkpoints([tmp_path / "0", tmp_path / "1"])
    assert "lm_head.weight" not in mean  # stored once, under the name of the embedding
    averaged = TriptychForConditionalGeneration.from_pretrained(None, config=config, state_dict=mean)
    assert averaged.lm_head.weight is averaged.model.embed_tokens.weight
    first, second, both = (m.state_dict() for m in (*models, averaged))
    for name in both:
        torch.testing.assert_close(both[name], (first[name] + second[name]) / 2)


def test_other_weights_beside_the_model_are_not_averaged(tmp_path):
    directories = []
    for number in (1.0, 3.0):
        model = TriptychForConditionalGeneration(TriptychConfig(**SIZES))
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, number)
        directories.append(tmp_path / f"a[{number}]")
        # Shards in one, one file in the other.
        model.save_pretrained(directories[-1], max_shard_size="10KB" if number == 1 else "1GB")
        stray = {name: torch.full_like(tensor, 100.0) for name, tensor in model.state_dict().items()}
        stray = {name: tensor.clone() for name, tensor in stray.items()} | {"more": torch.ones(1)}
        for name in ("model_ema", "model.ema", "model-old", "model-00001-of-00001"):
            save_file(stray, directories[-1] / f"{name}.safetensors")
    mean = average_checkpoints(directories)
    assert mean.keys() == load_file(directories[1] / "model.safetensors").keys()
    assert all((tensor == 2).all() for tensor in mean.values())


def test_a_damaged_file_is_named(tmp_path):
    first, second = (checkpoint(tmp_path / name, weight=torch.ones(20)) for name in "ab")
    path = second / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=rf"{path} is damaged"):
        average_checkpoints([first, second])


def test_different_models_are_refused(tmp_path):
    first = checkpoint(tmp_path / "a", weight=torch.ones(2), bias=torch.ones(1))
    with pytest.raises(ValueError, match=r"1 tensor is in only one of them, e.g. 'bias'"):
        average_checkpoints([first, checkpoint(tmp_path / "b", weight=torch.ones(2))])
    with pytest.raises(ValueError, match=r"'weight' is \(2,\) torch.float32 in .*, but \(3,\) torch.float32"):
        average_checkpoints([first, checkpoint(tmp_path / "c", weight=torch.ones(3), bias=torch.ones(1))])
    with pytest.raises(ValueError, match="no checkpoint to average"):
        average_checkpoints([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no model"):
        average_checkpoints([tmp_path / "empty"])
