"""How long a question may take while all of them have a time together; on a clock that is set."""

from infra import deadline


def test_a_question_has_its_own_time_or_what_is_left_for_all() -> None:
    now = {"s": 100.0}

    def clock() -> float:
        return now["s"]

    assert (deadline.left_s(7.0), deadline.told_s(7.0, 7.0)) == (7.0, 7.0)
    with deadline.within(10.0, clock):
        assert (deadline.left_s(7.0), deadline.left_s(30.0)) == (7.0, 10.0)
        assert (deadline.told_s(7.0, 7.0), deadline.told_s(30.0, 10.0), deadline.told_s(30.0, 31.0)) == (
            7.0,
            10.0,
            30.0,
        )
        now["s"] = 106.0
        assert deadline.left_s(7.0) == 4.0
        with deadline.within(60.0, clock):  # of more no more is left than of the first
            assert (deadline.left_s(30.0), deadline.told_s(30.0, 4.0)) == (4.0, 10.0)
        with deadline.within(1.0, clock):
            assert (deadline.left_s(30.0), deadline.told_s(30.0, 1.0)) == (1.0, 1.0)
        assert deadline.left_s(7.0) == 4.0
        now["s"] = 109.95
        assert deadline.left_s(7.0) == 0.1
        now["s"] = 200.0
        assert deadline.left_s(7.0) == 0.1
    assert deadline.left_s(7.0) == 7.0
