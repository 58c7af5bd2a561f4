"""What transformers has to know of the models: kernels, a style of tensor parallelism, the classes and their names."""

import sys
from importlib.util import find_spec
from types import ModuleType

from transformers.distributed.tensor_parallel import ALL_PARALLEL_STYLES
from transformers.models.auto import modeling_auto

from ..configuration.messages import logger
from ..configuration.plans import HEADWISE_TABLE
from ..configuration.travel import read_code
from .base import TriptychPreTrainedModel
from .kernels import register_kernels
from .parallelism import HeadwiseTable

# The table of class names that transformers keeps beside each Auto class. Parts of transformers read the table and not
# the registry: Trainer shifts the labels for its label smoothing only where the name is in the causal table.
NAME_TABLES = {
    "AutoModel": "MODEL_MAPPING_NAMES",
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "AutoModelForMultipleChoice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
    "AutoModelForNextSentencePrediction": "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES",
    "AutoModelForPreTraining": "MODEL_FOR_PRETRAINING_MAPPING_NAMES",
    "AutoModelForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "AutoModelForSeq2SeqLM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForTextEncoding": "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES",
    "AutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
}


def public_models() -> list[type[TriptychPreTrainedModel]]:
    """All models that an Auto class knows: each of these classes names its Auto classes itself, in `auto_classes`."""
    found, todo = [], [TriptychPreTrainedModel]
    while todo:
        model_class = todo.pop(0)
        if vars(model_class).get("auto_classes"):
            found.append(model_class)
        todo += [other for other in model_class.__subclasses__() if other not in found + todo]
    return found


def modules_named(name: str) -> list[ModuleType]:
    """All modules of this name: the one that an import gives now, and those that other modules got from an import.

    transformers makes a second module of itself (`direct_transformers_import`, with the first processor). Whoever has
    imported transformers before keeps the first one.
    """
    users = [getattr(module, "__dict__", {}).get(name) for module in [*sys.modules.values()]]
    found = {id(module): module for module in [sys.modules[name], *users] if isinstance(module, ModuleType)}
    return [module for module in found.values() if module.__name__ == name]


def register_models() -> None:
    """Registers what the models need, in transformers and in their configurations. It may be called again."""
    register_kernels()
    ALL_PARALLEL_STYLES.register(HEADWISE_TABLE, HeadwiseTable())
    # `transformers serve` takes the class that config.json names from there, and asks no Auto class for it.
    libraries = modules_named("transformers")
    for model_class in public_models():
        config_class = model_class.config_class
        for library in libraries:
            setattr(library, model_class.__name__, model_class)
        for auto_name in model_class.auto_classes:
            getattr(modeling_auto, NAME_TABLES[auto_name])[config_class.model_type] = model_class.__name__
            config_class.auto_classes = {**config_class.auto_classes, auto_name: model_class.__name__}


def arrive() -> None:
    """What the code that travels does at its end: it keeps its text for checkpoints that are saved later, when its
    files may be gone, and warns where it runs although the package could.
    """
    read_code()
    if find_spec("triptych") is not None:
        logger.warning(
            "the code of a checkpoint runs, although the package triptych is installed; write `import triptych` "
            "before the model is loaded, so that the package's classes are used"
        )
