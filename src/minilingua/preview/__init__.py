"""A page that shows what the model is trained on: a few conversations, token by token.

data/tokens, models/tokenizer ─► examples ─► page ─► reports/preview.html
"""
