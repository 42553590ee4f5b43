"""One word that may be typed next."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A word that may stand at the cursor.

    Attributes:
        text: the whole word.
        meaning: in a few words; empty where there is nothing to say.
        ends: whether nothing more belongs to the word; not behind `task=` or a folder, say.
    """

    text: str
    meaning: str = ""
    ends: bool = True

    def relative_to(self, group: str) -> "Candidate":
        """The same without the group that its key begins with."""
        return Candidate(self.text.removeprefix(group), self.meaning, self.ends)
