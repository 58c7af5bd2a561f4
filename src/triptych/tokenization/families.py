"""The conventions of the tokenizers of each family: special tokens, their places around a text, the padding side."""

from dataclasses import dataclass

from tokenizers import processors


@dataclass(frozen=True)
class Family:
    """The conventions of one family of models.

    Attributes:
        special_tokens: the token of each role. The place of a token in this table is its id.
        single: the template around one sequence, `$A`; None adds nothing.
        pair: the template around two sequences, `$A` and `$B`; `:1` gives the token type id.
        padding_side: the side on which a batch is padded. A decoder is padded on the left, because generation
            continues the last column.
        model_input_names: what a call of the tokenizer returns, under the names of the arguments of `forward`.
        config_fields: the fields of the family's configuration that a tokenizer decides.
    """

    special_tokens: dict[str, str]
    single: str | None
    pair: str | None
    padding_side: str
    model_input_names: tuple[str, ...]
    config_fields: tuple[str, ...]

    def template(self) -> processors.TemplateProcessing | None:
        """The post-processor that places the special tokens, or None where the family adds none."""
        if self.single is None:
            return None
        ids = {token: token_id for token_id, token in enumerate(self.special_tokens.values())}
        used = [(token, token_id) for token, token_id in ids.items() if token in f"{self.single} {self.pair}"]
        return processors.TemplateProcessing(single=self.single, pair=self.pair, special_tokens=used)


_TEXT_TO_TEXT = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}

FAMILIES: dict[str, Family] = {
    "encoder-decoder": Family(
        special_tokens={**_TEXT_TO_TEXT, "mask_token": "<mask>"},
        # <s> starts the decoder (decoder_start_token_id). It is not part of the labels, so no template writes it.
        single="$A </s>",
        pair="$A </s> $B </s>",
        padding_side="right",
        model_input_names=("input_ids", "attention_mask"),
        config_fields=(
            "vocab_size",
            "decoder_vocab_size",
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
            "decoder_start_token_id",
        ),
    ),
    # Devlin et al. 2018, section 3 and figure 2.
    "encoder": Family(
        special_tokens={
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        },
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        padding_side="right",
        model_input_names=("input_ids", "token_type_ids", "attention_mask"),
        config_fields=("vocab_size", "pad_token_id"),
    ),
    "decoder": Family(
        special_tokens=_TEXT_TO_TEXT,
        single=None,
        pair=None,
        padding_side="left",
        model_input_names=("input_ids", "attention_mask"),
        config_fields=("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id"),
    ),
}


def get_family(name: str) -> Family:
    """The entry of `FAMILIES`.

    Raises:
        ValueError: there is no such family.
    """
    if name not in FAMILIES:
        raise ValueError(f"family={name!r} is unknown; choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
