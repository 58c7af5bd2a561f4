"""The vocabularies of an encoder–decoder: one embedding matrix for both sides, or one for each."""

from typing import Any, ClassVar

from torch import nn

from ..configuration import TriptychConfig
from .base import TriptychPreTrainedModel


class TwoSidedVocabulary(TriptychPreTrainedModel):
    """The embeddings of every model that contains `TriptychModel`: one matrix, or one for each side."""

    config: TriptychConfig

    from_encoder_decoder: ClassVar[Any]  # `triptych.warm_starts.join`, which `triptych.auto` puts here

    def _resize_token_embeddings(
        self, new_num_tokens: int | None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Extends transformers' method: a second matrix for the same vocabulary gets the same size.

        If the target has another vocabulary, only the source's matrix is resized.
        """
        options = new_num_tokens, pad_to_multiple_of, mean_resizing
        if self.config.share_encoder_decoder_embeddings:
            self.config.decoder_vocab_size = None  # it may have held the former common size
        elif self.config.decoder_vocab_size is not None:
            return self.resize_matrix("embed_tokens", *options)
        else:
            self.resize_matrix("decoder_embed_tokens", *options)
        return super()._resize_token_embeddings(*options)

    def resize_matrix(self, name: str, *options: Any) -> nn.Embedding:
        """Gives one of the body's matrices another number of rows. A frozen matrix stays frozen."""
        former = getattr(self.base_model, name)
        resized: nn.Embedding = self._get_resized_embeddings(former, *options)
        setattr(self.base_model, name, resized.requires_grad_(former.weight.requires_grad))
        return resized

    def resize_decoder_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resizes the vocabulary of the target: its embeddings, the map to it, and the configuration.

        Raises:
            ValueError: source and target share one vocabulary.
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
