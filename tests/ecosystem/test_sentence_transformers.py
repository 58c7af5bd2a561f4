"""sentence-transformers over our encoder: one vector per sentence."""

from pathlib import Path

import pytest
import torch

from triptych import TriptychEncoderModel

SENTENCES = ["5 6 7 8", "90 80 70 60 50 40 30", "9"]


@pytest.fixture
def encoder(make_config, word_tokenizer, tmp_path: Path) -> Path:
    """A folder as a user has it: an encoder without a head, and its tokenizer."""
    torch.manual_seed(0)
    model = TriptychEncoderModel(make_config("encoder"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(tmp_path / "encoder")
    word_tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_sentence_is_the_mean_of_its_tokens(library, encoder: Path, word_tokenizer):
    sentence_model = library("sentence_transformers").SentenceTransformer(str(encoder), device="cpu")
    model = TriptychEncoderModel.from_pretrained(encoder)
    assert type(sentence_model[0].auto_model) is TriptychEncoderModel
    expected = []
    for sentence in SENTENCES:
        with torch.no_grad():
            hidden = model(**word_tokenizer(sentence, return_tensors="pt")).last_hidden_state
        expected.append(hidden[0].mean(0))
    together = sentence_model.encode(SENTENCES, convert_to_tensor=True, batch_size=len(SENTENCES))
    torch.testing.assert_close(together, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_it_is_saved_and_loaded_again(library, encoder: Path, tmp_path: Path):
    sentence_transformers = library("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(encoder), device="cpu")
    model.save(str(tmp_path / "saved"))
    loaded = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert loaded.get_embedding_dimension() == 32
    assert loaded.max_seq_length == 64
    vectors = loaded.encode(SENTENCES, convert_to_tensor=True)
    assert torch.equal(vectors, model.encode(SENTENCES, convert_to_tensor=True))
    assert loaded.similarity(vectors, vectors).diagonal() == pytest.approx([1.0] * len(SENTENCES), abs=1e-5)


def test_a_contrastive_loss_trains_it(library, encoder: Path):
    sentence_transformers = library("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(encoder), device="cpu")
    pairs = [[f"{i} {i + 1}", f"{i + 2} {i + 3}"] for i in range(5, 85, 5)]
    loss = library("sentence_transformers.losses").MultipleNegativesRankingLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    for _ in range(8):
        features = [model.tokenize([pair[side] for pair in pairs]) for side in (0, 1)]
        value = loss(features, labels=None)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(value.item())
    assert values[-1] < 0.8 * values[0]


def test_an_encoder_decoder_is_refused(library, make_model, word_tokenizer, tmp_path: Path):
    """It is called without a target; the encoder alone gives vectors through `triptych.pipelines.embeddings`."""
    make_model("encoder_decoder").base_model.save_pretrained(tmp_path)
    word_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="TriptychModel needs decoder_input_ids"):
        library("sentence_transformers").SentenceTransformer(str(tmp_path), device="cpu").encode(SENTENCES)
