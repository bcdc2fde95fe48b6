"""Measuring: perplexity, bits per character, and what a model does with its context.

Nothing is imported here: a wrong option should not have to wait for torch.
"""
