"""params.yaml: strict, complete, and every mistake answered with one helpful line."""

from pathlib import Path

import pytest

from minilingua.configure import compose_params, groups, main, render
from minilingua.core.errors import MissingInputError, ParamsError
from minilingua.params import Params
from minilingua.params_file import load_params

ROOT = Path(__file__).parents[1]
COMPOSITIONS = [
    [f"experiment={experiment}"] for experiment in groups(ROOT / "conf")["experiment"]
] + [[f"mixture={mixture}"] for mixture in groups(ROOT / "conf")["mixture"]]


def _edited(tmp_path: Path, old: str, new: str) -> Path:
    text = render(compose_params([], ROOT / "conf"))
    assert text.count(old) == 1, f"{old!r} is not unique in params.yaml"
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new))
    return path


def test_the_committed_file_is_the_default_composition() -> None:
    assert (ROOT / "params.yaml").read_text() == render(compose_params([], ROOT / "conf"))


@pytest.mark.parametrize("overrides", COMPOSITIONS, ids=lambda overrides: overrides[0])
def test_every_shipped_composition_comes_back_from_its_file(
    overrides: list[str], tmp_path: Path
) -> None:
    params = compose_params(overrides, ROOT / "conf")
    (tmp_path / "params.yaml").write_text(render(params))
    assert load_params(tmp_path / "params.yaml") == params


def test_every_key_has_its_description_above() -> None:
    lines = render(compose_params([], ROOT / "conf")).splitlines()
    keys = [number for number, line in enumerate(lines) if line.strip() and "#" not in line]
    keys = [number for number in keys if ":" in lines[number].split("[")[0]]
    assert len(keys) > 60
    assert all(lines[number - 1].lstrip().startswith("#") for number in keys)


def test_scientific_notation_as_dvc_writes_it_is_a_number(tmp_path: Path) -> None:
    assert load_params(_edited(tmp_path, "lr: 0.001", "lr: 1e-05")).train.lr == 1e-5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "  clip_grad:",
            "  clip_grd:",
            r"unknown key 'train.clip_grd' \(did you mean 'clip_grad'\?\)",
        ),
        ("lr: 0.001", "lr: fast", r"train\.lr: .*number, found 'fast'"),
        ("lr: 0.001", "lr: .nan", r"train\.lr: .*finite"),
        ("warmup_steps: 20", "warmup_steps: 20.5", r"train\.warmup_steps: .*integer"),
        ("sequence_length: 1024", "sequence_length: 4096", r"exceeds model\.max_positions 1024"),
        ("origin: sample", "origin: mirror", r"mirror has to name a directory when origin is"),
        ("mirror: null", "mirror: somewhere", r"mirror is for the origins 'mirror' and 'hub'"),
        ("include: [buffet,", "include: [aya, buffet,", r"sources: include names aya twice"),
        ("licence: permissive", "licence: free", r"sources\.licence: .*'permissive' or 'any'"),
        ("origin: random", "origin: hub", r"base: hub names a model exactly when origin is 'hub'"),
        ("origin: train", "origin: local", r"tokenizer: path names a directory exactly when"),
        ("letter: 0.4", "letter: 0.5", r"answer_formats sum to 1\.1"),
        ("weights: null", "weights: {sw: 1.0}", r"mixture\.weights\.sw"),
        ("sources: null", "sources: {aya: 0}", r"mixture\.sources\.aya: .*greater than 0, found 0"),
        ("max_epochs: null", "max_epochs: 0", r"mixture\.max_epochs: .*greater than 0"),
        ("truncate_to: null", "truncate_to: 1025", r"truncate_to 1025 exceeds pack\.sequence"),
        ("languages: [en, de,", "languages: [en, en,", r"each language once"),
        ("experiment: sample", "experiment: [", r"not YAML"),
        ("kv_groups: 4", "kv_groups: 3", r"must divide one another"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message) as caught:
        load_params(_edited(tmp_path, old, new))
    assert "\n" not in str(caught.value)
    assert "params.yaml" in str(caught.value)


def test_a_missing_key_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"key 'seed' is missing"):
        load_params(_edited(tmp_path, "seed: 20250430", ""))
    cut = tmp_path / "cut.yaml"
    cut.write_text("experiment: sample\nseed: 1\n")
    with pytest.raises(ParamsError, match=r"^\S+: keys languages, .* are missing; [^;]*$"):
        load_params(cut)
    with pytest.raises(MissingInputError, match="minilingua configure"):
        load_params(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mixtur=equal", r"unknown key 'mixtur' \(did you mean 'mixture'\?\)"),
        ("mixture=equl", r"no option 'equl'; allowed: .*did you mean 'equal'"),
        ("train.learning=1", r"unknown key 'train.learning'"),
        ("equal", r"is not GROUP=OPTION or KEY=VALUE"),
        ("train.lr=[", r"configure: .*"),
        ("sources.include=[aya,swefak]", r"unknown source 'swefak'; .* \(did you mean 'swefaq'"),
    ],
)
def test_bad_overrides_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.chdir(ROOT)
    output = tmp_path / "params.yaml"
    with pytest.raises(ParamsError, match=message):
        main([override, "--output", str(output)])
    assert not output.exists()


def test_an_override_beats_the_experiment() -> None:
    params = compose_params(["experiment=smoke", "model=5m", "train.lr=5e-4"], ROOT / "conf")
    assert params.model.name == "5m"
    assert params.train.lr == 5e-4
    assert params.experiment == "smoke"


def test_descriptions_exist_for_every_field() -> None:
    def walk(model: type) -> None:
        for name, field in model.model_fields.items():  # type: ignore[attr-defined] # a pydantic model
            if hasattr(field.annotation, "model_fields"):
                walk(field.annotation)
            else:
                assert field.description, name

    walk(Params)
