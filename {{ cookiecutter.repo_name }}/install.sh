#!/bin/sh
# Makes .venv with Python 3.11 unless it exists, and passes the arguments on to `pip install` there:
# sh install.sh --no-deps -r requirements.lock
set -eu

python=.venv/bin/python

# Asks the interpreter itself: pyenv's python3.11 may exist and fail, Debian's may lack ensurepip.
is_usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

make_environment() {
    rm -rf .venv
    if uv --version >/dev/null 2>&1 && uv venv --quiet --python 3.11 .venv >/dev/null 2>&1; then
        return
    fi
    for candidate in python3.11 python3 python; do
        if is_usable "$candidate"; then
            "$candidate" -m venv .venv
            return
        fi
    done
    echo "Neither Python 3.11 nor uv was found: install Python 3.11 with its venv module" \
        "(https://www.python.org/downloads), or uv, which brings it (https://docs.astral.sh/uv)." >&2
    exit 1
}

# uv installs in seconds what takes pip minutes. Prints the command of one that runs, or nothing.
find_uv() {
    if uv --version >/dev/null 2>&1; then
        echo uv
    elif .venv/bin/uv --version >/dev/null 2>&1 ||
        "$python" -m pip install --quiet --disable-pip-version-check uv >/dev/null 2>&1; then
        echo .venv/bin/uv
    fi
}

if ! is_usable "$python"; then
    echo "Making .venv with Python 3.11 ..."
    make_environment
fi

uv=$(find_uv)
if [ -n "$uv" ] && "$uv" pip install --quiet --python "$python" "$@" 2>.venv/uv.log; then
    exit 0
fi

# An index that only pip is configured for is a common reason for uv to fail.
echo "uv is not available or failed (see .venv/uv.log): installing with pip, which takes longer ..."
"$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null
"$python" -m pip install --quiet --disable-pip-version-check "$@"
