# Sourced by the checks here.

# Goes to a folder that is removed at the end, with a Python of its own that has these packages: $work, python/bin/python.
environment() { # what pip is to install
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install --quiet "$@"
    cd "$work"
}
