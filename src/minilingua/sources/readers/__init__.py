"""Reader functions: one native row in, one question or exchange out, or a reason to drop it."""
