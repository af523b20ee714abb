"""The documentation is whole; `make docs` builds it, and runs each of its code blocks."""

import importlib.util
import re
from types import ModuleType

import click
import pytest
import yaml
from helpers import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    """The script that makes pages from the code."""
    spec = importlib.util.spec_from_file_location("make", DOCS / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", each).strip().lower()) for each in headings
    }


def test_each_page_is_in_the_navigation_and_each_link_leads_somewhere(make: ModuleType) -> None:
    """Those that are made, too: of all settings, commands and messages."""
    pages = {f"made/{name}": page() for name, page in make.PAGES.items()}
    pages |= {page.name: page.read_text(encoding="utf-8") for page in DOCS.glob("*.md")}
    listed = re.findall(r"^ +- ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(pages)
    for name, text in pages.items():
        assert text.startswith(("# ", "\n# ")), name
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in link:
                continue
            file, _, anchor = link.partition("#")
            place = (DOCS / name).parent / file if file else DOCS / name
            found = place.resolve().relative_to(DOCS).as_posix()
            assert found in pages or place.is_file(), (name, link)
            assert not anchor or anchor in anchors(pages[found]), (name, link)


def test_the_made_pages_have_all_settings_and_commands(make: ModuleType) -> None:
    settings, commands = make.settings(), make.commands()
    for key in yaml.safe_load((make.TEMPLATE / "conf/base/search.yml").read_text()):
        assert f"| `{key}` |" in settings
    assert "| `tracking.skip_pipelines` | `list[str]`, by default `[]` |" in settings
    assert "| `spec.resources.limits` |" in settings
    assert "## kedro mlrun show\n" in commands and "| `--chain-id TEXT` |" in commands


def test_the_commands_in_sentences_exist(make: ModuleType) -> None:
    """Those in blocks are typed by `make docs`."""
    from kedro_mlrun.commands.cli import mlrun_group

    context = click.Context(mlrun_group)
    makefiles = (ROOT / "Makefile", make.TEMPLATE / "Makefile")
    targets = {*re.findall(r"^([\w-]+):", "\n".join(file.read_text() for file in makefiles), re.M)}
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    spans = re.findall(r"`((?:kedro mlrun|make) [^`]+)`", re.sub(r"(?s)```.*?```", "", pages))
    assert len(spans) > 40
    for span in spans:
        program, first, *words = span.removeprefix("kedro ").split()
        if program == "make":
            named = {word for word in (first, *words) if re.fullmatch("[a-z-]+", word)}
            assert named <= targets, span
        elif first not in {"…", "--version"}:
            command = mlrun_group.get_command(context, first)
            assert command, span
            known = {name for option in command.params for name in option.opts}
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, (
                span
            )


def test_the_messages_that_troubleshooting_explains_are_those_of_the_code(make: ModuleType) -> None:
    """Word for word, and each is explained."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    explained = re.findall(r"^> (.*)$\n\n[^>#\n]", text, re.MULTILINE)
    assert len(explained) == text.count("\n> ") > 25
    known = {message for found in make.messages().values() for message in found}
    assert [message for message in explained if message not in known] == []
    # A reason that a function gives, too.
    assert "failed. Reproduce one that is completed." in known
