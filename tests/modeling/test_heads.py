"""The heads over a body: losses, which position stands for a sequence, and what the Auto classes make of them."""

import importlib
import pkgutil

import pytest
import torch
import transformers
from torch.nn import functional as F
from transformers.loss.loss_utils import ForQuestionAnsweringLoss, ForSequenceClassificationLoss
from transformers.models.auto import modeling_auto

import triptych
from tiny import PRESETS
from triptych import modeling
from triptych.auto import AUTO_CLASSES, NAME_TABLES

END, LABELS = 3, 5
SEQUENCE = ["TriptychForSequenceClassification", "TriptychEncoderForSequenceClassification"]
SEQUENCE += ["TriptychDecoderForSequenceClassification"]
TOKEN = ["TriptychEncoderForTokenClassification", "TriptychDecoderForTokenClassification"]
SPAN = ["TriptychForQuestionAnswering", "TriptychEncoderForQuestionAnswering", "TriptychDecoderForQuestionAnswering"]
POOLED = ["TriptychEncoderForNextSentencePrediction", "TriptychEncoderForMultipleChoice"]
OTHER = ["TriptychEncoderForPreTraining", *POOLED]
HEADS = [*SEQUENCE, *TOKEN, *SPAN, *OTHER]
LENGTHS = [3, 9, 5, 1, 7, 2, 8, 4]


@pytest.fixture
def make_head():
    """A head with random weights, biases and norms too, in evaluation mode."""

    def make(name, **overrides):
        torch.manual_seed(0)
        head = getattr(triptych, name)
        silent = {"dropout": 0.0, "attention_dropout": 0.0, "num_labels": LABELS}
        model = head(head.config_class.from_preset(PRESETS[head.config_class.model_type], **silent | overrides))
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.normal_(std=0.3).add_(float("norm" in key and key.endswith("weight")))
        return model.eval()

    return make


@pytest.fixture
def sources(make_ragged):
    """Rows of the given lengths, each closed by an end token, as `padded(side)` gives them."""

    def make(lengths, first_row=0):
        ragged = make_ragged(*lengths, seed=first_row)
        for row in ragged.rows:
            row[-1] = END
        return ragged

    return make


def labels_for(name, mask, first_row=0):
    """Labels for rows with this mask: the same for a row wherever it stands."""
    rows, length = mask.shape
    number = torch.arange(first_row, first_row + rows)
    if name in TOKEN:
        return {"labels": ((number[:, None] + torch.arange(length)) % LABELS).masked_fill(mask == 0, -100)}
    if name in SPAN:  # the last position of every fourth answer was cut off
        length = mask.sum(-1)
        start, end = (length - 1).minimum(number % 2), (length - 1).minimum((number + 1) % 2)
        return {"start_positions": start, "end_positions": torch.where(number % 4 == 3, length, end)}
    if name == "TriptychEncoderForPreTraining":
        words = (number[:, None] + torch.arange(length) + 5).masked_fill(
            (mask == 0) | (number % 2 == 0)[:, None], -100
        )
        return {"labels": words, "next_sentence_label": number % 2}
    return {"labels": number % (2 if name in POOLED else LABELS)}


def make_inputs(name, ragged, side="right", first_row=0):
    ids, mask = ragged.padded(side)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if name == "TriptychEncoderForMultipleChoice":  # the second choice has other words
        ids = torch.stack([ids, torch.where(ids > END, 101 - ids, ids)], dim=1)
        inputs = {"input_ids": ids, "attention_mask": mask[:, None].expand_as(ids)}
    return inputs | labels_for(name, mask, first_row)


def test_every_head_is_tested_here():
    public = {n for n in triptych.__all__ if "For" in n}
    language_models = {"TriptychForConditionalGeneration", "TriptychEncoderForMaskedLM", "TriptychDecoderForCausalLM"}
    assert set(HEADS) == public - language_models


def test_no_public_model_is_forgotten():
    """A class whose name begins as those of users do is public everywhere, and an Auto class finds it."""
    modules = [importlib.import_module(f"triptych.modeling.{m.name}") for m in pkgutil.iter_modules(modeling.__path__)]
    defined = {name for module in modules for name in vars(module) if name.startswith("Triptych")}
    models = {name for name in defined if "Model" in name or "For" in name} - {"TriptychPreTrainedModel"}
    assert models == set(modeling.__all__) - {"TriptychPreTrainedModel"}
    assert models <= set(triptych.__all__)
    assert models == {cls.__name__ for classes in AUTO_CLASSES.values() for cls in classes}


@pytest.mark.parametrize(
    ("auto_name", "name"), [(auto, cls.__name__) for auto, classes in AUTO_CLASSES.items() for cls in classes]
)
def test_auto_classes_know_every_head(auto_name, name, tmp_path):
    head, auto_class = getattr(triptych, name), getattr(transformers, auto_name)
    config = head.config_class.from_preset(PRESETS[head.config_class.model_type], num_labels=LABELS)
    model = auto_class.from_config(config)
    assert type(model) is head
    assert getattr(modeling_auto, NAME_TABLES[auto_name])[config.model_type] == name
    model.save_pretrained(tmp_path)
    loaded, report = auto_class.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is head
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    assert loaded.config.num_labels == LABELS


@pytest.mark.parametrize("name", HEADS)
def test_a_head_on_a_saved_body(name, make_head, tmp_path):
    """The usual fine-tuning: the body's weights come from a checkpoint, the map is new and nothing else is."""
    head = make_head(name)
    head.model.save_pretrained(tmp_path)
    loaded, report = type(head).from_pretrained(tmp_path, output_loading_info=True)
    body = {f"model.{key}" for key in head.model.state_dict()}
    assert set(report["missing_keys"]) <= head.state_dict().keys() - body
    assert all(torch.equal(value, loaded.model.state_dict()[key]) for key, value in head.model.state_dict().items())


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(name, side, make_head, sources, close):
    model, ragged = make_head(name), sources([4, 7])
    batch = make_inputs(name, ragged, side)
    together = model(**{key: batch[key] for key in ("input_ids", "attention_mask")})
    for row, length in enumerate([4, 7]):
        kept = slice(7 - length, None) if side == "left" else slice(length)
        alone = model(input_ids=batch["input_ids"][row : row + 1, ..., kept])
        for key in [key for key in alone if "logits" in key]:
            per_token = name in TOKEN + SPAN or key == "prediction_logits"
            close(together[key][row][kept] if per_token else together[key][row], alone[key][0])


@pytest.mark.parametrize("name", HEADS)
def test_one_batch_equals_its_pieces(name, make_head, sources, gradients, assert_close_trees):
    """The head says what it counts; with these numbers the pieces of a ragged batch add up to the batch."""
    model, lengths = make_head(name).train(), LENGTHS
    whole = make_inputs(name, sources(lengths))
    numbers, loss = model.count_items(whole), model(**whole).loss
    torch.testing.assert_close(model(**whole, **numbers).loss, loss)
    pieces = [make_inputs(name, sources(lengths[i : i + 2], first_row=i), first_row=i) for i in range(0, 8, 2)]
    counts = [model.count_items(piece) for piece in pieces]
    assert {key: sum(count[key] for count in counts) for key in numbers} == numbers
    losses = [model(**piece, **numbers).loss for piece in pieces]
    torch.testing.assert_close(sum(losses), loss)
    assert_close_trees(gradients(model, sum(losses)), gradients(model, loss), rtol=1e-4 if name in SPAN else 1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_every_parameter_of_a_head_takes_part(name, make_head, sources, gradients):
    model = make_head(name)
    found = gradients(model, model(**make_inputs(name, sources(LENGTHS))).loss)
    assert found.keys() == dict(model.named_parameters()).keys()
    # A number that is added to the score of every choice, or of every position, changes nothing.
    idle = {"classifier.bias"} if "MultipleChoice" in name else {"qa_outputs.bias"} if name in SPAN else set()
    assert {key for key, gradient in found.items() if not gradient.any()} <= idle


@pytest.mark.parametrize("name", SEQUENCE)
@pytest.mark.parametrize(
    ("problem", "num_labels", "labels"),
    [
        ("regression", 1, torch.tensor([0.5, -1.0, 2.0])),
        ("regression", 2, torch.tensor([[0.5, 1.0], [-1.0, 0.0], [2.0, 0.5]])),
        ("single_label_classification", 3, torch.tensor([2, 0, 1])),
        ("multi_label_classification", 3, torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 1]])),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_sequence_losses_equal_transformers(name, problem, num_labels, labels, stated, make_head, sources):
    if not stated and (problem, num_labels) == ("regression", 2):
        problem = "multi_label_classification"  # what transformers takes several floats for
        labels = labels.clamp(0, 1)
    model = make_head(name, num_labels=num_labels, problem_type=problem if stated else None)
    ids, mask = sources([4, 6, 2]).padded("right")
    output = model(input_ids=ids, attention_mask=mask, labels=labels)
    theirs = ForSequenceClassificationLoss(
        labels, output.logits, model.config.__class__(num_labels=num_labels, problem_type=problem)
    )
    torch.testing.assert_close(output.loss, theirs)
    assert model.config.problem_type == (problem if stated else None)  # transformers writes it into the config


@pytest.mark.parametrize("name", SEQUENCE)
@pytest.mark.parametrize(
    ("problem", "labels", "number"),
    [
        ("regression", torch.tensor([[0.5, 1.0, 0.0], [-1.0, 0.0, 3.0], [2.0, 0.5, 1.0]]), 9),
        ("single_label_classification", torch.tensor([2, -100, 1]), 2),
        ("multi_label_classification", torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 1]]), 9),
    ],
)
def test_labels_of_a_sequence_are_counted_by_their_kind(name, problem, labels, number, make_head, sources):
    model = make_head(name, num_labels=3, problem_type=problem)
    ids, mask = sources([4, 6, 2]).padded("right")
    numbers = model.count_items({"labels": labels})
    assert numbers == {"num_items_in_batch": number}
    losses = [
        model(input_ids=ids[rows], attention_mask=mask[rows], labels=labels[rows], **numbers).loss
        for rows in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(sum(losses), model(input_ids=ids, attention_mask=mask, labels=labels).loss)


def test_unknown_problem_is_refused(make_head, words):
    model = make_head(SEQUENCE[1])
    vars(model.config)["problem_type"] = "guessing"  # past transformers 5.17, which refuses the word when it is set
    with pytest.raises(ValueError, match=r"problem_type 'guessing'.*regression, single_label"):
        model(input_ids=words(2, 4), labels=torch.tensor([0, 1]))


@pytest.mark.parametrize("name", SPAN)
def test_span_loss_equals_transformers(name, make_head, sources):
    model, (ids, mask) = make_head(name), sources([6, 6, 6, 6]).padded("right")
    start, end = torch.tensor([0, 2, 6, 9]), torch.tensor([[1], [5], [3], [6]])  # 6 and 9 are cut off
    output = model(input_ids=ids, attention_mask=mask, start_positions=start, end_positions=end)
    theirs = ForQuestionAnsweringLoss(output.start_logits, output.end_logits, start, end)
    torch.testing.assert_close(output.loss, theirs)


@pytest.mark.parametrize("name", SPAN)
def test_answers_that_were_all_cut_off_cost_nothing(name, make_head, sources):
    model, (ids, mask) = make_head(name), sources([4, 4]).padded("right")
    output = model(
        input_ids=ids, attention_mask=mask, start_positions=torch.tensor([4, 9]), end_positions=torch.tensor([5, 9])
    )
    assert output.loss.item() == 0


@pytest.mark.parametrize("name", SPAN)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_loss_of_a_span_does_not_see_padding(name, side, make_head, sources):
    """Alone, or beside a longer row, a row has the same loss. transformers' softmax includes the padding."""
    model, ragged = make_head(name), sources([4, 7])
    ids, mask = ragged.padded(side)
    offset = torch.tensor([3 if side == "left" else 0, 0])
    start, end = torch.tensor([1, 2]), torch.tensor([3, 5])
    losses = [
        model(input_ids=row[None], start_positions=start[i : i + 1], end_positions=end[i : i + 1]).loss
        for i, row in enumerate(ragged.rows)
    ]
    together = {"start_positions": start + offset, "end_positions": end + offset}
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask, **together).loss, sum(losses) / 2)


@pytest.mark.parametrize("name", SPAN)
@pytest.mark.parametrize("num_labels", [1, 3])
def test_an_answer_has_two_ends_whatever_the_number_of_labels(name, num_labels, make_head, sources):
    model = make_head(name, num_labels=num_labels)
    output = model(**make_inputs(name, sources([4, 7])))
    assert output.start_logits.shape == output.end_logits.shape == (2, 7)
    assert output.loss.isfinite()


@pytest.mark.parametrize("name", [*SEQUENCE, *TOKEN])
def test_a_label_too_many_is_named(name, make_head, sources):
    ids, mask = sources([3, 3]).padded("right")
    labels = torch.full_like(ids if name in TOKEN else ids[:, 0], LABELS)
    with pytest.raises(IndexError, match=rf"\[0, {LABELS}\), got {LABELS}.*num_labels"):
        make_head(name)(input_ids=ids, attention_mask=mask, labels=labels)


def test_pre_training_loss_is_the_sum_of_both(make_head, sources):
    model = make_head("TriptychEncoderForPreTraining")
    batch = make_inputs("TriptychEncoderForPreTraining", sources([4, 7, 5]))
    output = model(**batch)
    words = F.cross_entropy(output.prediction_logits.flatten(0, 1), batch["labels"].flatten())
    sentences = F.cross_entropy(output.seq_relationship_logits, batch["next_sentence_label"])
    torch.testing.assert_close(output.loss, words + sentences)
    alone = {key: value for key, value in batch.items() if key != "labels"}
    torch.testing.assert_close(model(**alone).loss, sentences)
    without = model(**alone, skip_logits=True)
    torch.testing.assert_close(without.loss, sentences)
    assert without.prediction_logits is None


def test_sentence_loss_keeps_its_weight_where_only_tokens_are_counted(make_head, sources):
    """As transformers' Trainer does: equal pieces add up to the whole."""
    name = "TriptychEncoderForPreTraining"
    model, batch = make_head(name), make_inputs(name, sources([6, 6]))
    batch["labels"] = batch["input_ids"]
    twice = {key: torch.cat([value, value]) for key, value in batch.items()}
    items = (twice["labels"] != -100).sum()
    torch.testing.assert_close(2 * model(**batch, num_items_in_batch=items).loss, model(**twice).loss)


@pytest.mark.parametrize("pooler", ["tanh", "relu", "none"])
def test_encoder_pools_its_first_token(pooler, make_head, words, close):
    model = make_head(SEQUENCE[1], pooler=pooler)
    output = model.model(words(2, 5))
    first = output.last_hidden_state[:, 0]
    if pooler == "none":
        assert not any("pooler" in key for key in model.state_dict())
        assert output.pooler_output is None
        close(model(words(2, 5)).logits, model.classifier(first))
    else:
        expected = getattr(torch, pooler)(model.model.pooler.dense(first))
        close(output.pooler_output, expected)
        close(model(words(2, 5)).logits, model.classifier(expected))


@pytest.mark.parametrize("name", SEQUENCE)
def test_a_dense_layer_stands_before_the_map_to_labels(name, make_head, sources, close):
    """It is part of the head's one module, which adapters train and save, and takes the place of a pooler."""
    plain, dense = (make_head(name, classifier_activation=word) for word in ("none", "gelu"))
    module = dense.get_submodule(dense_name := "score" if "Decoder" in name else "classifier")
    own = {key for key in dense.state_dict() if not key.startswith("model.")}
    maps = {"dense.weight", "dense.bias", "out_proj.weight", *(["out_proj.bias"] if "Decoder" not in name else [])}
    assert own == {f"{dense_name}.{key}" for key in maps}
    assert not any("pooler" in key for key in dense.state_dict())
    assert {key for key in plain.state_dict() if not key.startswith("model.")} <= {
        f"{dense_name}.weight",
        f"{dense_name}.bias",
    }
    seen = []
    module.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    logits = dense(**make_inputs(name, sources([4, 7]))).logits
    vector, output = seen[0]
    close(output, logits)
    close(module.out_proj(torch.nn.functional.gelu(module.dense(vector))), logits)


@pytest.mark.parametrize("pooler", ["tanh", "none"])
@pytest.mark.parametrize("activation", ["relu", "none"])
def test_choices_have_a_dense_layer_of_their_own_where_the_body_has_no_pooler(pooler, activation, make_head):
    model = make_head(POOLED[1], pooler=pooler, classifier_activation=activation)
    own = {key for key in model.state_dict() if not key.startswith("model.")}
    dense = {"pre_classifier.dense.weight", "pre_classifier.dense.bias"}
    has_own = (pooler, activation) == ("none", "relu")
    assert own == {"classifier.weight", "classifier.bias"} | (dense if has_own else set())
    assert (model.model.pooler is None) == (pooler == "none")


@pytest.mark.parametrize("name", POOLED + OTHER[:1])
def test_without_a_pooler_the_first_token_is_read(name, make_head, sources, close):
    model, batch = make_head(name, pooler="none"), make_inputs(name, sources([4, 7]), "left")
    ids, mask = (batch[key].flatten(0, -2) for key in ("input_ids", "attention_mask"))
    first = model.model(ids, mask).last_hidden_state[torch.arange(len(ids)), mask.argmax(-1)]
    logits = model(**batch)["seq_relationship_logits" if name in OTHER[:1] else "logits"]
    head = model.classifier if name in POOLED[1:] else model.next_sentence
    close(logits.flatten(), head(first).flatten())


@pytest.mark.parametrize("config_class", [triptych.TriptychConfig, triptych.TriptychDecoderConfig])
def test_only_an_encoder_has_a_pooler(config_class):
    with pytest.raises(ValueError, match=r"no field 'pooler'; did you mean 'classifier_activation'"):
        config_class(pooler="tanh")


def test_bodies_of_token_heads_have_no_pooler(make_head):
    for name in ("TriptychEncoderForTokenClassification", "TriptychEncoderForQuestionAnswering"):
        assert not any("pooler" in key for key in make_head(name).state_dict())


@pytest.mark.parametrize("with_mask", [True, False])
def test_decoder_classifies_at_the_last_token(with_mask, make_head, sources, close):
    model = make_head(SEQUENCE[2])
    ids, mask = sources([3, 6]).padded("right")
    output = model(input_ids=ids, attention_mask=mask if with_mask else None)
    hidden = model.model(ids).last_hidden_state
    close(output.logits, model.score(torch.stack([hidden[0, 2], hidden[1, 5]])))


def test_padding_token_that_is_also_a_word_counts_where_the_mask_says_so(make_head, close):
    """GPT-2 is padded with its end token; a row may end with one that is meant."""
    model = make_head(SEQUENCE[2], pad_token_id=END)
    row = torch.tensor([[7, 8, END]])
    padded = torch.tensor([[7, 8, END, END, END]])
    close(
        model(padded, attention_mask=torch.tensor([[1, 1, 1, 0, 0]])).logits,
        model(row, attention_mask=torch.ones_like(row)).logits,
    )


def test_encoder_decoder_classifies_at_the_last_end_token(make_head, close):
    """Rows may have several end tokens (sentence pairs), and differently many."""
    model = make_head(SEQUENCE[0])
    ids = torch.tensor([[7, END, 9, END, 0], [7, 8, 9, 5, END]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    decoder_ids = torch.tensor([[2, 7, END, 9, END], [2, 7, 8, 9, 5]])
    hidden = model.model(ids, mask, decoder_input_ids=decoder_ids).last_hidden_state
    expected = model.classifier(torch.stack([hidden[0, 3], hidden[1, 4]]))
    close(model(input_ids=ids, attention_mask=mask).logits, expected)


def test_row_without_an_end_token_is_named(make_head):
    with pytest.raises(ValueError, match=r"row 1 of input_ids has no end token \(eos_token_id=3\)"):
        make_head(SEQUENCE[0])(input_ids=torch.tensor([[7, END], [7, 8]]))


@pytest.mark.parametrize("name", [SEQUENCE[0], SPAN[0]])
def test_reading_twice_needs_one_vocabulary(name, make_head):
    with pytest.raises(ValueError, match="need one vocabulary"):
        make_head(name, share_encoder_decoder_embeddings=False, decoder_vocab_size=53)


@pytest.mark.parametrize("name", [SEQUENCE[0], SPAN[0]])
def test_embeddings_leave_the_decoder_without_input(name, make_head, words):
    model = make_head(name)
    embeds = model.get_input_embeddings()(words(2, 4))
    with pytest.raises(ValueError, match="give decoder_input_ids or decoder_inputs_embeds"):
        model(inputs_embeds=embeds)
    assert model(inputs_embeds=embeds, decoder_inputs_embeds=embeds).encoder_last_hidden_state.shape == embeds.shape


@pytest.mark.parametrize("name", HEADS)
def test_heads_keep_no_cache(name, make_head, sources):
    output = make_head(name)(**make_inputs(name, sources([3, 4])))
    assert output.get("past_key_values") is None


@pytest.mark.parametrize("rate", [None, 0.0, 0.9])
@pytest.mark.parametrize("name", [*SEQUENCE, *TOKEN, "TriptychEncoderForMultipleChoice"])
def test_classifier_dropout(name, rate, make_head):
    """Its own rate, or that of the other layers."""
    assert make_head(name, dropout=0.4, classifier_dropout=rate).dropout.p == (0.4 if rate is None else rate)


@pytest.mark.parametrize("activation", ["none", "tanh"])
@pytest.mark.parametrize("name", [*SEQUENCE, *TOKEN, "TriptychEncoderForMultipleChoice"])
@torch.no_grad()
def test_the_map_to_labels_has_its_dropout(name, activation, make_head, sources):
    """In training an element before a map is dropped with the configured probability, or scaled by 1 / (1 - p)."""
    p = 0.4
    model = make_head(name, classifier_dropout=p, classifier_activation=activation)
    batch = make_inputs(name, sources([9, 9, 9, 9]), "right")
    classifier = getattr(model, "score" if name.startswith("TriptychDecoder") else "classifier")
    maps = [module for module in classifier.modules() if isinstance(module, torch.nn.Linear)]
    assert len(maps) == 1 + (activation == "tanh" and name in SEQUENCE)
    seen = {}
    for module in maps:
        module.register_forward_hook(lambda module, inputs, output: seen.setdefault(module, []).append(inputs[0]))
    model(**batch)
    model.train()
    model.model.eval()
    model(**batch)
    for number, (evaluated, trained) in enumerate(seen.values()):
        dropped = trained.abs() < 1e-7
        assert dropped.float().mean().item() == pytest.approx(p, abs=0.15)
        if number == 0:  # what the second map gets comes from what the first has dropped
            torch.testing.assert_close(trained[~dropped], evaluated[~dropped] / (1 - p))
