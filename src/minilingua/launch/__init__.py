"""Where a heavy stage runs, and what accompanies it.

minilingua train ─► cluster file (MINILINGUA_CLUSTER) ─► launcher ─► worker
                                                           └──────► follower ─► MLflow
"""
