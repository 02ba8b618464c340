"""What was trained, kept findable: MLflow, the passport and the release.

runs/<run key>/ ─┐  events, telemetry (while it runs)
reports/ ────────┼► track ───► MLflow (mlruns/), a view that can be rebuilt from these files
models/hf ───────┤
dvc.lock, git ───┴► release ─► models/release/: weights, evaluation, card, passport
"""
