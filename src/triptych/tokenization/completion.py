"""Giving a tokenizer what a model needs of it."""

import logging

from tokenizers import processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..configuration.special_tokens import token_id_of, tokenizer_name

logger = logging.getLogger(__name__)

PADDING = "<pad>"


def complete_for_translation(tokenizer: PreTrainedTokenizerBase) -> None:
    """Gives a tokenizer a padding token, and makes it pad on the right; it is changed, and saved with this.

    A tokenizer without a padding token (GPT-2's, a bare SentencePiece model) gets `<pad>`. The token has a new id,
    unless the vocabulary already has it.

    Raises:
        ValueError: no token ends a text, or the tokenizer fails on a character that it does not know.
    """
    name = tokenizer_name(tokenizer)
    if token_id_of(tokenizer, "eos_token_id") is None:
        special = [str(token) for token in tokenizer.added_tokens_decoder.values()]
        held = f"its special tokens are {', '.join(special[:8])}" if special else "it has no special tokens"
        raise ValueError(
            f"the tokenizer {name} does not say which token ends a text, so a model that is trained with it could "
            f"never stop: it has neither eos_token nor sep_token ({held}). Name one and save it, e.g. with tokenizer "
            '= AutoTokenizer.from_pretrained("directory", eos_token="…"); tokenizer.save_pretrained("directory")'
        )
    try:
        unknown = tokenizer("a\ue000", add_special_tokens=False, verbose=False)["input_ids"]
    except Exception as error:  # the library `tokenizers` raises a bare Exception
        raise ValueError(
            f"the tokenizer {name} fails on characters that it does not know ({error}); give it an unk_token that is "
            "in its vocabulary"
        ) from error
    if not unknown and tokenizer.unk_token_id is None:
        logger.warning("the tokenizer %s has no unk_token: it drops characters that it does not know", name)
    if tokenizer.pad_token_id is None:
        tokenizer.add_special_tokens({"pad_token": PADDING})
        logger.warning("the tokenizer %s has no pad_token: it got %s, id %d", name, PADDING, tokenizer.pad_token_id)
    tokenizer.padding_side = "right"


def begin_texts(tokenizer: PreTrainedTokenizerFast) -> None:
    """Lets a tokenizer write its start token before every text; it is changed, and saved with this.

    A language model that was trained on documents with a start token continues a text well only if the text begins
    with that token, too.
    """
    token, backend = str(tokenizer.bos_token), tokenizer.backend_tokenizer
    template = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A $B:1", special_tokens=[(token, tokenizer.bos_token_id)]
    )
    former = backend.post_processor
    backend.post_processor = template if former is None else processors.Sequence([former, template])
