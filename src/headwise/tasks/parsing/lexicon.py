"""The words of the synthetic treebank. Each has one class, which is all that its tree depends on."""

from __future__ import annotations

# fmt: off
NOUNS = {
    "person": "actor baker banker doctor driver farmer hunter judge king lawyer painter pilot poet queen sailor singer "
              "soldier teacher waiter writer",
    "place": "barn bridge cabin castle cellar field forest garden harbour hotel house island kitchen market museum "
             "palace river school street village",
    "thing": "basket blanket bottle box carpet chair clock coat engine hat ladder lamp letter map mirror picture ring "
             "rope table wagon",
}
VERBS = {  # all take -s and -ed
    "bring": "carry deliver haul lift move pull push transport",
    "mend": "clean cover decorate fill open paint repair wash",
    "watch": "admire discover follow inspect notice observe photograph watch",
    "rest": "arrive bark cough dream jump laugh relax smile snore wait walk work",
    "say": "believe claim deny explain remember suspect",
    "try": "attempt decide hesitate promise refuse want",
}
TRANSITIVE = ("bring", "mend", "watch")
PREPOSITIONS = {  # by the verbs that take them
    "none": "of near beside behind under", "bring": "into towards onto", "mend": "with without",
    "watch": "through across",
}
OTHERS = {
    "name": "Anna Bruno Clara David Emma Felix Greta Hugo Irma Jonas Karla Leo Mona Nils Olga Peter",
    "pronoun/one": "he she", "pronoun/more": "they we",
    "determiner/any": "the my her our", "determiner/one": "a each this", "determiner/more": "some these many",
    "adjective": "angry big blue clever cold famous gentle green happy heavy lazy little old quiet red sad strange "
                 "tall warm young",
    "number": "two three four five six", "degree": "very rather quite",
    "manner": "slowly loudly gladly badly quickly calmly", "frequency": "often never always seldom",
    "time/past": "yesterday earlier", "time/present": "now today", "time/future": "tomorrow soon",
    "that": "that", "to": "to", "and": "and", "which": "which", "will": "will", "because": "because although",
    "while": "while", "when": "when", "do/s": "does", "do/plain": "do", "do/past": "did",
    "comma": ",", "stop": ".", "question": "?",
}
# fmt: on


def classes() -> dict[str, list[str]]:
    """All words by class: `thing/one`, `bring/past`, `preposition/mend`, ..."""
    words = {name: text.split() for name, text in OTHERS.items()}
    words |= {f"preposition/{kind}": text.split() for kind, text in PREPOSITIONS.items()}
    for kind, text in NOUNS.items():
        words |= {f"{kind}/one": text.split(), f"{kind}/more": [with_s(noun) for noun in text.split()]}
    for kind, text in VERBS.items():
        words[f"{kind}/plain"] = text.split()
        words[f"{kind}/s"] = [with_s(verb) for verb in text.split()]
        words[f"{kind}/past"] = [with_ed(verb) for verb in text.split()]
    return words


def with_s(word: str) -> str:
    """The plural of a noun, the third person of a verb."""
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("sh", "ch", "x", "s")) else "s")


def with_ed(verb: str) -> str:
    """The past of a verb."""
    if verb.endswith("y"):
        return verb[:-1] + "ied"
    return verb.removesuffix("e") + "ed"
