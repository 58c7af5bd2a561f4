"""The input of an encoder–decoder's decoder in training: the labels, shifted right by one position."""

import torch
from torch import Tensor

from ..configuration import TriptychConfig
from .labels import IGNORED, last_labels, shift_right


def shift_right_as_configured(config: TriptychConfig, labels: Tensor, document_ids: Tensor | None = None) -> Tensor:
    """The labels, shifted right behind the configured start token; see `shift_right`: (B, T) → (B, T).

    Raises:
        ValueError: the configuration has no `decoder_start_token_id` or no `pad_token_id`.
    """
    start, pad = config.decoder_start_token_id, config.pad_token_id
    if start is None or pad is None:
        raise ValueError(
            "labels can only be shifted right with a start and a padding token, got "
            f"decoder_start_token_id={start}, pad_token_id={pad}; set them in the config"
        )
    return shift_right(labels, start, pad, document_ids)


def decoder_input(config: TriptychConfig, labels: Tensor, document_ids: Tensor | None = None) -> Tensor:
    """The decoder's input for given labels: (B, T) → (B, T).

    The labels are shifted right by one. `config.decoder_start` says what stands before them: the start token, or the
    last label of the row (mBART).

    Raises:
        ValueError: the configuration lacks the tokens that are needed, or the last label should stand before several
            documents.
    """
    if config.decoder_start == "token":
        return shift_right_as_configured(config, labels, document_ids)
    if document_ids is not None:
        raise ValueError(
            f"decoder_start={config.decoder_start!r} puts one label before each row, but packed documents need one "
            'each; give decoder_input_ids, or set decoder_start="token" in the config'
        )
    pad = config.pad_token_id
    if pad is None:
        raise ValueError(
            f"decoder_start={config.decoder_start!r} needs a padding token, got pad_token_id=None; set it in the "
            "config"
        )
    shifted = torch.cat([last_labels(labels, pad), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == IGNORED, pad)
