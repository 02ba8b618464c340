"""Tokenizer, chat template and token files.

data/conversations/train ─► tokenizer_stage ─► models/tokenizer
    sentencepiece_bpe        learns BPE merges, rebuilds them as a fast tokenizer
    tokenizer_files          the Hugging Face files, written (core.tokenizer_files reads them)
data/conversations ─► tokenize_stage ─► data/tokens
    template                 the constant pieces of the jinja template, found by probing
    encode                   conversation ─► ids and loss mask
"""
