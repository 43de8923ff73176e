#!/bin/sh
# The program of this directory, for the suite's interop tests: builds it once, until its sources change, and prints its path.
#
# Exit codes: 3 if Go is missing, 1 for anything else that fails. Environment: OUTRIGGER_CACHE, where builds are kept.
set -eu

PATH=$PATH:/usr/local/go/bin
export PATH GOWORK=off

say() { echo "client-go/build.sh: $*" >&2; }

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}
key=$(cd "$here" && cat go.mod go.sum main.go | sha256sum | cut -c1-12)
binary=$cache/interop-client-go-$key/client-go

if [ ! -x "$binary" ]; then
	if ! command -v go >/dev/null; then
		say "building this takes Go, and there is none here; install it from https://go.dev/dl/"
		exit 3
	fi
	mkdir -p "$(dirname "$binary")"
	(
		flock 9
		[ ! -x "$binary" ] || exit 0
		cd "$here"
		CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -o "$binary.next" . 9>&-
		mv "$binary.next" "$binary"
	) 9>"$cache/interop-client-go.lock" >&2
fi
echo "$binary"
