"""Where a heavy stage runs, and what accompanies it.

minilingua train ─► cluster file (MINILINGUA_CLUSTER) ─┬─ here: worker, or container ─► worker
                                                       └─ slurm: job ─► srun ─► worker
                                                              └──────► follower ─► MLflow
"""
