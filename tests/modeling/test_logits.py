"""From hidden states to logits and loss: the map, its scale and its bias; the loss without the logits."""

import pytest
import torch

import tiny
from triptych import TriptychEncoderConfig, TriptychEncoderForPreTraining
from triptych.modeling import vocabulary_head
from triptych.modeling.labels import next_token_labels
from triptych.modeling.vocabulary_head import VocabularyHead

LANGUAGE_MODELS = [head for head in tiny.HEADS if issubclass(tiny.model_class(head), VocabularyHead)]


def last_hidden(model, batch):
    """What goes into the map to the vocabulary, before the scale."""
    found = []
    handle = model.lm_head.register_forward_hook(lambda module, inputs, output: found.append(inputs[0]))
    model(**batch)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.25])
@torch.no_grad()
def test_logits_are_the_scaled_map_and_its_bias(make_model, family, make_batch, scale, bias):
    """The scale is on the product, not on the bias (T5's, PaLM's)."""
    model = make_model(family, logit_scale=scale, head_bias=bias)
    batch = make_batch(family, [6, 4])
    plain = make_model(family, logit_scale=1.0, head_bias=bias)
    plain.load_state_dict(model.state_dict())
    hidden = last_hidden(plain, batch)
    expected = scale * (hidden @ model.lm_head.weight.T) + (model.lm_head.bias if bias else 0.0)
    torch.testing.assert_close(model(**batch).logits, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_logits_of_pre_training_are_scaled_too(words):
    def make(**fields):
        return TriptychEncoderForPreTraining(TriptychEncoderConfig.from_preset("tiny-encoder", **fields)).eval()

    plain, scaled = make(), make(logit_scale=0.25)
    plain.load_state_dict(scaled.state_dict())
    bias = plain.lm_head.bias
    expected = 0.25 * (plain(words(2, 6)).prediction_logits - bias) + bias
    torch.testing.assert_close(scaled(words(2, 6)).prediction_logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("head_bias", [False, True])
def test_logits_are_scaled_before_the_bias_is_added(make_model, family, make_batch, close, head_bias):
    batch = make_batch(family, [7, 5])
    model = make_model(family, head_bias=head_bias, label_smoothing=0.0)
    plain = model(**batch)
    model.config.logit_scale = 0.3
    scaled = model(**batch)
    bias = model.lm_head.bias if head_bias else torch.zeros(())
    close(scaled.logits, 0.3 * (plain.logits - bias) + bias)
    assert not torch.allclose(scaled.logits, plain.logits, atol=1e-2)
    assert abs(scaled.loss - plain.loss) > 1e-2


@pytest.fixture(params=LANGUAGE_MODELS)
def language_model(request):
    return tiny.make_model(request.param, label_smoothing=0.1).train()


@pytest.fixture
def language_batch(make_batch, language_model):
    """A ragged batch with all labels of the model."""
    family = language_model.config.model_type.removeprefix("triptych").lstrip("_") or "encoder_decoder"
    batch = make_batch(family, [6, 4])
    if "PreTraining" in type(language_model).__name__:
        batch["next_sentence_label"] = torch.tensor([0, 1])
    return batch


def test_every_model_with_a_map_to_a_vocabulary_is_here():
    models = {head: tiny.make_model(head) for head in tiny.HEADS}
    assert set(LANGUAGE_MODELS) == {head for head in models if models[head].get_output_embeddings() is not None}


def test_the_loss_without_the_logits(language_model, language_batch, gradients, assert_close_trees):
    """Same loss, same gradients, and nothing as wide as the vocabulary is returned."""
    both, alone = language_model(**language_batch), language_model(**language_batch, skip_logits=True)
    torch.testing.assert_close(alone.loss, both.loss, rtol=1e-6, atol=0)
    assert alone.get("logits") is None
    assert not any(tensor.shape[-1:] == (97,) for tensor in alone.values() if torch.is_tensor(tensor))
    assert any(tensor.shape[-1:] == (97,) for tensor in both.values() if torch.is_tensor(tensor))
    assert_close_trees(gradients(language_model, alone.loss), gradients(language_model, both.loss), rtol=1e-6)


def test_only_what_has_a_label_is_mapped_to_the_vocabulary(language_model, language_batch):
    mapped = []
    language_model.lm_head.register_forward_hook(lambda module, inputs, logits: mapped.append(logits.shape[:-1]))
    labels = language_batch["labels"]
    labels[:, 2:] = -100
    labels[0, 1] = -100
    counted = language_model.count_items(language_batch)["num_items_in_batch"]
    language_model(**language_batch, skip_logits=True)
    assert mapped == [(counted,)]


def test_a_batch_without_labels_adds_nothing_and_has_gradients(language_model, language_batch, gradients):
    """Data parallelism waits for a gradient of every parameter, also from a process without rows."""
    if "next_sentence_label" in language_batch:
        language_batch["next_sentence_label"].fill_(-100)
    language_batch["labels"].fill_(-100)
    loss = language_model(**language_batch, skip_logits=True).loss
    assert loss.item() == 0
    found = gradients(language_model, loss)
    assert found.keys() == {name for name, parameter in language_model.named_parameters()}
    assert not any(gradient.any() for gradient in found.values())


@torch.no_grad()
def test_the_prediction_of_each_label(language_model, monkeypatch):
    """One position at a time, or all at once, with and without labels that do not count."""
    hidden, labels = torch.randn(2, 5, 32), torch.randint(5, 97, (2, 5))
    log_p = language_model.logits(hidden).log_softmax(-1)
    labels[0] = log_p[0].argmax(-1)
    for ignored in ([], [(0, 1), (1, 4)]):
        for row, position in ignored:
            labels[row, position] = -100
        counts = labels != -100
        expected = -log_p.gather(-1, labels.clamp(min=0)[..., None])[..., 0] * counts
        for chunk in (1, 2**20):
            monkeypatch.setattr(vocabulary_head, "CHUNK", chunk)
            losses, right = language_model.predictions_of_labels(hidden, labels)
            torch.testing.assert_close(losses, expected)
            assert torch.equal(right, (log_p.argmax(-1) == labels) & counts)


def test_labels_of_another_shape_are_refused(language_model):
    with pytest.raises(ValueError, match=r"labels have the shape \(2, 4\), but there are logits for \(2, 5\)"):
        language_model.token_loss(torch.randn(2, 5, 32), torch.ones(2, 4, dtype=torch.long))


def test_neither_logits_nor_loss_is_refused(language_model, language_batch):
    del language_batch["labels"]
    language_batch.pop("next_sentence_label", None)
    if language_model.config.is_encoder_decoder:
        language_batch["decoder_input_ids"] = language_batch["input_ids"]
    with pytest.raises(ValueError, match=r"skip_logits=True .* needs labels"):
        language_model(**language_batch, skip_logits=True)


@pytest.mark.parametrize("skip_logits", [False, True])
def test_a_model_whose_loss_is_another_overrides_one_method(language_model, language_batch, skip_logits, monkeypatch):
    """A loss in pieces, or a fused one, needs the hidden states, the labels and their number."""
    seen = {}

    def token_loss(hidden, labels, num_items_in_batch=None, label_smoothing=None, logits=None):
        seen.update(hidden=hidden, labels=labels, items=num_items_in_batch, logits=logits)
        return hidden.sum()

    monkeypatch.setattr(language_model, "token_loss", token_loss)
    del language_batch["labels"]
    labels = torch.randint(5, 97, (2, 6))
    if language_model.config.is_encoder_decoder:
        language_batch["decoder_input_ids"] = labels
    language_batch.pop("next_sentence_label", None)
    output = language_model(**language_batch, labels=labels, num_items_in_batch=7, skip_logits=skip_logits)
    torch.testing.assert_close(output.loss, seen["hidden"].sum())
    causal = "CausalLM" in type(language_model).__name__
    assert torch.equal(seen["labels"], next_token_labels(labels) if causal else labels)
    assert (seen["items"], seen["logits"] is None) == (7, skip_logits)
    if not skip_logits:
        torch.testing.assert_close(language_model.logits(seen["hidden"]), seen["logits"])


@torch.no_grad()
def test_smoothed_and_plain_loss_of_one_forward(make_model, family, make_batch):
    """The loss of given hidden states, with another smoothing than the one that training or evaluation has."""
    model, batch = make_model(family, label_smoothing=0.2), make_batch(family, [6, 4])
    model.transform = torch.nn.Identity()  # else it would be applied twice to what the hook has seen
    hidden, plain = last_hidden(model, batch), model(**batch).loss
    labels = next_token_labels(batch["labels"]) if family == "decoder" else batch["labels"]
    torch.testing.assert_close(model.token_loss(hidden, labels), plain)
    smoothed = model.token_loss(hidden, labels, label_smoothing=0.2)
    assert abs(smoothed - plain) > 1e-3
    model.train()
    torch.testing.assert_close(model.token_loss(hidden, labels), smoothed)
    torch.testing.assert_close(model.token_loss(hidden, labels, label_smoothing=0.0), plain)
