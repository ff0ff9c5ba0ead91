"""File names can hold anything but a slash; this makes them fit to be shown and stored as text."""


def printable(name: str) -> str:
    """Return the name with line breaks, control characters and bytes that are not UTF-8 written as escapes."""
    if name.isprintable():
        return name
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in name
    )
