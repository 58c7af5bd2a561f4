"""Where token order enters: against hand-computed values and against transformers' own modules."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.fsmt.modeling_fsmt import SinusoidalPositionalEmbedding as FSMTPositions
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding as M2M100Positions
from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding as MarianPositions
from transformers.models.t5.modeling_t5 import T5Attention

from triptych import TriptychDecoderConfig
from triptych.modeling.positions import FREQUENCIES, POSITIONS, SINUSOIDS, head_slopes, rotate

SHORT, LONG = [1.0, 1.1, 1.3, 2.0], [2.0, 3.0, 4.0, 8.0]  # one factor per rotated pair of a head of 8
ROPES = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
    "longrope": {"short_factor": SHORT, "long_factor": LONG, "factor": 4.0, "original_max_position_embeddings": 16},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "proportional": {"partial_rotary_factor": 0.5},
}


def scheme_of(is_causal=True, **fields):
    config = TriptychDecoderConfig.from_preset("tiny-decoder", **fields)
    return POSITIONS[config.positions](config, is_causal)


def test_sinusoids_by_hand():
    """d_model = 4: frequencies 1 and 1/100."""
    positions = torch.tensor([[0, 1, 50]])
    expected = torch.tensor(
        [
            [
                [0.0, 1.0, 0.0, 1.0],
                [0.8414709848, 0.5403023059, 0.0099998333, 0.9999500004],
                [-0.2623748537, 0.9649660285, 0.4794255386, 0.8775825619],
            ]
        ]
    )
    sizes = {"positions": "sinusoidal", "hidden_size": 4, "num_attention_heads": 2}
    paper = scheme_of(**sizes).embed(positions, torch.float32)
    torch.testing.assert_close(paper, expected, atol=1e-6, rtol=0)
    halves = scheme_of(**sizes, sinusoid_layout="concatenated").embed(positions, torch.float32)
    torch.testing.assert_close(halves, expected[..., [0, 2, 1, 3]], atol=1e-6, rtol=0)


def test_sinusoids_by_the_formula_of_the_paper():
    table = scheme_of(positions="sinusoidal").embed(torch.arange(600)[None], torch.float64)[0]
    for pos in (0, 1, 7, 599):
        for i in range(16):
            angle = pos / 10000 ** (2 * i / 32)
            assert table[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_layouts_are_permutations_of_each_other():
    positions = torch.tensor([[0, 3, 17, 60]])
    paper = scheme_of(positions="sinusoidal").embed(positions, torch.float32)
    halves = scheme_of(positions="sinusoidal", sinusoid_layout="concatenated").embed(positions, torch.float32)
    assert torch.equal(paper[..., 0::2], halves[..., :16])
    assert torch.equal(paper[..., 1::2], halves[..., 16:])


@pytest.mark.parametrize("width", [32, 512])
@pytest.mark.parametrize(
    ("sinusoid_layout", "table"),
    [
        ("concatenated", lambda width: MarianPositions(1024, width).create_weight()),
        ("tensor2tensor", lambda width: M2M100Positions.get_embedding(1024, width)),
        ("tensor2tensor", lambda width: FSMTPositions.get_embedding(1024, width, None)),
    ],
)
def test_sinusoids_equal_the_tables_of_others(sinusoid_layout, table, width):
    scheme = scheme_of(positions="sinusoidal", sinusoid_layout=sinusoid_layout, hidden_size=width)
    ours = scheme.embed(torch.arange(1024), torch.float32)
    torch.testing.assert_close(ours, table(width), atol=1e-6, rtol=0)


def test_sinusoids_of_tensor2tensor_end_at_the_longest_wavelength():
    """d_model = 8: wavelengths 2π times 1, 10000^(1/3), 10000^(2/3) and 10000."""
    scheme = scheme_of(positions="sinusoidal", sinusoid_layout="tensor2tensor", hidden_size=8)
    angles = torch.tensor([3 / 10000 ** (i / 3) for i in range(4)])
    expected = torch.cat([angles.sin(), angles.cos()])
    torch.testing.assert_close(scheme.embed(torch.tensor([[3]]), torch.float32)[0, 0], expected, atol=1e-6, rtol=0)
    narrow = scheme_of(positions="sinusoidal", sinusoid_layout="tensor2tensor", hidden_size=2, num_attention_heads=1)
    assert narrow.embed(torch.tensor([[3]]), torch.float64)[0, 0].tolist() == pytest.approx([math.sin(3), math.cos(3)])


@pytest.mark.parametrize("sinusoid_layout", SINUSOIDS)
def test_sinusoids_start_at_the_offset(sinusoid_layout):
    fields = {"positions": "sinusoidal", "sinusoid_layout": sinusoid_layout}
    first, shifted = scheme_of(**fields), scheme_of(**fields, position_offset=2)
    positions = torch.tensor([[0, 1, 300]])
    assert torch.equal(shifted.embed(positions, torch.float32), first.embed(positions + 2, torch.float32))


def test_sinusoids_are_of_any_length_and_type():
    scheme = scheme_of(positions="sinusoidal", max_position_embeddings=4)
    assert scheme.embed(torch.tensor([[5000]]), torch.bfloat16).dtype == torch.bfloat16
    assert not list(scheme.parameters())
    assert not scheme.state_dict()


def test_learned_positions_start_at_the_offset():
    scheme = scheme_of(positions="learned", position_offset=2, max_position_embeddings=8)
    assert scheme.table.weight.shape == (10, 32)
    assert torch.equal(scheme.embed(torch.tensor([[0, 7]]), torch.float32)[0], scheme.table.weight[[2, 9]])


def test_position_beyond_the_learned_table_is_named():
    scheme = scheme_of(positions="learned", max_position_embeddings=8)
    with pytest.raises(IndexError, match=r"position_ids.*\[0, 8\), got values from 3 to 8.*max_position_embeddings"):
        scheme.embed(torch.tensor([[3, 8]]), torch.float32)


def test_each_scheme_speaks_where_it_should():
    verbs = {
        "none": (0, 0, 0),
        "learned": (1, 0, 0),
        "sinusoidal": (1, 0, 0),
        "rotary": (0, 1, 0),
        "relative": (0, 0, 1),
        "alibi": (0, 0, 1),
    }
    assert verbs.keys() == POSITIONS.keys()
    positions = torch.arange(3)[None]
    for name, (embeds, turns, biases) in verbs.items():
        scheme = scheme_of(positions=name)
        assert torch.is_tensor(scheme.embed(positions, torch.float32)) == bool(embeds)
        assert (scheme.rotation(positions) is not None) == bool(turns)
        assert (scheme.bias(3, 3, 0) is not None) == bool(biases)


def test_rotation_equals_llama():
    config = LlamaConfig(hidden_size=32, num_attention_heads=4, head_dim=8)
    positions = torch.tensor([[0, 1, 2, 9], [5, 6, 7, 8]])
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 4, 8), torch.randn(2, 2, 4, 8)
    expected = apply_rotary_pos_emb(query, key, *LlamaRotaryEmbedding(config)(query, positions))
    rotation = scheme_of(positions="rotary").rotation(positions)
    torch.testing.assert_close(rotate(query, rotation), expected[0])
    torch.testing.assert_close(rotate(key, rotation), expected[1])


def test_every_scaling_of_transformers_is_tested_here():
    assert ROPES.keys() == {"default", *ROPE_INIT_FUNCTIONS} == FREQUENCIES.keys()


@pytest.mark.parametrize("rope_type", ROPES)
def test_rotary_scalings_equal_llama(rope_type):
    rope = {"rope_type": rope_type, "rope_theta": 500.0, **ROPES[rope_type]}
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "head_dim": 8, "max_position_embeddings": 64}
    theirs = LlamaRotaryEmbedding(LlamaConfig(**sizes, rope_parameters=dict(rope)))
    ours = scheme_of(**sizes, positions="rotary", rope_parameters=dict(rope))
    # longer than the model was made for, then short again: some scalings depend on the length and must recover
    for positions in (torch.arange(10), torch.tensor([3, 200]), torch.arange(10)):
        cos, sin = theirs(torch.zeros(1), positions[None])
        our_cos, our_sin = ours.rotation(positions[None])
        torch.testing.assert_close(our_cos[:, 0], cos)
        torch.testing.assert_close(our_sin[:, 0], sin)
    assert not ours.state_dict()


def test_partial_rotation_leaves_the_rest_untouched():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 8)
    rotation = scheme_of(positions="rotary", rotary_dim=4).rotation(torch.tensor([[1, 2, 30]]))
    turned = rotate(x, rotation)
    assert torch.equal(turned[..., 4:], x[..., 4:])
    assert (turned[..., :4] - x[..., :4]).abs().amin(-1).gt(1e-5).all()
    whole = scheme_of(positions="rotary", head_dim=4).rotation(torch.tensor([[1, 2, 30]]))
    torch.testing.assert_close(turned[..., :4], rotate(x[..., :4], whole))


@pytest.mark.parametrize("rotary_dim", [8, 4, 6, 2])
def test_rotated_products_depend_on_distance_only(rotary_dim):
    scheme = scheme_of(positions="rotary", rotary_dim=rotary_dim)
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(i: int, j: int) -> float:
        turned = [rotate(x, scheme.rotation(torch.tensor([[p]]))) for x, p in ((query, i), (key, j))]
        return (turned[0] * turned[1]).sum().item()

    for distance in (0, 1, 5):
        assert product(20 + distance, 20) == pytest.approx(product(distance, 0), abs=1e-4)
    assert product(5, 0) != pytest.approx(product(0, 0), abs=1e-3)


def test_no_rotation_is_identity():
    x = torch.randn(1, 1, 2, 4)
    assert rotate(x, None) is x


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(("buckets", "far"), [(32, 128), (8, 12), (16, 100), (64, 33), (6, 50)])
def test_buckets_equal_t5(is_causal, buckets, far):
    scheme = scheme_of(is_causal, positions="relative", relative_num_buckets=buckets, relative_max_distance=far)
    distance = torch.arange(-700, 701)
    expected = T5Attention._relative_position_bucket(
        distance, bidirectional=not is_causal, num_buckets=buckets, max_distance=far
    )
    assert torch.equal(scheme.bucket(distance), expected)


def test_relative_bias_of_later_queries_is_the_tail_of_all():
    scheme = scheme_of(positions="relative", relative_num_buckets=8, relative_max_distance=12)
    whole = scheme.bias(20, 20, 0)
    assert whole.shape == (1, 4, 20, 20)
    assert torch.equal(scheme.bias(3, 20, 17), whole[:, :, 17:])
    assert torch.equal(scheme.bias(3, 20, torch.tensor(17)), whole[:, :, 17:])


# --- ALiBi


def test_slopes_by_hand():
    """Press et al. 2022, section 3: for 8 heads 1/2, 1/4, … 1/256; for 16 the square roots lie between."""
    assert head_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert head_slopes(16) == pytest.approx([2 ** (-i / 2) for i in range(1, 17)])
    assert head_slopes(12) == pytest.approx([*head_slopes(8), *head_slopes(16)[0:8:2]])  # as the authors' code


@pytest.mark.parametrize("heads", [2, 4, 6, 12, 16, 20])
def test_slopes_equal_those_of_bloom(heads):
    theirs = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32).view(heads, 2)[:, 1]
    torch.testing.assert_close(torch.tensor(head_slopes(heads)), theirs)


def test_linear_biases_by_hand():
    """Two heads, slopes 1/16 and 1/256; two queries behind one key in the cache."""
    scheme = scheme_of(positions="alibi", num_attention_heads=2)
    bias = scheme.bias(2, 3, past=1)
    steps = torch.tensor([[1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    torch.testing.assert_close(bias[0], torch.stack([-steps / 16, -steps / 256]))


@torch.no_grad()
def test_buffers_are_refilled_after_a_load(make_model, family, tmp_path, words, logits_of):
    """They are in no checkpoint, and a model is loaded without computing them."""
    for fields in ({"positions": "alibi"}, {"positions": "rotary"}):
        model, ids = make_model(family, **fields), words(1, 6)
        model.save_pretrained(tmp_path)
        again = type(model).from_pretrained(tmp_path)
        assert torch.equal(logits_of(again, ids, None, ids), logits_of(model, ids, None, ids))


def test_a_bias_and_a_band_are_refused(make_model, family, monkeypatch):
    """The configuration knows it of the schemes of the package, a stack of every scheme."""
    with pytest.raises(StrictDataclassError, match="does not fit alibi positions"):
        make_model(family, positions="alibi", attention_pattern=[3, "full"])
    monkeypatch.setitem(POSITIONS, "of a user", POSITIONS["alibi"])
    assert make_model(family, positions="of a user")
    with pytest.raises(ValueError, match="one bias"):
        make_model(family, positions="of a user", attention_pattern=[3, "full"])
