"""The rules of the arena by value: reading time, battles, which votes count, the leaderboard."""

import asyncio
import random
from collections import Counter

import pytest

from rlhf.chat.arena.answers import merged
from rlhf.chat.arena.battles import Battle, Battles, TooEarly
from rlhf.chat.arena.leaderboard import board_of
from rlhf.chat.arena.rules import (
    RULES,
    Reader,
    is_one_sided,
    names_are_asked_for,
    same_question,
)
from rlhf.chat.arena.votes import ArenaVotes
from rlhf.chat.votes import ComparedResponses, Votes
from rlhf.chat.web import cli
from rlhf.labels.erase import erase_person
from rlhf.labels.export import rows_of
from rlhf.labels.model_results import games_of
from rlhf.labels.queue import Queue
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.pipeline.chat_votes import read_votes
from tests.errors import raises

STORED = {"alpha": "runs/alpha", "beta": "runs/beta"}


@pytest.mark.parametrize(
    ("shown", "complete", "opens"),
    [
        ([(100, 0.0)], 0.0, 2.0),  # 100 characters at 50 a second
        ([(100, 0.0), (50, 1.0)], 1.0, 3.0),  # the second text waits for the first
        ([(100, 0.0), (75, 10.0)], 10.0, 11.5),  # the reader has waited for the second text
        ([(100, 0.0), (5, 10.0)], 10.0, 11.0),  # at least a second
        ([(5000, 0.0)], 0.0, 30.0),  # not 100 seconds
        ([], 4.0, 5.0),
    ],
)
def test_vote_opens_when_a_fast_reader_has_read_along(shown, complete, opens):
    reader = Reader()
    for characters, now in shown:
        reader.read(characters, now)
    assert reader.opens_at(complete) == pytest.approx(opens)


@pytest.mark.parametrize(
    ("question", "answer", "asked"),
    [
        ("Who are you?", "", True),
        ("what are you", "", True),
        ("What are you doing?", "", False),
        ("Which language model are you?", "", True),
        ("Which model of car is best?", "", False),
        ("What's your name", "", True),
        ("Who trained you?", "", True),
        ("Are you ChatGPT?", "", True),
        ("are you beta", "", True),  # a model that is served
        ("Are you ready?", "", False),
        ("Hello", "I am a language model.", False),  # `a` is a served name, and a word
        ("Hello", "I'm an AI assistant named Qwen2.5.", True),
        ("Hello", "I was created by OpenAI.", True),
        ("Hello", "My name is beta.", True),
        ("Who made Python?", "Python was created by Google.", False),
        ("Hello", "I am a philosopher. The golden ratio is called phi.", False),
    ],
)
def test_a_question_for_the_name_and_an_answer_with_it_are_found(question, answer, asked):
    assert names_are_asked_for(question, ["A dog", answer], [*STORED, "a"]) is asked


def test_twelve_votes_for_one_side_are_one_sided():
    assert not is_one_sided([1] * 11)
    assert is_one_sided([2, *[1] * 12])
    assert not is_one_sided([*[1] * 11, 2])


def test_questions_are_the_same_whatever_case_and_space():
    assert same_question(" What  is\nTHIS? ") == same_question("what is this?")
    assert same_question("what is this?") != same_question("what was this?")


def test_each_pair_of_models_and_each_side_is_equally_likely():
    """6,000 draws of 6 ordered pairs: 1,000 each, standard deviation √(6000·5/36) = 29."""
    battles = Battles(["a", "b", "c"], draw=random.Random(0))
    counts = Counter(tuple(battles.begin("ann", "?").models) for _ in range(6000))
    assert len(counts) == 6
    assert all(abs(count - 1000) < 4 * 29 for count in counts.values())


def finished(
    question: str, models=("alpha", "beta"), texts=("A dog", "A cat"), visitor="v"
) -> Battle:
    """A battle on which a vote is possible."""
    return Battle(
        id=f"{question} {random.random()}",
        visitor=visitor,
        question=question,
        models=models,
        texts=list(texts),
        endings=["stop", "stop"],
    )


def test_a_battle_is_decided_once_and_not_before_it_can_have_been_read():
    now = [0.0]
    battles = Battles(["alpha", "beta"], clock=lambda: now[0])
    battle = battles.begin("v", "?")
    battles.show(battle, 0, "x" * 100)
    with pytest.raises(TooEarly):
        battles.decide(battle)  # not complete
    assert battle.is_early
    battles.show(battle, 1, "y" * 100)
    assert battles.complete(battle) == pytest.approx(4.0)
    now[0] = 3.9
    with pytest.raises(TooEarly):
        battles.decide(battle)
    now[0] = 4.0
    assert battles.decide(battle)
    assert not battles.decide(battle)


def test_merged_streams_give_items_as_they_come():
    """The second stream gives both of its items while the first one waits."""

    async def collect():
        ready = asyncio.Event()

        async def slow():
            await ready.wait()
            yield "a"

        async def fast():
            yield "b"
            yield "c"
            ready.set()

        return [pair async for pair in merged([slow(), fast()])]

    assert asyncio.run(collect()) == [(1, "b"), (1, "c"), (0, "a")]


def test_votes_are_preference_rows_with_the_stored_names(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        assert votes.cast(finished("p", ("beta", "alpha")), "2") == []
        assert (
            votes.cast(finished("q", texts=("A dog", "<think>\nHm\n</think>\n\nA cat")), "bad")
            == []
        )
        [pair] = rows_of(store, "pairs").rows
        first, second = rows_of(store, "rankings").rows
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == ("p", "A cat", "A dog")
    assert pair["models"] == ["runs/alpha", "runs/beta"]
    assert (first["source"], first["ranks"], first["purpose"]) == ("arena", [2, 1], "label")
    assert first["extra"] == {"arena": True, "blind": True}
    assert second["extra"] == {"arena": True, "blind": True, "both_bad": True}


def test_votes_that_break_a_rule_are_stored_and_count_nowhere(tmp_path):
    early = finished("r")
    early.is_early = True
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        assert votes.cast(finished("p"), "1") == []
        assert votes.cast(finished("P ", ("beta", "alpha")), "1") == ["repeated"]
        assert votes.cast(finished("p", visitor="w"), "1") == []  # another visitor
        assert votes.cast(finished("Who are you?"), "2") == ["names"]
        assert votes.cast(early, "tie") == ["early"]
        exported = rows_of(store, "pairs")
        assert [row["prompt"] for row in exported.rows] == ["p", "p"]
        assert exported.left_out["votes that the arena discounts"] == 3
        assert len(rows_of(store, "rankings").rows) == 2
        purposes = [row["purpose"] for row in rows_of(store, "events").rows]
        assert purposes == ["label", "discounted", "label", "discounted", "discounted"]
        board = board_of(votes)
        # Annotators of the label page do not get what was discounted.
        assert Queue(store, QueueConfig()).next("ann") is None
    assert (board.votes, board.discounted) == (2, 3)
    assert board.by_rule == {"repeated": 1, "names": 1, "early": 1}
    assert read_votes(str(tmp_path / "s.sqlite"), 0).counts.votes == 2  # a next round trains on


def test_votes_for_one_side_stop_to_count_until_the_other_is_chosen(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        broken = [votes.cast(finished(f"p{n}"), "1") for n in range(13)]
        assert broken == [[]] * 11 + [["one_sided"]] * 2
        assert votes.cast(finished("tie"), "tie") == []
        assert votes.cast(finished("other"), "2") == []
        assert votes.cast(finished("again"), "1") == []


def test_the_rules_hold_after_a_restart(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        visitor = votes.visitor("203.0.113.7")
        for n in range(11):
            votes.cast(finished(f"p{n}", visitor=visitor), "2")
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        assert votes.visitor("203.0.113.7") == visitor
        assert votes.cast(finished("p0", visitor=visitor), "1") == ["repeated"]
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        assert votes.cast(finished("new", visitor=visitor), "2") == []  # after a vote for the left
        erase_person(store, visitor)
        assert rows_of(store, "events").rows == []


def test_the_address_of_a_visitor_is_not_stored(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store, LabelStore(tmp_path / "t.sqlite") as other:
        votes = ArenaVotes(store, STORED)
        votes.cast(finished("p", visitor=votes.visitor("203.0.113.7")), "1")
        assert votes.visitor("2001:db8::1") == votes.visitor("2001:db8::2")
        assert votes.visitor("203.0.113.7") != ArenaVotes(other, STORED).visitor("203.0.113.7")
        key = store.setting("arena_visitor_key")
        rows = [*rows_of(store, "events").rows, *rows_of(store, "rankings").rows]
    assert b"203.0.113.7" not in (tmp_path / "s.sqlite").read_bytes()
    assert len(key) == 64
    assert key not in str(rows)


def test_leaderboard_has_the_win_rates_of_the_votes_that_count(tmp_path):
    """`alpha` wins 3 of 4 prompts, too few for a rank; chat votes and discounted votes are not
    among them."""
    with LabelStore(tmp_path / "s.sqlite") as store, Votes(tmp_path / "s.sqlite", "Ann") as chats:
        votes = ArenaVotes(store, STORED)
        for n, vote in enumerate(["1", "1", "1", "2"]):
            votes.cast(finished(f"p{n}"), vote)
        votes.cast(finished("p0"), "2")
        chats.vote(
            ComparedResponses(
                prompt="c", responses=["x", "y"], models=["runs/beta", "runs/alpha"], blind=True
            ),
            "1",
        )
        board = board_of(votes)
    first, second = board.results.models
    assert (first.model, first.win_rate.value, first.games) == ("runs/alpha", 0.75, 4)
    assert (second.model, second.win_rate.value) == ("runs/beta", 0.25)
    assert first.strength.value == pytest.approx(-second.strength.value)
    assert [board.rank(one) for one in board.results.models] == [None, None]


def test_a_model_that_wins_thirty_times_has_the_first_rank_alone(tmp_path):
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        for n in range(30):
            sides = ("alpha", "beta") if n % 2 else ("beta", "alpha")
            votes.cast(finished(f"p{n}", sides), "1" if n % 2 else "2")
        board = board_of(votes)
    assert [board.rank(one) for one in board.results.models] == [1, 2]


def test_five_votes_for_one_model_do_not_rank_it(tmp_path):
    """By chance five votes are all for one of two equal models in 2 / 32 = 6% of cases."""
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        for n in range(5):
            votes.cast(finished(f"p{n}"), "1")
        board = board_of(votes)
    assert not any(one.strength.has_interval for one in board.results.models)
    assert [board.rank(one) for one in board.results.models] == [None, None]


def test_a_model_without_a_rank_takes_none_from_others(tmp_path):
    """`gamma` has won its only two questions; `alpha` wins its thirty against `beta`."""
    names = STORED | {"gamma": "runs/gamma"}
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, names)
        for n in range(30):
            votes.cast(finished(f"p{n}", visitor=f"v{n}"), "1")
        for n in range(2):
            votes.cast(finished(f"q{n}", ("gamma", "alpha"), visitor=f"v{n}"), "1")
        board = board_of(votes)
    ranks = {one.model: board.rank(one) for one in board.results.models}
    assert ranks == {"runs/gamma": None, "runs/alpha": 1, "runs/beta": 2}


def test_models_that_write_the_same_texts_keep_their_votes_apart(tmp_path):
    """The texts are one item. Its second vote is of the same models on the other sides."""
    with LabelStore(tmp_path / "s.sqlite") as store:
        votes = ArenaVotes(store, STORED)
        votes.cast(finished("p", visitor="v"), "1")
        votes.cast(finished("p", ("beta", "alpha"), visitor="w"), "1")
        items = {item.id: item for item in store.items()}
        games = games_of(items, store.labels())
        rows = rows_of(store, "rankings").rows
        pairs = rows_of(store, "pairs").rows
    assert len(items) == 1
    assert [game.won for game in games] == [1.0, 0.0]  # by runs/alpha
    assert [row["models"] for row in rows] == [
        ["runs/alpha", "runs/beta"],
        ["runs/beta", "runs/alpha"],
    ]
    assert [row["models"] for row in pairs] == [row["models"] for row in rows]
    # An import finds the item, which has the first models: the row keeps its own in `extra`.
    assert [row["extra"].get("models") for row in rows] == [None, ["runs/beta", "runs/alpha"]]


@pytest.mark.parametrize(
    ("options", "code", "fragment"),
    [
        (["a", "--arena"], "missing-key", "two models"),
        (["a", "b", "--arena", "--token", "x" * 16], "key-conflict", "--token"),
        (["a", "b", "--arena", "--history", "off"], "key-conflict", "--history"),
        (["a", "b", "--arena", "--reward_model", "c"], "key-conflict", "--reward_model"),
        (["a", "b", "--arena", "--trusted_proxy", "here"], "bad-value", "here"),
        (["a", "--questions_per_hour", "3"], "key-conflict", "--questions_per_hour"),
    ],
)
def test_options_that_do_not_fit_the_arena_are_rejected(options, code, fragment):
    with raises(code, fragment):
        cli.main(options)


def test_the_guide_states_every_rule(root):
    guide = " ".join((root / "docs/how-to/chat-and-serve.md").read_text().split())
    for text in RULES.values():
        assert text in guide
