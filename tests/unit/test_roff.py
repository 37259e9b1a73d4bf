"""From Markdown to man(7)."""

import pytest

from supervisor.cli import roff


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("## Exit status", [".SH EXIT STATUS"]),
        ("### Of stop", [".SS Of stop"]),
        ("one\ntwo\n\nthree", ["one two", ".PP", "three"]),
        ("## A\n\none", [".SH A", "one"]),
        ("- one\n  more\n- two", [".IP \\(bu 2", "one more", ".IP \\(bu 2", "two"]),
        (
            "```sh\n.x 'y'\n\n# z\n```",
            [".RS 4", ".EX", "\\&.x \\(aqy\\(aq", "", "# z", ".EE", ".RE"],
        ),
        ("| a | b |\n| --- | --- |\n| `x` | is y |", [".TP", "\\fBx\\fR", "is y"]),
        (
            "| a | b | c |\n| --- | --- | --- |\n| x | 1 | 2 |\n| y | | 3 |",
            [".TP", "\\fBx\\fR", "b: 1", ".br", "c: 2", ".TP", "\\fBy\\fR", "c: 3"],
        ),
    ],
)
def test_blocks(text, source):
    """Headings, paragraphs, lists, what is typed, tables."""
    assert list(roff.lines(text)) == source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a `--b` c", "a \\fB\\-\\-b\\fR c"),
        ("**a b** *c*", "\\fBa b\\fR \\fIc\\fR"),
        ("[name](target)", "name"),
        ('X-* count; "*" = all', 'X\\-* count; "*" = all'),
        ("C:\\x ~ ^", "C:\\ex \\(ti \\(ha"),
        ("\u2587", "\\[u2587]"),
    ],
)
def test_spans(text, source):
    """Fonts, and what roff would take for its own."""
    assert roff.spans(text) == source


def test_long_texts_are_filled():
    """No line is longer than mandoc wants it, and none begins a request."""
    lines = list(roff.filled(".x " * 200))
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("\\&.") for line in lines)
