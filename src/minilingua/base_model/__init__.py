"""The Hugging Face model that fine-tuning starts from."""
