"""A MediaWiki XML dump (`kowiki-latest-pages-articles.xml.bz2`): the articles, their markup parsed by mwparserfromhell.

Read are pages of namespace 0 that are no redirects, of a page with several revisions the last. A document is the title,
then headings and paragraphs, a line each and no blank lines. Left out are what is not running text (templates, tables,
pictures, references, formulas, galleries, categories) and the headings under which nothing is left.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from xml.etree import ElementTree

from mwparserfromhell.parser import Parser, ParserError, tokens

from korformer.text.reading import TextReader
from korformer.text.sources import Likeness, SourceKind

_REDIRECT = re.compile(r"\s*#\s*(redirect|넘겨주기)\b", re.IGNORECASE)
_INVISIBLE_LINK = re.compile(r"\s*(?:파일|그림|미디어|분류|file|image|media|category)\s*:", re.IGNORECASE)
_OTHER_LANGUAGE = re.compile(r"\s*[a-z]{2,3}(?:-[a-z]+)*:(?! )")
_DROPPED_TAGS = re.compile(
    "table|tr|td|th|caption|ref|references|gallery|math|chem|ce|timeline|score|graph|imagemap|hiero|source|style|"
    "syntaxhighlight|templatestyles|templatedata|categorytree|inputbox|section|indicator|mapframe|maplink"
)
_LINE_TAGS = re.compile("br|hr|li|dt|dd|p|div|blockquote|poem|center")
_TEXT_TEMPLATES = frozenset({"lang", "llang", "langx", "nowrap", "언어"})
"""Templates whose last plain argument is what the reader sees, as in {{llang|en|Seoul}}."""

_HEADING = "\x01"
_GONE = "\x02"
"""Where a template or reference was: brackets and commas around nothing go with it. (XML allows neither character.)"""
_QUOTES = re.compile(r"'{2,}")
_SPACES = re.compile(r"[ \t\xa0\u3000]+")
_SWITCHES = re.compile(r"__[A-Z가-힣_]+?__")
_EMPTY_BRACKETS = re.compile(r" ?[(（〈《\[][\s,;:/·~\x02]*\x02[\s,;:/·~\x02]*[)）〉》\]]")
_BRACKET_START = re.compile(r"([(（])[\s,;/·\x02]*\x02[\s,;/·\x02]*")
_BRACKET_END = re.compile(r"[\s,;/·\x02]*\x02[\s,;/·\x02]*([)）])")
_BETWEEN_COMMAS = re.compile(r",\s*\x02\s*(?=,)")
_LEFTOVER = re.compile(r"[|!{}]|\W*$")
"""How lines begin that an unbalanced table or template leaves behind, or lines without a single letter or digit."""


def _recognise(head: str) -> Likeness:
    return Likeness.SPECIFIC if re.match(r"\s*(<\?xml[^>]*>\s*)?<mediawiki\b", head) else Likeness.NONE


def _read(reader: TextReader) -> Iterator[str]:
    for title, markup in _articles(reader):
        try:
            text = article_text(title, markup)
        except ParserError:  # a fault of the parser's own: a page is lost and told, not the dump
            reader.rejected += 1
        else:
            yield reader.restore(text)


def _articles(reader: TextReader) -> Iterator[tuple[str, str]]:
    """Title and markup of each article; of the parsed tree no more than one page is kept."""
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
    root = list[ElementTree.Element]()
    page = dict[str, str]()
    try:
        for data in _feed(parser, reader):
            for event, element in data:
                if event == "start":
                    root = root or [element]
                    continue
                name = element.tag.rpartition("}")[2]
                if name == "page":
                    article = _article(page)
                    if article:
                        yield article
                    page = {}
                    root[0].clear()
                elif name in ("title", "ns", "text", "model", "redirect"):
                    page[name] = element.text or ""
                elif name == "revision":
                    element.clear()
    except ElementTree.ParseError as error:
        line, column = error.position
        what = f"malformed XML at column {column:,}: {str(error).partition(':')[0]}"
        reader.reject(what, line=line, hint="The file may be cut off; fetch it again, or read on with --errors skip.")


def _feed(
    parser: ElementTree.XMLPullParser[ElementTree.Element], reader: TextReader
) -> Iterator[Iterator[tuple[str, ElementTree.Element]]]:
    for chunk in reader.utf8_chunks():
        parser.feed(chunk)
        yield parser.read_events()  # type: ignore[misc]
    parser.close()
    yield parser.read_events()  # type: ignore[misc]


def _article(page: dict[str, str]) -> tuple[str, str] | None:
    if page.get("ns", "0").strip() != "0" or "redirect" in page or page.get("model", "wikitext") != "wikitext":
        return None
    markup = page.get("text", "")
    return None if _REDIRECT.match(markup) else (page.get("title", ""), markup)


def article_text(title: str, markup: str) -> str:
    """The running text of an article: title, headings and paragraphs, one a line; "" where the markup holds none."""
    # Only the tokenizer is used: the tree that `mwparserfromhell.parse` builds of its tokens, a Python object for every
    # name and value, takes ten times as long as everything else together.
    tokenizer = Parser()._tokenizer  # type: ignore[no-untyped-call]
    lines = _lines(_render(tokenizer.tokenize(markup, 0, True)))
    return "\n".join([title.strip(), *lines]) if lines else ""


class _Open:
    """A construct that has begun and not ended: its parts as far as they have been rendered."""

    __slots__ = ("content", "level", "markup", "named", "parts")

    def __init__(self, token: tokens.Token) -> None:
        self.parts: list[list[str]] = [[]]
        self.level: int = token.get("level", 0)
        self.markup: str | None = token.get("wiki_markup")
        self.content: int | None = None
        """Which part is what stands between the tags."""
        self.named: set[int] = set()
        """Which parts are template parameters with a name."""

    def part(self, index: int) -> str:
        return "".join(self.parts[index])


def _render(parsed: Iterable[tokens.Token]) -> str:
    """What the tokens of some markup show, constructs from the inside out."""
    left = iter(parsed)
    stack = [_Open(tokens.Token())]
    for token in left:
        kind = type(token)
        if kind is tokens.Text:
            stack[-1].parts[-1].append(token["text"])
        elif kind in _OPENING:
            stack.append(_Open(token))
        elif kind in _CLOSING:
            shown = _CLOSING[kind](stack.pop())
            stack[-1].parts[-1].append(shown)
        elif _is_dropped(kind, stack[-1]):
            _skip(left, kind)
            stack.pop()
            stack[-1].parts[-1].append(_GONE)
        elif kind in _SEPARATORS:
            stack[-1].parts.append([])
            if kind is tokens.TagCloseOpen:
                stack[-1].content = len(stack[-1].parts) - 1
        elif kind is tokens.TemplateParamEquals:
            stack[-1].named.add(len(stack[-1].parts) - 1)
        elif kind is tokens.HTMLEntityNumeric:
            stack[-1].parts[-1].append("#")
        elif kind is tokens.HTMLEntityHex:
            stack[-1].parts[-1].append("x")
    return stack[0].part(0)


def _is_dropped(kind: type[tokens.Token], opened: _Open) -> bool:
    """Whether this token shows that nothing of what has begun will be seen: an infobox, a reference, a table."""
    if kind is tokens.TemplateParamSeparator:
        return len(opened.parts) == 1 and opened.part(0).strip().lower() not in _TEXT_TEMPLATES
    return kind is tokens.TagCloseOpen and _DROPPED_TAGS.fullmatch(opened.part(0).strip().lower()) is not None


def _skip(left: Iterator[tokens.Token], kind: type[tokens.Token]) -> None:
    """Go on to behind the end of the template or tag that `left` is inside of."""
    template = kind is tokens.TemplateParamSeparator
    opening = tokens.TemplateOpen if template else tokens.TagOpenOpen
    closing = {tokens.TemplateClose} if template else {tokens.TagCloseClose, tokens.TagCloseSelfclose}
    depth = 1
    for token in left:
        kind = type(token)
        if kind is opening:
            depth += 1
        elif kind in closing:
            depth -= 1
            if not depth:
                return


def _nothing(_: _Open) -> str:
    return ""


def _link(link: _Open) -> str:
    target = link.part(0)
    if _INVISIBLE_LINK.match(target):
        return ""
    if len(link.parts) > 1 and (text := link.part(1)):
        return text
    return "" if _OTHER_LANGUAGE.match(target) else target.lstrip(" :#")


def _external_link(link: _Open) -> str:
    return link.part(1) if len(link.parts) > 1 else ""


def _template(template: _Open) -> str:
    if template.part(0).strip().lower() not in _TEXT_TEMPLATES:
        return _GONE
    plain = [index for index in range(1, len(template.parts)) if index not in template.named]
    return template.part(plain[-1]) if plain else _GONE


def _heading(heading: _Open) -> str:
    return f"\n{_HEADING}{heading.level}{' '.join(heading.part(0).split())}\n"


def _entity(entity: _Open) -> str:
    return html.unescape(f"&{entity.part(0)};")


def _tag(tag: _Open) -> str:
    name = tag.part(0).strip().lower()
    if _DROPPED_TAGS.fullmatch(name):
        return _GONE
    # List items are tags of their own, without content: their text follows them.
    content = "" if tag.content is None else tag.part(tag.content)
    return f"\n{content}\n" if _LINE_TAGS.fullmatch(name) and not tag.markup else content


_CLOSING: dict[type[tokens.Token], Callable[[_Open], str]] = {
    tokens.TemplateClose: _template,
    tokens.ArgumentClose: _nothing,
    tokens.WikilinkClose: _link,
    tokens.ExternalLinkClose: _external_link,
    tokens.HTMLEntityEnd: _entity,
    tokens.HeadingEnd: _heading,
    tokens.CommentEnd: _nothing,
    tokens.TagCloseSelfclose: _tag,
    tokens.TagCloseClose: _tag,
}
_OPENING = {
    tokens.TemplateOpen,
    tokens.ArgumentOpen,
    tokens.WikilinkOpen,
    tokens.ExternalLinkOpen,
    tokens.HTMLEntityStart,
    tokens.HeadingStart,
    tokens.CommentStart,
    tokens.TagOpenOpen,
}
_SEPARATORS = {
    tokens.TemplateParamSeparator,
    tokens.ArgumentSeparator,
    tokens.WikilinkSeparator,
    tokens.ExternalLinkSeparator,
    tokens.TagAttrStart,
    tokens.TagCloseOpen,
    tokens.TagOpenClose,
}


def _lines(text: str) -> list[str]:
    """Clean lines; headings only where text follows before the next heading of their level or above."""
    kept: list[str] = []
    text_below = [False] * 10
    for line in reversed(text.split("\n")):
        if line.startswith(_HEADING):
            level, heading = int(line[1]), _clean(line[2:])
            if heading and text_below[level]:
                kept.append(heading)
            text_below[level:] = [False] * (10 - level)
        elif cleaned := _clean(line):
            kept.append(cleaned)
            text_below = [True] * 10
    return kept[::-1]


def _clean(line: str) -> str:
    line = _SWITCHES.sub("", _QUOTES.sub("", line))
    if _GONE in line:
        line = _BETWEEN_COMMAS.sub("", _EMPTY_BRACKETS.sub("", line))
        line = _BRACKET_END.sub(r"\1", _BRACKET_START.sub(r"\1", line)).replace(_GONE, "")
    line = _SPACES.sub(" ", line).strip()
    return "" if _LEFTOVER.match(line) else line


KIND = SourceKind(name="mediawiki", description="MediaWiki XML dump", recognise=_recognise, read=_read)
