"""What the tables of GPT, GPT-2 and GPT-J share: the names of their fields, and the Conv1D of their layers."""

from ..arrangements import Chain, FusedAttention, Transposed
from ..rules import Rule, rules
from .decoders import QUERIES_KEYS_VALUES

# Fields that have the same names in GPT, GPT-2 and GPT-J.
FIELDS = {
    "vocab_size": "vocab_size",
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "resid_pdrop": "dropout",
    "attn_pdrop": "attention_dropout",
    "layer_norm_epsilon": "norm_eps",
    "initializer_range": "initializer_range",
}
# The maps of the layers, which are Conv1D in GPT and GPT-2.
MAPS = (
    *rules(
        {
            "h.{i}.attn.c_proj": "layers.{i}.self_attention.o_proj",
            "h.{i}.mlp.c_fc": "layers.{i}.feed_forward.up_proj",
            "h.{i}.mlp.c_proj": "layers.{i}.feed_forward.down_proj",
        },
        Transposed(),
    ),
    Rule("h.{i}.attn.c_attn", QUERIES_KEYS_VALUES, Chain(Transposed(), FusedAttention())),
)
