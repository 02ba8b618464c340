"""The Hugging Face model that fine-tuning starts from: ``models/base``.

    random: params.model + models/tokenizer ─► config.json, model.safetensors (seeded)
    local:  a directory of a LlamaForCausalLM ─► checked against params.model, copied
    hub:    the same, downloaded
    gguf:   a GGUF file ─► dequantized ─► as local

Only gguf imports transformers: the other files are plain JSON and safetensors.
"""
