"""Votes of the arena -> the label store. A vote that breaks a rule is stored and does not count."""

import hmac
import secrets
import threading
from collections.abc import Mapping, Sequence

from rlhf.chat.arena.battles import Battle
from rlhf.chat.arena.rules import (
    EARLY,
    NAMES,
    ONE_SIDED,
    REPEATED,
    is_one_sided,
    names_are_asked_for,
    same_question,
)
from rlhf.chat.votes import BOTH_BAD, ResponseOrigin, origin_fields, ranks_of_vote
from rlhf.labels.records import (
    ARENA,
    DISCOUNTED,
    LABEL,
    Candidate,
    Label,
    StoredLabel,
    is_of_visitor,
)
from rlhf.labels.store import LabelStore
from rlhf.web.addresses import network_of

KEY = "arena_visitor_key"  # setting of the store
NAME_LENGTH = 16  # hexadecimal digits in a visitor's name


class ArenaVotes:
    """The votes of visitors, in the store and, as far as the rules need them, in memory.

    Args:
        store: where votes are stored.
        stored_names: name on the server -> name under which responses of the model are stored.
    """

    def __init__(self, store: LabelStore, stored_names: Mapping[str, str]) -> None:
        self.store, self.stored_names = store, stored_names
        self._key = _visitor_key(store)
        self._lock = threading.Lock()  # votes come on several threads
        self._questions: set[tuple[str, str]] = set()  # visitor, question
        self._sides: dict[str, list[int]] = {}  # visitor -> preferred sides, the oldest first
        questions = {item.id: item.prompt for item in store.items()}
        for label in arena_labels(store):
            self._remember(label.annotator, str(questions[label.item_id]), label.ranks)

    def visitor(self, address: str) -> str:
        """The name of whoever uses an address: a hash whose key never leaves the store."""
        digest = hmac.digest(self._key, network_of(address).encode(), "sha256")
        return f"visitor-{digest.hex()[:NAME_LENGTH]}"

    def cast(self, battle: Battle, vote: str) -> list[str]:
        """Store the vote of a decided battle; the rules that it breaks.

        Raises:
            DataError: another vote than `1` (left), `2`, `tie` or `bad`.
        """
        ranks = ranks_of_vote(vote, len(battle.texts))
        with self._lock:
            broken = self._broken_rules(battle, ranks)
            self._store(battle, ranks, broken, both_bad=vote == BOTH_BAD)
            self._remember(battle.visitor, battle.question, ranks)
        return broken

    def _store(
        self, battle: Battle, ranks: list[int], broken: list[str], *, both_bad: bool
    ) -> None:
        models = [self.stored_names[name] for name in battle.models]
        candidate = Candidate(
            prompt=battle.question,
            responses=battle.responses,
            models=models,
            columns={"source": ARENA},
        )
        if broken:
            item = self.store.add_marked(candidate)  # annotators do not get it either
        else:
            [item] = self.store.add_candidates([candidate])
        extra: dict[str, object] = {ARENA: True, "blind": True, "models": models}
        extra |= origin_fields([ResponseOrigin(ending=ending) for ending in battle.endings])
        extra |= {"both_bad": True} if both_bad else {}
        extra |= {"discounted": broken} if broken else {}
        label = Label(
            item_id=item,
            annotator=battle.visitor,
            ranks=ranks,
            order_shown=[0, 1],
            purpose=DISCOUNTED if broken else LABEL,
            extra=extra,
        )
        self.store.submit(label, request_key=f"{ARENA} {battle.id}")

    def _broken_rules(self, battle: Battle, ranks: list[int]) -> list[str]:
        sides = [*self._sides.get(battle.visitor, []), *_side(ranks)]
        is_known = (battle.visitor, same_question(battle.question)) in self._questions
        broken = {
            EARLY: battle.is_early,
            REPEATED: is_known,
            NAMES: names_are_asked_for(battle.question, battle.texts, self.stored_names),
            ONE_SIDED: bool(_side(ranks)) and is_one_sided(sides),
        }
        return [rule for rule, is_broken in broken.items() if is_broken]

    def _remember(self, visitor: str, question: str, ranks: Sequence[int]) -> None:
        self._questions.add((visitor, same_question(question)))
        self._sides.setdefault(visitor, []).extend(_side(ranks))


def arena_labels(store: LabelStore) -> list[StoredLabel]:
    """The votes of the arena in a store, without those of excluded items, the oldest first."""
    return [label for label in store.labels() if is_of_visitor(label)]


def _side(ranks: Sequence[int]) -> list[int]:
    """[1] if the left answer was preferred, [2] for the right one; [] for neither."""
    return [] if ranks[0] == ranks[1] else [1 if ranks[0] < ranks[1] else 2]


def _visitor_key(store: LabelStore) -> bytes:
    """The key of visitors' names, made once for a store."""
    if not store.setting(KEY):
        store.set_setting(KEY, secrets.token_hex(32))
    return bytes.fromhex(store.setting(KEY))
