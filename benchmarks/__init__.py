"""Claims about speed, most of them measured as a ratio of two things that run side by side.

    python -m benchmarks.training_step      against transformers
    python -m benchmarks.tokenization       against tokenizers, TRL, datasets
    python -m benchmarks.data_stages        rows a second and memory, at the published run's size
    python -m benchmarks.checkpoint         against plain files
    python -m benchmarks.command_line       against Python and DVC themselves

README.md says what each measures and shows the results.
"""
