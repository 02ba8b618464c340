"""Examples of all sources become filtered, shuffled, split conversations."""
