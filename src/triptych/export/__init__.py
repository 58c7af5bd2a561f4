"""Writing a trained model for other programs: transformers alone, CTranslate2, ONNX Runtime, llama.cpp."""

from .formats import FORMATS, export

__all__ = ["FORMATS", "export"]
