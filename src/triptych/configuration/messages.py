"""The logger of the configurations."""

from transformers.utils import logging

logger = logging.get_logger(__name__)
