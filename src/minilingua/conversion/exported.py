"""The export as a user of transformers meets it: loaded, asked for logits, and generating."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minilingua.core.errors import CheckpointError, ParityError


class ExportedModel:
    """A model directory in Hugging Face layout, in fp32 on the CPU."""

    def __init__(self, path: Path) -> None:
        """Loads model and tokenizer.

        Raises:
            CheckpointError: transformers finds tensors missing or unknown.
        """
        # The model module, not the package's Auto classes: they import every architecture.
        from transformers import PreTrainedTokenizerFast
        from transformers.models.llama import LlamaForCausalLM
        from transformers.utils.logging import disable_progress_bar, set_verbosity_error

        disable_progress_bar()  # a bar of milliseconds
        set_verbosity_error()  # what it finds is told below, in a line
        self._model: Any
        self._model, loading = LlamaForCausalLM.from_pretrained(
            path, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if names := sorted(map(str, loading.get(problem) or ())):
                raise CheckpointError(
                    f"the export loads with {problem.replace('_', ' ')}: {', '.join(names[:3])}"
                )
        self._model.eval()
        self._tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)

    @torch.inference_mode()
    def logits(self, token_ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Returns the logits [t, V] of each sequence."""
        return [self._model(input_ids=torch.tensor([ids])).logits[0] for ids in token_ids]

    def prompt(self, text: str) -> list[int]:
        """Returns the token ids of a user's turn and the beginning of the answer."""
        turns = [{"role": "user", "content": text}]
        ids: list[int] = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_dict=False
        )
        return ids

    def generate(
        self, prompts: Sequence[Sequence[int]], tokens: int, forced: int | None = None
    ) -> list[list[int]]:
        """Returns what is generated greedily after each prompt, as the export is configured.

        Args:
            prompts: token ids.
            tokens: number of tokens at most.
            forced: token that is put in the model's mouth as the second one.

        Returns:
            Token ids up to the first that ends generation, which is among them.
        """
        width = max(map(len, prompts))
        config = self._model.generation_config
        padding = [width - len(prompt) for prompt in prompts]  # on the left
        ids = [[config.pad_token_id] * n + list(p) for n, p in zip(padding, prompts, strict=True)]
        mask = [[0] * n + [1] * (width - n) for n in padding]

        def force(read: Tensor, scores: Tensor) -> Tensor:
            if forced is not None and read.shape[1] == width + 1:
                scores = torch.full_like(scores, -torch.inf)
                scores[:, forced] = 0.0
            return scores

        with torch.inference_mode():
            generated = self._model.generate(
                torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                do_sample=False,
                num_beams=1,
                max_new_tokens=tokens,
                logits_processor=[force],
            )
        stop = config.eos_token_id
        stops = set(stop) if isinstance(stop, list) else {stop}
        written: list[list[int]] = []
        for row in generated[:, width:].tolist():
            ends = [number for number, token in enumerate(row, start=1) if token in stops]
            written.append(row[: min(ends)] if ends else row)
        return written

    def check_stop(self, prompt: Sequence[int], end_of_turn: int) -> None:
        """Makes sure that generation ends where an assistant's turn does.

        Raises:
            ParityError: the chat template ends a turn with another token than ``end_of_turn``, or
                ``generate`` with the export's own configuration goes on after it.
        """
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        rendered = self._tokenizer.apply_chat_template(turns, return_dict=False)
        asked = self._tokenizer.apply_chat_template(
            turns[:1], add_generation_prompt=True, return_dict=False
        )
        if end_of_turn not in rendered[len(asked) :]:
            raise ParityError(
                "the export's chat template does not end an assistant's turn with its eos_token; "
                "nothing was exported"
            )
        written = self.generate([prompt], tokens=4, forced=end_of_turn)[0]
        if end_of_turn not in written[:2] or written[-1] != end_of_turn:
            raise ParityError(
                f"generate() goes on after the end of turn (token {end_of_turn}); "
                "nothing was exported"
            )
