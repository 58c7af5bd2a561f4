"""Objectives of language models: from tokenized texts to the inputs and labels of a batch.

What is drawn for a row depends on the seed, the epoch and the number of the row alone. So neither workers, processes
and pieces nor an interruption of the training change it.
"""
