#!/bin/sh
# kwok, the peer that fakes kubelets, for the benches. Builds it once and prints its path; its own stages, of nodes with leases
# and of pods that run at once, are beside it in stages.yaml.
#
# Exit codes: 3 if Go is missing, 1 for anything else that fails. Environment: OUTRIGGER_CACHE, where builds are kept.
set -eu

PATH=$PATH:/usr/local/go/bin
export PATH GOWORK=off

version=v0.8.0
cache=${OUTRIGGER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrigger}
directory=$cache/kwok-$version

say() { echo "kwok.sh: $*" >&2; }

if [ ! -x "$directory/kwok" ] || [ ! -s "$directory/stages.yaml" ]; then
	if ! command -v go >/dev/null; then
		say "building kwok takes Go, and there is none here; see tests/controlplane/cluster.sh"
		exit 3
	fi
	mkdir -p "$cache"
	(
		flock 9
		[ ! -s "$directory/stages.yaml" ] || exit 0
		say "building kwok $version into $cache: about 5 minutes on two cores, once"
		# The module's checksum is in Go's public log, which go install asks.
		CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN=$directory.next go install "sigs.k8s.io/kwok/cmd/kwok@$version" 9>&-
		stages=$(cd / && go mod download -json "sigs.k8s.io/kwok@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')/kustomize/stage
		for stage in "$stages"/node/fast/node-*.yaml "$stages"/node/heartbeat-with-lease/node-*.yaml "$stages"/pod/fast/pod-*.yaml; do
			cat "$stage" && echo ---
		done >"$directory.next/stages.yaml"
		rm -rf "$directory"
		mv "$directory.next" "$directory"
	) 9>"$cache/kwok.lock" >&2
fi
echo "$directory/kwok"
