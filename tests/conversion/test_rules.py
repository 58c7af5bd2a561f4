"""Rules: how numbers are arranged, what templates stand for, and which tensor goes where."""

import pytest
import torch

from triptych import TriptychDecoderConfig, TriptychDecoderForCausalLM
from triptych.conversion import arrangements, rules
from triptych.conversion.arrangements import Chain, Copied, FusedAttention, RotaryPairs, Row, Same, Stacked, Transposed
from triptych.conversion.rules import Places, Rule, computed
from triptych.modeling.surroundings import Surroundings

CONFIG = TriptychDecoderConfig(
    hidden_size=12,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=4,
    value_head_dim=3,
    positions="rotary",
    rotary_dim=2,
    vocab_size=50,
    bos_token_id=None,
    eos_token_id=None,
)
FUSED = 6 * 4 + 2 * 4 + 2 * 3  # rows of all queries, keys and values


def groups(config):
    return config.num_key_value_heads


# Arrangement: the shapes of theirs that it takes, each as a list of the shapes of ours.
ARRANGEMENTS = {
    "same": (Same(), {(5, 3): [(5, 3)], (5,): [(5,)]}),
    "transposed": (Transposed(), {(5, 3): [(3, 5)], (5,): [(5,)]}),
    "row": (Row(), {(1, 7): [(7,)]}),
    "one group": (FusedAttention(), {(FUSED, 12): [(24, 12), (8, 12), (6, 12)], (FUSED,): [(24,), (8,), (6,)]}),
    "groups": (FusedAttention(groups), {(FUSED, 12): [(24, 12), (8, 12), (6, 12)], (FUSED,): [(24,), (8,), (6,)]}),
    "rotary pairs": (RotaryPairs(), {(24, 12): [(24, 12)], (8,): [(8,)]}),
    "stacked": (Stacked(), {(6, 4): [(3, 4), (3, 4)], (6,): [(3,), (3,)]}),
    "chain": (Chain(Transposed(), FusedAttention(groups)), {(12, FUSED): [(24, 12), (8, 12), (6, 12)]}),
}
CASES = [(a, theirs, ours) for a, shapes in ARRANGEMENTS.values() for theirs, ours in shapes.items()]
IDS = [f"{name} {shape}" for name, (_, shapes) in ARRANGEMENTS.items() for shape in shapes]


def numbered(*shape, start=0):
    count = torch.Size(shape).numel()
    return torch.arange(start, start + count).float().reshape(shape)


@pytest.mark.parametrize(("arrangement", "theirs", "ours"), CASES, ids=IDS)
def test_theirs_to_ours_and_back(arrangement, theirs, ours):
    tensor = numbered(*theirs)
    parts = arrangement.read(tensor, CONFIG)
    assert [tuple(part.shape) for part in parts] == ours
    assert all(part.is_contiguous() for part in parts)
    back = arrangement.write(parts, CONFIG)
    assert torch.equal(back, tensor)
    assert back.is_contiguous()
    assert torch.equal(torch.cat([part.flatten() for part in parts]).sort().values, tensor.flatten())


@pytest.mark.parametrize(("arrangement", "theirs", "ours"), CASES, ids=IDS)
def test_ours_to_theirs_and_back(arrangement, theirs, ours):
    parts = [numbered(*shape, start=1000 * i) for i, shape in enumerate(ours)]
    written = arrangement.write(parts, CONFIG)
    assert tuple(written.shape) == theirs
    again = arrangement.read(written, CONFIG)
    assert all(torch.equal(part, other) for part, other in zip(parts, again, strict=True))


def test_every_arrangement_is_tried():
    tried = {type(a) for a, _ in ARRANGEMENTS.values()} | {Copied, arrangements.Arrangement}
    assert {c for c in vars(arrangements).values() if isinstance(c, type) and hasattr(c, "read")} <= tried


def test_groups_by_hand():
    """Two groups, each three heads of queries, one of keys, one of values."""
    queries, keys, values = FusedAttention(groups).read(numbered(FUSED), CONFIG)
    group = FUSED // 2
    assert queries.tolist() == [*range(12), *range(group, group + 12)]
    assert keys.tolist() == [*range(12, 16), *range(group + 12, group + 16)]
    assert values.tolist() == [*range(16, 19), *range(group + 16, group + 19)]


def test_pairs_by_hand():
    """Of a head of six, four are rotated: the pairs are (0, 1) and (2, 3), in ours the first and the third number."""
    config = TriptychDecoderConfig(
        hidden_size=12, num_attention_heads=2, positions="rotary", rotary_dim=4, vocab_size=50257
    )
    assert RotaryPairs().read(numbered(12), config)[0].tolist() == [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]
    config.rotary_dim = None
    assert RotaryPairs().read(numbered(6), config)[0].tolist() == [0, 2, 4, 1, 3, 5]


def test_copied_is_written_and_not_read():
    assert Copied().read(numbered(3), CONFIG) == []
    assert torch.equal(Copied().write([numbered(3)], CONFIG), numbered(3))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("decoder.block.12.o.weight", ["decoder.layers.12.a.weight", "decoder.layers.12.b.weight"]),
        ("encoder.block.0.o.bias", ["encoder.layers.0.a.bias", "encoder.layers.0.b.bias"]),
        ("encoder.block.0.o", ["encoder.layers.0.a", "encoder.layers.0.b"]),
        ("both.block.0.o.weight", None),
        ("encoder.block.x.o.weight", None),
        ("encoder.block.0.o.weights", None),
        ("encoder.block.0.ox.weight", None),
        ("encoderxblock.0.o.weight", None),
        ("more.encoder.block.0.o.weight", None),
    ],
)
def test_templates(theirs, ours):
    rule = Rule("{side}.block.{i}.o", ("{side}.layers.{i}.a", "{side}.layers.{i}.b"))
    assert rule.names(theirs) == ours


def test_the_first_rule_that_fits_the_model_holds():
    table = rules.rules({"norm": "norms.shared"}) + rules.rules({"norm": "norms.first"})
    assert Places(table, ["norm.weight"], ["norms.shared.weight"], "x").found["norm.weight"][1] == [
        "norms.shared.weight"
    ]
    places = Places(table, ["x.norm.weight"], ["model.norms.first.weight"], "x")
    assert places.found["x.norm.weight"][1] == ["model.norms.first.weight"]


def test_names_without_a_place_are_all_named():
    table = rules.rules({"a": "our_a", "b": "our_b"})
    with pytest.raises(ValueError, match="not complete") as error:
        Places(table, ["a.weight", "c.weight", "d.bias"], ["our_a.weight", "our_b.weight", "our_e"], "x")
    assert "; without a place in Triptych: c.weight, d.bias" in str(error.value)
    assert "; without a source in transformers: our_b.weight, our_e" in str(error.value)
    with pytest.raises(ValueError, match=r"without a source in transformers: our_b\.weight$") as error:
        Places(table, ["a.weight"], ["our_a.weight", "our_b.weight"], "x")
    assert "without a place" not in str(error.value)


def test_two_different_tensors_for_one_place():
    table = rules.rules({"decoder": "lm_head", "bias": "lm_head.bias"})
    places = Places(table, ["decoder.bias", "bias"], ["lm_head.bias"], "x")
    same = {"decoder.bias": torch.ones(3), "bias": torch.ones(3)}
    assert torch.equal(places.read(same, CONFIG)["lm_head.bias"], torch.ones(3))
    with pytest.raises(ValueError, match=r"^bias differs.*lm_head\.bias"):
        places.read({"decoder.bias": torch.ones(3), "bias": torch.zeros(3)}, CONFIG)


def test_what_they_compute_is_neither_read_nor_written():
    table = rules.rules({"a": "our_a"}) + computed("positions")
    places = Places(table, ["a", "positions.weight"], ["our_a"], "x")
    assert places.read({"a": torch.ones(1), "positions.weight": torch.ones(2)}, CONFIG).keys() == {"our_a"}
    assert places.write({"our_a": torch.ones(1)}, CONFIG).keys() == {"a"}


def test_dictionaries_are_used_up():
    """A tensor can go as soon as its successor is there; one that is written twice stays until then."""
    table = rules.rules({"a": "our_a", "b": "our_b", "again": "our_a"})
    places = Places(table, ["a", "b", "again"], ["our_a", "our_b"], "x")
    theirs = {"a": torch.ones(1), "b": torch.zeros(1), "again": torch.ones(1)}
    ours = places.read(theirs, CONFIG)
    assert not theirs
    written = places.write(ours, CONFIG)
    assert not ours
    assert written["a"].item() == written["again"].item() == 1


@torch.no_grad()
def test_reordered_pairs_rotate_as_they_did():
    """Equal scores: the attention of ours, given reordered rows, is that of interleaved pairs."""
    torch.manual_seed(0)
    config = TriptychDecoderConfig.from_preset("tiny-decoder", positions="rotary", rotary_dim=4, num_hidden_layers=1)
    model = TriptychDecoderForCausalLM(config).eval()
    attention, positions = model.model.layers[0].self_attention, model.model.positions
    weights = [p.weight.clone() for p in (attention.q_proj, attention.k_proj)]
    x = torch.randn(1, 6, config.hidden_size)
    cos, sin = positions.rotation(torch.arange(6)[None])
    cos, sin = (part[..., :2].repeat_interleave(2, -1) for part in (cos, sin))

    def interleaved(weight):
        heads = (x @ weight.t()).unflatten(-1, (-1, config.head_dim)).transpose(1, 2)
        turned = torch.stack([-heads[..., 1:4:2], heads[..., 0:4:2]], dim=-1).flatten(-2)
        return torch.cat([heads[..., :4] * cos + turned * sin, heads[..., 4:]], dim=-1)

    query, key = (interleaved(weight) for weight in weights)
    expected = (
        (query @ key.transpose(-1, -2) * config.attention_factor)
        .tril()
        .masked_fill(torch.ones(6, 6).triu(1).bool(), float("-inf"))
    )
    for projection, weight in zip((attention.q_proj, attention.k_proj), weights, strict=True):
        projection.weight.copy_(RotaryPairs().read(weight, config)[0])
    attention.q_proj.bias.zero_()
    attention.k_proj.bias.zero_()
    recorded = []
    attention.weights.register_forward_hook(lambda module, args, output: recorded.append(output[0]))
    model.set_attn_implementation("eager")
    mask = torch.full((6, 6), torch.finfo(torch.float32).min).triu(1)
    around = Surroundings({attention.kind: mask}, positions.rotation(torch.arange(6)[None]))
    attention(x, surroundings=around)
    torch.testing.assert_close(recorded[0], expected.softmax(-1))
