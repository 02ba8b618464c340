import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minilingua.megatron_model import cpu_shim
from minilingua.megatron_model.cpu_shim import install, rewrite

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the shim is for CPUs")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = torch.zeros(2, device='cuda')", 'x = torch.zeros(2, device="cpu")'),
        ('def f(device: Union[int, str] = "cuda"):', 'def f(device: Union[int, str] = "cpu"):'),
        ('partial(f, device_type="cuda")', 'partial(f, device_type="cpu")'),
        (
            "torch.empty(1, device=torch.cuda.current_device())",
            "torch.empty(1, device=torch.get_default_device())",
        ),
        ("x = y.cuda()", "x = y"),
        ("x = y.cuda(torch.cuda.current_device())", "x = y"),
        ("x = y.cuda(non_blocking=True)", "x = y"),
        ("torch.cuda.random.get_rng_state(device=device)", "torch.get_rng_state()"),
        ("torch.cuda.manual_seed(seed)", "torch.manual_seed(seed)"),
        ('torch.autocast("cuda", dtype=d)', 'torch.autocast("cpu", dtype=d)'),
        ("(torch.FloatTensor, torch.cuda.FloatTensor)", "(torch.FloatTensor, torch.FloatTensor)"),
    ],
)
def test_cuda_becomes_the_cpu(source: str, expected: str) -> None:
    assert rewrite(source) == expected


@pytest.mark.parametrize(
    "source", ["import torch", "x = 'barracuda'", "stream = torch.cuda.Stream()", "a.cuda_graph()"]
)
def test_the_rest_stays(source: str) -> None:
    assert rewrite(source) == source


def test_lines_keep_their_numbers() -> None:
    import megatron.core.tensor_parallel.random as module

    source = Path(module.__file__).read_text(encoding="utf-8")
    assert rewrite(source) != source
    assert rewrite(source).count("\n") == source.count("\n")


def test_rewritten_code_runs_and_is_not_cached() -> None:
    import megatron.core.pipeline_parallel.schedules as module

    assert module.__cached__ is not None
    cached = Path(module.__cached__)
    constants = str(module.forward_backward_no_pipelining.__code__.co_consts)
    assert "'cpu'" in constants
    assert "'cuda'" not in constants
    assert not cached.exists() or b"cuda" in cached.read_bytes()


def test_installing_twice_puts_one_hook() -> None:
    assert install()
    assert install()
    hooks = [finder for finder in sys.meta_path if type(finder).__module__ == cpu_shim.__name__]
    assert len(hooks) == 1


def test_installing_too_late_is_a_mistake_that_is_told() -> None:
    program = (
        "import sys, types; sys.modules['megatron.core'] = types.ModuleType('megatron.core')\n"
        "from minilingua.megatron_model.cpu_shim import install\n"
        "install()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "imported before the CPU shim" in done.stderr


def test_importing_megatron_says_nothing_beside_a_compiler_without_a_gpu() -> None:
    # A CUDA build of torch warns through this logger where it finds nvcc and no GPU; a CPU build
    # never does, so the test does it for it.
    program = (
        "import logging, minilingua.megatron_model.megatron\n"
        "logging.getLogger('torch.utils.cpp_extension').warning('No CUDA runtime is found')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
