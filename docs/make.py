"""Write the pages that are made from the code into docs/made: settings, commands, messages.

Run before the site is built, `make docs` does it. Nothing but the package itself is needed.
"""

import ast
import html
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "{{ cookiecutter.repo_name }}"
PACKAGE = TEMPLATE / "src" / "kedro_mlrun"
MADE = ROOT / "docs" / "made"
# In which order, and under which names, messages are listed: by folder or file of the package.
ROOMS = {
    "project.py": "The project and mlrun.yml",
    "hooks.py": "The beginning of a run",
    "runs": "Runs",
    "datasets": "Datasets",
    "records": "Names of runs and artifacts",
    "commands": "Commands",
    "search": "Searches",
    "models": "Models: promotion and serving",
    "jobs": "Jobs and workflows",
    "api": "An MLRun API",
    "store": "The embedded store",
    "secrets": "Secrets",
    "page": "The page in the browser",
    "web.py": "Servers",
    "setup": "Init and update",
    "pipelines": "The pipelines of a generated project",
}
OTHER_ROOMS = "Elsewhere"
FEWEST_WORDS = 3  # of a message; what is shorter is a part of one
COMMON = ("--env", "--json")  # options of all commands that look at records
# What is called with a message; and what is called so for programmers, or with a part of one.
MESSAGE = r"(Error|Exception|Parameter)$|^warn(ing)?$"
REASON = "Tell why"  # begins the docstring of a function that gives a part of a message
OTHER = {"AttributeError", "PydanticCustomError", "needs_api"}


def cell(text: str) -> str:
    """Give a text as Markdown shows it literally, in a row of a table; code stays code."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    parts[::2] = [re.sub(r"([*_\[\]#])", r"\\\1", html.escape(part, False)) for part in parts[::2]]
    return "".join(parts).replace("|", "\\|")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Make a table of Markdown."""
    head = [*head]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# ---- settings


def arguments(model: type) -> dict[str, str]:
    """Give the descriptions that a docstring has under `Args:`, by name."""
    part = cleandoc(model.__doc__ or "").partition("Args:\n")[2]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", part, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def rows_of(model: type[BaseModel], prefix: str = "") -> Iterator[list[str]]:
    """Give a row for each setting, those of a model within below its own name."""
    described = arguments(model)
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from rows_of(kind, f"{prefix}{name}.")
            continue
        shown = re.sub(r"kedro_mlrun\.\w+\.|typing\.|<class '|'>", "", str(kind))
        told = f"`{shown}`"
        if field.default is not PydanticUndefined:
            told += f", by default `{plain(field.default)}`"
        yield [f"`{prefix}{name}`", told.replace("|", "\\|"), cell(described[name])]


def plain(value: Any) -> str:
    """Give a default as YAML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def of_function() -> Iterator[list[str]]:
    """Give a row for each field of the shipped function.yaml, with what its comment says."""
    path: list[tuple[int, str]] = []
    for line in (TEMPLATE / "function.yaml").read_text(encoding="utf-8").splitlines():
        if not (found := re.match(r"( *)(\w+):\s*(.*?)\s*(?:# (.*))?$", line)):
            continue
        indent, name, value, comment = found.groups()
        path = [item for item in path if item[0] < len(indent)]
        path.append((len(indent), name))
        value = "your MLRun project" if "cookiecutter" in value else f"`{value}`" if value else ""
        yield [f"`{'.'.join(part for _, part in path)}`", value, cell(comment or "")]


def settings() -> str:
    """Write the page of settings, from the models that read them."""
    from kedro_mlrun.project import GateConfig, MLRunConfig
    from kedro_mlrun.search.config import SearchConfig

    head = ["key", "type", ""]
    return f"""# Settings

This page is made from the code that reads the files. What is misspelt there is refused, by name.

## conf/base/mlrun.yml

Where runs are recorded, and what of them. Only `project` is required. As with every configuration
file of Kedro's, another environment can change it: `conf/local/mlrun.yml` is for you alone.

{table(head, rows_of(MLRunConfig))}
A gate, an entry of `models.gates`, has the name of a scikit-learn scorer and these keys:

{table(head, rows_of(GateConfig))}
MLRun's own environment variables win over the file: `MLRUN_DBPATH`, `MLRUN_ACTIVE_PROJECT` and
`MLRUN_ARTIFACT_PATH`.

## conf/base/search.yml

What `kedro mlrun search` tries. Its options win over the file.

{table(head, rows_of(SearchConfig))}
## function.yaml

The MLRun function that runs the project as a job, in MLRun's own format. A new project's file has
these fields; `spec` takes each other field that MLRun knows of a job.

{table(["field", "as shipped", ""], of_function())}"""


# ---- commands


def options_of(options: Iterable[click.Parameter], context: click.Context) -> Iterator[list[str]]:
    """Give a row for each option."""
    for option in options:
        if isinstance(option, click.Option) and not {"--help", *COMMON} & {*option.opts}:
            names, text = option.get_help_record(context) or ("", "")
            yield [f"`{names}`".replace("|", "\\|"), cell(text)]


def described(command: click.Command, parents: str, all_options: bool = True) -> str:
    """Write what a command does, its options, or those that are its own, and an example."""
    context = click.Context(command, info_name=f"{parents} {command.name}")
    usage = " ".join(command.collect_usage_pieces(context))
    text = "\n\n".join(cell(part) for part in cleandoc(command.help or "").split("\n\n"))
    options = command.get_params(context) if all_options else command.params
    rows = [*options_of(options, context)]
    example = (command.epilog or "").removeprefix("Example: ")
    return "\n".join(
        [
            f"## {parents} {command.name}\n\n{text}\n",
            f"`{context.command_path} {usage}`\n",
            table(["option", ""], rows) if rows else "",
            f"Example: `{example}`\n",
        ]
    )


def has_common(command: click.Command) -> bool:
    """Tell whether a command has the options that are described once for all."""
    return {*COMMON} <= {name for option in command.params for name in option.opts}


def targets() -> Iterator[list[str]]:
    """Give a row for each target of a generated project's Makefile."""
    text = (TEMPLATE / "Makefile").read_text(encoding="utf-8")
    for name, what in dict(re.findall(r"^([\w-]+):.*?## (.*)$", text, re.MULTILINE)).items():
        yield [f"`make {name}`", cell(what)]


def commands() -> str:
    """Write the page of commands, from click."""
    from kedro_mlrun.commands.cli import mlrun_group, run

    context = click.Context(mlrun_group, info_name="kedro mlrun")
    named = (mlrun_group.get_command(context, name) for name in mlrun_group.list_commands(context))
    found = [command for command in named if command]
    each = "\n".join(described(command, "kedro mlrun") for command in found)
    has_none = [f"`{command.name}`" for command in found if not has_common(command)]
    notes = "\n\n".join(cell(part) for part in cleandoc(mlrun_group.help or "").split("\n\n")[1:])
    return f"""# Command line

This page is made from the commands themselves: `kedro mlrun COMMAND --help` says the same. `--json`
prints what programs read, and `--env` names one of Kedro's configuration environments; all commands
but {" and ".join(has_none)} have both. The exit code is 0 if all went well, 1 if something failed,
and 2 if what was asked for can't be done.

{notes}

{each}
{described(run, "kedro", all_options=False)}
It has all options of Kedro's own `kedro run` as well.

## make, in a generated project

{table(["target", ""], targets())}"""


# ---- messages


def texts(node: ast.AST | None, names: dict[str, list[ast.AST]]) -> Iterator[str]:
    """Give the texts that an expression may be, with … for what is filled in.

    Args:
        node: the expression.
        names: what its variables may be.
    """
    match node:
        case ast.Constant(value=str(text)):
            yield re.sub(r"%[sdr]", "…", text)
        case ast.JoinedStr(values=values):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in values
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from (f"{a}{b}" for a in texts(left, names) for b in texts(right, names))
        case ast.IfExp(body=body, orelse=other):
            yield from (*texts(body, names), *texts(other, names))
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Dict(keys=parts):
            for part in parts:
                yield from texts(part, names)
        case ast.Name(id=name):
            others = {key: found for key, found in names.items() if key != name}
            for part in names.get(name, []):
                yield from texts(part, others)
        case ast.Starred(value=part):
            yield from texts(part, names)
        case ast.Call(func=function, args=parts):
            # Of `visible("…")`, and of `"…".rstrip()`.
            for part in [*parts, getattr(function, "value", None)]:
                yield from texts(part, names)


def found_in(file: Path) -> Iterator[str]:
    """Give the messages that a module raises, or warns with."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                named.setdefault(getattr(target, "id", ""), []).append(node.value)
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    for said in ast.walk(tree):
        name = ast.unparse(said.func).rpartition(".")[2] if isinstance(said, ast.Call) else ""
        if isinstance(said, ast.FunctionDef) and (ast.get_docstring(said) or "").startswith(REASON):
            parts = [each.value for each in ast.walk(said) if isinstance(each, ast.Return)]
        elif name and name not in OTHER and (said in raised or re.search(MESSAGE, name)):
            parts = [*said.args, *(keyword.value for keyword in said.keywords)]
        else:
            continue
        for part in parts:
            for text in texts(part, named):
                if len(re.findall(r"[A-Za-z]{2,}", text)) >= FEWEST_WORDS:
                    yield " ".join(re.sub(r"…+", "…", text).split())


@cache
def messages() -> dict[str, list[str]]:
    """Give all messages, by the heading that they stand under."""
    pipelines = TEMPLATE / "src" / "{{ cookiecutter.python_package }}"
    found: dict[str, list[str]] = {heading: [] for heading in [*ROOMS.values(), OTHER_ROOMS]}
    for source in (PACKAGE, pipelines):
        for file in sorted(source.rglob("*.py")):
            room = file.relative_to(source).parts[0]
            found[ROOMS.get(room, OTHER_ROOMS)] += found_in(file)
    return {heading: [*dict.fromkeys(told)] for heading, told in found.items()}


def page_of_messages() -> str:
    """Write the page of messages, from what the code raises."""
    listed = [
        f"## {heading}\n\n" + "\n".join(f"- {cell(text)}" for text in sorted(found)) + "\n"
        for heading, found in messages().items()
        if found
    ]
    return """# Messages

This page is made from the code: its errors, its warnings, and the answers of its servers, where …
stands for what is filled in. Short ones are parts of others, such as the reason in “'…' can't be
saved in …: …”. [Troubleshooting](../troubleshooting.md) tells more about the most frequent ones.

""" + "\n".join(listed)


PAGES = {"settings.md": settings, "commands.md": commands, "messages.md": page_of_messages}

if __name__ == "__main__":
    sys.path.insert(0, str(PACKAGE.parent))
    MADE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (MADE / name).write_text(page(), encoding="utf-8")
