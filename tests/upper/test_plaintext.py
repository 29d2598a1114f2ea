"""Plain text out of HTML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx import compose, plain_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("hello", "hello\n"),
        ("<p>Hello\n  <b>Bob</b>,</p><p>it&rsquo;s   <i>time</i>.", "Hello Bob,\n\nit’s time.\n"),
        ("a<br>b<br/><br>c", "a\nb\n\nc\n"),
        ("<div>a</div><div>b</div>", "a\nb\n"),
        ("<h1>Title</h1>text<hr>more", f"Title\n\ntext\n{'-' * 20}\nmore\n"),
        ("a&nbsp;&amp;&nbsp;b &lt;c&gt;", "a & b <c>\n"),
        ("see <a href='https://x.test/a'>this page</a>.", "see this page <https://x.test/a>.\n"),
        ("<a href='https://x.test/'>https://x.test</a>", "https://x.test\n"),
        ("<a href='mailto:a@x.test'>a@x.test</a> <a href='#top'>top</a>", "a@x.test top\n"),
        (
            "<a href='https://x.test/'><img src='x' alt='Our shop'></a>",
            "Our shop <https://x.test/>\n",
        ),
        ("<ul><li>one<li>two</ul>after", "- one\n- two\n\nafter\n"),
        ("<p>x<ol start=3><li><p>three</p></li><li>four</ol>", "x\n\n3. three\n4. four\n"),
        ("<ul><li>a<ul><li>b</ul><li>c</ul>", "- a\n  - b\n- c\n"),
        ("<ul><li>a<br>b</ul>", "- a\n  b\n"),
        ("<p>x</p><blockquote><p>a</p><p>b</p></blockquote>y", "x\n\n> a\n>\n> b\n\ny\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><th>c<td>d</table>", "a  b\nc  d\n"),
        ("<pre>a\n  b\n\nc</pre>d", "a\n  b\n\nc\n\nd\n"),
        ("<head><title>T</title><style>p {}</style></head><body>x<script>1 < 2</script>", "x\n"),
        ("<head><meta charset=utf-8><body>x", "x\n"),
        ("<div style='display: none'>preview <b>text</b></div>x", "x\n"),
        ("<p hidden>a</p>x<!-- c --><!--[if mso]>y<![endif]-->", "x\n"),
        ("a\u200bb\u00ad\ufeffc", "abc\n"),
        ("<![if !mso]>x<![endif]>", "x\n"),
        ("<!--[if !mso]><!-->x<!--<![endif]-->y", "xy\n"),
        ("</p></ul></a></li>x", "x\n"),
        ("a<div hidden>b<div>c</div>d</div>e<p hidden>f<b>g</p>h", "aeh\n"),
    ],
)
def test_it_reads_as_a_person_would(html: str, text: str) -> None:
    assert plain_text(html) == text


PIECES = """<p> </p> <ul> </ul> <ol> </ol> <li> <a/href='x'> </a> <br> <pre> </pre> <td>
<blockquote> </blockquote> <p/hidden> < & word <!-- --> <![ ]]> <![endif]--> <img/alt=x>
<!DOCTYPE <? > </ <!"""


@given(st.lists(st.sampled_from([*PIECES.split(), " ", "\n"]), max_size=40).map("".join))
def test_whatever_it_is_given_it_makes_a_text(html: str) -> None:
    text = plain_text(html)
    assert text == "" or (text.endswith("\n") and not text.startswith("\n"))
    assert all(line == line.rstrip() for line in text.split("\n"))


@pytest.mark.parametrize(
    "html",
    ["<ul><li>x" * 20_000, "<blockquote>x" * 20_000, "<div hidden>" * 50_000 + "</p>" * 50_000,
     "<a href=x>y" * 20_000 + "</a>" * 20_000, "<p style='display" + " " * 500_000],
    ids=["lists", "quotes", "hidden", "links", "styles"],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_what_is_nested_deep_takes_no_time(html: str) -> None:
    assert len(plain_text(html)) < 3_000_000


def test_a_number_of_no_character() -> None:
    assert plain_text(f"a&#{'1' * 5000};b") == "a\N{REPLACEMENT CHARACTER}b\n"


def test_it_is_a_text_for_compose() -> None:
    html = "<h1>Hello</h1><p>Bob"
    composed = compose(sender="a@x.test", to="b@x.test", html=html, text=plain_text(html))
    plain, _ = composed.iter_parts()
    assert plain.get_content() == "Hello\n\nBob\n"
