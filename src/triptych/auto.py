"""What `import triptych` registers with other libraries. All of it is in this file.

- transformers' Auto classes get the three families (`AUTO_CLASSES`).
- transformers' tables of class names, of attention kernels and of styles of tensor parallelism get what the models
  need, and the module `transformers` gets the public models under their names, which `transformers serve` looks up
  there (`modeling.registration`, which does so wherever the code of the models travels).
- peft's tables of default targets get the three families, as soon as peft is imported, whether that happens before or
  after `import triptych`. This import does not import peft.
- `TriptychModel` and `TriptychForConditionalGeneration` get the class method `from_encoder_decoder`, which is
  `triptych.warm_starts.join`. So the model needs no import of the tools that are built on it. For the same reason the
  configurations get `triptych.hub.write_code`, which makes the code that travels with a checkpoint, and the place of
  the package's pipelines, so that `transformers.pipeline(..., trust_remote_code=True)` uses these.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import transformers
from transformers import AutoConfig

from .configuration import TriptychBaseConfig
from .hub import write_code
from .modeling import TriptychPreTrainedModel
from .modeling.registration import NAME_TABLES, public_models, register_models
from .modeling.two_sided_vocabulary import TwoSidedVocabulary
from .warm_starts import join


def known_models() -> dict[str, list[type[TriptychPreTrainedModel]]]:
    """The models that each Auto class is to know: every public class names its Auto classes in `auto_classes`."""
    known: dict[str, list[type[TriptychPreTrainedModel]]] = {auto_name: [] for auto_name in NAME_TABLES}
    for model_class in public_models():
        for auto_name in model_class.auto_classes:
            known[auto_name].append(model_class)
    return known


AUTO_CLASSES = known_models()

# The module of peft with its tables: method → model type → names of the maps that get an adapter by default.
PEFT_TABLES = "peft.utils.constants"
# The names of our maps. Llama's maps have the same names, so peft's defaults for Llama are right for our models.
PROJECTIONS = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})


def register() -> None:
    """Registers everything that the docstring of this module lists. It can be called again."""
    register_models()
    register_auto_classes()
    register_adapter_targets()
    TwoSidedVocabulary.from_encoder_decoder = classmethod(join)
    TriptychBaseConfig.write_code, TriptychBaseConfig.reads_auto_map = staticmethod(write_code), False
    TriptychBaseConfig.pipelines_module = pipelines_module()


def pipelines_module() -> str | None:
    """`pipelines/package_pipelines.py`, as transformers names a module in a directory: `directory--module`.

    None: the name of the directory cannot be written so, and the pipelines are not offered.
    """
    directory = Path(__file__).parent / "pipelines"
    return None if "--" in str(directory) else f"{directory}--package_pipelines"


def register_auto_classes() -> None:
    """Makes the three families known to transformers' Auto classes."""
    for auto_name, model_classes in AUTO_CLASSES.items():
        auto_class: Any = getattr(transformers, auto_name)
        for model_class in model_classes:
            config_class = model_class.config_class
            AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
            auto_class.register(config_class, model_class, exist_ok=True)


def register_adapter_targets() -> None:
    """Makes the three families known to peft: now, or when peft is imported."""
    if PEFT_TABLES in sys.modules:
        add_adapter_targets(sys.modules[PEFT_TABLES])
    elif not any(isinstance(finder, ImportOfPeft) for finder in sys.meta_path):
        sys.meta_path.insert(0, ImportOfPeft())


def add_adapter_targets(tables: ModuleType) -> None:
    """Gives each table of peft that has targets for Llama the same targets for the three families."""
    for name, table in vars(tables).items():
        if name.startswith("TRANSFORMERS_MODELS_TO_") and name.endswith("_MODULES_MAPPING"):
            targets = table.get("llama")
            if targets and PROJECTIONS.issuperset(targets):
                for model_class in AUTO_CLASSES["AutoModel"]:
                    table.setdefault(model_class.config_class.model_type, list(targets))


class ImportOfPeft(MetaPathFinder):
    """Waits for the import of peft's tables, adds our targets behind it, and is gone then."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Python asks this of every module that is imported. None: other finders answer."""
        if name != PEFT_TABLES:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_add(module: ModuleType) -> None:
                execute(module)
                add_adapter_targets(module)

            spec.loader.exec_module = execute_and_add  # type: ignore[method-assign]
        return spec
