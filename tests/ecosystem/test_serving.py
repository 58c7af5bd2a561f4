"""What the serving engines ask of a model, on their terms: the Transformers modeling backend of vLLM 0.33
(vllm/model_executor/models/transformers/) and the Transformers fallback of SGLang. Neither runs here: an engine that
keeps their side of the bargain takes its place.

Both make the body with AutoModel on the attention implementation of their own name, replace its linear maps and its
embedding by their own, and run several requests as one row, told apart by position_ids that start anew.
"""

import ast
import inspect
import re
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoConfig, AutoModel, PreTrainedModel

from triptych.hub import code_files
from triptych.modeling.attention import MultiHeadAttention

LENGTHS = [5, 1, 7]  # of the requests in one row
ENGINES = [("vllm", "decoder"), ("vllm", "encoder"), ("sglang", "decoder")]  # SGLang's fallback is for decoders


def kernel_call(forward: Callable[..., Any]) -> ast.Call | None:
    """The call of the attention kernel that vLLM finds in the source of a `forward`; None: it finds none, or several.

    This is the rule of `interface_call` in vllm/model_executor/models/transformers/fusers/attention.py: the kernel is
    taken from `ALL_ATTENTION_FUNCTIONS` under a name, and one call is of that name.
    """
    tree = ast.parse(dedent(inspect.getsource(inspect.unwrap(forward))))

    def is_lookup(node: ast.expr | None) -> bool:
        place = node.func if isinstance(node, ast.Call) else node
        return (
            isinstance(place, (ast.Attribute, ast.Subscript)) and ast.unparse(place.value) == "ALL_ATTENTION_FUNCTIONS"
        )

    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and is_lookup(node.value)]
    names = {target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) in names]
    return calls[0] if len(calls) == 1 else None


def attentions(body: PreTrainedModel) -> list[nn.Module]:
    """The modules that vLLM serves."""
    return [module for module in body.modules() if kernel_call(type(module).forward) is not None]


class Engine:
    """The attention of an engine: it finds its layer's cache, and knows the requests by itself.

    vLLM finds the cache on the module, SGLang by `layer_idx`. SGLang says which requests these are, vLLM keeps that
    elsewhere.
    """

    def __init__(self, name: str, is_causal: bool):
        self.name, self.is_causal, self.layers = name, is_causal, []
        of_sglang = {"attention_instances": {0: self, 1: self}, "forward_batch": LENGTHS}
        self.arguments: dict[str, Any] = of_sglang if name == "sglang" else {}

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        attention_instances: dict[int, Any] | None = None,
        forward_batch: list[int] | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """(1, heads, tokens, width) of queries, keys and values → (tokens, heads · width)"""
        assert attention_mask is None, "an engine takes no mask"
        assert (forward_batch is None) == (attention_instances is None) == (self.name == "vllm")
        assert (module.attn if attention_instances is None else attention_instances[module.layer_idx]) is self
        assert kwargs.get("position_bias") is None
        assert not kwargs.get("dropout")
        assert module.is_causal is self.is_causal
        self.layers.append(module.layer_idx)
        lengths = LENGTHS if query.shape[2] == sum(LENGTHS) else [query.shape[2]]
        heads = [
            nn.functional.scaled_dot_product_attention(
                *request, is_causal=self.is_causal, scale=scaling, enable_gqa=True
            )
            for request in zip(*(part.split(lengths, dim=2) for part in (query, key, value)), strict=True)
        ]
        return torch.cat(heads, dim=2)[0].transpose(0, 1).flatten(1), None


@pytest.fixture(params=ENGINES, ids=lambda pair: "-".join(pair))
def served(request, make_model, tmp_path, monkeypatch) -> tuple[str, Engine, PreTrainedModel, PreTrainedModel]:
    """The family, the engine, a model with its head, and the body as the engine makes it from the model's folder."""
    name, family = request.param
    sizes = {"num_key_value_heads": 2} if family == "decoder" else {}
    model = make_model(family, **sizes)
    model.save_pretrained(tmp_path)
    engine = Engine(name, is_causal=family == "decoder")
    monkeypatch.setitem(AttentionInterface._global_mapping, name, engine.attend)
    config = AutoConfig.from_pretrained(tmp_path)
    config._attn_implementation = name
    body = AutoModel.from_config(config).eval()
    if name == "vllm":
        for module in attentions(body):
            module.attn = engine
    # both add the prefix "model." to the body's weights
    weights = {key.removeprefix("model."): value for key, value in model.state_dict().items()}
    missing = body.load_state_dict({key: weights[key] for key in body.state_dict() if key in weights}, strict=False)
    assert all(key.startswith("pooler.") for key in missing.missing_keys)
    return family, engine, model, body


@pytest.fixture
def row(words) -> dict[str, Tensor]:
    """Three requests in one row."""
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    return {"input_ids": words(1, sum(LENGTHS)), "position_ids": positions[None]}


def alone(model: PreTrainedModel, row: dict[str, Tensor]) -> Tensor:
    """The hidden states of each request by itself, one after another: (tokens, d)."""
    requests = row["input_ids"].split(LENGTHS, dim=1)
    with torch.no_grad():
        return torch.cat([model.model(ids).last_hidden_state[0] for ids in requests])


def run(body: PreTrainedModel, engine: Engine, **inputs: Tensor) -> Tensor:
    """The call that the engines make: the hidden states of the row."""
    with torch.no_grad():
        return body(**inputs, use_cache=False, return_dict=False, **engine.arguments)[0][0]


def test_requests_in_one_row_are_answered_as_alone(served, row):
    """Keyword arguments reach every attention, each calls the engine's, takes its flat output and adds no mask."""
    _, engine, model, body = served
    hidden = run(body, engine, **row)
    assert engine.layers == [0, 1]
    torch.testing.assert_close(hidden, alone(model, row), rtol=1e-4, atol=1e-4)


def test_embeddings_may_come_in_place_of_ids(served, row):
    _, engine, model, body = served
    embeddings = body.get_input_embeddings()(row["input_ids"])
    hidden = run(body, engine, inputs_embeds=embeddings, position_ids=row["position_ids"])
    torch.testing.assert_close(hidden, alone(model, row), rtol=1e-4, atol=1e-4)


def test_the_embedding_can_be_replaced(served, row):
    """By one over a part of the vocabulary; a factor on it stays outside, or would be lost."""

    class EngineEmbedding(nn.Module):
        def __init__(self, weight: Tensor):
            super().__init__()
            self.weight = nn.Parameter(weight.clone())

        def forward(self, ids: Tensor) -> Tensor:
            return self.weight[ids]

    _, engine, model, body = served
    own = body.get_input_embeddings()
    assert type(own) is nn.Embedding
    assert not hasattr(own, "embed_scale")
    body.set_input_embeddings(EngineEmbedding(own.weight.detach()))
    torch.testing.assert_close(run(body, engine, **row), alone(model, row), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_forward_is_one_graph(served, row):
    """No host synchronisation and no branch on a value: both engines capture the step."""
    _, engine, model, body = served
    compiled = torch.compile(body, fullgraph=True, backend="eager")
    torch.testing.assert_close(run(compiled, engine, **row), alone(model, row), rtol=1e-4, atol=1e-4)


def test_the_body_says_that_it_supports_other_attention(served):
    _, _, _, body = served
    assert type(body).is_backend_compatible()
    assert type(body).base_model_prefix == "model"


def test_vllm_finds_the_attention_of_each_layer_in_the_source(served):
    """And the factor of the scores, which it reads there, too."""
    _, _, model, body = served
    found = attentions(body)
    assert [module.layer_idx for module in found] == [0, 1]
    for module in found:
        assert module.config._attn_implementation == body.config._attn_implementation
        [scaling] = [word.value for word in kernel_call(type(module).forward).keywords if word.arg == "scaling"]
        assert ast.unparse(scaling) == "self.scaling"
        assert module.scaling == model.config.head_dim**-0.5


def test_the_code_that_travels_says_it_in_the_same_words():
    """An engine that loads a saved directory reads the source there."""
    [attention] = [
        node
        for node in ast.parse(code_files()["modeling_triptych.py"]).body
        if isinstance(node, ast.ClassDef) and node.name == "MultiHeadAttention"
    ]
    [forward] = [node for node in attention.body if isinstance(node, ast.FunctionDef) and node.name == "forward"]
    here = ast.parse(dedent(inspect.getsource(MultiHeadAttention.forward))).body[0]
    assert ast.dump(forward) == ast.dump(here)
    assert kernel_call(MultiHeadAttention.forward) is not None


def test_vllm_finds_the_arguments_whose_lengths_change(served):
    """It compiles the class that `get_decoder` gives, and looks for these names in the signature of its `forward`."""
    _, _, _, body = served
    names = inspect.signature(type(body.get_decoder()).forward).parameters
    assert {"input_ids", "inputs_embeds", "position_ids"} <= names.keys()


def test_is_causal_tells_a_decoder_from_an_encoder(served):
    """One module that says False makes both engines take the whole model for an encoder."""
    family, _, _, body = served
    said = {module.is_causal for module in body.modules() if hasattr(module, "is_causal")}
    assert said == {family == "decoder"}


def test_layers_stand_in_one_module_list(served):
    _, _, _, body = served
    lists = [module for module in body.modules() if isinstance(module, nn.ModuleList)]
    assert [len(layers) for layers in lists] == [body.config.num_hidden_layers]
    assert [layer.self_attention.layer_idx for layer in lists[0]] == [0, 1]


def test_every_map_of_a_layer_is_in_the_plan_of_tensor_parallelism(served):
    """Where it must be a style that both engines know, or it is repeated on every process."""
    _, _, _, body = served
    plan = {re.compile(key.replace(".", r"\.").replace("*", r"\d+")): style for key, style in body.tp_plan.items()}
    maps = [name for name, module in body.layers.named_modules(prefix="layers") if isinstance(module, nn.Linear)]
    assert len(maps) == 12
    for name in maps:
        styles = [style for pattern, style in plan.items() if pattern.fullmatch(name)]
        assert styles == ["rowwise" if name.endswith(("o_proj", "down_proj")) else "colwise"], name


def test_the_sizes_have_the_names_that_caches_are_made_by(served):
    family, _, _, body = served
    config = body.config.get_text_config()
    names = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]
    assert [getattr(config, name) for name in names] == [97, 32, 2, 4, 2 if family == "decoder" else 4]
    assert (config.head_dim, config.max_position_embeddings, config.tie_word_embeddings) == (8, 64, True)
    assert config.layer_types == ["full_attention"] * 2  # vLLM asks every configuration that has the attribute


def test_banded_layers_are_named_as_vllm_reads_them(make_config):
    config = make_config("decoder", attention_pattern=["full", 8])
    assert config.layer_types == ["full_attention", "sliding_attention"]
    assert config.sliding_window == 8


@pytest.mark.parametrize("options", [{}, {"head_bias": True}, {"logit_scale": 0.25}, {"tie_word_embeddings": False}])
def test_the_head_is_a_linear_map_and_a_factor(make_model, words, options: dict[str, Any]):
    """Both engines make the logits themselves: from the weights of `lm_head`, its bias, and `config.logit_scale`."""
    model = make_model("decoder", **options)
    weights = model.state_dict()
    own = {name for name in weights if not name.startswith("model.")}
    assert own == {"lm_head.weight", "lm_head.bias"} if options.get("head_bias") else {"lm_head.weight"}
    with torch.no_grad():
        hidden = model.model(words(2, 9)).last_hidden_state
        logits = nn.functional.linear(hidden, weights["lm_head.weight"], weights.get("lm_head.bias"))
        torch.testing.assert_close(model(words(2, 9)).logits, logits * model.config.logit_scale)


def test_an_encoder_takes_segments(make_model, words):
    """vLLM hands them over where the signature of the forward names them."""
    body = make_model("encoder", type_vocab_size=2).model
    segments = torch.ones(1, 9, dtype=torch.int32)
    assert not torch.equal(body(words(1, 9), token_type_ids=segments)[0], body(words(1, 9))[0])


def test_positions_that_an_engine_cannot_have_are_refused(make_config, monkeypatch):
    monkeypatch.setitem(AttentionInterface._global_mapping, "vllm", Engine("vllm", is_causal=True).attend)
    config = make_config("decoder", positions="relative")
    config._attn_implementation = "vllm"
    with pytest.raises(ValueError, match="cannot add the bias of positions='relative'"):
        AutoModel.from_config(config)
