"""The vocabularies of an encoder–decoder: one embedding matrix for both sides, or one for each."""

from typing import Any, ClassVar

from torch import nn

from ..configuration import TriptychConfig
from .base import TriptychPreTrainedModel


class TwoSidedVocabulary(TriptychPreTrainedModel):
    """What every model around `TriptychModel` does about its embeddings: there may be one matrix, or one per side."""

    config: TriptychConfig

    from_encoder_decoder: ClassVar[Any]  # `triptych.warm_starts.join`, which `triptych.auto` puts here

    def _resize_token_embeddings(
        self, new_num_tokens: int | None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Extends transformers' method: a second matrix over the same vocabulary gets the same size.

        A vocabulary that only the target has stays as it is.
        """
        options = new_num_tokens, pad_to_multiple_of, mean_resizing
        if self.config.share_encoder_decoder_embeddings:
            self.config.decoder_vocab_size = None  # which may have repeated the common size
        elif self.config.decoder_vocab_size is not None:
            return self.resize_matrix("embed_tokens", *options)
        else:
            self.resize_matrix("decoder_embed_tokens", *options)
        return super()._resize_token_embeddings(*options)

    def resize_matrix(self, name: str, *options: Any) -> nn.Embedding:
        """One of the body's matrices with another number of rows; what is frozen stays frozen."""
        former = getattr(self.base_model, name)
        resized: nn.Embedding = self._get_resized_embeddings(former, *options)
        setattr(self.base_model, name, resized.requires_grad_(former.weight.requires_grad))
        return resized

    def resize_decoder_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the vocabulary that only the target has: its embeddings, the map to it, the configuration.

        Raises:
            ValueError: source and target have one vocabulary.
        """
        if self.config.decoder_vocab_size is None:
            raise ValueError(
                "source and target have one vocabulary (decoder_vocab_size=None); use resize_token_embeddings"
            )
        resized = self.resize_matrix("decoder_embed_tokens", new_num_tokens, pad_to_multiple_of, mean_resizing)
        head = self.get_output_embeddings()
        if head is not None:
            rows = resized.num_embeddings
            wider = self._get_resized_lm_head(head, rows, mean_resizing=mean_resizing)
            self.set_output_embeddings(wider.requires_grad_(head.weight.requires_grad))
        self.config.decoder_vocab_size = resized.num_embeddings
        self.tie_weights()
        return resized
