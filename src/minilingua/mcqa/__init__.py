"""Multiple-choice items become conversations in three answer formats."""
