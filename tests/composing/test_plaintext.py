"""Plain text out of HTML."""

from __future__ import annotations

import sys

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
        ("<details><summary>More</summary>of it</details>x", "More\nof it\nx\n"),
        ("<figure><img alt='a map'><figcaption>here</figcaption></figure>x", "a map\nhere\nx\n"),
        ("<fieldset><legend>a</legend>b</fieldset>c", "a\nb\nc\n"),
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
        ("می\u200cخواهم", "می\u200cخواهم\n"),
        ("<b>می</b>\u200c<i>خواهم</i>", "می\u200cخواهم\n"),
        ("ශ්\u200dරී ලංකා", "ශ්\u200dරී ලංකා\n"),
        ("hi 👩\u200d❤\ufe0f\u200d👨 there", "hi 👩\u200d❤\ufe0f\u200d👨 there\n"),
        ("a&zwnj;&nbsp;&zwnj;&nbsp;\u034f&zwj; <p>b", "a\n\nb\n"),
        ("&zwnj;&nbsp;&#8199;&shy;&#8207; &#847;&zwnj;<p>b&zwj;", "b\n"),
        ("<pre>می\u200cخ \u200c x</pre>", "می\u200cخ  x\n"),
        ("<img alt='می\u200cخ\u200b'>", "می\u200cخ\n"),
    ],
)
def test_it_reads_as_a_person_would(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<a href='https://x.test'>https://x.test/other</a>", "https://x.test/other <https://x.test>"),
        ("<a href='https://bank.test.evil.test'>https://bank.test</a>",
         "https://bank.test <https://bank.test.evil.test>"),
        ("<a href='https://x.test/'>(https://x.test)</a>", "(https://x.test)"),
        ("<a href='https://x.test'>See https://x.test, please</a>", "See https://x.test, please"),
        ("<a href='https://x.test'><div>go to</div><div>https://x.test</div></a>",
         "go to\nhttps://x.test"),
        ("<a href='mailto:a@x.test?subject=off'>a@x.test</a>", "a@x.test"),
        ("<a href='mailto:a@x.test?subject=off'>leave</a>", "leave <mailto:a@x.test?subject=off>"),
        ("<a href='MAILTO:a@x.test'>write</a>", "write <a@x.test>"),
        ("<a href='mailto:a@x.test'>aa@x.test</a>", "aa@x.test <a@x.test>"),
        ("<a href='tel:+49 1'>call</a>", "call <+49 1>"),
        ("<a href=' JavaScript:go()'>go</a>", "go"),
        ("<a href='https://x.test/\n  a'>go</a>", "go <https://x.test/ a>"),
    ],
)  # fmt: skip
def test_a_link_is_shown_unless_its_text_says_it(html: str, text: str) -> None:
    assert plain_text(html) == text + "\n"


HIDING = [
    "hidden", "hidden=''", "style='display:none'", "style='DISPLAY : none !important; color: red'",
    "style='color:red;display:none'", "style='display:/* x */none'", "style='visibility:hidden'",
    "style='opacity:0'", "style='opacity:0.0;'", "style='max-height:0;overflow:hidden'",
    "style='overflow:hidden;max-height:0px;font-size:1px'", "style='width:0;overflow:hidden'",
    "style='display:none;font-size:0px;line-height:0px;max-height:0px;opacity:0;mso-hide:all'",
    'style="font-family:\'X\';display:none"', "class=preheader style='display&#58;none'",
]  # fmt: skip
SHOWING = [
    "", "style='mso-hide:all'", "style='display:block'", "style='font-size:0'", "style",
    "style='display:none;display:block'", "style='max-height:0'", "style='opacity:0.9'",
    "style='max-height:10px;overflow:hidden'", "style='line-height:0;overflow:hidden'",
    "class=hidden", "style='height:0'", "data-hidden=1", "style='x-display:none'",
    "aria-hidden=true", "style='text-overflow:hidden;width:0'",
]  # fmt: skip


@pytest.mark.parametrize("tag", ["div", "span", "p", "td", "table", "font", "a", "section", "h1"])
@pytest.mark.parametrize("hiding", HIDING)
def test_what_no_reader_shows_is_left_out(tag: str, hiding: str) -> None:
    assert plain_text(f"<table><tr><{tag} {hiding}>x<b>y</b></{tag}><td>z</table>") == "z\n"


@pytest.mark.parametrize("showing", SHOWING)
def test_what_a_reader_shows_is_kept(showing: str) -> None:
    assert plain_text(f"<div {showing}>x</div>") == "x\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p hidden>x<p>Hello", "Hello"),
        ("<p hidden>x<div>Hello</div>", "Hello"),
        ("<p hidden><b>x<i>y<p>Hello", "Hello"),
        ("<p hidden>x<h1>Hello</h1>", "Hello"),
        ("<p hidden>x<ul><li>Hello</ul>", "- Hello"),
        ("<p hidden>x<table><td>Hello</table>", "Hello"),
        ("<p hidden>x<hr>Hello", "-" * 20 + "\nHello"),
        ("<div><p hidden>x</div>Hello", "Hello"),
        ("<ul><li hidden>x<li>Hello</ul>", "- Hello"),
        ("<ul><li hidden>x<ul><li>y</ul><li>Hello</ul>", "- Hello"),
        ("<ul><li hidden><div>x<li>Hello</ul>", "- Hello"),
        ("<ul><li>a<li hidden>x</ul>Hello", "- a\n\nHello"),
        ("<table><tr hidden><td>x<td>y<tr><td>Hello</table>", "Hello"),
        ("<table><tr hidden><td><table><tr><td>x</table><tr><td>Hello</table>", "Hello"),
        ("<table><tbody hidden><tr><td>x<tbody><tr><td>Hello</table>", "Hello"),
        ("<table><tr><td hidden>x<p>y<td>Hello</table>", "Hello"),
        ("<table><tr><td hidden>x<th>Hello</table>", "Hello"),
        ("<table><tr><td hidden>x<tr><td>Hello</table>", "Hello"),
        ("<table><tr><td hidden>x</table>Hello", "Hello"),
        ("<table><td hidden><p>x</td></p><td>Hello</table>", "Hello"),
        ("<dl><dt hidden>x<dd>Hello</dl>", "Hello"),
        ("<dl><dd hidden>x<dt>Hello</dl>", "Hello"),
        ("<div><div hidden>x</div>Hello</div>", "Hello"),
        ("<td><div hidden>x</td><td>Hello</td>", "Hello"),
        ("<div hidden>x<div>Hello</div>", "Hello"),
        ("<body><div hidden>x &zwnj; <b>y</b><table><tr><td>Hello</table></body>", "Hello"),
        ("<body><span hidden>x<p>Hello</p></body>", "Hello"),
        ("<center><span hidden>x</center>Hello", "Hello"),
        ("<blockquote><span hidden>x</blockquote>Hello", "Hello"),
        ("<select><option hidden>x<option>Hello</select>", "Hello"),
        ("<head hidden><title>x</title><body>Hello", "Hello"),
        ("<img hidden alt=x>Hello", "Hello"),
        ("<br style='display:none'>Hello", "Hello"),
        ("<div hidden>x<p>y</p></b></div>Hello", "Hello"),
        ("<td hidden>x<div></td></div>y<td>Hello", "y  Hello"),
        ("<a href='https://x.test'>Hello<span hidden>x</a>", "Hello <https://x.test>"),
    ],
)  # fmt: skip
def test_a_hidden_element_hides_nothing_after_it(html: str, text: str) -> None:
    assert plain_text(html) == text + "\n"


PIECES = """<p> </p> <ul> </ul> <ol> </ol> <li> <a/href='x'> </a> <br> <pre> </pre> <td>
<blockquote> </blockquote> <p/hidden> <div/hidden> </div> <li/hidden> <td/hidden> <table> </table>
<span/hidden> </span> &zwj; \u200c < & word <!-- --> <![ ]]> <![endif]--> <img/alt=x>
<!DOCTYPE <? > </ <!"""


@given(st.lists(st.sampled_from([*PIECES.split(), " ", "\n"]), max_size=40).map("".join))
def test_whatever_it_is_given_it_makes_a_text(html: str) -> None:
    text = plain_text(html)
    assert text == "" or (text.endswith("\n") and not text.startswith("\n"))
    assert all(line == line.rstrip() for line in text.split("\n"))


@pytest.mark.parametrize(
    "html",
    ["<ul><li>x" * 20_000, "<blockquote>x" * 20_000, "<div hidden>" * 20_000 + "</p>" * 50_000,
     "<a href=x>y" * 10_000 + "</a>" * 10_000,
     "<a href=x><div>y" * 10_000 + "</div></a>" * 10_000,
     "<p hidden><table><td>" * 10_000 + "</p>" * 30_000, "<p style='display" + " " * 500_000],
    ids=["lists", "quotes", "hidden", "links", "lines", "ends", "styles"],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_what_is_nested_deep_takes_no_time(html: str) -> None:
    assert len(plain_text(html)) < 3_000_000


UNCLOSED = [
    "<a ", '<b x="', "<b x='", "<b x=", "<b/", "<!--", "<!---", "<![", "<!", "<?", "</", "<", "&",
    "&#", "<style>", "<title>", "<script ", "</a b='", "\u200d", "x\u200d", "\u200d<b>", "x<b>",
    "<a href=x>y",
]  # fmt: skip


@pytest.mark.parametrize("unclosed", UNCLOSED)
def test_what_is_not_closed_takes_steps_by_its_length(unclosed: str) -> None:
    def steps(length: int) -> int:
        count = 0

        def step(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(step)
        try:
            _ = plain_text(f"a{unclosed * (length // len(unclosed))}b")
        finally:
            sys.setprofile(None)
        return count

    assert steps(8_000) < 2.2 * steps(4_000) + 100


@pytest.mark.parametrize("unclosed", UNCLOSED)
@pytest.mark.timeout(20)
def test_what_is_not_closed_is_looked_at_once(unclosed: str) -> None:
    """A second look for each would take minutes."""
    _ = plain_text(f"a{unclosed * (400_000 // len(unclosed))}b")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("x<a href='y", "x"),
        ("x<!-- y", "x"),
        ("x<!-->y", "xy"),
        ("x<!-- a --!>y", "xy"),
        ("x<style>y", "x"),
        ("<textarea><b>x</textarea>y", "<b>xy"),
        ("<script>'</scripts>'</SCRIPT >y", "y"),
        ("x</>y", "xy"),
        ("x < y <3", "x < y <3"),
        ("<a href='https://x.test?a&copy=1&amp;b'>x</a>", "x <https://x.test?a&copy=1&b>"),
        ("<a href=https://x.test href=https://y.test>x</a>", "x <https://x.test>"),
    ],
)
def test_it_is_cut_as_a_browser_cuts_it(html: str, text: str) -> None:
    assert plain_text(html) == text + "\n"


def test_a_number_of_no_character() -> None:
    assert plain_text(f"a&#{'1' * 5000};b") == "a\N{REPLACEMENT CHARACTER}b\n"


def test_it_is_a_text_for_compose() -> None:
    html = "<h1>Hello</h1><p>Bob"
    composed = compose(sender="a@x.test", to="b@x.test", html=html, text=plain_text(html))
    plain, _ = composed.iter_parts()
    assert plain.get_content() == "Hello\n\nBob\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<a href='https://x.test'>one <a href='https://y.test'>two</a>", "one <{x}> two <{y}>"),
        ("<a href='https://x.test'>one", "one <{x}>"),
        ("<p><a href='https://x.test'>one</p>", "one\n\n<{x}>"),
        ("<a style='display:none'>x<a href='https://y.test'>two</a> three", "two <{y}> three"),
        ("<a href='https://x.test'><td>one<a href='https://y.test'>two</a>", "one <{x}>two <{y}>"),
    ],
)
def test_a_link_without_an_end_tag_ends_at_the_next(html: str, text: str) -> None:
    """As in a browser (HTML §13.2.6.4.7): none is in another."""
    assert plain_text(html) == text.format(x="https://x.test", y="https://y.test") + "\n"


@pytest.mark.parametrize(
    "markup",
    [
        "<svg/>Hello",
        "<svg width=1 />Hello",
        "<math/>Hello",
        "<svg/><title/>Logo</title>Hello",
        "<svg><style/></svg>Hello",
        "<svg><title/></svg>Hello",
        "<svg><title/><script/><path d='x'/></svg>Hello",
        "<svg><title>Logo</title><text>Buy</text></svg>Hello",
        "<svg><g><path/></svg>Hello",
        "<svg><svg/><g></svg>Hello",
        "<svg viewBox=q><path d=x><p>Hello</p>",
        "<svg><path><div>Hello</div>",
        "<svg><g><svg><path></p>Hello",
        "<svg><a><path></a></svg>Hello",
        "<svg><font color=red>Hello</font>",
        "<svg><font size=2>Hello",
        "<div><svg><path></div>Hello",
        "<table><tr><td><svg><path></td><td>Hello</td></table>",
        "<svg><desc>Logo<p>of ours</p></desc></svg>Hello",
        "<svg><foreignObject><p>Logo</p></foreignObject></svg>Hello",
        "<SVG><PATH/></SVG>Hello",
        "<svg><link><input></svg>Hello",
        "<svg><font>Logo</font></svg>Hello",
        "<p hidden><svg/>Logo<p>Hello",
    ],
)
def test_an_image_written_in_the_mail_takes_no_text_along(markup: str) -> None:
    assert plain_text(markup) == "Hello\n"


def test_a_link_around_an_image_that_is_not_closed_ends_where_it_says() -> None:
    markup = "<a href='https://x.test'><svg><circle r=1></a><div>Hello</div>"
    assert plain_text(markup) == "<https://x.test>\nHello\n"


@pytest.mark.parametrize("markup", ["<p/>Hello", "<div style='color:red'/>Hello", "<b/>Hello"])
def test_in_html_an_element_does_not_end_where_it_begins(markup: str) -> None:
    assert plain_text(markup) == "Hello\n"
    assert plain_text("<p hidden/>Hello") == ""


@pytest.mark.parametrize(
    ("attributes", "items", "numbers"),
    [
        ("", "<li>x<li value=7>x<li>x", "1 7 8"),
        ("start=-1", "<li>x<li>x<li>x", "-1 0 1"),
        ("start=x", "<li value=y>x<li value=>x", "1 2"),
        ("reversed", "<li>x<ol><li hidden>z</ol><li>x<li>x", "3 2 1"),
        ("reversed start=9", "<li>x<li>x", "9 8"),
        ("type=a", "<li>x<li value=26>x<li>x<li value=0>x", "a z aa 0"),
        ("type=A start=3", "<li>x<li>x", "C D"),
        ("type=i", "<li>x<li value=1994>x<li value=4000>x", "i mcmxciv 4000"),
        ("type=I start=4", "<li>x", "IV"),
        ("type=1", "<li>x", "1"),
    ],
)
def test_items_have_the_numbers_that_a_reader_shows(
    attributes: str, items: str, numbers: str
) -> None:
    text = plain_text(f"<ol {attributes}>{items}</ol>")
    assert text == "".join(f"{number}. x\n" for number in numbers.split())
