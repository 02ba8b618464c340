"""The model card: README.md of the release, in the Hugging Face hub's metadata format."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from minilingua.core.languages import CODE, LANGUAGES
from minilingua.core.records import Score
from minilingua.evaluation.scores import ALL, ScoreIndex
from minilingua.params import Params
from minilingua.provenance.data_record import SourceRecord
from minilingua.provenance.training_record import Training

_HUB_LICENCES = {
    "Apache-2.0": "apache-2.0",
    "MIT": "mit",
    "CC-BY-4.0": "cc-by-4.0",
    "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-NC-4.0": "cc-by-nc-4.0",
    "CC0-1.0": "cc0-1.0",
    "ODC-By-1.0": "odc-by",
}
"""SPDX identifier ─► the hub's."""

_COMMERCIAL: dict[bool | str, str] = {True: "yes", False: "no", "unknown": "unknown"}

_TOYS = {
    "sample": "a model of about five million parameters",
    "smoke": "a model of well under a million parameters",
}

_HYPERPARAMETERS = (
    "lr", "min_lr", "learning_rate_schedule", "warmup_steps", "adam_beta1", "adam_beta2",
    "adam_epsilon", "weight_decay", "clip_grad", "hidden_dropout", "attention_dropout",
    "precision", "profile",
)  # fmt: skip


def model_card(
    params: Params,
    training: Training,
    passport: Mapping[str, Any],
    scores: Sequence[Score],
    sources: Sequence[SourceRecord],
    passport_sha256: str,
) -> str:
    """Returns the text of the card.

    Args:
        params: what the model was trained with.
        training: how it went.
        passport: from ``collect_passport``.
        scores: the evaluation.
        sources: what the raw data is and under which licences.
        passport_sha256: of the file beside the card.
    """
    index = ScoreIndex(scores)
    template = files("minilingua.tracking") / "model_card.md"
    body = Template(template.read_text(encoding="utf-8")).substitute(
        name=model_name(params),
        notice=_notice(params),
        languages=", ".join(LANGUAGES[code].english_name for code in params.languages),
        base=_base(params),
        results=_results(params, index),
        totals=_totals(index),
        sources=_sources(sources),
        origin=_origin(params),
        ledger=_ledger(passport["token_ledger"]),
        hyperparameters=_hyperparameters(params),
        early_stopping=_early_stopping(training),
        run_key=passport["run_key"],
        commit=_commit(passport["code"]),
        passport_sha256=passport_sha256,
        dvc_lock=passport["pipeline"]["dvc_lock_sha256"] or "none",
    )
    return str(ModelCard(f"---\n{_metadata(params, index, sources).to_yaml()}\n---\n\n{body}"))


def model_name(params: Params) -> str:
    """Returns the name of the model, for people."""
    return f"MiniLingua-{params.model.name}-{params.experiment}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLicence:
    """A licence as the hub's metadata names it."""

    identifier: str
    """One of the hub's list, ``other`` where it lists none that fits."""
    name: str | None = None
    """Required with ``other``."""
    link: str | None = None


def hub_licence(sources: Iterable[SourceRecord]) -> HubLicence:
    """Returns the licence that all data has; where they differ, a pointer to the card's table."""
    licences = sorted({source.licence for source in sources})
    if len(licences) != 1:
        return HubLicence(identifier="other", name="licences-of-the-data", link="README.md#data")
    if licences[0] in _HUB_LICENCES:
        return HubLicence(identifier=_HUB_LICENCES[licences[0]])
    page = f"https://spdx.org/licenses/{licences[0]}.html"
    return HubLicence(identifier="other", name=licences[0].lower(), link=page)


def _metadata(params: Params, index: ScoreIndex, sources: Sequence[SourceRecord]) -> ModelCardData:
    licence = hub_licence(sources)
    return ModelCardData(
        language=[code for code in params.languages if code != CODE],
        license=licence.identifier,
        license_name=licence.name,
        license_link=licence.link,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["minilingua", "sft", "multilingual", "megatron-core", *_toy_tags(params)],
        datasets=_hub_datasets(params, sources) or None,
        metrics=["accuracy"],
        model_name=model_name(params),
        eval_results=_eval_results(index) or None,
    )


def _hub_datasets(params: Params, sources: Sequence[SourceRecord]) -> list[str]:
    """Returns the data sets of the hub that the model was trained on; the sample is none."""
    if params.sources.origin == "sample":
        return []
    return sorted({identifier for source in sources for identifier in source.hub})


def _toy_tags(params: Params) -> list[str]:
    return ["test-model"] if params.experiment in _TOYS else []


def _eval_results(index: ScoreIndex) -> list[EvalResult]:
    results = []
    for answer_format in ("text", "letter", "number"):
        score = index.choice("result", answer_format)
        if score:
            results.append(
                EvalResult(
                    task_type="multiple-choice",
                    dataset_type="minilingua-held-out",
                    dataset_name="Held-out questions, all languages",
                    metric_type="accuracy",
                    metric_name=f"Accuracy, answered by {answer_format}",
                    metric_value=round(score.value, 4),
                )
            )
    return results


def _notice(params: Params) -> str:
    if params.experiment not in _TOYS:
        return ""
    return (
        f"> **This is a test model.** It is {_TOYS[params.experiment]}, trained for minutes on "
        "generated sentences about names of countries, languages, currencies and the like. It "
        "shows that the platform works from end to end; it is of no use as a language model.\n"
    )


def _base(params: Params) -> str:
    if params.base.origin == "random":
        return "randomly initialised weights (there is no pretrained base)"
    if params.base.origin == "hub":
        return (
            f"[`{params.base.hub}`](https://huggingface.co/{params.base.hub}) at revision "
            f"`{params.base.revision}`"
        )
    return "pretrained weights from a local directory; their digests are in `passport.json`"


def _results(params: Params, index: ScoreIndex) -> str:
    rows = []
    for code in (*params.languages, ALL):
        loss = [index.loss(model, "loss", code) for model in ("base", "result")]
        accuracy = [index.choice(model, "text", language=code) for model in ("base", "result")]
        chance = index.choice("result", "text", language=code, metric="chance")
        count = str(chance.n) if chance else ""
        rows.append([code, *map(_figure, loss), count, _figure(chance), *map(_figure, accuracy)])
    head = ["language", "loss, base", "loss", "questions", "chance", "accuracy, base", "accuracy"]
    return _table(head, rows)


def _totals(index: ScoreIndex) -> str:
    rows = []
    for task, told in (
        ("mcqa", "all"),
        ("mcqa_seen_facts", "facts seen in another wording or language"),
        ("mcqa_unseen_facts", "facts never seen"),
    ):
        for answer_format in ("text", "letter", "number"):
            score = index.choice("result", answer_format, task=task)
            if score:
                chance = index.choice("result", answer_format, task=task, metric="chance")
                row = [told, answer_format, str(score.n), _figure(chance), _figure(score)]
                rows.append(row)
    return _table(["questions", "answered by", "n", "chance", "accuracy"], rows)


def _sources(sources: Sequence[SourceRecord]) -> str:
    rows = [
        [source.title, source.licence, _COMMERCIAL[source.commercial_use], str(source.rows)]
        for source in sources
    ]
    return _table(["source", "licence", "commercial use", "rows read"], rows)


def _origin(params: Params) -> str:
    if params.sources.origin == "hub":
        return (
            "Downloaded from the Hugging Face hub at the revisions that `sources.lock` pins, every "
            "file by its checksum."
        )
    if params.sources.origin == "mirror":
        return "Read from a local mirror of the published files, pinned by checksum."
    return (
        "The rows are **generated**, in the layout of the sources named, from facts of the Unicode "
        "CLDR as Babel ships them. No row of the real data sets is among them."
    )


def _ledger(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    head = [name.replace("_", " ") for name in rows[0]]
    return _table(head, [[_short(value) for value in row.values()] for row in rows])


def _short(figure: str) -> str:
    """Returns three decimals of what has decimals, and anything else as it is."""
    return f"{float(figure):.3f}" if "." in figure else figure


def _hyperparameters(params: Params) -> str:
    rows = [[name, f"`{getattr(params.train, name)}`"] for name in _HYPERPARAMETERS]
    batch = f"`{params.pack.global_batch} {params.pack.global_batch_unit}`"
    rows.append(["global batch", batch])
    rows.append(["sequence length", f"`{params.pack.sequence_length}`"])
    rows.append(["epochs planned", f"`{params.pack.epochs:g}`"])
    rows.append(["mixture", f"`{params.mixture.name}`, shares of {params.mixture.unit}"])
    return _table(["", "value"], rows)


def _early_stopping(training: Training) -> str:
    decision, end = training.decision, training.end
    if decision is None or end is None:
        return ""
    return (
        f"It ended after step {end.step} ({end.reason.replace('_', ' ')}): {decision.reason} The "
        f"weights are those after step {end.best_step}, validation loss {end.best_loss:.4f}."
    )


def _commit(code: Mapping[str, Any]) -> str:
    if code["commit"] is None:
        return "unknown (no git repository)"
    changed = [name for name in code["changed"] if name != "dvc.lock"]
    return f"`{code['commit']}`" + (f", with {len(changed)} changed files" if changed else "")


def _figure(score: Score | None) -> str:
    if score is None:
        return ""
    return f"{score.value:.3f}" + ("" if score.stderr is None else f" ± {score.stderr:.3f}")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
