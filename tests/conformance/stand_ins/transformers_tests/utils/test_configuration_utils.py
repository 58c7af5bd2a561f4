"""Not in transformers' source distribution: values other than the defaults for what every configuration takes."""

config_common_kwargs = {
    "architectures": ["SomeModel"],
    "chunk_size_feed_forward": 5,
    "dtype": "float16",
    "id2label": {0: "right", 1: "wrong", 2: "undecided"},
    "label2id": {"right": 0, "wrong": 1, "undecided": 2},
    "output_attentions": True,
    "output_hidden_states": True,
    "problem_type": "regression",
    "return_dict": False,
}
