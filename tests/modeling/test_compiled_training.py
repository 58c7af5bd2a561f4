"""torch.compile in training: one graph without a break, a few of them for batches of all shapes, equal gradients."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import trainer_run as run

MODELS = ["TriptychForConditionalGeneration", "TriptychEncoderForMaskedLM", "TriptychDecoderForCausalLM"]
# One graph for the first shape, one when the rows or their length change, one when the other changes, too.
AT_MOST = {None: 3, True: 1}


OTHER_HEADS = [head for head in run.HEADS if head not in MODELS]


@pytest.fixture(autouse=True)
def new_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def ragged():
    """Batches of 2 to 6 rows, the longest of 5 to 9 tokens, with the number of labels of an update."""

    def make(model):
        head = type(model).__name__
        collate = run.make_collator(head, model)
        rows = [run.example(head, number) for number in range(run.ROWS)]
        batches = [dict(collate(rows[part])) for part in map(slice, (0, 2, 5, 3, 10, 7), (3, 4, 10, 9, 16, 11))]
        for batch in batches:
            if "labels" in batch:
                batch["num_items_in_batch"] = torch.tensor(40)
        return batches

    return make


@pytest.fixture
def assert_equal_to_eager(gradients, assert_close_trees):
    """Losses and gradients of the compiled model."""

    def check(compiled, model, batch):
        loss = compiled(**batch).loss
        found = gradients(model, loss)
        expected = model(**batch).loss
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
        assert_close_trees(found, gradients(model, expected))

    return check


@pytest.fixture
def assert_few_graphs(ragged, assert_equal_to_eager):
    def check(model, dynamic, masked=True):
        counter = CompileCounterWithBackend("eager")
        compiled = torch.compile(model, backend=counter, dynamic=dynamic, fullgraph=True)
        batches = ragged(model)
        assert len({batch["input_ids"].shape for batch in batches}) == len(batches) > AT_MOST[None]
        for batch in batches:
            if not masked:
                del batch["attention_mask"]
            assert_equal_to_eager(compiled, model, batch)
        assert 1 <= counter.frame_count <= AT_MOST[dynamic]

    return check


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("head", MODELS)
def test_ragged_batches_need_few_graphs(head, dynamic, assert_few_graphs):
    assert_few_graphs(run.make_model(head, label_smoothing=0.1), dynamic)


@pytest.mark.slow
@pytest.mark.parametrize("head", MODELS)
def test_ragged_batches_without_a_mask(head, assert_few_graphs):
    assert_few_graphs(run.make_model(head), None, masked=False)


@pytest.mark.slow
@pytest.mark.parametrize("head", OTHER_HEADS)
def test_every_head_needs_few_graphs(head, assert_few_graphs):
    assert_few_graphs(run.make_model(head), None)


@pytest.mark.slow
@pytest.mark.parametrize("head", MODELS)
def test_every_position_scheme_needs_few_graphs(head, scheme, assert_few_graphs):
    assert_few_graphs(run.make_model(head, **scheme), True)


@pytest.mark.slow
@pytest.mark.parametrize("head", MODELS)
def test_compiled_to_machine_code(head, ragged, assert_equal_to_eager):
    model = run.make_model(head, label_smoothing=0.1)
    compiled = torch.compile(model, dynamic=True, fullgraph=True)
    for batch in ragged(model)[:2]:
        assert_equal_to_eager(compiled, model, batch)


@pytest.mark.slow
@pytest.mark.parametrize("head", MODELS)
def test_compiled_by_trainer(head, assert_close_trees):
    """With the label smoothing of the config, in pieces of all shapes."""
    settings = {"config": {"label_smoothing": 0.2}, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 8}
    expected = run.train(head, **settings)
    torch._dynamo.utils.counters.clear()
    compiled = run.train(head, **settings, torch_compile=True, torch_compile_backend="eager")
    counts = torch._dynamo.utils.counters
    assert not counts["graph_break"]
    assert 1 <= counts["stats"]["unique_graphs"] <= 2 * AT_MOST[None]  # training and evaluation
    assert compiled["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert_close_trees(compiled["moves"], expected["moves"], rtol=1e-3)
