"""One page that tells what was done and what came of it, to send to a colleague.

reports/, data/plan, dvc.lock, runs/ ─► content ─► charts, page ─► reports/index.html
"""
