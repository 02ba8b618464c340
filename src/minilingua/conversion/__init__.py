"""The trained weights as a Hugging Face model."""
