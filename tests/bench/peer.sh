#!/bin/sh
# The peer of `pod-churn streams`, a server on Kubernetes' own streaming package. Builds it once and prints its path.
#
# Exit codes: 3 if Go is missing, 1 for anything else that fails. Environment: OUTRIGGER_CACHE, where builds are kept.
set -eu

PATH=$PATH:/usr/local/go/bin
export PATH GOWORK=off

sources=$(cd "$(dirname "$0")/peer" && pwd)
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}

say() { echo "peer.sh: $*" >&2; }

if ! command -v go >/dev/null; then
	say "building the peer takes Go, and there is none here"
	exit 3
fi
# Whatever it is made of: its sources, the modules that they name, Go.
made_of=$(cd "$sources" && { go version; cat go.mod go.sum ./*.go; } | sha256sum | cut -c 1-16)
binary=$cache/streams-peer-$made_of

if [ ! -x "$binary" ]; then
	mkdir -p "$cache"
	(
		flock 9
		[ ! -x "$binary" ] || exit 0
		say "building the peer into $cache: half a minute on two cores, once"
		CGO_ENABLED=0 go build -C "$sources" -mod=readonly -buildvcs=false -trimpath -o "$binary.next" . 9>&-
		mv "$binary.next" "$binary"
	) 9>"$cache/streams-peer.lock" >&2
fi
echo "$binary"
