"""The Megatron model itself: what training and conversion share."""
