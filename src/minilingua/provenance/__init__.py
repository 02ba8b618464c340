"""What is here and where it is from: git, DVC, runs and passports; how two states differ.

Reads what stages and workers wrote. Nothing here needs MLflow.
"""
