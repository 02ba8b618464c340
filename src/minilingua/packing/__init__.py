"""The schedule of the training: mixture, packs, steps."""
