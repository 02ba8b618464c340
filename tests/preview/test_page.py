from minilingua.preview.examples import Example, Piece, SourcePreview
from minilingua.preview.page import render

HOSTILE = "<script>alert(1)</script> & <|end|>"


def preview(language: str, text: str) -> SourcePreview:
    piece = Piece(text=text, ids=(7, 8), supervised=True, special=False)
    example = Example(id="0" * 16, tokens=2, supervised_tokens=2, pieces=(piece,))
    return SourcePreview(
        language=language,
        source="aya",
        conversations=1,
        tokens=2,
        supervised_tokens=2,
        truncated=0,
        examples=(example,),
    )


def test_text_is_text_and_equal_input_gives_equal_bytes() -> None:
    previews = [preview("de", HOSTILE), preview("code", "x = 1\n")]
    page = render(previews, split="train", per_source=1, experiment="e", mark="m")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;|end|&gt;" in page
    assert 'title="7 8"' in page
    assert 'lang="de"' in page
    assert 'lang="code"' not in page
    assert page == render(previews, split="train", per_source=1, experiment="e", mark="m")
