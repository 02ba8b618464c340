"""Lets megatron-core run on a machine without CUDA, unmodified on disk.

megatron-core names the device "cuda" in its source. Where there is none, an import hook rewrites
that source while it is imported:

    import megatron.core.X ─► find_spec ─► source ─► RULES ─► compile ─► module

It costs nothing at run time and neither reads nor writes ``.pyc`` files of what it changed, so an
installation shared with GPU nodes stays as it is. On a machine with CUDA ``install`` does nothing.
"""

import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

PACKAGE = "megatron.core"
_RANDOM_MODULE = "megatron.core.tensor_parallel.random"

RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        # The default device, so that a model can also be built under torch.device("meta").
        (r"torch\.cuda\.current_device\(\)", "torch.get_default_device()"),
        (r"\b(device|device_type|map_location)((?::[^=\n]*)?\s*=\s*)[\"']cuda[\"']", r'\1\2"cpu"'),
        (r"\bautocast\([\"']cuda[\"']", 'autocast("cpu"'),
        (r"torch\.cuda\.(Float|Half|BFloat16)Tensor", r"torch.\1Tensor"),
        (r"\.cuda\((?:[^()]|\(\))*\)", ""),
        (r"torch\.cuda\.manual_seed\(", "torch.manual_seed("),
        (r"torch\.cuda\.(?:random\.)?get_rng_state\([^()]*\)", "torch.get_rng_state()"),
        (r"torch\.cuda\.synchronize\([^()]*\)", "None"),
        # torch.compile loads a compiler for seconds and needs a C++ tool chain on a CPU.
        (r"^enable_jit_fuser\(\)$", "disable_jit_fuser()"),
    )
)


def rewrite(source: str) -> str:
    """Returns Megatron source with CUDA replaced by the CPU; line numbers stay."""
    for pattern, replacement in RULES:
        source = pattern.sub(replacement, source)
    return source


class _CpuLoader(SourceFileLoader):
    """Compiles the rewritten source of one module."""

    def get_code(self, fullname: str) -> CodeType | None:
        source = self.get_source(fullname)
        assert source is not None  # a SourceFileLoader has its source
        changed = rewrite(source)
        if changed == source:
            return super().get_code(fullname)  # through the ordinary bytecode cache
        code: CodeType = self.source_to_code(changed.encode(), self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if module.__name__ == _RANDOM_MODULE:
            # This one talks to CUDA's generators through private functions; no text rule fits.
            module._set_cuda_rng_state = _set_rng_state  # type: ignore[attr-defined]  # a module


class _CpuFinder(MetaPathFinder):
    """Finds modules of megatron.core and hands them to ``_CpuLoader``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != PACKAGE and not fullname.startswith(PACKAGE + "."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _CpuLoader(spec.loader.name, spec.loader.path)
        return spec


def _set_rng_state(new_state: object, device: int = -1, *, graph_safe: bool = False) -> None:
    """Stands in for Megatron's ``_set_cuda_rng_state``."""
    del device, graph_safe
    import torch

    assert isinstance(new_state, torch.Tensor)
    torch.set_rng_state(new_state)


def install() -> bool:
    """Puts the import hook in place; returns whether there is one now.

    Call it before anything of megatron.core is imported. Safe to call again.

    Raises:
        RuntimeError: megatron.core was imported before, without the hook.
    """
    import torch

    if torch.cuda.is_available():
        return False
    if any(isinstance(finder, _CpuFinder) for finder in sys.meta_path):
        return True
    if PACKAGE in sys.modules:
        raise RuntimeError(f"{PACKAGE} was imported before the CPU shim was installed")
    sys.meta_path.insert(0, _CpuFinder())
    return True
