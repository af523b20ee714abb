"""Nothing that is recorded, and nobody who asks, makes the page do what it isn't for."""

import json
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from asked import HOST, Answer, Answers, page_of
from helpers import Store

from kedro_mlrun.store.store import Store as PlainStore

MakeRun = Callable[..., str]
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "quotes": "\"><img src=x onerror='alert(1)'>",
    "path": "../../../../etc/passwd",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "turned": "a\u202eb\u2066c",
    "long": "x" * 10_000,
    "half": "\ud800",
    "template": "{{ 7 * 7 }}{% raw %}",
    "query": "a&b=c#d?e%00%2e%2e/f",
}
SAFE_TYPES = {"text/html", "application/json", "application/octet-stream", "image/png", "text/css"}
SAFE_TYPES |= {"text/javascript", "image/svg+xml", "text/plain"}


def check(answer: Answer, url: str = "") -> None:
    """Hold what is true of every answer."""
    assert answer.status in {200, 303, 304, 400, 403, 404, 405, 413, 421, 502}, (url, answer.status)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and answer.headers["x-content-type-options"] == "nosniff"
    kind = answer.headers.get("content-type", "text/html").partition(";")[0]
    assert kind in SAFE_TYPES, (url, kind)
    if kind == "text/html" and "sandbox" not in policy:
        assert "unsafe" not in policy
        assert not {*answer.text} & {*"\x1b\x07\u202e\u2066\ud800"}, url
        Tags(url).feed(answer.text)


class Tags(HTMLParser):
    """Holds that a page has no script or style of its own, and no link that leads elsewhere."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert not any(name.startswith("on") or name == "style" for name in given), self.url
        links = [given[name] for name in ("href", "src", "action") if name in given]
        own = ("/", "data:,", "#")
        assert all(link.startswith(own) and link[:2] != "//" for link in links), (self.url, links)
        if tag in {"script", "style", "iframe", "object", "embed", "base"}:
            assert links[0].startswith(("/static/", "/frame?")), self.url


@pytest.fixture
def hostile(embedded: Store, make_run: MakeRun) -> Answers:
    """A page on runs with hostile texts in every field that a record has."""
    texts = HOSTILE.values()
    uid = make_run(saves={"page": (b"<script>alert(1)</script>", "html")})
    # Which checks less than MLRun's own client does.
    db = PlainStore(embedded.dbpath)
    for number, text in enumerate(texts):
        key = text.replace("\ud800", "half")  # SQLite has no such texts
        run = db.run(uid, embedded.project)
        run["metadata"] |= {"uid": key, "name": key, "labels": {"pipeline": key, key: key}}
        run["metadata"]["labels"] |= {"workflow": key, "git-commit": key, "owner": key}
        run["metadata"]["annotations"] = {"reason": text, text: text}
        run["spec"] |= {"parameters": {text: text, "kedro.command": text, "seed": {text: [text]}}}
        run["spec"]["inputs"] = {key: key, f"in-{key}": f"store://models/{key}/{key}^{key}"}
        run["status"] |= {"results": {text: text, "n": number}, "error": f"{text}\n\n{text}"}
        run["status"]["state"] = key if number % 2 else "error"
        run["status"]["iterations"] = [["state", "iter", text], [text, 1, text]]
        db.store_run(run, key, embedded.project)
        producer = {"kind": "run", "uri": f"{embedded.project}/{key}", "name": text}
        for kind in ("model", "artifact", "dataset"):
            spec = {"producer": producer, "target_path": f"/nowhere/{key}.{kind}", "size": text}
            spec |= {"framework": text, "db_key": key, "metrics": {text: text}}
            record = {"kind": kind, "metadata": {"key": key, "tree": key, "hash": text}}
            db.store_artifact(key, {**record, "spec": spec}, embedded.project, tree=key, tag=key)
    promotion = db.run(uid, embedded.project)
    promotion["metadata"] |= {"uid": "promotion", "labels": {"promotion": HOSTILE["script"]}}
    promotion["spec"]["parameters"] = dict.fromkeys(("model", "to", "candidate"), HOSTILE["quotes"])
    db.store_run(promotion, "promotion", embedded.project)
    return page_of(embedded)


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_hostile_texts_are_shown_and_do_nothing(store: Store, hostile: Answers) -> None:
    """Each page that can be reached by a link shows them as texts."""
    todo, seen = ["/", "/models", "/rows", "/?q=x&sort=results.n"], set[str]()
    views = Counter[str]()
    while todo:
        url = todo.pop(0)
        view = url.partition("?")[0]
        if url in seen or views[view] > 1.5 * len(HOSTILE):
            continue
        seen.add(url)
        views[view] += 1
        answer = hostile(url)
        check(answer, url)
        kind = answer.headers.get("content-type", "")
        todo += answer.links("/") if kind.startswith("text/html") else []
    wanted = {"/", "/run", "/artifact", "/models", "/trials", "/preview", "/file", "/log"}
    assert wanted <= {*views}, views
    shown = hostile("/").words
    assert HOSTILE["script"] in shown and "\\u202e" in shown and "{{ 7 * 7 }}" in shown
    for text in HOSTILE.values():
        known = text.replace("\ud800", "half")
        assert hostile.quoted("/run", id=known).status == 200, text  # type: ignore[attr-defined]
    ids = [*HOSTILE.values()]
    for path in ("/compare", "/compare/data", "/delete"):
        check(hostile.quoted(path, id=ids[:6]), path)  # type: ignore[attr-defined]


GETS = [
    *(f"/run?id={text}" for text in ("", "%00", "..%2f..", "a" * 9000, "%ff%fe", "last~999999999")),
    *(f"/?page={text}" for text in ("-1", "1e9", "9" * 400, "%D9%A3", "null")),
    *(
        f"/?sort={text}"
        for text in ("';drop table runs", "body", "%00", "id ascending", "a" * 5000)
    ),
    *(
        f"/?q={text}"
        for text in ("%22", "a+%3D", "%3D%3D%3D", "results.x+%3E+1e999", "%ff", "(" * 900)
    ),
    *(f"/?columns={text}" for text in ("%0d%0aset-cookie:x", "a" * 9000, "%00", "..")),
    *(
        f"/artifact?key={key}&uid={uid}"
        for key, uid in (("", ""), ("..", ".."), ("%00", "x"), ("~", "~"))
    ),
    *(f"/file?key=/etc/passwd&uid={uid}" for uid in ("", "..", "/etc/passwd")),
    *("/image", "/frame?key=a&uid=b", "/preview?key=a", "/preview?key=a&uid=b&page=-9"),
    *(f"/static/{name}" for name in ("..%2f..%2fguard.py", "../guard.py", "", "nothing.js")),
    *("/compare", "/compare?id=,,,", f"/compare?id={'a,' * 600}", "/compare/data?id=%00"),
    *(
        "/log?id=x&offset=-5",
        "/trials?id=x",
        "/delete",
        "/download?id=x",
        "//",
        "/%2e%2e/etc/passwd",
    ),
]


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_malformed_requests_are_refused(store: Store, make_run: MakeRun) -> None:
    """None of them is an error of the page."""
    uid, page = make_run(), page_of(store)
    assert len(GETS) >= 45
    for url in GETS:
        check(page(url), url)
    posts: list[Any] = [{}, {"id": ""}, {"id": ["x"] * 2500}, {"key": "\0", "uid": ".."}]
    for form in posts:
        for path in ("/tag", "/promote", "/delete", "/abort"):
            check(page(path, form), path)
    for method, url in (
        ("PUT", "/"),
        ("DELETE", "/run"),
        ("OPTIONS", "*"),
        ("TRACE", "/"),
        ("é", "/"),
    ):
        check(page(url, method=method), url)
    # Nothing is changed by GET, and no view changes what it shows.
    for path in ("/tag", "/promote", "/abort", f"/delete?id={uid}"):
        check(page(path), path)
    assert page(f"/run?id={uid}").status == 200


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_only_the_page_itself_may_ask(store: Store, make_run: MakeRun) -> None:
    """Another site can't have its name point here, nor send a form."""
    uid = make_run()
    page, readable = page_of(store), page_of(store, changes=None)
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[", "127.0.0.1@evil.example:80"):
        assert page("/", headers={"host": host}).status == 421, host
    for host in ("localhost:1", "[::1]:80", "127.0.0.1"):
        assert page("/", headers={"host": host}).status == 200, host
    for origin in ("", "null", "http://evil.example", "http://localhost:9", f"http://{HOST}.evil"):
        assert page("/delete", {"id": uid}, headers={"origin": origin}).status == 403, origin
    for size in ("", "-1", "x", "99999999", "\u0663"):
        assert page("/delete", {"id": uid}, headers={"content-length": size}).status == 413, size
    for path in ("/delete", "/tag", "/promote", "/abort"):
        assert readable(path, {"id": uid}).status in {404, 405}
    assert "Delete" not in readable("/").text
    assert page(f"/run?id={uid}").status == 200
    assert page("/delete", {"id": uid}).status == 303
    assert page(f"/run?id={uid}").status == 404


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_a_token_lets_in_who_has_it(store: Store) -> None:
    """By the address that is printed once, and by a cookie that no script can read from then on."""
    page = page_of(store, token="s3cret")
    assert page("/", headers={"host": "a.example"}).status == 401
    assert page("/?token=wrong").status == 401
    assert page("/", headers={"cookie": "kedro-mlrun-token-5055=wrong\xe9"}).status == 401
    let_in = page("/?token=s3cret", headers={"host": "a.example"})
    assert (let_in.status, let_in.headers["location"]) == (303, "/")
    cookie = let_in.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    own = {"cookie": cookie.partition(";")[0], "host": "a.example"}
    assert page("/", headers=own).status == 200
    # Another page on the same machine has a cookie beside it.
    other = page("/?token=s3cret", headers={"host": "a.example:81"}).headers["set-cookie"]
    assert other.partition("=")[0] != cookie.partition("=")[0]


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
def test_files_are_shown_as_what_can_not_run(
    store: Store, make_run: MakeRun, tmp_path: Any
) -> None:
    """An SVG or a page may have scripts; both have a policy of their own, and no access to ours."""
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    html = b"<script>parent.document.title = 'taken'</script>"
    saves = {"drawing": (svg, "svg"), "site": (html, "html"), "model": (b"cos\nsystem\n", "pkl")}
    page, uid = page_of(store), make_run(saves=saves)
    run = page(f"/run?id={uid}")
    links = {each: run.links(f"/artifact?key={each}")[0].partition("?")[2] for each in saves}
    image = page(f"/image?{links['drawing']}")
    assert image.headers["content-type"] == "image/svg+xml"
    assert image.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    frame = page(f"/frame?{links['site']}")
    assert "sandbox allow-scripts;" in frame.headers["content-security-policy"]
    assert "allow-same-origin" not in frame.headers["content-security-policy"]
    assert 'sandbox="allow-scripts"' in page(f"/preview?{links['site']}").text
    for wrong in (
        f"/image?{links['site']}",
        f"/frame?{links['model']}",
        f"/image?{links['model']}",
    ):
        assert page(wrong).status == 404
    for link in links.values():
        file = page(f"/file?{link}")
        assert file.headers["content-type"] == "application/octet-stream"
        assert file.headers["content-disposition"].startswith("attachment")
    assert "There is no preview" in page(f"/preview?{links['model']}").words
    assert json.loads(page(f"/download?id={uid}").body)["metadata"]["uid"] == uid
