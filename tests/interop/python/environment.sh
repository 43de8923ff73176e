#!/bin/sh
# An environment with Python's Kubernetes client, for the suite's interop tests: made once, from requirements.txt. Prints the
# path of its interpreter.
#
# Exit codes: 3 if Python or its venv module is missing, 1 for anything else that fails. Environment: OUTRIGGER_CACHE, where
# it is kept.
set -eu

say() { echo "python/environment.sh: $*" >&2; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}

if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
	say "Python 3.10 or newer with venv and pip is needed, on Debian the package python3-venv"
	exit 3
fi
# An environment is of the interpreter that made it.
key=$({ cat "$here/requirements.txt" && python3 -c 'import sys; print(sys.version, sys.base_prefix)'; } | sha256sum | cut -c1-12)
directory=$cache/python-kubernetes-$key

if [ ! -x "$directory/done" ]; then
	mkdir -p "$cache"
	(
		flock 9
		[ ! -x "$directory/done" ] || exit 0
		say "installing Python's Kubernetes client into $cache, once"
		rm -rf "$directory"
		python3 -m venv "$directory"
		"$directory/bin/pip" install --quiet --no-deps --only-binary :all: --requirement "$here/requirements.txt"
		"$directory/bin/python" -c 'import kubernetes.stream'
		# Last: a half of it does not count.
		install -m 755 /dev/null "$directory/done"
	) 9>"$cache/python.lock" >&2
fi
echo "$directory/bin/python"
