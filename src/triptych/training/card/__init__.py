"""The model card: README.md beside a trained model, with its data, sizes, options, results, command and curve.

| module     | what it holds                                                            |
|------------|--------------------------------------------------------------------------|
| `run`      | what a card tells of                                                     |
| `metadata` | the YAML block at the beginning, as the Hub reads it                     |
| `text`     | the sections                                                             |
| `uses`     | the code that uses the model, for each task of a pipeline                |
| `curve`    | the picture of loss and metrics over the updates                         |
| `markdown` | tables and code that no text from outside can break                      |
| `writing`  | the two files in the directory of a run; what a user has put there stays |
"""

from .run import Run
from .writing import write_card

__all__ = ["Run", "write_card"]
