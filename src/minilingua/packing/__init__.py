"""The schedule of the training: mixture, packs, steps. Index only.

data/tokens/train ─► corpus ─► mixture ─► schedule ─► data/plan (core/plan.py)
                     lengths   which rows, in     steps of packs, each pack
                               which order        filled by fit
"""
