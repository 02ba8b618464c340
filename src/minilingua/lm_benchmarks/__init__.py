"""The public benchmarks that the reference was scored on, run by EleutherAI's lm-eval, offline."""
