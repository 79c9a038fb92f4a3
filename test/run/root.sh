# Sourced by deps and test-all: the one way to become root, for the few commands that need it.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "not root, and no sudo. As root, run: $*" >&2
        return 1
    fi
}
