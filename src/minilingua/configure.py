"""`minilingua configure`: composes one complete, commented params.yaml from the groups in conf/.

Hydra's compose does the composition; what comes out is validated and written by us, so that a
params.yaml can also be edited by hand or by `dvc exp run -S` afterwards.
"""

import argparse
import textwrap
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from minilingua.core.errors import MissingInputError, ParamsError, did_you_mean
from minilingua.core.files import write_text
from minilingua.params import Params
from minilingua.params_file import PARAMS_FILE, validate_params
from minilingua.run_size import estimate_run
from minilingua.sources.selection import select_sources

CONF = Path("conf")
_WIDTH = 100


def main(argv: Sequence[str]) -> int:
    """Composes, validates and writes params.yaml."""
    parser = argparse.ArgumentParser(
        prog="minilingua configure",
        description="Composes params.yaml from the groups in conf/.",
        epilog="groups:\n"
        + "\n".join(f"  {group:<11} {' '.join(options)}" for group, options in groups().items())
        + "\n\nexamples:\n  minilingua configure experiment=sample train.lr=5e-4"
        "\n  minilingua configure experiment=smoke mixture=equal",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="GROUP=OPTION|KEY=VALUE", help="as in the examples"
    )
    parser.add_argument(
        "--output", type=Path, default=PARAMS_FILE, help="file to write (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    params = compose_params(arguments.overrides)
    write_text(arguments.output, render(params))
    print(  # noqa: T201 - what the command has to say
        f"{arguments.output}: experiment {params.experiment}, model {params.model.name}\n"
        f"{estimate_run(params).explain()}"
    )
    return 0


def groups(conf: Path = CONF) -> dict[str, list[str]]:
    """Returns the options of each group of conf/."""
    if not conf.is_dir():
        raise MissingInputError(f"{conf}/ is missing: run this in the root of the repository")
    return {
        group.name: sorted(option.stem for option in group.glob("*.yaml"))
        for group in sorted(conf.iterdir())
        if group.is_dir()
    }


def compose_params(overrides: Sequence[str], conf: Path = CONF) -> Params:
    """Returns the validated parameters of a composition.

    Raises:
        ParamsError: an override names no group, option or key, or the result is not valid.
    """
    for override in overrides:
        _check_override(override, groups(conf))
    try:
        with initialize_config_dir(version_base=None, config_dir=str(conf.resolve())):
            composed = compose(config_name="config", overrides=list(overrides))
        raw: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ParamsError(f"configure: {' '.join(str(error).split())}") from error
    params = validate_params(raw, "configure")
    select_sources(params.sources)  # names in `include` are those of spec files
    return params


def _check_override(override: str, known: dict[str, list[str]]) -> None:
    name, separator, option = override.partition("=")
    if not separator:
        raise ParamsError(f"configure: {override!r} is not GROUP=OPTION or KEY=VALUE")
    if name in known and option not in known[name]:
        raise ParamsError(
            f"configure: {name} has no option {option!r}; allowed: {', '.join(known[name])}"
            f"{did_you_mean(option, known[name])}"
        )
    section: Any = Params
    for part in name.lstrip("+").split(".") if name not in known else ():
        fields = getattr(section, "model_fields", None)
        if fields is None:  # inside a mapping, such as mixture.weights: validated afterwards
            return
        if part not in fields:
            raise ParamsError(
                f"configure: unknown key {name!r}{did_you_mean(part, [*fields, *known])}"
            )
        section = fields[part].annotation


def render(params: Params) -> str:
    """Returns params.yaml: every key, each under its description."""
    document = _commented(params, depth=0)
    document.yaml_set_start_comment(
        "All hyper-parameters of the run. `minilingua configure` wrote it from conf/; edit it by\n"
        "hand or with `dvc exp run -S train.lr=1e-5`. The next `dvc repro` reruns what a change\n"
        "touches."
    )
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _explicit_null)
    stream = StringIO()
    yaml.dump(document, stream)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _commented(model: BaseModel, depth: int) -> CommentedMap:
    block = CommentedMap()
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            block[name] = _commented(value, depth + 1)
            description = field.description or (type(value).__doc__ or "")
        else:
            block[name] = _plain(value)
            description = field.description or ""
        comment = "\n".join(textwrap.wrap(" ".join(description.split()), _WIDTH - 2 - 2 * depth))
        # The first key of a block gets its comment the same way: ruamel attaches it before the key.
        block.yaml_set_comment_before_after_key(
            name, before=("\n" if depth == 0 else "") + comment, indent=2 * depth
        )
    return block


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        sequence = CommentedSeq(value)
        sequence.fa.set_flow_style()
        return sequence
    if isinstance(value, dict):
        mapping = CommentedMap(value)
        mapping.fa.set_flow_style()
        return mapping
    return value


def _explicit_null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
