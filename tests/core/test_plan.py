"""The plan format: what is written comes back, damage is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.errors import DataError
from minilingua.core.languages import LANGUAGES
from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, read_plan, unpack_ref, write_plan


def _plan() -> PackPlan:
    conversations = [
        pack_ref("en", 0),
        pack_ref("fi", 7),
        pack_ref("code", 2**39),
        pack_ref("de", 1),
    ]
    schedule = SplitPlan(
        conversations=np.array(conversations, dtype=np.uint64),
        pack_offsets=np.array([0, 2, 3, 4], dtype=np.uint64),
        step_offsets=np.array([0, 2, 3], dtype=np.uint64),
    )
    return PackPlan(sequence_length=64, splits={"train": schedule}, meta={"note": "x"})


@given(st.sampled_from(sorted(LANGUAGES)), st.integers(0, 2**40 - 1))
def test_references_are_one_number(language: str, row: int) -> None:
    ref = unpack_ref(pack_ref(language, row))
    assert (ref.language, ref.row) == (language, row)


def test_round_trip(tmp_path: Path) -> None:
    write_plan(tmp_path, _plan())
    plan = read_plan(tmp_path)
    train = plan.splits["train"]
    assert (train.steps, train.packs, plan.sequence_length) == (2, 3, 64)
    assert list(train.packs_of_step(0)) == [0, 1]
    assert [(ref.language, ref.row) for ref in train.pack(0)] == [("en", 0), ("fi", 7)]
    assert plan.meta["note"] == "x"


@pytest.mark.parametrize("name", ["conversations", "pack_offsets", "step_offsets"])
def test_a_truncated_plan_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write_plan(tmp_path, _plan())
    file = tmp_path / "train" / f"{name}.bin"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DataError, match=f"{name}.bin has"):
        read_plan(tmp_path)


def test_a_changed_plan_is_refused_by_name(tmp_path: Path) -> None:
    write_plan(tmp_path, _plan())
    np.array([0, 2, 3, 9], dtype="<u8").tofile(tmp_path / "train" / "pack_offsets.bin")
    with pytest.raises(DataError, match=r"pack_offsets\.bin has changed since it was written"):
        read_plan(tmp_path)


def test_a_plan_cut_off_is_refused_by_name(tmp_path: Path) -> None:
    write_plan(tmp_path, _plan())
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"plan\.json: not JSON: "):
        read_plan(tmp_path)
