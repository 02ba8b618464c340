from collections.abc import Iterator

from minilingua.core.batches import BUFFERED_ROWS, batches, buffered


def test_all_rows_come_in_their_order() -> None:
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(batches([], 3)) == []
    assert list(buffered(range(2 * BUFFERED_ROWS + 1))) == list(range(2 * BUFFERED_ROWS + 1))


def test_a_batch_is_drawn_before_its_first_row_is_given() -> None:
    drawn = []

    def rows() -> Iterator[int]:
        for row in range(3 * BUFFERED_ROWS):
            drawn.append(row)
            yield row

    given = buffered(rows())
    assert next(given) == 0
    assert len(drawn) == BUFFERED_ROWS
