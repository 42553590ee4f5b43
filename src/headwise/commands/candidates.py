"""What may be typed next on a command line, for shells that complete it.

It is asked at each press of a key, so nothing is imported or parsed but what the answer needs: of the settings only the
group in which the cursor is. Plugins that are files are not loaded, as pressing a key should not run code.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from headwise.commands.catalogue import Command, commands, named
from headwise.commands.chosen import Chosen
from headwise.commands.paths import paths
from headwise.commands.typed import Candidate
from headwise.errors import InputError
from headwise.sources import REQUIRED, Field
from headwise.training.presets import GROUPS, presets

PROGRAM = {"--help": "what commands there are", "--version": "which version this is"}
OF_ALL = {
    "--json": "the result as JSON on standard output",
    "--help": "what the command does",
    "--plugin": "load a module or a .py file first",
}
_OVERRIDE = re.compile(r"(?P<before>.*[:,]\s*)?(?P<override>[^:,]*)", re.S)


def candidates(words: Sequence[str], current: str) -> list[Candidate]:
    """The words that may stand at the cursor.

    Args:
        words: those behind `headwise` and before the cursor, without quotes.
        current: what of the word at the cursor is typed already.

    Returns:
        Candidates that begin with `current`; none where nothing can be said.
    """
    try:
        return [each for each in _candidates(list(words), current) if each.text.startswith(current)]
    except InputError:  # of a folder or file that the words name; the command will say so
        return []


def _candidates(words: list[str], current: str) -> Iterable[Candidate]:
    if words[-1:] == ["--plugin"]:
        return paths(current, lambda name: name.endswith(".py"))
    words = _without_plugins(words)
    if not words:
        return _words(PROGRAM) if current.startswith("-") else _parts("", current)
    command, own = named(words)
    second = _parts(f"{words[0]} ", current) if len(words) == 1 else []
    return second if command is None else [*second, *_of_command(command, own, current)]


def _parts(before: str, current: str) -> list[Candidate]:
    """The first words of commands, or behind one of these the second ones."""
    found: dict[str, str] = {}
    for name, command in commands().items():
        if name.startswith(before + current):
            found.setdefault(name[len(before) :].partition(" ")[0], command.summary)
    return _words(found)


def _without_plugins(words: Sequence[str]) -> list[str]:
    rest: list[str] = []
    follows = iter(words)
    for word in follows:
        if word == "--plugin":
            next(follows, None)
        elif not word.startswith("--plugin="):
            rest.append(word)
    return rest


def _of_command(command: Command, own: list[str], current: str) -> Iterable[Candidate]:
    fields = command.options.fields
    if current.startswith("-"):
        switches = {f"--{name}": each.meaning for name, each in fields.items() if each.allowed == "true or false"}
        return _words(switches | OF_ALL)
    places = [field for field in fields.values() if field.kind == "argument"]
    placed = [word for word in own if "=" not in word and not word.startswith(("-", "~"))]
    of_runs = any(field.kind == "settings" for field in fields.values())
    chosen = Chosen(own, placed[0] if places and places[0].name == "run" and placed else None)
    if command.name == "help":
        return _help(current, chosen)
    key, equals, text = current.partition("=")
    if equals:
        if key in fields and fields[key].kind == "option":
            return _prefixed(f"{key}=", _values(command, fields[key], text))
        return _prefixed(f"{key}=", setting_values(key, text, chosen)) if of_runs else []
    field = _field_at(places, len(placed))
    by_place = [] if field is None else list(_by_place(command, field, current))
    if field is not None and field.default is REQUIRED and not current:
        return by_place
    given = {word.partition("=")[0] for word in own}
    options = [
        Candidate(f"{name}=", each.meaning, ends=False)
        for name, each in fields.items()
        if each.kind == "option" and name not in given
    ]
    return [*by_place, *options, *(chosen.keys(current) if of_runs else [])]


def _field_at(places: Sequence[Field], count: int) -> Field | None:
    """The field that the next word without a key fills; the last one takes all that follow, if it takes several."""
    if count < len(places):
        return places[count]
    return places[-1] if places and places[-1].default == () else None


def _by_place(command: Command, field: Field, text: str) -> Iterable[Candidate]:
    match command.name, field.name:
        case "list", _:
            from headwise.commands.kinds import KINDS

            return _words({name: f"for {usage}" for name, (usage, _) in KINDS.items()})
        case (("claims" | "claims run"), _):
            from headwise.commands.kinds import claims

            return [*_words(claims()), *paths(text, lambda name: name.endswith(".yaml"))]
        case "data get", _:
            from headwise.commands.kinds import data_sets

            return _words(data_sets())
    return _values(command, field, text)


def _help(text: str, chosen: Chosen) -> Iterable[Candidate]:
    """Commands, keys, and the names that a key takes."""
    key, equals, name = text.partition("=")
    if equals:
        return _prefixed(f"{key}=", setting_values(key, name, chosen))
    keys = [Candidate(each.text.rstrip("="), each.meaning, not each.text.endswith(".")) for each in chosen.keys(text)]
    return [*_words({name: command.summary for name, command in commands().items() if " " not in name}), *keys]


def _values(command: Command, field: Field, text: str) -> Iterable[Candidate]:
    """What an option of a command's own may be."""
    if field.name == "arms":
        return _arms(text)
    if command.name == "sweep" and field.name == "sweep":
        return _words(presets("sweep"))
    return _of_field(field, text)


def setting_values(key: str, text: str, chosen: Chosen) -> Iterable[Candidate]:
    """What a setting of a run may be."""
    if key == "model.size":
        from headwise.commands.kinds import sizes

        return _words(sizes())
    if key in GROUPS:
        return [*_words(presets(key)), *paths(text, lambda name: name.endswith((".yaml", ".yml")))]
    field = chosen.field(key.removesuffix(".name"))
    return [] if field is None else _of_field(field, text)


def _of_field(field: Field, text: str) -> Iterable[Candidate]:
    """The names that a field takes, as far as its type or its registry says."""
    if field.choices is not None:
        return _words({name: choice.summary for name, choice in field.choices.items()})
    found: Iterable[Candidate] = ()
    if "a path" in field.allowed.split(" or "):
        found = paths(text, folders_only=field.name in FOLDERS, runs_only=field.name in RUNS)
    # A type in words, "a whole number or auto, all": what has no space in it is typed as it is written
    plain = [word for part in field.allowed.split(" or ") for word in part.split(", ")]
    return [*found, *_words({word: "" for word in plain if re.fullmatch(r"[\w.-]+", word)})]


RUNS = ("run", "runs", "resume")
"""Fields that take directories of runs."""
FOLDERS = (*RUNS, "directory", "output", "cache", "folder")
"""Fields that take directories and never files."""


def _arms(text: str) -> Iterator[Candidate]:
    """A list of arms, `[baseline,"hrm:refinement.steps=12"]`, each by name and with settings of its own."""
    start = _last_item(text)
    before, item = text[:start] or "[", text[start:]
    quote = item[:1] if item[:1] in ("'", '"') else ""
    label = item[len(quote) :]
    name, colon, settings = label.partition(":")
    called, arm = "".join(name.rpartition("=")[:2]), name.rpartition("=")[2]  # slow=, hrm
    if not colon:
        arms = presets("arm").items()
        found = {f"{called}{each}": line for each, line in arms if each.startswith(arm)}
        for each, line in found.items():
            if len(found) > 1 or quote:
                yield Candidate(f"{before}{quote}{each}", line, ends=False)
            else:  # the only one: what may follow it
                yield from (Candidate(f"{before}{each}{after}", line, ends=after == "]") for after in (",", "]"))
        return
    parts = _OVERRIDE.fullmatch(settings)
    earlier = (parts and parts["before"]) or ""
    override = settings[len(earlier) :]
    chosen = Chosen([f"arm={arm}"])
    key, equals, value = override.partition("=")
    head = f"{before}{quote}{name}:{earlier}"
    own = key if key.startswith(("arm.", "model.")) else f"arm.{key}"
    if equals:
        yield from _open(_prefixed(f"{head}{key}=", setting_values(own, value, chosen)))
        return
    yield from _open(_prefixed(head, (each.relative_to("arm.") for each in chosen.keys(f"arm.{key}"))))
    yield from _open(_prefixed(head, (each for each in chosen.keys(key) if each.text.startswith("model."))))


def _last_item(text: str) -> int:
    """Where the last item of a list that is not closed begins; commas between quotes or brackets part nothing."""
    start, depth, quote = 0, 0, ""
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
            start = place + 1 if depth == 1 and place == 0 else start
        elif character in "]})":
            depth -= 1
        elif character == "," and depth <= 1:
            start = place + 1
    return start


def _open(found: Iterable[Candidate]) -> Iterator[Candidate]:
    """The same where more of the word follows: a quote, a comma, a bracket."""
    return (Candidate(each.text, each.meaning, ends=False) for each in found)


def _words(lines: Mapping[str, str]) -> list[Candidate]:
    return [Candidate(name, line) for name, line in lines.items()]


def _prefixed(prefix: str, found: Iterable[Candidate]) -> Iterator[Candidate]:
    return (Candidate(prefix + each.text, each.meaning, each.ends) for each in found)
