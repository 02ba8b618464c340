from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.files import dump_record
from minilingua.core.records import Contamination
from minilingua.curation.publish import finding_line

TEXT = st.text()


@given(
    st.builds(
        Contamination,
        set=TEXT,
        item=TEXT,
        key=st.none() | TEXT,
        source=TEXT,
        language=TEXT,
        row=TEXT,
        id=TEXT,
        words=TEXT,
        is_whole=st.booleans(),
        is_dropped=st.booleans(),
    )
)
def test_a_line_is_canonical_json_of_a_finding(found: Contamination) -> None:
    assert finding_line(found).decode() == dump_record(found) + "\n"
