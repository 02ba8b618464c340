"""Where a heavy stage runs."""
