"""Mail services by name: what a name stands for, and that each is as the data has to be."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import services
from smtpx.endpoints import _SCHEMES

NAMES = sorted(services.known())


def test_a_name_is_a_url() -> None:
    endpoint = smtpx.Endpoint.parse("gmail://ann@gmail.com:abcd-efgh")
    assert endpoint == smtpx.Endpoint(
        "smtp.gmail.com", 465, smtpx.TLSMode.IMPLICIT, user="ann@gmail.com", password="abcd-efgh"
    )
    assert smtpx.Endpoint.parse("ses-eu-west-1://AKIA:x%2Fy%3F").password == "x/y?"
    assert "abcd" not in repr(endpoint)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("gmail://", smtpx.Endpoint("smtp.gmail.com", 465, smtpx.TLSMode.IMPLICIT)),
        ("GMAIL:///", smtpx.Endpoint("smtp.gmail.com", 465, smtpx.TLSMode.IMPLICIT)),
        ("postmark://t:t", smtpx.Endpoint("smtp.postmarkapp.com", 587, user="t", password="t")),
        (
            "postmark://a%40b?tls=starttls&minimum_version=TLSv1.3",
            smtpx.Endpoint(
                "smtp.postmarkapp.com",
                587,
                smtpx.TLSMode.STARTTLS,
                user="a@b",
                minimum_version=smtpx.TLSVersion.TLS_1_3,
            ),
        ),
    ],
)
def test_what_a_url_may_have(url: str, endpoint: smtpx.Endpoint) -> None:
    assert smtpx.Endpoint.parse(url) == endpoint


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("gmail://ann:secret@smtp.gmail.com", "knows its host"),
        ("gmail://ann@smtp.gmail.com", "knows its host"),
        ("gmail://smtp.gmail.com", "knows its host"),
        ("gmail://ann:sec@ret", "percent-encode"),
        ("gmail://ann:sec/ret", "knows its host"),
        ("gmail://ann?secret=x", "unknown URL parameter"),
        ("gmail://ann:%ff", "UTF-8"),
        ("sendgrid://ann:secret", "SendGrid wants 'apikey' as user"),
        ("gmial://ann:secret", "did you mean gmail?"),
        ("ses://ann:secret", r"did you mean ses-[\w-]+ or ses-[\w-]+ or ses-.* another region\?"),
        ("Office365://ann:secret", "did you mean microsoft365\\?"),
        ("hotmail://ann:secret", "did you mean outlook\\?"),
        ("aws://ann:secret", "did you mean ses-"),
        ("smpt://localhost", "did you mean smtp"),
        ("xyzzy://ann:secret", "one of smtp, submission.* or a service such as gmail"),
        ("gmail:ann:secret", "not scheme://host"),
    ],
)
def test_a_mistake_is_told_without_the_password(url: str, why: str) -> None:
    with pytest.raises(smtpx.EndpointError, match=why) as caught:
        _ = smtpx.Endpoint.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_as_it_has_to_be(name: str) -> None:
    service = services.known()[name]
    assert service.name == name
    assert re.fullmatch(r"[a-z][a-z0-9-]*", name)
    endpoint = smtpx.Endpoint.parse(service.url)
    assert endpoint == smtpx.Endpoint.parse(f"{name}://")
    assert "." in endpoint.host
    assert endpoint.port in (465, 587)
    assert endpoint.policy(peer_is_local=False).mode in (
        smtpx.TLSMode.IMPLICIT,
        smtpx.TLSMode.STARTTLS,
    )
    assert services.at(endpoint.host.upper() + ".") is service
    assert service.title
    assert service.user
    assert service.password
    assert service.page.startswith("https://")
    assert service.limits_page == "" or service.limits_page.startswith("https://")
    assert bool(service.limits) >= bool(service.limits_page)
    assert date(2026, 1, 1) < service.seen <= date.today()
    told = service.login
    assert told.startswith(service.title)
    assert "REGION" not in told + service.url


def test_the_twenty_that_people_use_are_known() -> None:
    assert len({name.partition("-")[0] for name in NAMES}) >= 20
    assert not set(NAMES) & {*_SCHEMES}, "a service is no other scheme"
    assert services.at("mx.test") is None


def test_nobody_pays_for_them_who_has_no_use_for_them() -> None:
    script = (
        "import sys, smtpx; smtpx.Client('submission://ann:secret@mx.test');"
        "assert not {'smtpx.services', 'tomllib'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], check=False)
    assert done.returncode == 0


def test_every_face_takes_them() -> None:
    for kind in (smtpx.Client, smtpx.Session, smtpx.AsyncClient, smtpx.AsyncSession):
        made: Any = kind("gmail://ann@gmail.com:secret")
        assert "smtp.gmail.com:465" in repr(made)


def limits(service: services.Service) -> str:
    where = service.limits_page
    return f"[{service.limits}]({where})" if where else service.limits


def test_the_page_tells_of_all() -> None:
    page = (Path(__file__).parents[1] / "docs" / "services.md").read_text(encoding="utf-8")
    shown = [line for line in page.splitlines() if line.startswith("| `")]
    told = [
        f"| `{each.name}` | `{each.url}` | {f'`{each.user}`' if each.fixed_user else each.user} "
        f"| {each.password} | {limits(each)} | [{each.seen}]({each.page}) |"
        for each in services.known().values()
    ]
    assert shown == told
