"""`triptych export` as a whole: what it refuses before any work, what it replaces, and the format hf."""

import sys
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import tiny
import triptych_command
from triptych.export import FORMATS, export, formats
from triptych.export.vocabulary import about_ends, first_end


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)  # which a command replaces


def test_transformers_opens_what_the_command_writes(saved, capsys):
    model, directory = saved("encoder_decoder")
    triptych_command.main(["export", str(directory), "--output_dir", "native"])
    told = capsys.readouterr().out
    theirs, tokenizer = AutoModelForSeq2SeqLM.from_pretrained("native"), AutoTokenizer.from_pretrained("native")
    assert type(theirs) is transformers.MarianMTModel
    assert told.endswith(f"native: MarianMTModel, {theirs.num_parameters():,} parameters\n")
    assert tokenizer.get_vocab() == tiny.number_tokenizer().get_vocab()
    ids = tokenizer("7 8 9 42", return_tensors="pt").input_ids
    options = {"num_beams": 4, "do_sample": False, "max_new_tokens": 9}
    assert torch.equal(theirs.generate(ids, **options), model.generate(ids, **options))


def test_a_public_checkpoint_is_exported_too():
    config = transformers.GPT2Config(vocab_size=97, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3)
    public = transformers.GPT2LMHeadModel(config)
    public.save_pretrained("public")
    assert export("public", "native") == [f"GPT2LMHeadModel, {public.num_parameters():,} parameters"]
    assert not list(Path("native").glob("tokenizer*"))


def test_only_what_it_wrote_is_replaced(saved):
    _, directory = saved("decoder")
    export(directory, "native")
    with pytest.raises(FileExistsError, match="native exists; choose another directory, or allow to overwrite it"):
        export(directory, "native")
    export(directory, "native", overwrite=True)
    Path("native", "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds what was not written there by the export \(thesis.tex\)"):
        export(directory, "native", overwrite=True)
    with pytest.raises(ValueError, match="is the source"):
        export(directory, directory, overwrite=True)


def test_what_is_wrong_is_said_before_the_model_is_read(monkeypatch):
    with pytest.raises(ValueError, match=f"format='tflite' is unknown; choose from {', '.join(FORMATS)}"):
        export("nowhere", "out", "tflite")
    with pytest.raises(ValueError, match="quantization='int3' is unknown to the format hf"):
        export("nowhere", "out", quantization="int3")
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="the format ct2 needs ctranslate2; pip install ctranslate2"):
        export("nowhere", "out", "ct2")
    assert not Path("out").exists()


@pytest.mark.parametrize(("ends", "first", "lines"), [(3, 3, 0), ([3], 3, 0), ([3, 7], 3, 1), (None, None, 0)])
def test_several_tokens_that_end_a_text_are_told(ends, first, lines):
    config = tiny.make_model("decoder", eos_token_id=ends).config
    assert first_end(config) == first
    assert [line.endswith("when you generate: [7]") for line in about_ends(config)] == [True] * lines
