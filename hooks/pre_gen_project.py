"""Refuses names that cannot work, with one sentence on which and why, and one on what to do.

cookiecutter runs it twice. As an extension (`_extensions` and `__names` in cookiecutter.json) it
checks the names before anything is written, so that no folder is left behind and no traceback is
shown. As a hook it covers what bypasses the extension, such as `cookiecutter --replay`.
"""

import json
import keyword
import re
import sys
from collections.abc import Mapping

from cookiecutter.utils import simple_filter

# The modules and distributions that requirements.lock installs, and a few names that mean something
# else in the project or its environment. A package of that name would take their place.
RESERVED = frozenset(
    """
    activate aiohappyeyeballs aiohttp aiohttp_retry aiosignal aiosmtplib alembic annotated_doc
    annotated_types antlr4 anyio appdirs appnope arrow ast_serialize asttokens attr attrs
    beautifulsoup4 binaryornot bleach bs4 build cachetools certifi cffi charset_normalizer click
    cloudpickle colorama colorlog comm conf contourpy cookiecutter cycler dateutil deactivate
    debugpy decorator deepdiff defusedxml dependency_injector deprecated docstring_parser dotenv
    durationpy dynaconf editables execnet executing fastapi fastjsonschema fonttools frozenlist
    fsspec git gitdb gitpython grimp h11 hatchling hypothesis idna import_linter importlib_metadata
    importlinter inflection iniconfig ipykernel ipykernel_launcher ipython jedi jinja2 joblib
    jsonpath_ng jsonschema jsonschema_specifications jupyter jupyter_client jupyter_core
    jupyterlab_plotly jupyterlab_pygments jwt kedro kedro_datasets kedro_datasets_benchmarks
    kedro_datasets_experimental kedro_mlrun kedro_telemetry kfp kfp_server_api kiwisolver kubernetes
    lazy_loader librt mako markdown_it markdown_it_py markupsafe matplotlib matplotlib_inline mdurl
    mergedeep mistune mlrun mlrun_pipelines mlrun_pipelines_kfp_common mlrun_pipelines_kfp_v1_8
    more_itertools mpl_toolkits multidict mypy mypy_extensions mypyc narwhals nbclient nbconvert
    nbformat nest_asyncio nest_asyncio2 nuclio nuclio_jupyter nuclio_sdk numpy nvidia oauthlib
    omegaconf opentelemetry opentelemetry_api optuna orderly_set orjson packaging pandas pandera
    pandocfilters parse parso pathspec pexpect pil pillow pip pkg_resources platformdirs plotly
    pluggy prompt_toolkit propcache psutil ptyprocess pure_eval py pyarrow pycparser pydantic
    pydantic_core pydevd_plugins pygments pyjwt pylab pyparsing pyproject_hooks pytest pytest_xdist
    python python3 python_dateutil python_dotenv python_slugify pytz pyyaml pyzmq referencing
    requests requests_oauthlib rich rpds rpds_py ruff scikit_learn scipy semver setuptools six
    sklearn slugify smmap sortedcontainers soupsieve sqlalchemy src stack_data starlette storey
    tabulate tenacity test tests text_unidecode threadpoolctl tinycss2 tomli_w tomlkit tornado tqdm
    traitlets trove_classifiers typeguard typing_extensions typing_inspect typing_inspection tzdata
    urllib3 uuid_utils uv uvicorn v3io v3iofs vendor_licenses wcwidth webencodings websocket
    websocket_client wheel wrapt xdist xgboost xxhash yaml yarl zipp zmq
    """.split()
)
# Windows has devices of these names in every folder, whatever follows after a dot.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# Folders and files are named after both, and file systems allow 255 characters.
LONGEST = 128


def find_fault(names: Mapping[str, object]) -> str | None:
    """Looks for a name that cannot work.

    Args:
        names: cookiecutter's variables, which include the five names of cookiecutter.json.

    Returns:
        Which name it is, why, and what to do; `None` when all names can work.

    Example:
        >>> names = {"project_name": "Churn", "repo_name": "churn", "python_package": "json"}
        >>> find_fault(names | {"mlrun_project": "churn", "kedro_version": "1.7.0"})
        "python_package 'json' is a module of Python itself. Choose another project_name, or ..."
    """
    package = str(names["python_package"])
    # As pip compares the names of distributions: kedro__mlrun is kedro-mlrun.
    normalized = re.sub("_+", "_", package).lower()

    def fault(name: str, why: str, instead: str = "") -> str:
        other = "" if name == "project_name" else f", or give a {name} of its own"
        instead = instead or f"Choose another project_name{other}"
        return f"{name} {str(names[name])!r} {why}. {instead}."

    # Kedro's own rule for --name, so that both doors take the same names.
    if not re.fullmatch(r"[\w -]{2,}", str(names["project_name"])):
        return fault(
            "project_name",
            "is not two or more letters, digits, spaces, hyphens and underscores",
        )
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", package):
        return fault(
            "python_package",
            "is not a Python identifier of letters (a-z), digits and underscores that begins "
            "with a letter and ends with a letter or digit",
        )
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        return fault("python_package", "is a keyword of Python")
    if package.lower() in sys.stdlib_module_names:
        return fault("python_package", "is a module of Python itself")
    if normalized in RESERVED:
        return fault("python_package", "is the name of a package or tool that the project uses")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", str(names["repo_name"])):
        return fault(
            "repo_name",
            "is not a folder name of letters (a-z), digits, dots, hyphens and underscores that "
            "begins and ends with a letter or digit",
        )
    for name in ("repo_name", "python_package"):
        if DEVICES.fullmatch(str(names[name])):
            return fault(name, "is a reserved name on Windows")
        if len(str(names[name])) > LONGEST:
            return fault(name, f"is longer than {LONGEST} characters")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", str(names["mlrun_project"])):
        return fault(
            "mlrun_project",
            "is not an RFC 1123 label: at most 63 lower-case letters, digits and hyphens that "
            "begin and end with a letter or digit",
        )
    # `kedro new` gives its own version, which Kedro compares with the project's at each start.
    if not re.fullmatch(r"1(\.\d+)+\w*", str(names["kedro_version"])):
        return fault(
            "kedro_version",
            "is not a version of Kedro 1, which this starter needs",
            "Run `pip install 'kedro~=1.7'` and try again",
        )
    return None


def refuse_bad_names(names: Mapping[str, object]) -> str:
    """Ends the process if a name cannot work; a Jinja filter, which cookiecutter calls.

    Args:
        names: cookiecutter's variables.

    Returns:
        "good", which cookiecutter keeps as the value of `__names`.

    Raises:
        SystemExit: A name cannot work. The message says which, why, and what to do.
    """
    if message := find_fault(names):
        raise SystemExit(message)
    return "good"


NameCheck = simple_filter(refuse_bad_names)

if __name__ == "__main__":
    # As JSON in a raw string no character of a name can end the string or run as code.
    refuse_bad_names(json.loads(r'{{ cookiecutter | tojson }}'))  # fmt: skip
