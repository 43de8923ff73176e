#!/bin/sh
# The real metrics-server, for the test of what autoscalers and kubectl top see. Builds it once and prints its path.
#
# Exit codes: 3 if Go is missing, 1 for anything else that fails. Environment: OUTRIGGER_CACHE, where builds are kept.
set -eu

PATH=$PATH:/usr/local/go/bin
export PATH GOWORK=off

version=v0.9.0
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}
directory=$cache/metrics-server-$version

say() { echo "metrics-server.sh: $*" >&2; }

if [ ! -x "$directory/metrics-server" ]; then
	if ! command -v go >/dev/null; then
		say "building the metrics-server takes Go, and there is none here; see cluster.sh"
		exit 3
	fi
	mkdir -p "$cache"
	(
		flock 9
		[ ! -x "$directory/metrics-server" ] || exit 0
		say "building metrics-server $version into $cache: about 5 minutes on two cores, once"
		# The module's checksum is in Go's public log, which go install asks.
		CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN=$directory.next \
			go install "sigs.k8s.io/metrics-server/cmd/metrics-server@$version" 9>&-
		rm -rf "$directory"
		mv "$directory.next" "$directory"
	) 9>"$cache/metrics-server.lock" >&2
fi
echo "$directory/metrics-server"
