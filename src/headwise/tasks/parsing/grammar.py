"""The synthetic treebank: English-like sentences whose words determine their trees.

    sentence -> [fronted ","] clause [("because" | "while") clause] "."  |  "which" noun "did" clause-with-a-gap "?"
    fronted  -> preposition phrase  |  "when" clause  |  "yesterday"  |  the object of the last verb
    phrase   -> determiner adjective* noun (preposition phrase)* ["and" noun] ["that" relative-clause]

What a word attaches to depends on words, not on distance:
    preposition   the nearest open verb that takes it ("carries ... into", "repairs ... with"), else the noun before it
    "that"        relative clauses: the nearest noun to the left that agrees with the verb, often across the main verb
                  and then not projective: "the sailor noticed the poets today that smiles"
    "and"         nouns: the nearest of the same kind (person, place, thing); verbs: the nearest open one of that form
    "yesterday"   and other times: the nearest open verb of that tense
    object        in front: the last verb of a chain of clauses, "which letter does Anna claim that they open"
    "because"     the root; "while": the nearest open verb
A verb is open until something attaches further out. Every word has one class, and the classes determine the tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from headwise.tasks.parsing.lexicon import NOUNS, PREPOSITIONS, TRANSITIVE, classes
from headwise.tasks.parsing.sentences import Sentence

SIZES = {"train": 2000, "validation": 300, "test": 300}
SHORTEST, LONGEST = 4, 30
"""Words of a sentence, the full stop included."""

_WORDS = classes()

T = TypeVar("T")


def generate(seed: int, sizes: Mapping[str, int] = SIZES) -> dict[str, list[Sentence]]:
    """The splits of the treebank; no two sentences, in whatever splits, have the same words.

    The held-out splits are drawn first, so that they stay the same when more or fewer sentences are trained on.
    """
    draws = _Draws(seed)
    seen: set[tuple[str, ...]] = set()
    splits: dict[str, list[Sentence]] = {}
    for split in sorted(sizes, key=lambda name: name == "train"):
        found = splits.setdefault(split, [])
        while len(found) < sizes[split]:
            words = _Writer(draws).write()
            forms = tuple(words.forms)
            if SHORTEST <= len(forms) <= LONGEST and forms not in seen:
                seen.add(forms)
                where = f"synthetic {split}:{len(found) + 1}"
                found.append(Sentence(forms, tuple(head + 1 for head in words.heads), tuple(words.relations), where))
    return {split: splits[split] for split in sizes}


class _Draws:
    """Random choices from numbers drawn by the thousand; one call of a Generator per choice would take most of the
    time."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._numbers: list[float] = []

    def number(self) -> float:
        if not self._numbers:
            self._numbers = self._rng.random(8192).tolist()
        return self._numbers.pop()

    def chance(self, probability: float) -> bool:
        return self.number() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.number() * len(options))]


@dataclass(frozen=True, slots=True)
class _Noun:
    place: int
    kind: str
    count: str
    """`one` or `more`"""
    common: bool


@dataclass(frozen=True, slots=True)
class _Verb:
    place: int
    kind: str
    form: str
    tense: str


class _Writer:
    """A sentence in the making. Places count from 0; -1 is the root, and the head of a word whose head is to come.

    Attributes:
        nouns: all so far, for what looks for one to its left.
        open: verbs that later words may attach to, the nearest last.
    """

    def __init__(self, draws: _Draws) -> None:
        self.chance, self.pick = draws.chance, draws.pick
        self.forms: list[str] = []
        self.heads: list[int] = []
        self.relations: list[str] = []
        self.nouns: list[_Noun] = []
        self.open: list[_Verb] = []

    def write(self) -> _Writer:
        """Write a whole sentence."""
        if self.chance(0.1):
            root = self.gapped(question=True, chain=self.pick((0, 0, 1, 2)))
            self.adjuncts(1)
            self.add("question", "punct", root)
            return self
        start = self.pick(("time", "preposition", "when", "object", *["subject"] * 7))
        fronted = -1
        if start == "preposition":
            fronted = self.prepositional(1)
        elif start == "when":
            fronted = self.subordinate("when", 1)
        elif start == "time":
            fronted = self.add("time/past", "advmod")
        comma = -1 if start in ("subject", "object") else self.add("comma", "punct")
        self.open = []
        if start == "object":
            root = self.gapped(question=False, chain=self.pick((0, 0, 1)))
        else:
            root = self.clause(3, "root", -1, "past" if start == "time" else "")
        for word in (fronted, comma):
            if word >= 0:
                self.heads[word] = root
        if self.chance(0.1):
            kind = self.pick(("because", "while"))
            if kind == "because":
                del self.open[1:]
            head = self.open[-1].place
            self.heads[self.subordinate(kind, 1)] = head
        self.add("stop", "punct", root)
        return self

    # Words

    def add(self, name: str, relation: str, head: int = -1) -> int:
        """Write a word of the class `name`; returns its place."""
        self.forms.append(self.pick(_WORDS[name]))
        self.heads.append(head)
        self.relations.append(relation)
        return len(self.forms) - 1

    def noun(self, relation: str, head: int = -1, kind: str = "", determiner: str = "") -> _Noun:
        """Determiner, adjectives and a noun of some kind, or a name."""
        kind = kind or self.pick(tuple(NOUNS))
        if not determiner and kind == "person" and self.chance(0.3):
            self.nouns.append(_Noun(self.add("name", relation, head), kind, "one", common=False))
            return self.nouns[-1]
        count = self.pick(("one", "one", "more"))
        waiting = []
        if determiner:
            waiting.append(self.add(determiner, "det"))
        elif count == "more" and self.chance(0.2):
            waiting.append(self.add("number", "nummod"))
        elif count == "one" or self.chance(0.7):
            waiting.append(self.add(f"determiner/{self.pick(('any', count))}", "det"))
        while self.chance(0.25):
            degree = self.add("degree", "advmod") if self.chance(0.2) else -1
            waiting.append(self.add("adjective", "amod"))
            if degree >= 0:
                self.heads[degree] = waiting[-1]
        noun = _Noun(self.add(f"{kind}/{count}", relation, head), kind, count, common=True)
        for word in waiting:
            self.heads[word] = noun.place
        self.nouns.append(noun)
        return noun

    def verb(self, kind: str, form: str, tense: str, relation: str, head: int) -> _Verb:
        self.open.append(_Verb(self.add(f"{kind}/{form}", relation, head), kind, form, tense))
        return self.open[-1]

    def nearest(self, open_verbs: list[int]) -> _Verb:
        """The last of these places in `open`; what is open behind it is closed."""
        del self.open[open_verbs[-1] + 1 :]
        return self.open[-1]

    # Phrases

    def phrase(self, depth: int, relation: str, head: int = -1) -> tuple[int, bool]:
        """A noun with what modifies it; returns its place and whether verbs agree with it in the plural."""
        start = len(self.nouns)
        noun = self.noun(relation, head)
        plural = noun.count == "more"
        while depth > 0 and self.chance(0.3):
            self.prepositional(depth - 1)
        if depth > 0 and self.chance(0.2):
            kind = self.pick([other.kind for other in self.nouns[start:]])
            first = next(other for other in reversed(self.nouns) if other.kind == kind)
            conjunction = self.add("and", "cc")
            self.heads[conjunction] = self.noun("conj", first.place, kind).place
            plural = plural or first is noun
        if depth > 0 and self.chance(0.2):
            self.relative(depth - 1)
        return noun.place, plural

    def prepositional(self, depth: int) -> int:
        """A preposition and its noun; returns the noun's place. In front of everything its head is to come."""
        kind = self.pick(tuple(PREPOSITIONS))
        before = len(self.forms) - 1
        case = self.add(f"preposition/{kind}", "case")
        takers = [i for i, verb in enumerate(self.open) if verb.kind == kind]
        if takers:
            head, relation = self.nearest(takers).place, "obl"
        elif self.nouns and self.nouns[-1].place == before:
            head, relation = before, "nmod"
        else:
            head, relation = (self.open[-1].place if self.open else -1), "obl"
        place, _ = self.phrase(depth, relation, head)
        self.heads[case] = place
        return place

    def subject(self, depth: int) -> tuple[int, bool]:
        """A subject, and whether it is plural. No verb is open to it, and none of its own stays open."""
        before, self.open = self.open, []
        if self.chance(0.2):
            count = self.pick(("one", "more"))
            place, plural = self.add(f"pronoun/{count}", "nsubj"), count == "more"
        else:
            place, plural = self.phrase(depth, "nsubj")
        self.open = before
        return place, plural

    def relative(self, depth: int) -> None:
        """A relative clause, if there is a noun that it can belong to."""
        last = self.nouns[-1]
        if last.common and last.place == len(self.forms) - 1 and self.chance(0.3):
            # "the letter that they open"; only right behind its noun
            that = self.add("that", "obj")
            subject, plural = self.subject(0)
            tense = self.pick(("present", "past"))
            verb = self.verb(self.pick(TRANSITIVE), _form(tense, plural), tense, "acl:relcl", last.place)
            self.heads[that] = self.heads[subject] = verb.place
            return
        agreeing = {noun.count: noun for noun in self.nouns if noun.common}
        if not agreeing:
            return
        # A dict keeps the place of a key that is set again, so the nearest is not simply the last
        near = max(agreeing.values(), key=lambda noun: noun.place)
        noun = near if self.chance(0.6) else self.pick(list(agreeing.values()))
        that = self.add("that", "nsubj")
        self.heads[that] = self.predicate(depth, noun.count == "more", "acl:relcl", noun.place, "present")

    # Clauses

    def clause(self, depth: int, relation: str, head: int, tense: str = "") -> int:
        """A subject and its predicate; returns the verb's place."""
        subject, plural = self.subject(depth - 1)
        verb = self.predicate(depth, plural, relation, head, tense)
        self.heads[subject] = verb
        return verb

    def subordinate(self, name: str, depth: int) -> int:
        """A conjunction and its clause, whose head is to come."""
        mark = self.add(name, "mark")
        self.heads[mark] = self.clause(depth, "advcl", -1)
        return self.heads[mark]

    def predicate(self, depth: int, plural: bool, relation: str, head: int, tense: str = "") -> int:
        """A finite verb and what follows it; returns the verb's place."""
        tense = tense or self.pick(("present", "present", "past", "past", "future"))
        waiting = [self.add("will", "aux")] if tense == "future" else []
        if self.chance(0.1):
            waiting.append(self.add("frequency", "advmod"))
        verb = self.completed(depth, _form(tense, plural), tense, relation, head)
        for word in waiting:
            self.heads[word] = verb
        return verb

    def completed(self, depth: int, form: str, tense: str, relation: str, head: int) -> int:
        """A verb of the given form with object, complement clause and adjuncts."""
        kinds = (*TRANSITIVE, *TRANSITIVE, "rest", "rest", "say", "try")
        kind = self.pick(kinds if depth > 0 else (*TRANSITIVE, "rest"))
        verb = self.verb(kind, form, tense, relation, head).place
        if kind in TRANSITIVE:
            self.phrase(depth - 1, "obj", verb)
        elif kind == "say":
            mark = self.add("that", "mark")
            self.heads[mark] = self.clause(depth - 1, "ccomp", verb)
        elif kind == "try":
            mark = self.add("to", "mark")
            self.heads[mark] = self.completed(depth - 1, "plain", "", "xcomp", verb)
        self.adjuncts(depth)
        return verb

    def adjuncts(self, depth: int) -> None:
        """What may follow at the end of a clause, each attached by its own rule."""
        if self.open[-1].place == len(self.forms) - 1 and self.chance(0.4):
            self.prepositional(depth - 1)
        if self.chance(0.12):
            self.add("manner", "advmod", self.open[-1].place)
        if (tenses := [verb.tense for verb in self.open if verb.tense]) and self.chance(0.2):
            tense = self.pick(tenses)
            time = self.add(f"time/{tense}", "advmod")
            self.heads[time] = self.nearest([i for i, verb in enumerate(self.open) if verb.tense == tense]).place
        if depth > 0 and self.nouns and self.chance(0.08):
            self.relative(depth - 1)
        if depth > 0 and self.chance(0.12):
            form = self.pick([verb.form for verb in self.open])
            first = self.nearest([i for i, verb in enumerate(self.open) if verb.form == form])
            conjunction = self.add("and", "cc")
            self.heads[conjunction] = self.completed(depth - 1, form, first.tense, "conj", first.place)

    def gapped(self, question: bool, chain: int) -> int:
        """An object in front of a chain of clauses, the last of which lacks it; returns the root.

        "which letter does Anna claim that they open", "this letter , they open".
        """
        thing = self.noun("obj", determiner="which" if question else "").place
        waiting = [] if question else [self.add("comma", "punct")]
        root = head = -1
        for left in range(chain, -1, -1):
            tense = self.pick(("present", "past"))
            inverted = question and left == chain
            if inverted:
                waiting.append(self.add("do/past", "aux"))
            subject, plural = self.subject(0)
            form = _form(tense, plural)
            if inverted:  # the auxiliary is inflected in the verb's place
                self.forms[waiting[-1]] = self.pick(_WORDS[f"do/{form}"])
                form = "plain"
            kind = "say" if left else self.pick(TRANSITIVE)
            head = self.verb(kind, form, tense, "root" if root < 0 else "ccomp", head).place
            root = head if root < 0 else root
            for word in (*waiting, subject):
                self.heads[word] = head
            waiting = [self.add("that", "mark")] if left else []
        self.heads[thing] = head
        return root


def _form(tense: str, plural: bool) -> str:
    """The form of a verb, or of the auxiliary that stands for it."""
    return {"past": "past", "future": "plain"}.get(tense, "plain" if plural else "s")
