"""The Hugging Face model that fine-tuning starts from: ``models/base``.

    random: params.model + models/tokenizer ─► config.json, model.safetensors (seeded)
    local:  a directory of a LlamaForCausalLM ─► checked against params.model, copied

Neither imports torch or transformers: the files are plain JSON and safetensors.
"""
