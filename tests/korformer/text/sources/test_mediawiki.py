"""A MediaWiki dump: which pages are read, and what is left of their markup."""

from __future__ import annotations

import html
from typing import Any

import mwparserfromhell
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mwparserfromhell import nodes

from korformer.errors import InputError
from korformer.text.sources import mediawiki
from korformer.text.sources.mediawiki import article_text

HEAD = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="ko">\n'
    "  <siteinfo><sitename>연습백과</sitename><namespaces><namespace key='0'/></namespaces></siteinfo>\n"
)


def page(title: str, *revisions: str, ns: int = 0, redirect: str = "", model: str = "wikitext") -> str:
    begin = f'<revision><id>1</id><model>{model}</model><text bytes="9" xml:space="preserve">'
    texts = "".join(f"{begin}{html.escape(text)}</text></revision>" for text in revisions)
    moved = f'<redirect title="{redirect}" />' if redirect else ""
    return f"<page><title>{html.escape(title)}</title><ns>{ns}</ns><id>1</id>{moved}{texts}</page>\n"


def dump(*pages: str) -> str:
    return HEAD + "".join(pages) + "</mediawiki>\n"


def test_articles_are_read_and_nothing_else(read: Any) -> None:
    reading = read(
        dump(
            page("산", "산은 높다."),
            page("틀:상자", "상자", ns=10),
            page("메", "#넘겨주기 [[산]]", redirect="산"),
            page("뫼", "#REDIRECT [[산]]"),
            page("모듈", "return 1", model="Scribunto"),
            page("AT&T <회사>", "전화 & 통신 회사이다."),
            page("들", "옛 글이다.", "새 글이다."),
            page("빈 문서", "{{삭제}}"),
        )
    )
    assert reading.kind == "mediawiki"
    assert reading.texts == ["산\n산은 높다.", "AT&T <회사>\n전화 & 통신 회사이다.", "들\n새 글이다."]
    assert reading.counts.empty == 1


def test_a_dump_without_namespace_declaration_is_read(read: Any) -> None:
    assert read("<mediawiki>" + page("산", "산은 높다.") + "</mediawiki>").texts == ["산\n산은 높다."]


def test_a_dump_that_was_cut_off_is_told(read: Any) -> None:
    whole = dump(page("산", "산은 높다."), page("들", "들은 넓다."))
    cut = whole[: whole.index("들은")]
    with pytest.raises(InputError, match="line 4: malformed XML at column .*no element found"):
        read(cut)
    reading = read(cut, errors="skip")
    assert reading.texts == ["산\n산은 높다."]
    assert reading.counts.malformed == 1


def test_entities_that_would_fill_the_memory_are_refused(read: Any) -> None:
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    bomb = f'<!DOCTYPE mediawiki [<!ENTITY e0 "가">{entities}]><mediawiki><page><title>&e12;</title></page></mediawiki>'
    with pytest.raises(InputError, match="malformed XML"):
        read(bomb, format="mediawiki")


def test_bytes_that_are_not_utf8_are_replaced_or_skipped(read: Any) -> None:
    source = dump(page("산", "산은 높다."), page("들", "들은 넓다.")).encode().replace("넓".encode(), b"\xb3\xd0")
    assert read(source, errors="replace").texts == ["산\n산은 높다.", "들\n들은 \ufffd\ufffd다."]
    assert read(source, errors="skip").texts == ["산\n산은 높다."]


ARTICLE = """{{다른 뜻|한결}}
{{마을 정보
|이름 = 한결마을
|지도 = {{위치|대한민국|라벨=한결}}
}}
'''한결마을'''({{llang|ko|한결村}}, {{llang|en|Hangyeol}}, {{출처 필요}})은 [[바다|바닷가]]의
마을이다.<ref name="a">{{책}}</ref>
배는 [[포구]]에서 뜬다.<ref name="a"/> 값은 <math>x^2</math>이다. __목차없음__

[[파일:한결.jpg|섬네일|200px|[[포구]]의 아침]]
== 역사 ==
=== 옛날 ===
* 첫 집이 섰다.<br />둘째 집도 섰다.
# 차례가 있다.
: 들여 썼다.

{| class="wikitable"
! 해 !! 집
|-
| 1900 || [[집]] 세 채
|}
<gallery>
파일:가.jpg|설명
</gallery>
마을은 ''조용''하다. [https://a.kr 누리집] https://a.kr &lt;끝&gt;&nbsp;<!-- 주석 --><nowiki>[[그대로]]</nowiki>

== 갤러리 ==
=== 사진 ===
{{사진}}

== 같이 보기 ==
* [[:분류:마을|마을 분류]]
* [[#역사]]
* [[CSI: 한결]]
[[en:Hangyeol]]
[[분류:마을]]
[[Category:Villages]]
"""

TEXT = """한결마을
한결마을(한결村, Hangyeol)은 바닷가의
마을이다.
배는 포구에서 뜬다. 값은 이다.
역사
옛날
첫 집이 섰다.
둘째 집도 섰다.
차례가 있다.
들여 썼다.
마을은 조용하다. 누리집 <끝> [[그대로]]
같이 보기
마을 분류
역사
CSI: 한결"""


def test_markup_becomes_running_text() -> None:
    assert article_text("한결마을", ARTICLE) == TEXT


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("함수 main() 은 비었다. f( , )", "함수 main() 은 비었다. f( , )"),
        ("이름({{한자}})이다.", "이름이다."),
        ("이름({{한자}}, 1900년 ~ )이다.", "이름(1900년 ~ )이다."),
        ("이름(1900년, {{나이}})이다.", "이름(1900년)이다."),
        ("이름(가, {{나}}, 다)", "이름(가, 다)"),
        ("{{nowrap|붙여 쓴 말}}", "붙여 쓴 말"),
        ("{{lang|en|English|t=뜻}}", "English"),
        ("{{{1|기본}}}앞", "앞"),
        ("{{안 닫힌 틀\n본문", "본문"),
        ("{| 안 닫힌 표\n| 칸\n본문", "본문"),
        ("<div style='a'>나눔<p>문단</p></div>끝", "나눔\n문단\n끝"),
        ("* [[아버지|]]\n*", "아버지"),
        ("가&#48;&#x31;&amp;", "가01&"),
        ("'''''굵은 기울임''''' ''' ", "굵은 기울임"),
    ],
)
def test_constructs(markup: str, text: str) -> None:
    shown = article_text("제목", markup).removeprefix("제목\n")
    assert shown == text


@pytest.mark.parametrize(
    "markup", ["{{" * 500, "[[" * 500, "{|\n" * 50, "<ref>" * 50, "<!-- 열린 주석", "\n".join("=" * 9)]
)
def test_broken_markup_does_no_harm(markup: str) -> None:
    assert article_text("제목", f"앞 글이다.\n\n{markup}\n\n뒤 글이다.").startswith("제목\n앞 글이다.")


def tree_text(parsed: mwparserfromhell.wikicode.Wikicode) -> str:
    """What markup shows, from the tree that mwparserfromhell makes of it: the slow way, as an oracle."""
    return "".join(map(node_text, parsed.nodes))


def node_text(node: nodes.Node) -> str:  # noqa: PLR0911  (one answer a kind of node)
    match node:
        case nodes.Text():
            return str(node.value)
        case nodes.Wikilink():
            target = tree_text(node.title)
            if mediawiki._INVISIBLE_LINK.match(target):
                return ""
            if node.text is not None and (text := tree_text(node.text)):
                return text
            return "" if mediawiki._OTHER_LANGUAGE.match(target) else target.lstrip(" :#")
        case nodes.Heading():
            return f"\n\x01{node.level}{' '.join(tree_text(node.title).split())}\n"
        case nodes.ExternalLink():
            return "" if node.title is None else tree_text(node.title)
        case nodes.HTMLEntity():
            return html.unescape(str(node))
        case nodes.Tag():
            return tag_text(node)
        case nodes.Template():
            shown = [value for value in node.params if not value.showkey]
            if tree_text(node.name).strip().lower() in mediawiki._TEXT_TEMPLATES and shown:
                return tree_text(shown[-1].value)
            return "\x02"
    return ""


def tag_text(tag: nodes.Tag) -> str:
    name = tree_text(tag.tag).strip().lower()
    if mediawiki._DROPPED_TAGS.fullmatch(name):
        return "\x02"
    content = "" if tag.contents is None or tag.self_closing else tree_text(tag.contents)
    return f"\n{content}\n" if mediawiki._LINE_TAGS.fullmatch(name) and not tag.wiki_markup else content


MARKUP = [
    *("{{", "}}", "[[", "]]", "{|", "\n|}", "\n|-\n", "\n| ", "{{{", "}}}", "|", "=", "\n== ", " ==\n", "\n* ", "\n: "),
    *("<ref>", "</ref>", "<ref name='a'/>", "<br>", "<div class=x>", "</div>", "<!--", "-->", "&amp;", "&#44032;"),
    *(
        "[http://a.kr ",
        "]",
        "lang",
        "llang",
        "파일:",
        "분류:",
        "en:",
        "가",
        "나다",
        " ",
        "\n",
        "'''",
        "<nowiki>",
        "</nowiki>",
    ),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(MARKUP), max_size=30).map("".join))
def test_tokens_show_what_the_tree_shows(markup: str) -> None:
    parser: Any = mwparserfromhell.parser.Parser()  # type: ignore[no-untyped-call]
    tokens = parser._tokenizer.tokenize(markup, 0, True)
    expected = tree_text(mwparserfromhell.parse(markup, skip_style_tags=True))
    assert mediawiki._render(tokens) == expected
