# SPDX-License-Identifier: Apache-2.0
"""What a node remembers: states, what completes a series, what a kill at any moment leaves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from HeadCTTriageLib.listen.register import (
    COMPLETE,
    INCOMPLETE,
    JUDGED,
    JUDGING,
    MOST_CRASHES,
    NOT_JUDGED,
    RECEIVED,
    SENT,
    Register,
)
from HeadCTTriageLib.listen.settings import Completeness, Retries

RULES = Completeness(silence=60, after_release=5, give_up=3600)
RANK = (0, 5.0)


@pytest.fixture
def register(tmp_path):
    register = Register(tmp_path / "register.sqlite", RULES)
    yield register
    register.close()


def bring(register, series="1.1", images=3, study="1", now=0.0, first=0):
    """Bring images of a series; returns its key."""
    for number in range(first, first + images):
        place = register.place(study, series, f"{series}.{number}")
        register.add_image(place, now)
    return place.series


def state(register, key):
    return next(row for row in register.latest(99) if row["key"] == key)


def quiet(register, now):
    return [row["key"] for row in register.quiet_series(now)]


def completed(register, series="1.1", rank=RANK, **options):
    key = bring(register, series, **options)
    register.complete(key, state(register, key)["images"], rank, 1.0)
    return key


def test_a_series_is_complete_after_silence(register):
    key = bring(register, now=100.0)
    assert quiet(register, 159.9) == [] and quiet(register, 160.0) == [key]


def test_a_series_is_complete_soon_after_its_association_was_released(register):
    key = bring(register, now=100.0)
    register.end_visit([key], [], began=99.0, last=100.0, now=101.0)
    assert quiet(register, 105.9) == [] and quiet(register, 106.0) == [key]
    # unless another association brings more
    bring(register, images=1, first=3, now=103.0)
    assert quiet(register, 120.0) == []


def test_an_interrupted_series_waits_for_an_association_that_began_later(register):
    key = bring(register, now=100.0)
    register.end_visit([], [key], began=99.0, last=100.0, now=101.0)
    register.end_visit([key], [], began=99.5, last=101.0, now=102.0)  # was there before
    assert quiet(register, 1000.0) == []
    place = register.place("1", "1.1", "1.1.0")
    register.add_again(place, 1000.0)
    register.end_visit([key], [], began=999.0, last=1000.0, now=1001.0)
    assert quiet(register, 1006.0) == [key]


def test_it_does_not_matter_which_end_is_noted_first(register):
    key = bring(register, now=100.0)
    # the sender broke off at 100 and began again at 101; both have ended when this is noted
    register.end_visit([key], [], began=101.0, last=102.0, now=103.0)
    register.end_visit([], [key], began=99.0, last=100.0, now=103.0)
    assert quiet(register, 108.0) == [key]


def test_what_is_never_repeated_is_incomplete_and_may_still_be(register):
    key = bring(register, now=100.0)
    register.end_visit([], [key], began=99.0, last=100.0, now=101.0)
    assert register.give_up(3699.0) == [] and register.give_up(3700.0) == [key]
    assert state(register, key)["state"] == INCOMPLETE
    register.add_again(register.place("1", "1.1", "1.1.0"), 5000.0)
    register.end_visit([key], [], began=4999.0, last=5000.0, now=5001.0)
    assert quiet(register, 5006.0) == [key]


def test_an_image_that_comes_while_its_series_is_looked_at_is_not_lost(register):
    key = bring(register)
    bring(register, images=1, first=3)
    register.complete(key, 3, RANK, 1.0)
    assert state(register, key)["state"] == RECEIVED
    assert not register.refuse(key, RECEIVED, "because", images=3)


def test_an_image_that_comes_while_its_series_is_judged_opens_it_again(register):
    key = completed(register)
    claim = register.claim()
    bring(register, images=1, first=3)
    assert not register.judged(claim, {}, ["a"], ["X"], 2.0)
    found = state(register, key)
    assert found["state"] == RECEIVED and found["revision"] == 2 and not register.waiting_sends()


def test_studies_wait_for_their_other_series_but_not_for_interrupted_ones(register):
    completed(register)
    other = bring(register, "1.2")
    assert register.claim() is None
    register.end_visit([], [other], 0.0, 0.0, 1.0)
    assert register.claim() is not None


def test_the_best_series_is_judged_and_a_better_one_that_comes_later(register):
    thick, thin = completed(register, "1.1", (0, 5.0)), completed(register, "1.2", (0, 3.0))
    claim = register.claim()
    assert claim.key == thin
    register.judged(claim, {}, [], [], 2.0)
    assert register.claim() is None and state(register, thick)["state"] == NOT_JUDGED
    thinner = completed(register, "1.3", (0, 1.0))
    assert register.claim().key == thinner


def test_where_the_best_cannot_be_judged_the_next_is(register):
    thick, thin = completed(register, "1.1", (0, 5.0)), completed(register, "1.2", (0, 3.0))
    claim = register.claim()
    assert register.refuse(thin, JUDGING, "no head", revision=claim.revision)
    assert register.claim().key == thick


def test_studies_are_judged_in_the_order_in_which_they_were_complete(register):
    keys = [completed(register, f"{number}.1", study=str(number)) for number in range(3)]
    assert [register.claim().key for _ in keys] == keys


def test_a_series_that_kills_its_worker_is_left_alone_in_the_end(register):
    completed(register)
    tries = [register.crashed(register.claim(), "it dies") for _ in range(MOST_CRASHES)]
    assert tries == [True] * (MOST_CRASHES - 1) + [False]
    assert register.claim() is None and register.latest(1)[0]["reason"] == "it dies"


def test_sends_are_repeated_ever_less_often_until_all_are_sent(register):
    key = completed(register)
    register.judged(register.claim(), {}, ["report", "sheet"], ["A", "B"], 0.0)
    retries, now, waits = Retries(first=10, longest=60), 0.0, []
    for _ in range(5):
        due = register.due_sends("A", now)
        assert len(due) == 2 and len(register.due_sends("B", now)) == 2
        register.postpone(due, "down", retries, now)
        assert register.due_sends("A", now) == []
        after = min(row["next"] for row in register.waiting_sends() if row["destination"] == "A")
        waits.append(after - now)
        now = after
    assert waits == [10, 20, 40, 60, 60]
    for destination in ("A", "B"):
        assert state(register, key)["state"] == JUDGED
        for send in register.due_sends(destination, now):
            register.sent(send, now)
            assert send not in register.due_sends(destination, now)
    assert state(register, key)["state"] == SENT and register.waiting_sends() == []


def test_names_are_hashes_with_a_key_of_the_folder(register, tmp_path):
    other = Register(tmp_path / "other.sqlite", RULES)
    one, two = (each.place("1", "1.1", "1.1.1") for each in (register, other))
    assert one != two and one == register.place("1", "1.1", "1.1.1")
    assert one.series != register.place("2", "1.1", "1.1.1").series
    other.close()


STEPS = ("bring", "again", "abort", "release", "wait", "look", "claim", "judged", "kill", "send")


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.sampled_from(STEPS), max_size=40))
def test_whatever_happens_nothing_is_lost_nor_judged_twice(steps, tmp_path_factory):
    path = tmp_path_factory.mktemp("register") / "register.sqlite"
    register = Register(path, RULES)
    now, images, claim, began, judgements = 0.0, 0, None, 0.0, []

    def bring_one():
        nonlocal images
        bring(register, images=1, first=images, now=now)
        images += 1

    def look():
        for row in register.quiet_series(now):
            register.complete(row["key"], row["images"], RANK, now)

    def judge():
        nonlocal claim
        if claim and register.judged(claim, {}, ["report"], ["A"], now):
            judgements.append(claim.images)
        claim = None

    for step in [*steps, "kill", "begin", "again", "release", "wait", "look", "claim", "judged",
                 "send"]:
        now += 1.0
        key = register.place("1", "1.1", "").series
        if step == "bring" or (step == "again" and not images):
            bring_one()
        elif step == "again":
            register.add_again(register.place("1", "1.1", "1.1.0"), now)
        elif step == "abort" and images:
            register.end_visit([], [key], began, now, now)
            began = now
        elif step == "release" and images:
            register.end_visit([key], [], began, now, now)
        elif step == "begin":
            began = now
        elif step == "wait":
            now += RULES.silence
        elif step == "look":
            look()
        elif step == "claim":
            claim = claim or register.claim()
        elif step == "judged":
            judge()
        elif step == "send":
            for send in register.due_sends("A", now):
                register.sent(send, now)
        elif step == "kill":
            register.close()
            register, claim, began = Register(path, RULES), None, now
            register.recover(now)
    found = register.latest(9)
    register.close()
    assert len(found) == 1 and found[0]["images"] == images
    assert found[0]["state"] == SENT
    # each judgement that counts is over more images than the one before, the last over all
    assert judgements == sorted(set(judgements)) and judgements[-1] == images
    assert COMPLETE not in {row["state"] for row in found}
