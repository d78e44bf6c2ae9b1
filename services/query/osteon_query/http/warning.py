"""The Warning header: what is wrong with an answer that comes nevertheless (RFC 7234 5.5, PS3.18 8.3.5)."""

_LONGEST = 300


def warning(text: str) -> dict[str, str]:
    """Return the header that says `text`, with blanks for all but printable ASCII; nothing for an empty text."""
    printable = "".join(c if " " <= c <= "~" and c not in '"\\' else " " for c in text[:_LONGEST])
    return {"Warning": f'299 osteon "{printable}"'} if text else {}
