"""MiniLingua: a reproducible platform for supervised fine-tuning of language models."""
