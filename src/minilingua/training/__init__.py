"""Fine-tuning with megatron-core."""
