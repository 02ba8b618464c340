"""Tokenizer, chat template, and conversations as tokens with a loss mask."""
